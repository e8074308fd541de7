# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import children, get, main_pid, run, tcp_listeners


def test_config_test_has_no_warning(host: t.Any) -> None:
    done = host.run("apache2ctl -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")


def test_modules_are_those_that_the_sites_use(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl -M"), flags=re.MULTILINE))
    assert {"mpm_event", "rewrite", "http2", "alias", "authz_core"} <= modules
    assert not {"mpm_prefork", "mpm_worker", "cgi", "cgid", "php", "proxy", "ssl"} & modules


def test_debians_example_site_is_gone(host: t.Any) -> None:
    assert {"0.0.0.0:8090", "0.0.0.0:8091"} <= tcp_listeners(host)
    assert not any(address.endswith(":80") for address in tcp_listeners(host))
    assert "000-default" not in run(host, "apache2ctl -S")


def test_parent_is_root_and_children_are_not(host: t.Any) -> None:
    pid = main_pid(host, "apache2.service")
    assert run(host, f"ps --no-headers -o user {pid}").strip() == "root"
    assert set(children(host, pid)) == {"www-data"}


@pytest.mark.parametrize(
    ("name", "status"), [("one.example.org", 200), ("two.example.org", 200), ("three.example.org", 404)]
)
def test_sites_on_one_port_are_told_by_name(host: t.Any, name: str, status: int) -> None:
    assert get(host, "http://127.0.0.1:8091/plain.txt", "--header", f"Host: {name}").status == status


def test_an_alias_has_its_own_directory(host: t.Any) -> None:
    assert get(host, "http://127.0.0.1:8090/doc/base-files/copyright").status == 200


def test_http2_is_spoken_where_the_site_offers_it(host: t.Any) -> None:
    url = "http://three.example.org:8091/base-files/copyright"
    resolve = "three.example.org:8091:127.0.0.1"
    version = run(
        host, f"curl -s -o /dev/null --http2-prior-knowledge --resolve {resolve} -w '%{{http_version}}' {url}"
    )
    assert version == "2"


@pytest.mark.parametrize("path", ["/index.php", "/library.inc", "/old.phtml", "/.env", "/.git/config"])
def test_source_and_hidden_files_are_not_served(host: t.Any, path: str) -> None:
    assert get(host, f"http://127.0.0.1:8090{path}").status == 403


def test_no_directory_listing(host: t.Any) -> None:
    assert get(host, "http://127.0.0.1:8090/doc/base-files/").status in (403, 404)
