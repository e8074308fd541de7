# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import get, main_pid, may_connect, run, socket_access, tcp_listeners

NGINX_UWSGI, APACHE_UWSGI, NGINX_AIO, APACHE_AIO = (f"http://127.0.0.1:{port}" for port in (8091, 8092, 8112, 8113))
ALL = (NGINX_UWSGI, APACHE_UWSGI, NGINX_AIO, APACHE_AIO)


def test_both_fronts_accept_their_configuration(host: t.Any) -> None:
    done = host.run("apache2ctl-event -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")
    assert "[warn]" not in host.run("nginx -t").stderr
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-event -M"), flags=re.MULTILINE))
    assert {"mpm_event", "proxy_scgi"} <= modules
    assert "proxy_uwsgi" not in modules


@pytest.mark.parametrize(
    ("url", "server", "user"),
    [
        (NGINX_UWSGI, "uwsgi", "demo"),
        (APACHE_UWSGI, "uwsgi", "demo"),
        (NGINX_AIO, "", "other"),
        (APACHE_AIO, "", "other"),
    ],
)
def test_each_site_has_its_server_and_its_user(host: t.Any, url: str, server: str, user: str) -> None:
    answer = get(host, url).json()
    assert (answer["server"], answer["user"], answer["colour"]) == (server, user, 'deep "blue"')


@pytest.mark.parametrize(("url", "name"), [(NGINX_AIO, "nginx-aio-scgi-9112"), (APACHE_AIO, "apache-aio-scgi")])
def test_the_other_implementation_is_a_service_of_its_own(host: t.Any, url: str, name: str) -> None:
    assert get(host, url).json()["pid"] == main_pid(host, f"app@{name}.service")


def test_sockets_are_the_front_servers_and_nobody_elses(host: t.Any) -> None:
    assert socket_access(host, "/run/uwsgi/nginx-uwsgi-scgi/www-data/scgi.sock") == "socket demo www-data 660"
    for path in ("/run/uwsgi/nginx-uwsgi-scgi/www-data/scgi.sock", "/run/app/apache-aio-scgi/www-data/scgi.sock"):
        assert may_connect(host, "www-data", path)
        assert not may_connect(host, "nobody", path)
    assert {"127.0.0.1:9092", "127.0.0.1:9112"} <= tcp_listeners(host)


def test_static_files_are_nginxs_own(host: t.Any) -> None:
    answer = get(host, f"{NGINX_UWSGI}/doc/base-files/copyright")
    assert (answer.status, answer.headers["cache-control"]) == (200, "max-age=3600")


@pytest.mark.parametrize("url", ALL)
def test_both_cookies_come_back(host: t.Any, url: str) -> None:
    assert run(host, f"curl -si {url} | grep -ic '^set-cookie: '").strip() == "2"


def test_a_stopped_application_is_an_error_on_its_port_only_and_no_longer_than_it_is_down(host: t.Any) -> None:
    run(host, "systemctl stop uwsgi@apache-uwsgi-scgi-9092.service uwsgi@nginx-uwsgi-scgi.service")
    try:
        assert get(host, APACHE_UWSGI).status == 503
        assert get(host, NGINX_UWSGI).status == 502
        assert get(host, APACHE_AIO).status == get(host, NGINX_AIO).status == 200
    finally:
        run(host, "systemctl start uwsgi@apache-uwsgi-scgi-9092.service uwsgi@nginx-uwsgi-scgi.service")
    # Not after a minute, which is what Apache waits by itself.
    assert get(host, APACHE_UWSGI).status == get(host, NGINX_UWSGI).status == 200
