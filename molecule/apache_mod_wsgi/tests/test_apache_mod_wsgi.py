# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import get, main_pid, run

URL = "http://127.0.0.1:8096"
FILE = "http://127.0.0.1:8111"


def group(host: t.Any, name: str) -> list[str]:
    """User and number of threads of each process of a process group."""
    return [
        f"{user} {threads}"
        for user, threads, command in (
            line.split(None, 2) for line in run(host, "ps --no-headers -eo user:32,nlwp,cmd").splitlines()
        )
        if command.startswith(f"(wsgi:{name})")
    ]


def test_the_instance_is_event_with_the_module(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-event -M"), flags=re.MULTILINE))
    assert {"mpm_event", "wsgi"} <= modules
    assert not {"proxy", "proxy_uwsgi"} & modules
    done = host.run("apache2ctl-event -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")


@pytest.mark.parametrize(("url", "user"), [(URL, "demo"), (FILE, "other")])
def test_each_site_has_a_process_group_of_its_own_user(host: t.Any, url: str, user: str) -> None:
    answer = get(host, url).json()
    assert (answer["server"], answer["user"]) == ("mod_wsgi", user)
    # Apache itself is its parent, and not the process that took the request.
    assert answer["ppid"] == main_pid(host, "apache2@event.service")


def test_processes_and_users_are_as_declared(host: t.Any) -> None:
    assert [line.split()[0] for line in group(host, "demo")] == ["demo"] * 2
    assert [line.split()[0] for line in group(host, "from-file")] == ["other"] * 2


def test_no_python_runs_in_apaches_own_processes(host: t.Any) -> None:
    own = run(host, f"ps --no-headers -o pid:1,cmd --ppid {main_pid(host, 'apache2@event.service')}").splitlines()
    (first, *_rest) = [line.split()[0] for line in own if "(wsgi:" not in line]
    assert "python3" not in run(host, f"grep -o 'python3[.0-9]*/lib-dynload' /proc/{first}/maps || true")


def test_the_sites_environment_reaches_the_application(host: t.Any) -> None:
    assert get(host, URL).json()["colour"] == 'deep "blue"'
    assert get(host, FILE).json()["colour"] is None


def test_only_the_sites_user_reads_its_environment(host: t.Any) -> None:
    script = "/etc/apache2-event/wsgi/demo.wsgi"
    assert run(host, f"stat --format '%U %G %a' {script}").strip() == "root demo 640"
    assert host.run(f"runuser -u www-data -- cat {script}").rc != 0
    assert host.run(f"runuser -u demo -- cat {script}").rc == 0


def test_static_files_are_apaches_own(host: t.Any) -> None:
    answer = get(host, f"{URL}/doc/base-files/copyright")
    assert (answer.status, answer.headers["cache-control"]) == (200, "max-age=3600")


def test_a_body_that_is_too_large_is_refused_as_such(host: t.Any) -> None:
    run(host, "head -c 17000000 /dev/zero > /tmp/large")
    assert get(host, URL, "--header", "Expect:", "--data-binary", "@/tmp/large").status == 413


def test_the_touched_script_is_a_new_release(host: t.Any) -> None:
    before = {get(host, URL).json()["pid"] for _attempt in range(8)}
    run(host, "touch /etc/apache2-event/wsgi/demo.wsgi")
    apache = main_pid(host, "apache2@event.service")
    after = {get(host, URL).json()["pid"] for _attempt in range(16)}
    assert not before & after
    assert main_pid(host, "apache2@event.service") == apache


def test_a_killed_process_is_replaced(host: t.Any) -> None:
    pid = get(host, URL).json()["pid"]
    run(host, f"kill -9 {pid}")
    run(
        host,
        "for i in $(seq 100); do [ $(ps -eo cmd | grep -c '^(wsgi:demo)') = 2 ] && exit 0; sleep 0.1; done; exit 1",
    )
    assert pid not in {get(host, URL).json()["pid"] for _attempt in range(8)}
