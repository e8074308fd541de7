# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that change, and services that cannot work: what happens to them, and to those beside them."""

from __future__ import annotations

import pathlib
import shutil
import typing as t

import pytest

from playbooks import Run, Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

Service = dict[str, t.Any]

#: A server that opens its socket itself or gets it, and reads a file on SIGHUP.
SERVER = """\
import http.server, os, signal, socket, sys, threading

def read(*_):
    global word
    try:
        word = open("/etc/app-service/one/word").read()
    except OSError:
        word = os.environ.get("WORD", "none")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.end_headers()
        self.wfile.write(word.encode())

    def log_message(self, *_):
        print("asked", flush=True)

class Server(http.server.HTTPServer):
    def get_request(self):
        return self.socket.accept()[0], ("", 0)

read()
if "WRONG" in os.environ:
    sys.exit("xyzzy: I cannot work like this")
server = Server(("", 0), Handler, bind_and_activate=False)
if os.environ.get("LISTEN_FDS"):
    server.socket = socket.socket(fileno=3)
elif "SOCKET" in os.environ:
    server.socket = socket.socket(socket.AF_UNIX)
    server.socket.bind(os.environ["SOCKET"])
    server.socket.listen()
else:
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.socket.bind((os.environ["HOST"], int(os.environ["PORT"])))
    server.socket.listen()
signal.signal(signal.SIGHUP, read)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.05)
"""
SOCKET = "/run/app/one/www-data/http.sock"


def service(name: str = "one", **more: t.Any) -> Service:
    return {"name": name, "user": name, "command": ["/usr/bin/python3", "/srv/server.py"], "timeout": 5, **more}


class Services:
    """A host, and the role with a list of services."""

    def __init__(self, host: Host, stand: Stand) -> None:
        self.host = host
        self.stand = stand

    def apply(self, *services: Service, fails: bool = False) -> Run:
        play = [{"hosts": "all", "gather_facts": False, "roles": ["weblab.stacks.app_service"]}]
        done = self.stand.play(play, {"app_service_services": list(services)})
        assert (done.code != 0) is fails, done.output
        return done

    def ask(self, script: str) -> str:
        return self.host.shell(script).stdout.strip()

    def said(self, where: str = f"--unix-socket {SOCKET} http://localhost/") -> str:
        return self.ask(f"curl --silent --show-error --max-time 10 {where} 2>&1 || true")

    def pid(self, name: str = "one") -> int:
        return int(self.ask(f"systemctl show --property MainPID --value app@{name}.service"))

    def holder(self, path: str = SOCKET) -> str:
        """The programs that have the listening socket open."""
        return self.ask(f"ss --no-header --listening --processes --unix --tcp --numeric | grep -F {path} || true")

    def files(self) -> str:
        trees = "/etc/app-service /etc/systemd/system /etc/tmpfiles.d /etc/sysusers.d"
        return self.ask(
            f"find {trees} -printf '%p %y %m %u %g %l\\n' | sort; find {trees} -type f | xargs sha256sum | sort"
        )


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(
    request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory
) -> Services:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("app-service", request.param)
    host.run("tee", "/srv/server.py", stdin=SERVER)
    return Services(host, Stand(host.name, tmp_path_factory.mktemp("stand")))


@pytest.fixture
def served(stand: Services) -> Services:
    """The stand with two services, one of which the tests leave alone."""
    stand.apply(service(), service("beside"))
    assert stand.said() == "none"
    return stand


def test_an_unchanged_service_is_not_touched(served: Services) -> None:
    pids, files = (served.pid(), served.pid("beside")), served.files()
    assert served.apply(service(), service("beside")).recap("changed") == 0
    assert ((served.pid(), served.pid("beside")), served.files()) == (pids, files)


def test_an_environment_is_a_restart_of_its_service_alone(served: Services) -> None:
    pids = served.pid(), served.pid("beside")
    served.apply(service(environment={"WORD": "two"}), service("beside"))
    assert served.said() == "two"
    assert served.pid() != pids[0]
    assert served.pid("beside") == pids[1]


def test_a_file_is_a_reload_where_the_program_can_do_that(served: Services) -> None:
    reloads = service(files={"word": "first"}, reload_signal="HUP")
    served.apply(reloads, service("beside"))
    pid = served.pid()
    served.apply({**reloads, "files": {"word": "second"}}, service("beside"))
    assert (served.said(), served.pid()) == ("second", pid)
    del reloads["reload_signal"]
    served.apply({**reloads, "files": {"word": "third"}}, service("beside"))
    assert served.said() == "third"
    assert served.pid() != pid


def test_the_socket_goes_to_systemd_and_back(served: Services) -> None:
    served.apply(service(activation="systemd"), service("beside"))
    assert (served.said(), '"systemd"' in served.holder()) == ("none", True)
    assert served.apply(service(activation="systemd"), service("beside")).recap("changed") == 0
    served.apply(service(), service("beside"))
    assert (served.said(), '"systemd"' in served.holder()) == ("none", False)
    assert served.ask("systemctl list-unit-files --no-legend 'app@*.socket' || true") == ""
    assert served.apply(service(), service("beside")).recap("changed") == 0


def test_a_held_socket_changes_its_group(served: Services) -> None:
    served.apply(service(activation="systemd"))
    pid = served.pid()
    served.apply(service(activation="systemd", group="daemon"))
    path = "/run/app/one/daemon/http.sock"
    assert served.ask(f"stat -c '%U %G %a' {path}") == "one daemon 660"
    assert served.said(f"--unix-socket {path} http://localhost/") == "none"
    assert served.pid() != pid
    assert served.holder(SOCKET) == ""
    assert served.apply(service(activation="systemd", group="daemon")).recap("changed") == 0


def test_a_restart_behind_a_held_socket_loses_nobody(served: Services) -> None:
    served.apply(service(activation="systemd"))
    pid = served.pid()
    client = f"curl -fso /dev/null -m 20 --unix-socket {SOCKET} http://localhost/"
    served.host.run(
        "systemd-run", "--unit=client", "--property=Type=exec", "sh", "-c",
        f"n=0; while [ ! -e /run/over ]; do {client} || n=$((n+1)); done; echo $n > /run/lost",
    )  # fmt: skip
    served.apply(service(activation="systemd", environment={"WORD": "new"}))
    served.ask("touch /run/over; for i in $(seq 100); do [ -s /run/lost ] && break; sleep 0.1; done")
    assert served.ask("cat /run/lost; rm -f /run/over /run/lost") == "0"
    assert served.said() == "new"
    assert served.pid() != pid


@pytest.mark.parametrize("activation", ["none", "systemd"])
def test_a_service_that_is_gone_leaves_nothing(served: Services, activation: str) -> None:
    served.apply(service(activation=activation), service("beside"))
    served.apply(service("beside"))
    assert served.ask(f"ls {SOCKET} /etc/app-service/one* 2>/dev/null || true") == ""
    assert (
        served.ask("systemctl list-units --all --no-legend 'app@one.*'; ls -d /etc/systemd/system/*/app@one* || true")
        == ""
    )
    assert served.ask("ps --no-headers -u one || true") == ""
    served.apply()
    assert served.ask("ls -d /etc/app-service /etc/systemd/system/app@* 2>/dev/null || true") == ""


def test_what_is_down_comes_back(served: Services) -> None:
    served.apply(service(activation="systemd"), service("beside"))
    served.ask("systemctl disable --now app@one.service app@one.socket app@beside.service")
    assert served.apply(service(activation="systemd"), service("beside")).recap("changed") == 1
    assert served.said() == "none"
    assert (
        served.ask("systemctl is-enabled app@one.service app@one.socket app@beside.service").split() == ["enabled"] * 3
    )


def test_a_socket_unit_that_a_killed_run_wrote_is_used(served: Services) -> None:
    served.apply(service(activation="systemd"))
    # As if a run had been killed between the file and the restart.
    unit = "/etc/systemd/system/app@one.socket"
    served.ask(f"sed -i 's/^Backlog=.*/Backlog=7/' {unit}; systemctl daemon-reload; systemctl restart app@one.socket")
    served.apply(service(activation="systemd"))
    assert served.holder().split()[3] == "1024"


WRONG: dict[str, tuple[Service, list[str]]] = {
    "it ends at once": (
        service(environment={"WRONG": "1"}),
        ["app@one.service", "xyzzy: I cannot work like this"],
    ),
    "it ends at once behind a held socket": (
        service(environment={"WRONG": "1"}, activation="systemd"),
        ["xyzzy: I cannot work like this"],
    ),
    "it answers with an error": (service(environment={"STATUS": "500"}), ["service one", "500", "asked"]),
    "it listens elsewhere": (
        service(environment={"SOCKET": "/tmp/elsewhere.sock"}),
        [f"app@one.service: it does not listen on {SOCKET}"],
    ),
    "its program is missing": (
        service(command=["/usr/bin/nosuch"]),
        ["/usr/bin/nosuch (app_service_services[0].command[0]) does not exist on this host"],
    ),
    "its program is no program": (
        service(command=["/etc/passwd"]),
        ["systemd-analyze verify", "/etc/passwd is not executable"],
    ),
    "its directory is missing": (
        service(directory="/srv/nosuch"),
        ["/srv/nosuch (app_service_services[0].directory) does not exist on this host"],
    ),
    "its group is missing": (service(group="nosuch"), ["nosuch"]),
    "its port is taken": (
        service(endpoint="http://127.0.0.1:3199"),
        ["port 3199 (app_service_services[0].endpoint) is already taken by python3"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_work_is_named_and_the_old_ones_serve_on(served: Services, name: str) -> None:
    served.ask("systemctl is-active --quiet taken || systemd-run --unit=taken python3 -m http.server -b 127.0.0.1 3199")
    served.ask("for i in $(seq 100); do curl -so /dev/null http://127.0.0.1:3199/ && break; sleep 0.1; done")
    files, beside = served.files(), served.pid("beside")
    wrong, words = WRONG[name]
    said = served.apply(wrong, service("beside"), fails=True).text
    for word in words:
        assert word in said, said[:3000]
    assert "The old configuration was restored" in said or "Nothing was changed." in said, said
    assert served.files() == files
    assert served.said() == "none"
    assert served.pid("beside") == beside
    assert served.apply(service(), service("beside")).recap("changed") == 0


def test_who_has_ended_is_not_waited_for(served: Services) -> None:
    ended = "journalctl --no-pager --unit app@one.service | grep -c 'I cannot work like this' || true"
    before = int(served.ask(ended))
    served.apply(service(environment={"WRONG": "1"}, activation="systemd", timeout=600), fails=True)
    # It comes back each second: in the time that a slow answer may take, it would end some hundred times.
    assert int(served.ask(ended)) - before < 60


def test_a_secret_is_not_told(served: Services) -> None:
    wrong = service(environment={"WRONG": "1", "PASSWORD": "hunter2-correct-horse"}, command=["/usr/bin/env"])
    said = served.apply(wrong, fails=True).text
    assert "hunter2-correct-horse" not in said
    assert "(secret)" in said


def test_check_mode_on_a_bare_host_and_afterwards(stand: Services, tmp_path: pathlib.Path) -> None:
    stand.apply()
    play = [{"hosts": "all", "gather_facts": False, "roles": ["weblab.stacks.app_service"]}]
    variables = {"app_service_services": [service(activation="systemd")]}
    bare = Stand(stand.host.name, tmp_path).play(play, variables, "--check", "--diff")
    assert (bare.code, bare.recap("changed")) == (0, 1), bare.output
    assert "ListenStream=" in bare.output
    assert stand.ask("ls -d /etc/app-service 2>/dev/null || true") == ""
    stand.apply(*variables["app_service_services"])
    again = Stand(stand.host.name, tmp_path).play(play, variables, "--check")
    assert (again.code, again.recap("changed")) == (0, 0), again.output
