# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from onhost import get, main_pid, may_connect, run, socket_access

URL = "http://127.0.0.1:8084"
INTERNAL = "/run/uwsgi/cut-catalog/cut-web/http.sock"


@pytest.mark.parametrize(
    ("path", "script_name", "path_info"),
    [
        ("/", "", "/"),
        ("/some/page", "", "/some/page"),
        ("/catalog", "/catalog", ""),
        ("/catalog/", "/catalog", "/"),
        ("/catalog/books/1", "/catalog", "/books/1"),
        ("/reviews/a%20b", "/reviews", "/a b"),
    ],
)
def test_requests_are_routed_by_prefix(host: t.Any, path: str, script_name: str, path_info: str) -> None:
    body = get(host, URL + path).body
    # An empty one may be left out (PEP 3333, environ variables).
    assert f"SCRIPT_NAME = {script_name!r}" in body or not (script_name or "SCRIPT_NAME" in body)
    assert f"PATH_INFO = {path_info!r}" in body


def test_every_service_has_its_own_user(host: t.Any) -> None:
    emperor = main_pid(host, "uwsgi-emperor.service")
    masters = run(host, f"ps --no-headers --ppid {emperor} -o user:32").split()
    assert sorted(masters) == ["cut-catalog", "cut-reviews", "cut-web"]


def test_one_service_calls_another_through_a_socket_that_is_its_own(host: t.Any) -> None:
    assert socket_access(host, INTERNAL) == "socket cut-catalog cut-web 660"
    assert may_connect(host, "cut-web", INTERNAL)
    assert not may_connect(host, "cut-reviews", INTERNAL)
    assert not may_connect(host, "www-data", INTERNAL)
    body = run(host, f"runuser -u cut-web -- curl -s --unix-socket {INTERNAL} http://localhost/catalog/api")
    assert "PATH_INFO = '/api'" in body


def test_a_service_cannot_reach_the_others_front_sockets(host: t.Any) -> None:
    assert not may_connect(host, "cut-web", "/run/uwsgi/cut-catalog/www-data/uwsgi.sock")


def test_stopping_one_gives_502_on_its_path_only(host: t.Any) -> None:
    run(host, "mv /etc/uwsgi/vassals/cut-catalog.ini /root/")
    try:
        run(host, f"for i in $(seq 100); do test -e {INTERNAL} || exit 0; sleep 0.1; done; exit 1")
        assert get(host, f"{URL}/catalog/").status == 502
        assert get(host, f"{URL}/").status == 200
        assert get(host, f"{URL}/reviews/").status == 200
    finally:
        run(host, "mv /root/cut-catalog.ini /etc/uwsgi/vassals/")
    run(host, f"for i in $(seq 100); do test -e {INTERNAL} && exit 0; sleep 0.1; done; exit 1")
    assert get(host, f"{URL}/catalog/").status == 200
