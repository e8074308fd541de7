# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from onhost import children, get, main_pid, run, tcp_listeners


def test_config_test_has_no_warning(host: t.Any) -> None:
    done = host.run("nginx -t")
    assert done.rc == 0
    assert "[warn]" not in done.stderr


def test_what_runs_is_what_is_on_disk(host: t.Any) -> None:
    shown = run(host, "nginx -T")
    assert "example.org" in shown
    assert "sites-enabled/default" not in shown
    assert {"0.0.0.0:8090", "0.0.0.0:8091"} <= tcp_listeners(host)
    assert not any(address.endswith(":80") for address in tcp_listeners(host))


def test_workers_are_not_root(host: t.Any) -> None:
    assert set(children(host, main_pid(host, "nginx.service"))) == {"www-data"}


def test_static_files_and_headers(host: t.Any) -> None:
    answer = get(host, "http://127.0.0.1:8090/plain.txt")
    assert (answer.status, answer.body) == (200, "plain\n")
    assert answer.headers["x-lab"] == 'a "quoted" value'
    assert answer.headers["server"] == "nginx"


def test_an_alias_has_its_own_directory_and_expiry(host: t.Any) -> None:
    answer = get(host, "http://127.0.0.1:8090/doc/base-files/copyright")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "max-age=3600"


@pytest.mark.parametrize(
    ("name", "status"), [("one.example.org", 200), ("two.example.org", 200), ("three.example.org", 404)]
)
def test_sites_on_one_port_are_told_by_name(host: t.Any, name: str, status: int) -> None:
    assert get(host, "http://127.0.0.1:8091/plain.txt", "--header", f"Host: {name}").status == status


def test_a_proxy_location_replaces_its_prefix(host: t.Any) -> None:
    answer = get(host, "http://127.0.0.1:8090/again/plain.txt", "--header", "Host: one.example.org")
    assert (answer.status, answer.body) == (200, "plain\n")


@pytest.mark.parametrize("path", ["/.env", "/.git/config"])
def test_hidden_files_are_not_served(host: t.Any, path: str) -> None:
    assert get(host, f"http://127.0.0.1:8090{path}").status == 404
