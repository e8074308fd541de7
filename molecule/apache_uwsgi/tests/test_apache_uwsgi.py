# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import get, main_pid, may_connect, run, socket_access, tcp_listeners

URL = "http://127.0.0.1:8100"
TCP = "http://127.0.0.1:8110"
SOCKET = "/run/uwsgi/demo/www-data/uwsgi.sock"


def test_the_instance_is_event_with_the_proxy_for_uwsgi(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-event -M"), flags=re.MULTILINE))
    assert {"mpm_event", "proxy_uwsgi"} <= modules
    assert not {"wsgi", "proxy_http", "proxy_fcgi"} & modules
    done = host.run("apache2ctl-event -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")


@pytest.mark.parametrize(("url", "user"), [(URL, "demo"), (TCP, "other")])
def test_uwsgi_answers_as_the_sites_user(host: t.Any, url: str, user: str) -> None:
    answer = get(host, url).json()
    assert (answer["server"], answer["user"]) == ("uwsgi", user)


def test_the_sites_environment_reaches_the_application(host: t.Any) -> None:
    assert get(host, URL).json()["colour"] == 'deep "blue"'
    assert get(host, TCP).json()["colour"] is None


def test_one_process_group_as_the_sites_user(host: t.Any) -> None:
    master = main_pid(host, "uwsgi@demo.service")
    assert run(host, f"ps --no-headers -o user:32 -p {master} --ppid {master}").split() == ["demo"] * 3


def test_the_socket_is_the_front_servers_and_nobody_elses(host: t.Any) -> None:
    assert socket_access(host, SOCKET) == "socket demo www-data 660"
    assert may_connect(host, "www-data", SOCKET)
    assert not may_connect(host, "other", SOCKET)
    assert "127.0.0.1:9110" in tcp_listeners(host)


def test_static_files_are_apaches_own(host: t.Any) -> None:
    answer = get(host, f"{URL}/doc/base-files/copyright")
    assert (answer.status, answer.headers["cache-control"]) == (200, "max-age=3600")


def test_a_body_that_is_too_large_is_refused_as_such(host: t.Any) -> None:
    run(host, "head -c 17000000 /dev/zero > /tmp/large")
    assert get(host, URL, "--header", "Expect:", "--data-binary", "@/tmp/large").status == 413


def test_a_stopped_application_is_503_on_its_port_only_and_no_longer_than_it_is_down(host: t.Any) -> None:
    run(host, "systemctl stop uwsgi@demo.service")
    try:
        assert get(host, f"{URL}/").status == 503
        assert get(host, f"{URL}/doc/base-files/copyright").status == 200
        assert get(host, f"{TCP}/").status == 200
    finally:
        run(host, "systemctl start uwsgi@demo.service")
    # Not after a minute, which is what Apache waits by itself.
    assert get(host, f"{URL}/").status == 200
