# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration changes while 32 connections are busy and slow requests are in flight: no failed, no wrong answer."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import shutil
import subprocess
import typing as t

import clients
import load
import pytest
from transactions import Engine

from playbooks import Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHANGES = 50
#: Where a sample is enough.
FEWER_CHANGES = 15
#: Seconds that two clocks of a busy machine may differ.
SLACK = 0.5

PHP = f"""<?php
usleep((int) (1e6 * (float) ($_GET["sleep"] ?? 0.1)));
$body = ini_get("user_agent") . ":" . str_pad($_GET["nonce"] . ":", {load.SIZE}, "x") . ":" . ini_get("from");
header("Content-Length: " . strlen($body));
echo $body;
"""

WSGI = f"""import os, time, urllib.parse

def application(environ, start_response):
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    time.sleep(float(query.get("sleep", "0.1")))
    middle = (query.get("nonce", "") + ":").ljust({load.SIZE}, "x")
    body = f"{{os.environ['VERSION_A']}}:{{middle}}:{{os.environ['VERSION_B']}}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

APACHE_HEADERS = 'Header always set X-Front-A "{{ version }}"\nHeader always set X-Front-B "{{ version }}"'
NGINX_HEADERS = "add_header X-Front-A {{ version }};\nadd_header X-Front-B {{ version }};"
PHP_SITE = {
    "name": "load",
    "root": "/srv/load",
    "php_values": {"user_agent": "{{ version }}", "from": "{{ version }}"},
    "extra": APACHE_HEADERS,
}
APPLICATION = {
    "path": "/srv/load",
    "module": "app:application",
    "environment": {"VERSION_A": "{{ version }}", "VERSION_B": "{{ version }}"},
}


@dataclasses.dataclass(frozen=True)
class Stack:
    """A stack role, a site whose answer shows the ``version`` of front server and application server, its units."""

    role: str
    site: dict[str, t.Any]
    units: tuple[str, ...]
    paths: tuple[str, ...] = ("/",)

    @property
    def port(self) -> int:
        return int(self.site["port"])


STACKS = {
    stack.role: stack
    for stack in (
        Stack("apache_prefork_mod_php", {**PHP_SITE, "port": 8081}, ("apache2@prefork.service",)),
        Stack(
            "apache_event_php_fpm",
            {**PHP_SITE, "port": 8082, "user": "load", "pm": "static", "workers": {"max": 10}},
            ("apache2@event.service", "php{php}-fpm.service"),
        ),
        Stack(
            "nginx_uwsgi_monolith",
            {"name": "load", "port": 8083, "user": "load", "processes": 8, "application": APPLICATION}
            | {"extra": NGINX_HEADERS},
            ("nginx.service", "uwsgi@load.service"),
        ),
        Stack(
            "nginx_uwsgi_microservices",
            {"name": "cut", "port": 8084, "extra": NGINX_HEADERS}
            | {
                "services": [
                    {"name": "web", "user": "cut-web", "processes": 6, "application": APPLICATION},
                    {"name": "catalog", "mount": "/catalog", "user": "cut-catalog", "processes": 6}
                    | {"application": APPLICATION},
                ]
            },
            ("nginx.service", "uwsgi-emperor.service"),
            ("/", "/catalog"),
        ),
    )
}


def series(stack: Stack, versions: t.Iterable[int]) -> list[dict[str, t.Any]]:
    """A play that applies the stack role once for every version."""
    include = {
        "name": "Load | One change",
        "ansible.builtin.include_role": {"name": f"weblab.stacks.{stack.role}"},
        "vars": {f"{stack.role}_sites": [stack.site]},
        "loop": list(versions),
        "loop_control": {"loop_var": "version"},
    }
    return [{"hosts": "all", "gather_facts": True, "gather_subset": ["hardware"], "tasks": [include]}]


def actions(output: str, unit: str) -> list[str]:
    """What config_tree said that it did with the unit, run by run."""
    return re.findall(rf"^ +{re.escape(unit)}: (none|reloaded|restarted|started|stopped)$", output, re.MULTILINE)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request: pytest.FixtureRequest, new_module_host: NewHost) -> Host:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    made = new_module_host("load", request.param)
    made.shell("mkdir -p /srv/load")
    made.run("tee", "/srv/load/index.php", stdin=PHP)
    made.run("tee", "/srv/load/app.py", stdin=WSGI)
    return made


#: Each stack once, since it takes minutes; the releases take turns.
SERIES = {
    "bookworm-apache_event_php_fpm": ("bookworm", STACKS["apache_event_php_fpm"]),
    "bookworm-nginx_uwsgi_monolith": ("bookworm", STACKS["nginx_uwsgi_monolith"]),
    "trixie-apache_prefork_mod_php": ("trixie", STACKS["apache_prefork_mod_php"]),
    "trixie-nginx_uwsgi_microservices": ("trixie", STACKS["nginx_uwsgi_microservices"]),
}


@pytest.mark.parametrize(("host", "stack"), SERIES.values(), ids=SERIES, indirect=["host"], scope="module")
def test_no_change_costs_an_answer(host: Host, tmp_path: pathlib.Path, stack: Stack, sample: bool) -> None:
    changes = FEWER_CHANGES if sample else CHANGES
    stand = Stand(host.name, tmp_path)
    first = stand.play(series(stack, [0]), {})
    assert first.code == 0, first.output
    php = host.shell("ls /etc/php 2>/dev/null || true").stdout.strip()
    units = [unit.format(php=php) for unit in stack.units]
    before = main_pids(host, units)

    options = ("--last", str(changes), "--path", *stack.paths)
    with clients.running(host, "load", stack.port, *options) as seen:
        run = stand.play(series(stack, range(1, changes + 1)), {}, "-v")
    assert run.code == 0, run.output[-4000:]
    assert seen["kinds"] == {}, seen["failures"][:5]
    for unit in units:
        assert actions(run.output, unit) == ["reloaded"] * changes
    assert main_pids(host, units) == before
    assert seen["versions"] == {side: list(range(changes + 1)) for side in ("front", *stack.paths)}
    assert seen["slow"] > changes / 2


#: Speaks uwsgi, and drops every other connection without reading it, as a uWSGI worker that ends may do.
DROPS = """import itertools, os, socket
server = socket.socket(socket.AF_UNIX)
server.bind("/run/drops.sock")
os.chmod("/run/drops.sock", 0o666)
server.listen()
for number in itertools.count():
    client = server.accept()[0]
    client.recv(1, socket.MSG_PEEK)
    if number % 2:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nanswer")
    client.close()
"""


def test_nginx_asks_again_where_that_does_no_harm(host: Host, tmp_path: pathlib.Path) -> None:
    location = {"path": "/", "type": "uwsgi", "endpoint": "uwsgi+unix:///run/drops.sock"}
    role = {
        "name": "Load | A site whose backend drops connections",
        "ansible.builtin.include_role": {"name": "weblab.stacks.nginx"},
        "vars": {"nginx_owner": "drops", "nginx_sites": [{"name": "drops", "port": 8390, "locations": [location]}]},
    }
    host.run("tee", "/root/drops.py", stdin=DROPS)
    host.shell(
        "systemd-run --quiet --unit drops python3 /root/drops.py; until test -S /run/drops.sock; do sleep 0.1; done"
    )
    done = Stand(host.name, tmp_path).play([{"hosts": "all", "gather_subset": ["min"], "tasks": [role]}], {})
    assert done.code == 0, done.output
    curl = "curl --silent --max-time 5 --write-out ' %{http_code}' http://127.0.0.1:8390/"
    for _twice in range(2):
        assert host.shell(curl).stdout == "answer 200"
    # What changes something is asked once: the first is dropped, the second one is not.
    assert host.shell(f"{curl} --data x").stdout.endswith(" 502")
    assert host.shell(f"{curl} --data x").stdout == "answer 200"


@pytest.mark.parametrize("host", ["bookworm"], indirect=True)
def test_a_reload_waits_for_the_slowest_request(host: Host, tmp_path: pathlib.Path) -> None:
    stack, stand = STACKS["nginx_uwsgi_monolith"], Stand(host.name, tmp_path)
    assert stand.play(series(stack, [0]), {}).code == 0
    url = f"http://127.0.0.1:{stack.port}/?sleep=40"
    argv = ["docker", "exec", host.name, "curl", "--silent", "--max-time", "60", "--write-out", " %{http_code}", url]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        run = stand.play(series(stack, [1]), {}, "-v")
        answer, _none = client.communicate()
    assert run.code == 0, run.output[-3000:]
    assert actions(run.output, "uwsgi@load.service") == ["reloaded"]
    assert answer.startswith("0:") and answer.endswith(":0 200")


@pytest.mark.parametrize("host", ["bookworm"], indirect=True)
def test_requests_that_last_leave_room_for_others_after_many_reloads(host: Host, tmp_path: pathlib.Path) -> None:
    stack = STACKS["apache_event_php_fpm"]
    assert Stand(host.name, tmp_path).play(series(stack, [0]), {}).code == 0
    curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time"]
    url = f"http://127.0.0.1:{stack.port}/?nonce=n&sleep="
    with contextlib.ExitStack() as clients_end:
        lasting = []
        for _reload in range(6):
            argv = ["docker", "exec", host.name, *curl, "60", f"{url}15"]
            lasting.append(clients_end.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)))
            host.shell(
                f"until [ $(ss -Hnt state established dport = :{stack.port} | wc -l) -ge {len(lasting)} ]; do :; done"
            )
            host.shell("systemctl reload apache2@event")
            assert host.run(*curl, "10", f"{url}0").stdout == "200"
        main = main_pids(host, ["apache2@event.service"])["apache2@event.service"]
        assert len(host.shell(f"pgrep --parent {main}").stdout.split()) > 6
        assert [client.communicate()[0] for client in lasting] == ["200"] * 6


@dataclasses.dataclass(frozen=True)
class Target:
    """A daemon of a stack that `test_no_change_costs_an_answer` has brought up."""

    stack: str
    daemon: str
    root: str
    unit: str
    #: A file of the unit's configuration.
    file: str
    #: Why its reload is not proven, when it is ignored.
    ignored: str

    def on(self, php: str) -> Target:
        return dataclasses.replace(self, root=self.root.format(php=php), unit=self.unit.format(php=php))

    def options(self, timeout: float, *entries: dict[str, t.Any]) -> dict[str, t.Any]:
        options = {"daemon": self.daemon, "root": self.root, "service": self.unit, "timeout": timeout}
        return {**options, "owners": {"test": list(entries)}}


TARGETS = {
    target.daemon: target
    for target in (
        Target(
            "apache_event_php_fpm", "apache", "/etc/apache2-event", "apache2@event.service", "apache2.conf",
            "it has not read its configuration again yet",
        ),
        Target(
            "apache_event_php_fpm", "php_fpm", "/etc/php/{php}/fpm", "php{php}-fpm.service", "php-fpm.conf",
            "its master has not loaded the configuration yet",
        ),
        Target(
            "nginx_uwsgi_monolith", "nginx", "/etc/nginx", "nginx.service", "nginx.conf",
            "its old workers still work",
        ),
        Target(
            "nginx_uwsgi_monolith", "uwsgi", "/etc/uwsgi", "uwsgi@load.service", "instances/load.ini",
            "its old workers still run",
        ),
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def brought_up(host: Host) -> set[str]:
    """The stacks of the host that the targets have brought to version 0."""
    return set()


@pytest.fixture(params=TARGETS.values(), ids=list(TARGETS))
def target(request: pytest.FixtureRequest, host: Host, brought_up: set[str], tmp_path: pathlib.Path) -> Target:
    wanted: Target = request.param
    if wanted.stack not in brought_up:
        done = Stand(host.name, tmp_path).play(series(STACKS[wanted.stack], [0]), {})
        assert done.code == 0, done.output
        brought_up.add(wanted.stack)
    return wanted.on(host.shell("ls /etc/php 2>/dev/null || true").stdout.strip())


@pytest.mark.parametrize("way", ["ignored", "held"])
def test_a_reload_that_did_not_happen_is_not_taken_for_live(host: Host, target: Target, way: str) -> None:
    engine, drop_in = Engine.install(host), f"/run/systemd/system/{target.unit}.d"
    before = main_pids(host, [target.unit])
    pid = before[target.unit]
    if way == "held":
        spoil, mend = f"kill -STOP {pid}", f"kill -CONT {pid}"
    else:
        lines = "[Service]\nExecReload=\nExecReload=/bin/true\n"
        spoil = f"mkdir -p {drop_in}; printf '{lines}' > {drop_in}/test.conf; systemctl daemon-reload"
        mend = f"rm -r {drop_in}; systemctl daemon-reload"
    with clients.running(host, "load", STACKS[target.stack].port) as seen:
        host.shell(f"{spoil}; touch {target.root}/{target.file}")
        try:
            result = engine.run(target.options(4), fails=True)
        finally:
            host.shell(mend)
        healed = engine.run(target.options(20))
    assert result["actions"][target.unit] == "reloaded"
    assert target.ignored in result["msg"]
    assert ("is held (`kill -CONT" in result["msg"]) is (way == "held")
    assert healed["actions"][target.unit] == "reloaded"
    assert main_pids(host, [target.unit]) == before
    assert seen["kinds"] == {}, seen["failures"][:5]


def test_a_restart_costs_what_the_result_says(host: Host, target: Target) -> None:
    engine = Engine.install(host)
    drop_in = {"system": f"/etc/systemd/system/{target.unit}.d/test.conf", "content": "[Service]\nNice=1\n"}
    with clients.running(host, "load", STACKS[target.stack].port) as seen:
        result = engine.run(target.options(30, drop_in))
        # From the end of the old one to the readiness of the new one, in systemd's own words.
        words = host.shell(
            f"systemctl show -P ActiveExitTimestampMonotonic -P ActiveEnterTimestampMonotonic {target.unit}"
        ).stdout.split()
    began, ended = sorted(int(word) / 1e6 for word in words)
    engine.run(target.options(30))
    assert result["actions"][target.unit] == "restarted"
    cost = result["restarts"][target.unit]
    assert cost["reason"] == f"{drop_in['system']} changed"
    assert cost["closed_ms"] > 0
    assert any(f"closed for {cost['closed_ms']} ms" in warning for warning in result["warnings"])
    # systemd signals first and notes the time then.
    assert [one for one in seen["failures"] if one["ended"] < began - SLACK or one["began"] > ended + SLACK] == []
    assert len(seen["failures"]) >= cost["waiting"]


def main_pids(host: Host, units: t.Iterable[str]) -> dict[str, int]:
    pids = {unit: int(host.shell(f"systemctl show --property MainPID --value {unit}").stdout) for unit in units}
    assert all(pids.values()), pids
    return pids
