# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""php_fpm_info and uwsgi_info on what the roles set up: full, reloaded, gone. cgi-fcgi, ps and ss say the same."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing as t

import pytest

from playbooks import ROOT, Run, Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

#: While this file is there, applications do not answer.
HOLD = "/srv/hold"
APPLICATION = f"""\
import os, time
def application(environ, start_response):
    if environ["PATH_INFO"].endswith("/raise"):
        raise RuntimeError("on purpose")
    while os.path.exists("{HOLD}"):
        time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""
SCRIPT = f"<?php while (file_exists('{HOLD}')) {{ clearstatcache(); usleep(9999); }}"

#: Prints what a stats server says.
STATS = """\
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
print(b"".join(iter(lambda: server.recv(65536), b"")).decode())
"""

BLOG = {"name": "blog", "user": "blog", "pm": "static", "workers": {"max": 2}}
SHOP = {"name": "shop", "user": "shop", "pm": "ondemand", "workers": {"max": 3}, "listen": "fastcgi://127.0.0.1:9001"}
PYTHON = {"user": "app", "path": "/srv/app", "module": "app.py", "processes": 2}
ALONE = {**PYTHON, "name": "alone", "listen": [{"protocol": "http"}]}
THREADS = {**PYTHON, "name": "threads", "threads": 2, "listen": [{"endpoint": "http://127.0.0.1:3031"}]}
ALONE_HTTP = "/run/uwsgi/alone/www-data/http.sock"

#: The status as cgi-fcgi, a client that this project did not write, hears it.
STATUS_PAGE = (
    "SCRIPT_NAME=/fpm-status SCRIPT_FILENAME=/fpm-status REQUEST_METHOD=GET QUERY_STRING=json "
    "cgi-fcgi -bind -connect /run/php-status/blog.sock"
)
OWN, STATUS = "fastcgi+unix:///run/php/blog.sock", "fastcgi+unix:///run/php-status/blog.sock"


@dataclasses.dataclass
class Info:
    """A host with pools and applications, and questions about them."""

    host: Host
    stand: Stand

    def roles(self, *pools: t.Any) -> Run:
        """Run both roles, with these pools."""
        variables = {"php_fpm_pools": list(pools), "uwsgi_instances": [ALONE], "uwsgi_vassals": [THREADS]}
        roles = ["weblab.stacks.php_fpm", "weblab.stacks.uwsgi"]
        return self.stand.play([{"hosts": "all", "roles": roles}], variables)

    def module(self, name: str, *options: str, **arguments: t.Any) -> dict[str, t.Any]:
        """What a module of the collection returned."""
        argv = [str(pathlib.Path(sys.executable).with_name("ansible")), "all", "--inventory", f"{self.host.name},"]
        argv += ["--connection", "community.docker.docker", "--module-name", f"weblab.stacks.{name}"]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        }
        argv += ["--args", json.dumps(arguments) if arguments else "", *options]
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        result: dict[str, t.Any] = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"][self.host.name]
        return result

    def pool(self, endpoint: str | None = None, **more: t.Any) -> dict[str, t.Any]:
        """What php_fpm_info says of the pool blog, or of the one behind an endpoint."""
        spec = {"endpoint": endpoint, **more} if endpoint else {"name": "blog"}
        result = self.module("php_fpm_info", pools=[spec], timeout=3)
        assert (result["changed"], result.get("failed", False)) == (False, False)
        (pool,) = result["pools"]
        return t.cast("dict[str, t.Any]", pool)

    def application(self, name: str) -> dict[str, t.Any]:
        """What uwsgi_info says of an application."""
        (server,) = self.module("uwsgi_info", servers=[{"name": name}])["servers"]
        assert server["state"] == "ok", server
        return t.cast("dict[str, t.Any]", server)

    def ask(self, script: str) -> str:
        return self.host.shell(script).stdout.strip()

    def fcgi(self, socket: str, path: str, query: str = "", background: bool = False) -> str:
        """What cgi-fcgi, a client that this project did not write, hears; nothing in the background."""
        script = f"SCRIPT_NAME={path} SCRIPT_FILENAME={path} REQUEST_METHOD=GET QUERY_STRING='{query}' "
        script += f"timeout 30 cgi-fcgi -bind -connect {socket}"
        return self.ask(f"({script} > /dev/null 2>&1 &)" if background else script)

    def pids(self, title: str) -> set[int]:
        """Processes whose titles match, by ps."""
        lines = [line.split(None, 1) for line in self.ask("ps -eo pid=,args=").splitlines()]
        return {int(pid) for pid, found in lines if re.fullmatch(title, found.strip())}

    def waiting(self, socket: str) -> tuple[int, int]:
        """How many wait at a listening Unix socket, and how many may, by ss."""
        fields = self.ask(f"ss -Hxl src {socket}").split()
        return int(fields[2]), int(fields[3])

    def until(self, script: str) -> None:
        """Wait until a test of the shell succeeds."""
        self.ask(f"for i in $(seq 300); do if {script}; then exit 0; fi; sleep 0.1; done; echo late; exit 1")

    @contextlib.contextmanager
    def held(self, client: str) -> t.Iterator[None]:
        """What clients of this name ask for inside does not end before the outside."""
        self.ask(f"touch {HOLD}")
        try:
            yield
        finally:
            self.ask(f"rm {HOLD}")
            self.until(f"! pgrep {client} > /dev/null")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def info(request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> Info:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("info", request.param)
    host.shell("install -d /srv/app; apt-get install --yes --no-install-recommends libfcgi-bin")
    host.run("tee", "/srv/app/app.py", stdin=APPLICATION)
    host.run("tee", "/srv/hold.php", stdin=SCRIPT)
    host.run("tee", "/srv/stats.py", stdin=STATS)
    info = Info(host, Stand(host.name, tmp_path_factory.mktemp("info")))
    run = info.roles(BLOG, SHOP)
    assert run.code == 0, run.output
    return info


# PHP-FPM


def test_the_roles_second_run_changes_nothing(info: Info) -> None:
    assert info.roles(BLOG, SHOP).recap("changed") == 0


def test_the_status_says_what_another_client_hears(info: Info) -> None:
    head, _blank, page = info.fcgi("/run/php-status/blog.sock", "/fpm-status", "json&full").rpartition("\n\n")
    assert "application/json" in head
    theirs = {key.replace(" ", "_"): value for key, value in json.loads(page).items()}
    pool = info.module("php_fpm_info", pools=[{"name": "blog"}], processes=True)["pools"][0]
    assert (pool["name"], pool["endpoint"], pool["state"], pool["cause"]) == ("blog", STATUS, "ok", None)
    ours = pool["status"]
    assert {process["pid"] for process in ours["processes"]} == {process["pid"] for process in theirs["processes"]}
    moving = {"processes", "start_since"}
    assert {key: ours[key] for key in theirs if key not in moving} == {k: theirs[k] for k in theirs if k not in moving}


def test_what_the_status_does_not_say_is_what_php_fpm_and_ps_say(info: Info) -> None:
    version = info.ask("ls /etc/php")
    shown = info.ask(f"php-fpm{version} -tt 2>&1")
    found = {pool["name"]: pool for pool in info.module("php_fpm_info")["pools"]}
    assert set(found) == {"blog", "shop"}
    for name, pool in found.items():
        section = shown.partition(f"[{name}]")[2].partition("NOTICE: [")[0]
        assert f"pm.max_children = {pool['status']['max_children']}\n" in section
        assert f"pm.status_listen = {pool['endpoint'].partition('://')[2]}\n" in section
        assert pool["status"]["total_processes"] == len(info.pids(f"php-fpm: pool {name}"))
        assert pool["status"]["processes"] == []  # whoever did not ask for the URIs does not get them
    assert found["blog"]["queue"] == dict(zip(("length", "limit"), info.waiting("/run/php/blog.sock")))
    assert found["shop"]["queue"]["limit"] == int(info.ask("ss -Hltn src 127.0.0.1:9001").split()[2])


def test_a_full_pool_is_busy_and_its_status_still_answers(info: Info) -> None:
    with info.held("cgi-fcgi"):
        for _request in range(4):
            info.fcgi("/run/php/blog.sock", "/srv/hold.php", background=True)
        info.until("ss -Hxl src /run/php/blog.sock | grep -q 'LISTEN 2 '")
        full, own = info.pool(), info.pool(OWN)
        waits = info.waiting("/run/php/blog.sock")
    assert (full["state"], full["status"]["saturation"], full["status"]["busy_processes"]) == ("ok", 1.0, 2)
    assert full["queue"] == {"length": 2, "limit": waits[1]}
    assert (own["state"], own["cause"], own["status"]) == ("busy", "busy", None)
    assert "pm.max_children" in own["hint"]
    assert info.pool()["status"]["saturation"] == 0.0


def test_the_worker_that_answers_is_not_busy(info: Info) -> None:
    status = info.pool(OWN)["status"]
    assert (status["active_processes"], status["busy_processes"], status["saturation"]) == (1, 0, 0.0)
    with info.held("cgi-fcgi"):
        info.fcgi("/run/php/blog.sock", "/srv/hold.php", background=True)
        info.until(f"{STATUS_PAGE} | grep -q '\"active processes\":1'")
        assert info.pool(OWN)["status"]["saturation"] == 0.5


def test_status_sockets_are_roots_alone(info: Info) -> None:
    assert info.ask("stat -c '%U:%G %a' /run/php-status") == "root:root 700"
    # Because of what whoever connects there may do: run any script as the pool's user.
    info.ask("echo '<?php echo posix_getpwuid(posix_geteuid())[\"name\"];' > /srv/who.php")
    assert info.fcgi("/run/php-status/blog.sock", "/srv/who.php").endswith("blog")
    connect = "import socket; socket.socket(socket.AF_UNIX).connect('/run/php-status/blog.sock')"
    for user in ("www-data", "blog", "shop", "nobody"):
        done = info.host.run("runuser", "-u", user, "--", "python3", "-c", connect, check=False)
        assert "Permission denied" in done.stderr, user


def test_a_pool_that_does_not_answer_is_a_result(info: Info) -> None:
    specs = [
        {"endpoint": "fastcgi+unix:///run/php/none.sock", "name": "none"},
        {"endpoint": OWN, "path": "/elsewhere"},
        {"endpoint": OWN, "path": "/fpm-ping"},
        {"name": "blog"},
    ]
    result = info.module("php_fpm_info", pools=specs)
    assert not result.get("failed")
    assert [(pool["name"], pool["state"], pool["cause"]) for pool in result["pools"]] == [
        ("none", "down", "no_such_socket"),
        ("blog", "degraded", "application_error"),
        ("blog", "degraded", "expectation"),
        ("blog", "ok", None),
    ]
    assert "set pm.status_path = /elsewhere in the pool" in result["pools"][1]["hint"]
    assert len({tuple(pool) for pool in result["pools"]}) == 1  # every key is always there


def test_what_is_wrong_is_named(info: Info) -> None:
    for name, arguments, said in (
        ("php_fpm_info", {"pools": [{"name": "none"}]}, "pools[0]: 0 pools are called none"),
        ("php_fpm_info", {"timeout": "inf"}, "timeout: inf is not a finite number"),
        ("uwsgi_info", {"servers": [{"endpoint": "http://127.0.0.1:1"}]}, "servers[0].endpoint: a stats server has"),
    ):
        result = info.module(name, **arguments)
        assert result["failed"]
        assert said in result["msg"]


def test_check_mode_asks_as_well(info: Info) -> None:
    assert info.module("php_fpm_info", "--check")["pools"][0]["status"]["pool"] == "blog"
    assert info.module("uwsgi_info", "--check")["servers"][0]["status"]["workers"]


def test_the_filters_give_what_the_modules_give(info: Info) -> None:
    environment = {"SCRIPT_NAME": "/fpm-status", "SCRIPT_FILENAME": "/fpm-status", "REQUEST_METHOD": "GET"}
    tasks: list[dict[str, t.Any]] = [
        {
            "ansible.builtin.command": {"argv": ["cgi-fcgi", "-bind", "-connect", "/run/php-status/blog.sock"]},
            "environment": {**environment, "QUERY_STRING": "json&full"},
            "register": "page",
        },
        {
            "ansible.builtin.command": {"argv": ["python3", "/srv/stats.py", "/run/uwsgi/alone/stats.sock"]},
            "register": "stats",
        },
        {"weblab.stacks.php_fpm_info": {"pools": [{"name": "blog"}]}, "register": "fpm"},
        {"weblab.stacks.uwsgi_info": {"servers": [{"name": "alone"}]}, "register": "uwsgi"},
        {
            "vars": {
                "theirs": "{{ page.stdout_lines[-1] | weblab.stacks.php_fpm_info(2) }}",
                "moving": {"start_since": 0, "processes": []},
            },
            "ansible.builtin.assert": {
                "that": [
                    "theirs.max_children == 2",
                    "theirs | combine(moving) == fpm.pools[0].status | combine(moving)",
                    "(stats.stdout | weblab.stacks.uwsgi_info) == uwsgi.servers[0].status",
                    "(stats.stdout | from_json | weblab.stacks.uwsgi_info).saturation == 0",
                ]
            },
        },
    ]
    run = info.stand.play([{"hosts": "all", "gather_facts": False, "tasks": tasks}], {})
    assert run.code == 0, run.output


# uWSGI


def test_the_statistics_say_what_ps_and_ss_say(info: Info) -> None:
    servers = {server["name"]: server for server in info.module("uwsgi_info")["servers"]}
    assert set(servers) == {"alone", "threads"}
    for name, server in servers.items():
        status = server["status"]
        workers = {worker["pid"] for worker in status["workers"]}
        assert {status["pid"], *workers} == info.pids(f"{name} uWSGI .*")
        assert {int(pid) for pid in info.ask(f"pgrep --parent {status['pid']}").split()} == workers
        assert info.ask(f"ps -o user= -p {status['pid']}") == "app" == info.ask(f"id -nu {status['uid']}")
        assert (status["busy"], status["idle"], status["cheap"], status["saturation"]) == (0, 2, 0, 0.0)
    waits = dict(zip(("length", "limit"), info.waiting(ALONE_HTTP)))
    assert servers["alone"]["queues"] == [{"socket": ALONE_HTTP, **waits}]
    limit = int(info.ask("ss -Hltn src 127.0.0.1:3031").split()[2])
    assert servers["threads"]["queues"] == [{"socket": "127.0.0.1:3031", "length": 0, "limit": limit}]


def test_requests_and_exceptions_are_counted(info: Info) -> None:
    before = info.application("alone")["status"]
    for path in ("/", "/", "/raise"):
        info.ask(f"curl --silent --unix-socket {ALONE_HTTP} http://localhost{path} > /dev/null || true")
    after = info.application("alone")["status"]
    assert after["requests"] - before["requests"] == 3
    assert after["exceptions"] - before["exceptions"] == 1
    assert sum(app["requests"] for app in after["apps"]) - sum(app["requests"] for app in before["apps"]) == 3


def test_a_full_application_still_tells(info: Info) -> None:
    curl = f"curl --silent --cookie secret=xyzzy --unix-socket {ALONE_HTTP} http://localhost/"
    with info.held("curl"):
        info.ask(f"for i in 1 2 3 4 5; do ({curl} > /dev/null 2>&1 &); done")
        info.until(f"ss -Hxl src {ALONE_HTTP} | grep -q 'LISTEN 3 '")
        server = info.application("alone")
    assert (server["status"]["busy"], server["status"]["saturation"]) == (2, 1.0)
    assert (server["queues"][0]["length"], server["status"]["listen_queue"]) == (3, 0)
    assert "xyzzy" not in json.dumps(server)
    assert info.application("alone")["status"]["saturation"] == 0.0


def test_a_thread_is_a_part_of_a_worker(info: Info) -> None:
    with info.held("curl"):
        info.ask("(curl --silent http://127.0.0.1:3031/ > /dev/null 2>&1 &)")
        info.until("python3 /srv/stats.py /run/uwsgi/threads/stats.sock | tr -d '\\t ' | grep -q '\"in_request\":1'")
        status = info.application("threads")["status"]
    assert (status["busy"], status["saturation"]) == (1, 0.25)


def test_stats_sockets_are_the_applications_alone(info: Info) -> None:
    connect = "import socket; socket.socket(socket.AF_UNIX).connect('/run/uwsgi/alone/stats.sock')"
    for user, allowed in (("www-data", False), ("blog", False), ("app", True)):
        done = info.host.run("runuser", "-u", user, "--", "python3", "-c", connect, check=False)
        assert (done.returncode == 0) == allowed, user


def test_an_emperor_tells_of_its_vassals(info: Info) -> None:
    info.ask(
        "install -d /srv/vassals; printf '[uwsgi]\\nmaster = true\\nplugins = python3\\nwsgi-file = /srv/app/app.py\\n"
        "socket = /run/one.sock\\n' > /srv/vassals/one.ini"
    )
    emperor = "uwsgi --emperor /srv/vassals --emperor-stats /run/emperor.sock"
    info.ask(f"systemd-run --quiet --unit=emperor --property=KillSignal=SIGINT -- {emperor}")
    try:
        info.until("test -S /run/emperor.sock && test -S /run/one.sock")
        servers = [{"endpoint": "unix:///run/emperor.sock", "name": "emperor"}, {"endpoint": "tcp://127.0.0.1:3999"}]
        found, gone = info.module("uwsgi_info", servers=servers)["servers"]
    finally:
        info.ask("systemctl stop emperor")
    assert [vassal["id"] for vassal in found["status"]["vassals"]] == ["one.ini"]
    assert (found["status"]["workers"], found["status"]["saturation"]) == ([], None)
    assert (gone["state"], gone["cause"], gone["status"]) == ("down", "refused", None)


# What comes last changes the host.


def test_a_reload_keeps_the_status_and_a_pool_that_goes_takes_it_along(info: Info) -> None:
    unit = f"php{info.ask('ls /etc/php')}-fpm.service"
    main = info.ask(f"systemctl show -P MainPID {unit}")
    assert info.roles({**BLOG, "workers": {"max": 4}}).code == 0
    assert info.ask(f"systemctl show -P MainPID {unit}") == main
    (pool,) = info.module("php_fpm_info")["pools"]
    assert (pool["status"]["max_children"], pool["status"]["total_processes"]) == (4, 4)
    assert info.ask("ls /run/php-status") == "blog.sock"
    assert info.roles().code == 0
    assert info.ask("ls /run/php-status") == ""
    assert info.module("php_fpm_info")["pools"] == []
