# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from onhost import get, main_pid, may_connect, run, socket_access, tcp_listeners, unix_listeners

SERVICES = ("plain", "held", "tcp", "wrap", "reloads")
PLAIN = "/run/app/plain/www-data/http.sock"
HELD = "/run/app/held/plain/http.sock"
WRAP = "/run/app/wrap/www-data/fastcgi.sock"
RELOADS = "/run/app/reloads/www-data/http.sock"
#: Asks again and again while something else happens, and says how many answers it did not get.
ASK = "curl -fso /dev/null -m 20 --unix-socket {} http://localhost/"
CLIENT = f"n=0; for i in $(seq 60); do {ASK} || n=$((n+1)); done; echo $n"


def asked(host: t.Any, socket: str) -> t.Any:
    return get(host, "http://localhost/", "--unix-socket", socket).json()


@pytest.mark.parametrize("name", SERVICES)
def test_each_is_a_service_as_its_own_user(host: t.Any, name: str) -> None:
    unit = host.service(f"app@{name}.service")
    assert unit.is_running
    assert unit.is_enabled
    pid = main_pid(host, f"app@{name}.service")
    assert run(host, f"ps --no-headers -o user:32 {pid}").strip() == name
    assert set(run(host, f"ps --no-headers -o user:32 --ppid {pid} || true").split()) <= {name}


def test_a_socket_is_open_to_its_group_alone(host: t.Any) -> None:
    for path, owner, group in ((PLAIN, "plain", "www-data"), (HELD, "held", "plain"), (WRAP, "wrap", "www-data")):
        assert socket_access(host, path).split()[:3] == ["socket", owner, group]
        assert may_connect(host, group, path)
        assert not may_connect(host, "tcp", path)


def test_who_holds_the_sockets(host: t.Any) -> None:
    rows = run(host, "ss --no-header --listening --processes --unix --tcp --numeric").splitlines()
    holders = {word: line for line in rows for word in line.split() if word.startswith(("/run/app", "127.0.0.1:3101"))}
    assert set(holders) == {PLAIN, HELD, WRAP, RELOADS, "127.0.0.1:3101"}
    for path in (HELD, WRAP):
        assert '"systemd",pid=1,' in holders[path], holders[path]
    for path in (PLAIN, RELOADS):
        assert '"systemd"' not in holders[path]
    assert host.service("app@held.socket").is_enabled
    units = run(host, "systemctl list-units --no-legend --plain 'app@*.socket'").splitlines()
    assert [line.split()[0] for line in units] == ["app@held.socket", "app@wrap.socket"]


def test_the_command_and_the_environment_arrive_as_they_were_meant(host: t.Any) -> None:
    told = asked(host, PLAIN)
    assert told["arguments"] == [f"unix:{PLAIN}", "two words", "100%", "$HOME", 'it\'s "so"']
    assert told["environment"]["RATE"] == "100%"
    assert told["environment"]["SAID"] == 'it\'s "so" = #1 ; $HOME `x` \\'
    assert told["environment"]["SOCKET"] == PLAIN
    assert told["cwd"] == "/srv/hello"
    told = get(host, "http://127.0.0.1:3101/").json()
    assert (told["arguments"], told["environment"]["HOST"], told["environment"]["PORT"]) == (
        ["127.0.0.1", "3101"],
        "127.0.0.1",
        "3101",
    )
    assert "127.0.0.1:3101" in tcp_listeners(host)


def test_secrets_are_roots_alone(host: t.Any) -> None:
    assert run(host, "stat -c '%a %U %G' /etc/app-service/plain.env").strip() == "600 root root"
    assert run(host, "stat -c '%a %U %G' /etc/app-service/reloads/gunicorn.conf.py").strip() == "640 root reloads"
    assert "100%" not in run(host, "systemctl show app@plain.service --property=Environment")


def test_fcgiwrap_gets_its_socket_as_standard_input(host: t.Any) -> None:
    script = "SCRIPT_FILENAME=/srv/hello/script.cgi REQUEST_METHOD=GET cgi-fcgi -bind -connect"
    assert run(host, f"{script} {WRAP}").split() == ["Content-Type:", "text/plain", "wrap"]


def test_the_programs_words_are_in_the_journal(host: t.Any) -> None:
    assert "the program says hello" in run(host, "journalctl --no-pager --unit app@plain.service")


def test_a_restart_loses_no_connection_where_systemd_holds_the_socket(host: t.Any) -> None:
    before = asked(host, HELD)["pid"]
    restarts = "for i in 1 2 3; do systemctl restart app@held.service; done"
    failed = run(host, f"({CLIENT.format(HELD)}) & {restarts}; wait").split()
    assert failed == ["0"]
    assert asked(host, HELD)["pid"] != before


def test_a_reload_keeps_the_main_process(host: t.Any) -> None:
    main, worker = main_pid(host, "app@reloads.service"), asked(host, RELOADS)["pid"]
    failed = run(host, f"({CLIENT.format(RELOADS)}) & systemctl reload app@reloads.service; wait").split()
    assert failed == ["0"]
    assert main_pid(host, "app@reloads.service") == main
    run(host, f"for i in $(seq 100); do ps -o pid= -p {worker} || exit 0; sleep 0.1; done; exit 1")


def test_a_stopped_service_leaves_no_socket(host: t.Any) -> None:
    run(host, "systemctl stop app@plain.service")
    try:
        assert run(host, "systemctl show --property Result --value app@plain.service").strip() == "success"
        assert PLAIN not in unix_listeners(host)
        assert not host.file(PLAIN).exists
    finally:
        run(host, "systemctl start app@plain.service")
    # Also when nobody asked it to end.
    run(host, f"kill -9 {main_pid(host, 'app@plain.service')}")
    run(host, f"for i in $(seq 100); do {ASK.format(PLAIN)} && exit 0; sleep 0.1; done; exit 1")


def test_a_unit_is_one_that_systemd_has_nothing_against(host: t.Any) -> None:
    done = host.run(
        "systemd-analyze verify --man=no /etc/systemd/system/app@*.service /etc/systemd/system/app@*.socket"
    )
    assert done.rc == 0
    assert "app@" not in done.stderr
