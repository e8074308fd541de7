# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

from onhost import get, main_pid, may_connect, run, socket_access, tcp_listeners, unix_listeners

FRONT = "/run/uwsgi/front/www-data/uwsgi.sock"
BACK_FOR_FRONT = "/run/uwsgi/back/front/http.sock"


def stats(host: t.Any, name: str) -> t.Any:
    """uWSGI's own statistics, which it sends to whoever connects."""
    script = (
        "import socket; peer = socket.socket(socket.AF_UNIX);"
        f"peer.connect('/run/uwsgi/{name}/stats.sock');"
        "print(b''.join(iter(lambda: peer.recv(65536), b'')).decode())"
    )
    return json.loads(run(host, f'python3 -c "{script}"'))


def test_instances_are_services_and_vassals_are_the_emperors(host: t.Any) -> None:
    assert host.service("uwsgi@alone.service").is_running
    assert host.service("uwsgi@alone.service").is_enabled
    assert host.service("uwsgi-emperor.service").is_enabled
    emperor = main_pid(host, "uwsgi-emperor.service")
    assert run(host, f"ps --no-headers -o user {emperor}").strip() == "root"
    parents = {run(host, f"ps --no-headers -o ppid {stats(host, name)['pid']}").strip() for name in ("front", "back")}
    assert parents == {str(emperor)}


def test_masters_and_workers_run_as_the_applications_users(host: t.Any) -> None:
    for name in ("alone", "tcp", "front", "back"):
        seen = stats(host, name)
        pids = ",".join(str(pid) for pid in [seen["pid"], *(worker["pid"] for worker in seen["workers"])])
        assert set(run(host, f"ps --no-headers -o user:32 -p {pids}").split()) == {name}


def test_workers_and_threads_are_those_declared(host: t.Any) -> None:
    assert len(stats(host, "alone")["workers"]) == 2
    assert [len(worker["cores"]) for worker in stats(host, "back")["workers"]] == [2, 2]


def test_a_socket_is_open_to_its_group_alone(host: t.Any) -> None:
    assert socket_access(host, FRONT) == "socket front www-data 660"
    assert socket_access(host, BACK_FOR_FRONT) == "socket back front 660"
    assert may_connect(host, "www-data", FRONT)
    assert not may_connect(host, "back", FRONT)
    assert may_connect(host, "front", BACK_FOR_FRONT)
    assert not may_connect(host, "www-data", BACK_FOR_FRONT)
    assert not may_connect(host, "alone", "/run/uwsgi/back/stats.sock")


def test_a_mounted_application_finds_script_name_and_path_info(host: t.Any) -> None:
    # demo_app prints its environ; curl speaks HTTP to the second socket.
    body = get(host, "http://localhost/back/some/page?x=1", "--unix-socket", BACK_FOR_FRONT).body
    assert "SCRIPT_NAME = '/back'" in body
    assert "PATH_INFO = '/some/page'" in body


def test_tcp_sockets_are_where_they_were_declared(host: t.Any) -> None:
    assert {"127.0.0.1:3031", "127.0.0.1:3032"} <= tcp_listeners(host)
    assert get(host, "http://127.0.0.1:3032/x").status == 200


def test_the_environment_reaches_the_application_as_it_was_meant(host: t.Any) -> None:
    environment = get(host, "http://127.0.0.1:3032/").json()
    assert (environment["RATE"], environment["SAID"]) == ("100%", 'it\'s "so" = #1 ;')


def test_the_backlog_is_the_one_declared(host: t.Any) -> None:
    rows = [line.split() for line in run(host, "ss --no-header --unix --listening").splitlines()]
    assert {row[3] for row in rows if row[4] == FRONT} == {"1024"}


def test_chain_reload_replaces_the_workers_one_by_one_and_keeps_the_master(host: t.Any) -> None:
    before = stats(host, "alone")
    run(host, "echo c > /run/uwsgi/alone/fifo")
    workers = ",".join(str(worker["pid"]) for worker in before["workers"])
    run(host, f"for i in $(seq 100); do ps -o pid= -p {workers} || exit 0; sleep 0.1; done; exit 1")
    after = stats(host, "alone")
    assert after["pid"] == before["pid"]
    old, new = ({worker["pid"] for worker in seen["workers"]} for seen in (before, after))
    assert old.isdisjoint(new)


def test_sockets_exist_only_below_run(host: t.Any) -> None:
    paths = {path for path in unix_listeners(host) if "uwsgi" in path}
    assert paths
    assert all(path.startswith("/run/uwsgi/") for path in paths)
