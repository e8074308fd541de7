# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import get, main_pid, may_connect, run, socket_access, unix_listeners
from programs import echo

#: Front server -> port, user, name of the process that starts the programs.
PREFORK, EVENT, NGINX = (8085, "www-data", "apache2"), (8086, "www-data", "apache2"), (8087, "gitreader", "fcgiwrap")
FRONTS = pytest.mark.parametrize(("port", "user", "parent"), [PREFORK, EVENT, NGINX], ids=["prefork", "event", "nginx"])
SOCKET = "/run/app/git-nginx/www-data/fastcgi.sock"


@pytest.mark.parametrize(("instance", "module"), [("prefork", "cgi"), ("event", "cgid")])
def test_the_module_follows_from_the_mpm(host: t.Any, instance: str, module: str) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, f"apache2ctl-{instance} -M"), flags=re.MULTILINE))
    assert {f"mpm_{instance}", module} <= modules
    assert not {"cgi", "cgid", "proxy", "fcgid", "php"} - {module} & modules
    done = host.run(f"apache2ctl-{instance} -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")


def test_nginxs_configuration_has_no_warning(host: t.Any) -> None:
    done = host.run("nginx -t")
    assert done.rc == 0
    assert "[warn]" not in done.stderr


@FRONTS
def test_every_request_is_a_new_process(host: t.Any, port: int, user: str, parent: str) -> None:
    url = f"http://localhost:{port}/whoami?format=json"
    answers = [get(host, f"{url}&nonce={number}").json() for number in range(5)]
    assert len({answer["pid"] for answer in answers}) == 5
    assert [answer["nonce"] for answer in answers] == list("01234")
    assert {answer["requests"] for answer in answers} == {1}
    assert {(answer["user"], answer["parent"], answer["gateway"]) for answer in answers} == {(user, parent, "cgi")}
    # And it has ended with its request.
    assert host.run(f"kill -0 {answers[0]['pid']}").rc != 0


@FRONTS
def test_gitweb_shows_its_repositories(host: t.Any, port: int, user: str, parent: str) -> None:
    page = get(host, f"http://localhost:{port}/").body
    assert "hello-cgi.git" in page
    assert "gateways.git" in page
    assert (
        "Stay, and answer one request after the other" in get(host, f"http://localhost:{port}/hello-cgi.git/log").body
    )
    style = get(host, f"http://localhost:{port}/static/gitweb.css")
    assert (style.status, style.headers["content-type"]) == (200, "text/css")
    assert "max-age=3600" in style.headers["cache-control"]


@FRONTS
def test_a_directory_of_programs(host: t.Any, port: int, user: str, parent: str) -> None:
    env = echo(host, f"http://localhost:{port}/programs/echo/a/b?c")["env"]
    assert (env["SCRIPT_NAME"], env["PATH_INFO"], env["QUERY_STRING"]) == ("/programs/echo", "/a/b", "c")
    assert (env["COLOUR"], env["SCRIPT_FILENAME"]) == ('deep "blue" for $5', "/srv/programs/echo")
    assert get(host, f"http://localhost:{port}/programs/status").status == 418


@FRONTS
def test_a_body_that_is_too_large_is_refused(host: t.Any, port: int, user: str, parent: str) -> None:
    run(host, "truncate --size 101M /tmp/large")
    answer = get(host, f"http://localhost:{port}/echo", "--data-binary", "@/tmp/large", "--header", "Expect:")
    run(host, "rm /tmp/large")
    assert answer.status == 413


@FRONTS
def test_a_program_that_fails_says_why_in_the_log(host: t.Any, port: int, user: str, parent: str) -> None:
    assert get(host, f"http://localhost:{port}/programs/crash").status == (502 if parent == "fcgiwrap" else 500)
    # What a program of mod_cgid's daemon says is in the log of the whole server.
    name = {8085: "apache2-prefork/git-prefork.error", 8086: "apache2-event/error", 8087: "nginx/git-nginx.error"}[port]
    assert "the crash has its reasons" in run(host, f"cat /var/log/{name}.log")


@FRONTS
@pytest.mark.parametrize(
    "path", ["no-program", "no-program/x", "missing", ".hidden", "", "%2e%2e/hello/.env", "echo%00"]
)
def test_what_is_no_program_is_neither_run_nor_shown(host: t.Any, port: int, user: str, parent: str, path: str) -> None:
    answer = get(host, f"http://localhost:{port}/programs/{path}", "--path-as-is")
    assert answer.status in (400, 403, 404, 500)
    assert "xyzzy" not in answer.body
    assert "hidden" not in answer.body


@FRONTS
def test_a_name_that_only_begins_alike_is_not_the_program(host: t.Any, port: int, user: str, parent: str) -> None:
    # What answers is nginx itself, or the program at /.
    assert '"argv"' not in get(host, f"http://localhost:{port}/echoes").body


@pytest.mark.parametrize("instance", ["prefork", "event"])
def test_programs_run_after_a_reload(host: t.Any, instance: str) -> None:
    port = PREFORK[0] if instance == "prefork" else EVENT[0]
    before = main_pid(host, f"apache2@{instance}.service")
    for _again in range(2):
        run(host, f"systemctl reload apache2@{instance}.service")
        assert get(host, f"http://localhost:{port}/programs/status").status == 418
    assert main_pid(host, f"apache2@{instance}.service") == before


def test_fcgiwraps_socket_is_systemds_and_nginxs_only(host: t.Any) -> None:
    assert socket_access(host, SOCKET) == "socket gitreader www-data 660"
    assert may_connect(host, "www-data", SOCKET)
    assert not may_connect(host, "nobody", SOCKET)
    # Debian's own, which would run programs for everybody, is closed.
    assert not any("fcgiwrap" in path for path in unix_listeners(host))


def test_a_stopped_fcgiwrap_is_started_by_the_next_request(host: t.Any) -> None:
    run(host, "systemctl stop app@git-nginx.service")
    assert get(host, f"http://localhost:{NGINX[0]}/programs/status").status == 418
    assert main_pid(host, "app@git-nginx.service")


def test_without_its_socket_it_is_502_on_its_port_only(host: t.Any) -> None:
    run(host, "systemctl stop app@git-nginx.socket app@git-nginx.service")
    try:
        assert get(host, f"http://localhost:{NGINX[0]}/echo").status == 502
        assert get(host, f"http://localhost:{NGINX[0]}/static/gitweb.css").status == 200
        assert get(host, "http://localhost:8084/sub/echo/").status == 200
    finally:
        run(host, "systemctl start app@git-nginx.socket app@git-nginx.service")
    assert get(host, f"http://localhost:{NGINX[0]}/echo").status == 200


def test_files_beside_a_program(host: t.Any) -> None:
    assert get(host, "http://localhost:8084/").body == "plain\n"
    assert get(host, "http://localhost:8084/.env").status == 404
    env = echo(host, "http://localhost:8084/sub/echo/a?b")["env"]
    assert (env["SCRIPT_NAME"], env["PATH_INFO"], env["QUERY_STRING"]) == ("/sub/echo", "/a", "b")


def test_one_programs_fcgiwrap_runs_no_other(host: t.Any) -> None:
    run(host, "apt-get install -y -q libfcgi-bin")
    ask = "SCRIPT_FILENAME={} REQUEST_METHOD=GET cgi-fcgi -bind -connect /run/app/one/www-data/fastcgi.sock"
    assert "Status: 403" in run(host, ask.format("/usr/bin/id"))
    assert "Content-Type: application/json" in run(host, ask.format("/srv/programs/echo"))
