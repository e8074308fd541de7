# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests that stay open: what the front servers get for them, and what is refused."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import _apache, _nginx, _stacks
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile._app_service import app_service_plan

FACTS = {"memtotal_mb": 4096, "processor_nproc": 2}
#: What a process may have of files in some containers, and under Debian's apache2ctl.
CONTAINER_FILES, APACHECTL_FILES = 20000, 8192


def nginx_numbers(streams: int, connections: int = 4096, cpus: int = 2) -> dict[str, t.Any]:
    main = _nginx.nginx_base({**FACTS, "processor_nproc": cpus}, streams, connections)[0]
    return t.cast(dict[str, t.Any], main["vars"]["numbers"])


def apache_numbers(streams: int, mpm: str = "event", memory_mb: int = 4096) -> dict[str, int]:
    files = _apache.apache_base({"memtotal_mb": memory_mb, "processor_nproc": 2}, mpm, streams=streams)
    [found] = [entry["vars"]["mpm"] for entry in files if entry.get("template", "").startswith("mods-enabled/mpm_")]
    return t.cast(dict[str, int], found)


@pytest.mark.parametrize("streams", [0, 100, 1000, 5000, 5121, 10000, 20000, 100000])
@pytest.mark.parametrize("cpus", [1, 2, 8])
def test_nginx_has_two_connections_and_their_files_for_each_stream(streams: int, cpus: int) -> None:
    found = nginx_numbers(streams, cpus=cpus)
    if found["workers"] == "auto":
        # One worker may get all of them.
        assert found["connections"] >= 2 * streams + 1000
    else:
        assert found["workers"] >= cpus
        assert found["connections"] * found["workers"] >= 1.6 * 2 * streams
    assert found["connections"] + 1024 <= found["files"] <= CONTAINER_FILES


def test_what_is_said_of_connections_is_the_least_that_there_are() -> None:
    assert nginx_numbers(1000, connections=65536)["connections"] == 65536
    # Each of a visitor's connections may have a file beside it.
    assert nginx_numbers(1000, connections=65536)["files"] == 2 * 65536


@pytest.mark.parametrize("streams", [769, 1000, 10000, 30000])
def test_event_has_a_thread_for_each_stream_and_others_for_visitors(streams: int) -> None:
    found = apache_numbers(streams, memory_mb=8192)
    assert found["streams"] >= streams
    assert found["max_workers"] - found["streams"] == 256
    assert found["max_workers"] % found["threads"] == 0
    assert 2 * found["threads"] < APACHECTL_FILES - 500
    # Old processes have places for some reloads more.
    assert found["server_limit"] >= 8 * found["max_workers"] // found["threads"]


def test_few_streams_change_nothing() -> None:
    assert apache_numbers(768) == apache_numbers(0)
    assert apache_numbers(0)["max_workers"] == 1024


def test_many_threads_are_more_than_systemd_gives_to_a_service() -> None:
    def tasks(streams: int) -> list[str]:
        files = _apache.apache_base(FACTS, "event", "event", streams=streams)
        return [entry["system"] for entry in files if "TasksMax=infinity" in entry.get("content", "")]

    assert tasks(10000) == ["/etc/systemd/system/apache2@event.service.d/weblab.conf"]
    assert tasks(0) == []


@pytest.mark.parametrize("mpm", ["prefork", "itk", "worker"])
def test_no_other_mpm_grows(mpm: str) -> None:
    assert apache_numbers(5000, mpm) == apache_numbers(0, mpm)


def sites(*streams: int) -> list[dict[str, t.Any]]:
    location = {"path": "/", "type": "proxy", "endpoint": "http://127.0.0.1:1"}
    return [
        {"name": f"site{number}", "port": 8000 + number, "locations": [{**location, "streams": count}]}
        for number, count in enumerate(streams)
    ]


def test_more_than_nginx_is_set_up_for_is_refused_where_it_is_said() -> None:
    _nginx.nginx_plan(sites(600, 400), "me", streams=1000)
    with pytest.raises(DataError, match=r"600 at locations before this one.* holds 1000; set nginx_streams") as error:
        _nginx.nginx_plan(sites(600, 401), "me", streams=1000)
    assert error.value.where == "nginx_sites[1].locations[0].streams"


@pytest.mark.parametrize(
    ("mpm", "streams", "most", "remedy"),
    [
        ("event", 0, 768, "set apache_streams"),
        ("event", 2000, 2000, "set apache_streams"),
        ("worker", 2000, 768, "only the MPM event"),
        ("prefork", 0, 32, "only the MPM event"),
        ("itk", 2000, 32, "only the MPM event"),
    ],
)
def test_more_than_an_apache_is_set_up_for_is_refused_where_it_is_said(
    mpm: str, streams: int, most: int, remedy: str
) -> None:
    def plan(count: int) -> None:
        _apache.apache_plan(sites(1, count), "me", mpm, facts=FACTS, streams=streams)

    plan(most - 1)
    with pytest.raises(DataError, match=remedy) as error:
        plan(most)
    assert error.value.where == "apache_sites[1].locations[0].streams"


def board(name: str, port: int, **more: t.Any) -> dict[str, t.Any]:
    application = {"path": "/srv/board", "module": "board:application"}
    return {"name": name, "stack": "realtime", "port": port, "user": "board", "application": application, **more}


def test_a_front_server_holds_what_all_its_sites_expect() -> None:
    expected = [board("a", 8001, clients=3000), board("b", 8002, clients=2000)]
    expected += [{"name": "c", "stack": "realtime", "port": 8003, "front": "apache", "server_of": "a", "clients": 900}]

    def streams(variables: dict[str, t.Any]) -> dict[str, int]:
        plan = _stacks.host_plan(expected, {"ansible_facts": FACTS, **variables})
        return {front["name"]: front["streams"] for front in plan["fronts"]}

    assert streams({}) == {"nginx": 5000, "apache event": 900}
    assert streams({"nginx_streams": 7000, "apache_streams": 800}) == {"nginx": 7000, "apache event": 900}


def test_a_host_without_memory_for_the_threads_is_not_touched() -> None:
    few, many = board("a", 8001, front="apache", clients=500), board("b", 8002, front="apache", clients=16000)
    with pytest.raises(DataError, match=r"16500 threads that are held take 1031 MiB.* enough for 16384") as error:
        _stacks.host_plan([few, many], {"ansible_facts": {**FACTS, "memtotal_mb": 2048}})
    assert error.value.where == "weblab_sites[1].clients"


def test_one_process_of_the_server_has_files_for_all_clients() -> None:
    facts = {"ansible_facts": {**FACTS, "memtotal_mb": 65536}}
    plan = _stacks.host_plan([board("a", 8001, clients=65000)], facts)
    [unit] = [
        file["vars"]["app"]
        for file in app_service_plan(plan["app_services"], "me")["files"]
        if file.get("template") == "app.service.j2" and "gunicorn" in file["vars"]["app"]["exec_start"]
    ]
    # It calls listen(2) once more, with a number of its own.
    assert f"--backlog={unit['backlog']}" in unit["exec_start"].split()
    with pytest.raises(DataError, match="has files for 65000") as error:
        _stacks.host_plan([board("a", 8001, clients=65001)], facts)
    assert error.value.where == "weblab_sites[0].clients"


APPLICATION = {"path": "/srv/a", "module": "a:application"}
PHP: dict[str, t.Any] = {"root": "/srv/a", "user": "news"}
WSGI: dict[str, t.Any] = {"application": APPLICATION, "user": "news"}
SCRIPT: dict[str, t.Any] = {"scripts": [{"path": "/", "script": "/srv/a.cgi"}]}


def news(stack: str, clients: int = 20, name: str = "news", port: int = 8001, **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "stack": stack, "port": port, "streams": [{"path": "/events", "clients": clients}], **more}


def warnings(*declared: dict[str, t.Any]) -> list[t.Any]:
    return list(_stacks.host_plan(list(declared), {"ansible_facts": {**FACTS, "memtotal_mb": 2048}})["warnings"])


@pytest.mark.parametrize(
    ("stack", "more", "said"),
    [
        # (2048 MiB / 2) / 48 MiB
        ("apache_prefork_mod_php", PHP, "it would stop at 21, .* processes of apache prefork"),
        ("apache_itk_mod_php", PHP, "it would stop at 21, .* processes of apache itk"),
        ("apache_mod_perl", SCRIPT, "it would stop at 21, .* processes of apache prefork"),
        # (2048 MiB / 2) / 64 MiB
        ("apache_worker_php_fpm", PHP, r"it stops at 16, .* the PHP-FPM pool news \(max_children\)"),
        ("apache_event_php_fpm", {**PHP, "workers": {"max": 5}}, "it stops at 5, .* the PHP-FPM pool news"),
        (
            "apache_worker_php_fpm",
            {**PHP, "workers": {"max": 5000}},
            "it would stop at 1024, .* threads of apache worker",
        ),
        ("nginx_php_fpm", PHP, "it stops at 16, .* the PHP-FPM pool news"),
        ("reverse_proxy", {**PHP, "backend": "event"}, "it stops at 16, .* the PHP-FPM pool news"),
        ("reverse_proxy", {**PHP, "backend": "prefork"}, "it would stop at 21, .* processes of apache prefork"),
        ("apache_mod_wsgi", {**WSGI, "processes": 3, "threads": 5}, r"it stops at 15, .* mod_wsgi \(3 processes x 5\)"),
        ("apache_mod_wsgi", WSGI, r"it stops at 4, .* mod_wsgi \(4 processes x 1\)"),
        ("apache_uwsgi", {**WSGI, "processes": 2, "threads": 2}, r"it stops at 4, .* uWSGI news \(2 processes x 2\)"),
        ("nginx_uwsgi_monolith", WSGI, r"it stops at 4, .* uWSGI news \(4 processes x 1\)"),
        ("scgi", {**WSGI, "processes": 6}, r"it stops at 6, .* uWSGI news-scgi \(6 processes x 1\)"),
        ("scgi", {**WSGI, "server": "aioscgi", "threads": 7}, "it stops at 7, .* threads of its service"),
        ("cgi", SCRIPT, "it would stop at 21, .* processes of apache prefork"),
        ("cgi", {**SCRIPT, "front": "event"}, "it would stop at 1024, .* threads of apache event"),
        ("cgi", {**SCRIPT, "front": "nginx", "processes": 6}, "it stops at 6, .* processes of its service"),
        ("fastcgi", {**SCRIPT, "user": "news", "processes": 3}, "it stops at 3, .* processes of its service"),
        ("fastcgi", {**SCRIPT, "front": "fcgid", "processes": 4}, "it stops at 4, .* processes of mod_fcgid"),
        ("nginx_app", {"command": ["/srv/a"], "user": "news"}, "how many the program of news holds is not known here"),
    ],
)
def test_a_stack_says_at_how_many_open_requests_it_stops(stack: str, more: dict[str, t.Any], said: str) -> None:
    [warning] = warnings(news(stack, **more))
    assert warning["where"] == "weblab_sites[0].streams[0]"
    assert re.search(said, warning["text"]), warning["text"]
    assert "The stack realtime holds" in warning["text"]


def test_the_path_says_which_service_it_is() -> None:
    services = [
        {"name": "web", "mount": "/", "user": "web", "application": APPLICATION, "processes": 3},
        {"name": "push", "mount": "/events", "user": "push", "application": APPLICATION, "processes": 2, "threads": 3},
    ]
    [warning] = warnings(news("nginx_uwsgi_microservices", services=services))
    assert "it stops at 6, which hold all workers of the uWSGI news-push" in warning["text"]


def test_sites_that_share_an_apache_share_its_processes() -> None:
    found = warnings(
        news("apache_prefork_mod_php", 15, **PHP), news("apache_prefork_mod_php", 10, name="b", port=8002, **PHP)
    )
    assert [warning["where"] for warning in found] == ["weblab_sites[0].streams[0]", "weblab_sites[1].streams[0]"]
    assert all("25 with others: it stops at 21" in warning["text"] for warning in found)


def test_pools_share_the_memory_and_the_warning_knows() -> None:
    other = {"name": "b", "stack": "nginx_php_fpm", "port": 8002, **PHP}
    [warning] = warnings(news("nginx_php_fpm", **PHP), {**other, "user": "b"})
    assert "it stops at 8," in warning["text"]


def test_threads_of_event_follow_from_what_is_expected() -> None:
    site = news("apache_event_php_fpm", 3000, **{**PHP, "workers": {"max": 5000}})
    plan = _stacks.host_plan([site], {"ansible_facts": FACTS})
    assert {front["name"]: front["streams"] for front in plan["fronts"]} == {"apache event": 3000}
    assert "it would stop at 3256, which hold all threads of apache event" in plan["warnings"][0]["text"]


def test_what_holds_open_requests_is_not_warned_of() -> None:
    assert warnings(board("a", 8001), {"name": "b", "stack": "nginx_php_fpm", "port": 8002, **PHP}) == []


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ({"path": "events", "clients": 1}, "streams[0].path"),
        ({"path": "/events", "clients": 0}, "streams[0].clients"),
        ({"path": "/events"}, "streams[0].clients"),
    ],
)
def test_what_is_no_stream_is_refused(entry: dict[str, t.Any], where: str) -> None:
    with pytest.raises(DataError) as error:
        _stacks.host_plan([news("nginx_php_fpm", **{**PHP, "streams": [entry]})], {})
    assert error.value.where == f"weblab_sites[0].{where}"
