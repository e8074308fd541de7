# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What uWSGI's statistics come to, and what a peer that is no stats server can do to who asks."""

from __future__ import annotations

import json
import pathlib
import socket
import tempfile
import threading
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils import _uwsgi_info
from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import parse
from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError


def worker(*cores: int, status: str = "", pid: int = 1, **more: t.Any) -> dict[str, t.Any]:
    said = [{"in_request": core, "vars": ["HTTP_COOKIE=secret"] if core else []} for core in cores]
    apps = [{"mountpoint": "/a", "chdir": "", "requests": 3, "exceptions": 1}]
    counts = {"requests": 3, "exceptions": 1, "harakiri_count": 1}
    return {
        "pid": pid,
        "status": status or ("busy" if any(cores) else "idle"),
        "cores": said,
        "apps": apps,
        **counts,
        **more,
    }


def summary(*workers: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return _uwsgi_info.summary(json.dumps({"version": "2.0.21-debian", "workers": workers, **more}))


@pytest.mark.parametrize(
    ("workers", "counts", "saturation"),
    [
        pytest.param([worker(0), worker(0)], (0, 2, 0), 0.0, id="idle"),
        pytest.param([worker(1), worker(0)], (1, 1, 0), 0.5, id="half of it works"),
        pytest.param([worker(1), worker(1)], (2, 0, 0), 1.0, id="all of it works"),
        pytest.param([worker(1, 0), worker(0, 0)], (1, 1, 0), 0.25, id="one thread of four works"),
        pytest.param([worker(1), worker(0, status="cheap", pid=0)], (1, 0, 1), 0.5, id="one more can be started"),
    ],
)
def test_saturation_is_the_part_of_the_threads_that_works(
    workers: list[t.Any], counts: tuple[int, int, int], saturation: float
) -> None:
    found = summary(*workers)
    assert (found["busy"], found["idle"], found["cheap"]) == counts
    assert found["saturation"] == saturation


def test_sums_are_those_of_all_workers_and_a_cheap_one_has_loaded_nothing() -> None:
    found = summary(worker(0), worker(0), worker(0, status="cheap", pid=0))
    assert (found["requests"], found["exceptions"], found["harakiri_count"]) == (9, 3, 3)
    assert found["apps"] == [{"mountpoint": "/a", "chdir": "", "workers": 2, "requests": 6, "exceptions": 2}]


def test_no_request_is_told() -> None:
    assert "secret" not in json.dumps(summary(worker(1)))


def test_an_emperor_has_vassals_and_no_saturation() -> None:
    found = _uwsgi_info.summary({"version": "2", "vassals": [{"id": "one.ini"}]})
    assert (found["vassals"], found["workers"], found["saturation"]) == ([{"id": "one.ini"}], [], None)


def test_lists_end() -> None:
    assert len(summary(*[worker(0)] * 300)["workers"]) == _uwsgi_info.MAX_ITEMS < 300


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        ("<html>", "stats: this is not the JSON of a uWSGI stats server"),
        ('{"version": ' + "[" * 100_000, "stats: this is not the JSON of a uWSGI stats server"),
        ("[]", "stats: these are not the statistics of uWSGI: they are no mapping"),
        ("{}", "stats: these are not the statistics of uWSGI: they have no version"),
        ('{"version": 1, "workers": 2}', "stats: these are not the statistics of uWSGI: workers is no list"),
    ],
)
def test_what_are_no_statistics_is_named(stats: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        _uwsgi_info.summary(stats)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("workers", "found"),
    [
        ([{"requests": 3}, {"requests": 0}, {"requests": 40}], 43),
        ([], None),
        ([{}], None),
        ([{"requests": "3"}], None),
        ([{"requests": True}], None),
        ([{"requests": 1.5}], None),
        ([{"requests": -1}], None),
        ([{"requests": 2**63}], None),
        ([3], None),
    ],
)
def test_requests_of_all_workers(workers: list[t.Any], found: int | None) -> None:
    said = json.dumps({"workers": workers})
    if found is not None:
        assert _uwsgi_info.requests(said) == found
        return
    with pytest.raises(DataError):
        _uwsgi_info.requests(said)


@pytest.fixture
def directory() -> t.Iterator[pathlib.Path]:
    # Shorter than tmp_path: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


def says(path: pathlib.Path, pieces: t.Iterable[bytes], *, closes: bool = True) -> _uwsgi_info.Server:
    """A peer that says this to who connects."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as client:
            try:
                for piece in pieces:
                    client.sendall(piece)
                if not closes:
                    client.recv(1)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return _uwsgi_info.Server("peer", parse(f"unix://{path}"))


@pytest.mark.parametrize(
    ("pieces", "closes", "cause", "words"),
    [
        pytest.param([], True, "closed", "no statistics came", id="silent"),
        pytest.param([], False, "timeout", "no complete answer", id="hanging"),
        pytest.param([b"{"], False, "timeout", "no complete answer came after 1 bytes", id="unfinished"),
        pytest.param([b"{", b'"version": 1'], True, "expectation", "not the JSON", id="cut off"),
        pytest.param([b"SSH-2.0-x\r\n"], True, "wrong_protocol", "SSH-2.0-x", id="another protocol"),
        pytest.param([b"{"] + [b" " * 65536] * 1000, False, "wrong_protocol", "longer than", id="endless"),
    ],
)
def test_a_peer_that_is_no_stats_server_is_a_result(
    directory: pathlib.Path, pieces: list[bytes], closes: bool, cause: str, words: str
) -> None:
    server = says(directory / "s", pieces, closes=closes)
    (result,) = _uwsgi_info.ask([server], 0.5 if cause == "timeout" else 20)
    assert (result["cause"], result["status"]) == (cause, None)
    assert words in result["message"]
    assert result["hint"]


def test_the_kernel_counts_who_waits(directory: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as application, socket.socket(socket.AF_UNIX) as client:
        application.bind(str(directory / "a"))
        application.listen(7)
        client.connect(str(directory / "a"))
        sockets = [{"name": str(directory / "a")}, {"name": "inherited"}, {"name": str(directory / "gone")}]
        said = json.dumps({"version": "2", "workers": [], "sockets": sockets}).encode()
        (result,) = _uwsgi_info.ask([says(directory / "s", [said])], 20)
    assert result["queues"] == [{"socket": str(directory / "a"), "length": 1, "limit": 7}]


@pytest.fixture
def servers(tmp_path: pathlib.Path) -> list[_uwsgi_info.Server]:
    (tmp_path / "shop.ini").write_text("[uwsgi]\nstats = /run/uwsgi/%n/stats.sock\n")
    (tmp_path / "blog.ini").write_text("[uwsgi]\n# stats = :1\nstats = 127.0.0.1:1717\n")
    (tmp_path / "none.ini").write_text("[uwsgi]\nsocket = /run/none.sock\n")
    return _uwsgi_info.configured([f"{tmp_path}/*.ini", f"{tmp_path}/shop.ini"])


def test_stats_servers_are_found_in_ini_files(servers: list[_uwsgi_info.Server]) -> None:
    assert [(server.name, server.endpoint.url) for server in servers] == [
        ("blog", "tcp://127.0.0.1:1717"),
        ("shop", "unix:///run/uwsgi/shop/stats.sock"),
    ]


def test_a_stats_server_is_chosen_by_name_or_endpoint(servers: list[_uwsgi_info.Server]) -> None:
    specs = [{"name": "shop"}, {"endpoint": "tcp://127.0.0.1:1717"}, {"endpoint": "unix:///run/x", "name": "mine"}]
    found = _uwsgi_info.chosen(specs, servers)
    assert [(server.name, server.endpoint.address) for server in found] == [
        ("shop", "/run/uwsgi/shop/stats.sock"),
        ("blog", "127.0.0.1:1717"),
        ("mine", "/run/x"),
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "none"}, "servers[0]: 0 stats servers are in files called none"),
        (
            {"endpoint": "uwsgi+unix:///run/x"},
            "servers[0].endpoint: a stats server has no protocol of its own: write unix://",
        ),
    ],
)
def test_a_stats_server_that_cannot_be_asked_is_named(
    spec: dict[str, t.Any], said: str, servers: list[_uwsgi_info.Server]
) -> None:
    with pytest.raises(DataError) as caught:
        _uwsgi_info.chosen([spec], servers)
    assert str(caught.value).startswith(said)
