# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a PHP-FPM status page and a pool's file come to. The pages are what PHP-FPM 8.2 said."""

from __future__ import annotations

import json
import pathlib
import socket
import tempfile
import threading
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils import _endpoint, _php_fpm_info
from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.module_utils._php_fpm_pools import read_pools
from ansible_collections.weblab.stacks.plugins.module_utils.wire import _fastcgi

POOL = (
    '{"pool":"blog","process manager":"static","start time":1795338867,"start since":1,"accepted conn":1,'
    '"listen queue":0,"max listen queue":0,"listen queue len":0,"idle processes":1,"active processes":%d,'
    '"total processes":2,"max active processes":1,"max children reached":0,"slow requests":0, "processes":[%s]}'
)
ASKED = (
    '{"pid":6499,"state":"Running","start time":1795338867,"start since":1,"requests":1,"request duration":358,'
    '"request method":"GET","request uri":"\\/fpm-status?json&full","content length":0,"user":"-","script":"-",'
    '"last request cpu":0.00,"last request memory":0}'
)
WORKING = ASKED.replace("\\/fpm-status?json&full", "\\/a.php?json").replace('"script":"-"', '"script":"\\/srv\\/a.php"')


@pytest.mark.parametrize(
    ("active", "processes", "busy", "saturation"),
    [
        pytest.param(0, "", 0, 0.0, id="idle, asked at its pm.status_listen"),
        pytest.param(1, ASKED, 0, 0.0, id="idle, asked at its own socket"),
        pytest.param(2, f"{ASKED},{WORKING}", 1, 0.5, id="half of it works"),
        pytest.param(2, f"{WORKING},{WORKING}", 2, 1.0, id="all of it works"),
        pytest.param(3, "", 3, 1.0, id="more than the maximum, while it is lowered"),
    ],
)
def test_who_answers_for_the_status_is_not_busy(active: int, processes: str, busy: int, saturation: float) -> None:
    page = POOL % (active, processes)
    found = _php_fpm_info.summary(page, 2)
    assert (found["active_processes"], found["busy_processes"], found["saturation"]) == (active, busy, saturation)
    assert found == _php_fpm_info.summary(json.loads(page), "2")


def test_what_is_not_known_is_not_invented() -> None:
    found = _php_fpm_info.summary(POOL % (1, ""))
    assert (found["max_children"], found["saturation"], found["processes"]) == (None, None, [])


def test_keys_are_in_snake_case_and_the_list_of_workers_ends() -> None:
    found = _php_fpm_info.summary(POOL % (0, ",".join([WORKING] * 300)))
    assert (found["process_manager"], found["processes"][0]["request_duration"]) == ("static", 358)
    assert len(found["processes"]) == _php_fpm_info.MAX_PROCESSES < 300


@pytest.mark.parametrize(
    ("page", "limit", "said"),
    [
        ("pool:                 blog\n", 1, "status: this is not JSON; ask for /fpm-status?json"),
        ("[]", 1, "status: this is not the status of a PHP-FPM pool"),
        ('{"active processes": "many"}', 1, "status: this is not the status of a PHP-FPM pool"),
        ('{"active processes": 1, "processes": [1]}', 1, "status: this is not the status of a PHP-FPM pool"),
        (POOL % (0, ""), 0, "max_children: 0 is not a number of workers"),
        (POOL % (0, ""), "many", "max_children: 'many' is not a number of workers"),
    ],
)
def test_what_is_no_status_is_named(page: str, limit: t.Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        _php_fpm_info.summary(page, limit)
    assert str(caught.value).startswith(said)


def test_pool_files_are_read_as_php_fpm_reads_them() -> None:
    text = """
        [global]
        listen = 1
        [blog] ; the blog
        user = $pool
        listen = "/run/php/$pool.sock" ; its socket
        ;pm.max_children = 5
        pm.max_children = 6
        pm.max_children = 7
        php_admin_value[memory_limit] = 1M
    """
    keys = {"user": "blog", "listen": "/run/php/blog.sock", "pm.max_children": "7"}
    assert read_pools([text]) == {"blog": keys}


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("/run/php/a.sock", "fastcgi+unix:///run/php/a.sock"),
        ("@a", "fastcgi+unix://@a"),
        ("9000", "fastcgi://127.0.0.1:9000"),
        ("0.0.0.0:9000", "fastcgi://127.0.0.1:9000"),
        ("[::]:9000", "fastcgi://[::1]:9000"),
        ("[2001:db8::1]:9000", "fastcgi://[2001:db8::1]:9000"),
        ("app.example:9000", "fastcgi://app.example:9000"),
    ],
)
def test_a_listen_key_is_an_endpoint(key: str, url: str) -> None:
    assert _endpoint.listening(key, "fastcgi").url == url


@pytest.fixture
def pools(tmp_path: pathlib.Path) -> list[_php_fpm_info.Pool]:
    (tmp_path / "a.conf").write_text(
        "[blog]\nlisten = 9001\npm.max_children = 3\npm.status_path = /s\npm.status_listen = /run/s/blog.sock\n"
        "[shop]\nlisten = /run/php/shop.sock\n[twice]\nlisten = 9002\n"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.conf").write_text("[twice]\nlisten = 9003\n")
    return _php_fpm_info.configured([f"{tmp_path}/*.conf", f"{tmp_path}/other/*.conf"])


def test_a_pool_is_asked_where_its_file_says(pools: list[_php_fpm_info.Pool]) -> None:
    found = _php_fpm_info.chosen([{"name": "blog"}, {"name": "shop"}], pools)
    assert [(pool.endpoint.address, pool.path, pool.max_children) for pool in found] == [
        ("/run/s/blog.sock", "/s", 3),
        ("/run/php/shop.sock", "/fpm-status", None),
    ]


def test_an_endpoint_is_completed_from_its_pools_file(pools: list[_php_fpm_info.Pool]) -> None:
    found = _php_fpm_info.chosen(
        [
            {"endpoint": "fastcgi://127.0.0.1:9001"},
            {"endpoint": "fastcgi+unix:///run/s/blog.sock", "name": "mine", "max_children": 9},
            {"endpoint": {"unix": "/run/elsewhere.sock"}},
        ],
        pools,
    )
    assert [(pool.name, pool.endpoint.address, pool.path, pool.max_children) for pool in found] == [
        ("blog", "127.0.0.1:9001", "/s", 3),
        ("mine", "/run/s/blog.sock", "/s", 9),
        ("fastcgi+unix:///run/elsewhere.sock", "/run/elsewhere.sock", "/fpm-status", None),
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "none"}, "pools[0]: 0 pools are called none"),
        ({"name": "twice"}, "pools[0]: 2 pools are called twice"),
        ({"endpoint": "http://127.0.0.1:80"}, "pools[0].endpoint: this endpoint speaks fastcgi, not http"),
        ({"name": "blog", "max_children": 0}, "max_children: 0 is not"),
    ],
)
def test_a_pool_that_cannot_be_asked_is_named(
    spec: dict[str, t.Any], said: str, pools: list[_php_fpm_info.Pool]
) -> None:
    with pytest.raises(DataError) as caught:
        _php_fpm_info.chosen([spec], pools)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("page", "cause", "words"),
    [
        pytest.param(b"{" + b" " * (2 * _php_fpm_info.MAX_BODY), "expectation", "this is not JSON", id="endless"),
        pytest.param(b"[" * 100_000, "expectation", "this is not JSON", id="deep"),
        pytest.param(b"<html>", "expectation", "this is not JSON", id="another page"),
        pytest.param(b"{}", "expectation", "not the status of a PHP-FPM pool", id="another JSON"),
        pytest.param(None, "timeout", "no complete answer came", id="hanging"),
    ],
)
def test_a_peer_that_is_no_pool_is_a_result(page: bytes | None, cause: str, words: str) -> None:
    def serve() -> None:
        with server.accept()[0] as client:
            try:
                if page is None:
                    client.recv(65536)
                    client.recv(1)
                else:
                    body = b"Content-Type: application/json\r\n\r\n" + page
                    client.sendall(_fastcgi.encode_stream(_fastcgi.STDOUT, body))
                    client.sendall(_fastcgi.encode_record(_fastcgi.Record(_fastcgi.END_REQUEST, 1, bytes(8))))
                    client.recv(65536)
            except OSError:
                pass

    # Shorter than tmp_path: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{name}/s")
        server.listen()
        threading.Thread(target=serve, daemon=True).start()
        pools = [_php_fpm_info.Pool("blog", _endpoint.parse(f"fastcgi+unix://{name}/s"))]
        (result,) = _php_fpm_info.ask(pools, 0.5 if page is None else 20)
    assert (result["cause"], result["status"]) == (cause, None)
    assert words in result["message"]
    assert result["hint"]
