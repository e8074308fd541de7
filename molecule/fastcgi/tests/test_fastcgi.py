# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import get, main_pid, may_connect, run, socket_access, tcp_listeners
from programs import echo

#: Port, user, name of the process that started the program, number of processes.
NGINX = (8088, "gitreader", "multiwatch", 2)
APACHE = (8089, "gitreader", "multiwatch", 2)
TCP = (8091, "gitreader", "systemd", 1)
FCGID = (8090, "www-data", "apache2", 2)
FRONTS = pytest.mark.parametrize(
    ("port", "user", "parent", "processes"), [NGINX, APACHE, TCP, FCGID], ids=["nginx", "apache", "tcp", "fcgid"]
)
SOCKET = "/run/app/git-nginx-gitweb/www-data/fastcgi.sock"


def test_apaches_modules_are_those_that_its_sites_use(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-event -M"), flags=re.MULTILINE))
    assert {"mpm_event", "proxy_fcgi", "fcgid"} <= modules
    assert not {"cgi", "cgid", "php", "proxy_http"} & modules
    done = host.run("apache2ctl-event -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")


def test_nginxs_configuration_has_no_warning(host: t.Any) -> None:
    done = host.run("nginx -t")
    assert done.rc == 0
    assert "[warn]" not in done.stderr


@FRONTS
def test_the_same_processes_answer(host: t.Any, port: int, user: str, parent: str, processes: int) -> None:
    url = f"http://localhost:{port}/whoami?format=json"
    answers = [get(host, f"{url}&nonce={number}").json() for number in range(10)]
    pids = {answer["pid"] for answer in answers}
    assert len(pids) <= processes
    assert max(answer["requests"] for answer in answers) >= 10 / processes
    assert {(answer["user"], answer["parent"], answer["gateway"]) for answer in answers} == {(user, parent, "fastcgi")}
    assert set(run(host, f"ps --no-headers -o user:32 -p {','.join(map(str, pids))}").split()) == {user}


@FRONTS
def test_gitweb_shows_its_repositories(host: t.Any, port: int, user: str, parent: str, processes: int) -> None:
    for _again in range(3):
        assert "hello-cgi.git" in get(host, f"http://localhost:{port}/").body
    log = get(host, f"http://localhost:{port}/hello-cgi.git/log").body
    assert "Stay, and answer one request after the other" in log
    assert get(host, f"http://localhost:{port}/static/gitweb.css").headers["content-type"] == "text/css"


@FRONTS
def test_arguments_and_environment(host: t.Any, port: int, user: str, parent: str, processes: int) -> None:
    answer = echo(host, f"http://localhost:{port}/echo")
    assert answer["argv"] == ["one", "two"]
    assert answer["env"]["COLOUR"] == 'deep "blue"'
    assert 'COLOUR=deep "blue"' in run(host, f"tr '\\0' '\\n' < /proc/{answer['pid']}/environ").splitlines()


@FRONTS
def test_a_name_that_only_begins_alike_is_not_the_program(
    host: t.Any, port: int, user: str, parent: str, processes: int
) -> None:
    assert '"argv"' not in get(host, f"http://localhost:{port}/echoes").body


def test_the_socket_is_systemds_and_the_front_servers_only(host: t.Any) -> None:
    assert socket_access(host, SOCKET) == "socket gitreader www-data 660"
    assert may_connect(host, "www-data", SOCKET)
    assert not may_connect(host, "nobody", SOCKET)
    assert {"127.0.0.1:9091", "127.0.0.1:9092", "127.0.0.1:9093"} <= tcp_listeners(host)


def test_a_process_that_ends_is_replaced(host: t.Any) -> None:
    pid = echo(host, f"http://localhost:{NGINX[0]}/echo")["pid"]
    run(host, f"kill -KILL {pid}")
    answers = [echo(host, f"http://localhost:{NGINX[0]}/echo")["pid"] for _again in range(5)]
    assert pid not in answers


@pytest.mark.parametrize("front", [NGINX, APACHE, TCP])
def test_a_restart_of_the_program_turns_nobody_away(host: t.Any, front: tuple[int, str, str, int]) -> None:
    unit = {8088: "app@git-nginx-echo", 8089: "app@git-apache-echo", 8091: "app@git-tcp-echo-9092"}[front[0]]
    before = main_pid(host, f"{unit}.service")
    asked = (
        f"for i in $(seq 100); do curl -s -o /dev/null -w '%{{http_code}}\\n' http://localhost:{front[0]}/echo; done"
    )
    statuses = run(host, f"({asked}) & for i in 1 2 3; do systemctl restart {unit}.service; done; wait")
    assert main_pid(host, f"{unit}.service") != before
    assert statuses.split() == ["200"] * 100


@pytest.mark.parametrize(("front", "status"), [(NGINX, 502), (APACHE, 503)])
def test_without_its_socket_a_program_is_down_alone(host: t.Any, front: tuple[int, str, str, int], status: int) -> None:
    unit = {8088: "app@git-nginx-echo", 8089: "app@git-apache-echo"}[front[0]]
    run(host, f"systemctl stop {unit}.socket {unit}.service")
    try:
        assert get(host, f"http://localhost:{front[0]}/echo").status == status
        assert get(host, f"http://localhost:{front[0]}/whoami").status == 200
        assert get(host, f"http://localhost:{front[0]}/static/gitweb.css").status == 200
    finally:
        run(host, f"systemctl start {unit}.socket {unit}.service")
    # Apache asks again at once.
    assert get(host, f"http://localhost:{front[0]}/echo").status == 200


def test_mod_fcgid_starts_programs_again_after_a_reload(host: t.Any) -> None:
    before = echo(host, f"http://localhost:{FCGID[0]}/echo")["pid"]
    run(host, "systemctl reload apache2@event.service")
    assert echo(host, f"http://localhost:{FCGID[0]}/echo")["pid"] != before
    # The others are no business of Apache's.
    assert get(host, f"http://localhost:{APACHE[0]}/whoami").status == 200


def test_mod_fcgids_sockets_are_the_instances_own(host: t.Any) -> None:
    echo(host, f"http://localhost:{FCGID[0]}/echo")
    assert run(host, "ls /run/apache2-event/fcgid").split()
    assert not host.file("/var/lib/apache2/fcgid/shm").exists
