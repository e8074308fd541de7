# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from onhost import get, main_pid, may_connect, run, socket_access, tcp_listeners

URL = "http://127.0.0.1:8083"
SOCKET = "/run/uwsgi/demo/www-data/uwsgi.sock"


def test_config_test_has_no_warning(host: t.Any) -> None:
    done = host.run("nginx -t")
    assert done.rc == 0
    assert "[warn]" not in done.stderr


def test_the_application_is_answered_by_uwsgi(host: t.Any) -> None:
    assert "uwsgi.version" in get(host, URL).body


def test_one_process_group_as_the_sites_user(host: t.Any) -> None:
    master = main_pid(host, "uwsgi@demo.service")
    users = run(host, f"ps --no-headers -o user:32 -p {master} --ppid {master}").split()
    assert users == ["demo"] * 3


def test_the_socket_is_the_front_servers_and_nobody_elses(host: t.Any) -> None:
    assert socket_access(host, SOCKET) == "socket demo www-data 660"
    assert may_connect(host, "www-data", SOCKET)
    assert not may_connect(host, "other", SOCKET)


def test_the_second_site_goes_over_tcp(host: t.Any) -> None:
    assert "127.0.0.1:9093" in tcp_listeners(host)
    assert get(host, "http://127.0.0.1:8093/").status == 200


def test_static_files_are_nginxs_own(host: t.Any) -> None:
    assert get(host, f"{URL}/doc/base-files/copyright").status == 200


def test_a_stopped_application_is_502_on_its_port_only(host: t.Any) -> None:
    run(host, "systemctl stop uwsgi@demo.service")
    try:
        # Ended when it was asked to, and not by force after a time-out.
        assert run(host, "systemctl show --property Result --value uwsgi@demo.service").strip() == "success"
        assert get(host, f"{URL}/").status == 502
        assert get(host, f"{URL}/doc/base-files/copyright").status == 200
        assert get(host, "http://127.0.0.1:8093/").status == 200
    finally:
        run(host, "systemctl start uwsgi@demo.service")
    assert get(host, f"{URL}/").status == 200
