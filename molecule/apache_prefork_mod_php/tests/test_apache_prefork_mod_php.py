# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import children, get, main_pid, run, tcp_listeners

URL = "http://127.0.0.1:8081"


def test_the_instance_is_prefork_with_php_inside(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-prefork -M"), flags=re.MULTILINE))
    assert {"mpm_prefork", "php"} <= modules
    assert not {"mpm_event", "mpm_worker", "proxy", "proxy_fcgi"} & modules
    done = host.run("apache2ctl-prefork -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")


def test_debians_own_instance_does_not_fight_for_port_80(host: t.Any) -> None:
    assert not host.service("apache2.service").is_running
    assert not host.service("apache2.service").is_enabled
    assert host.service("apache2@prefork.service").is_enabled
    assert not any(address.endswith(":80") for address in tcp_listeners(host))


def test_php_runs_in_apaches_own_process(host: t.Any) -> None:
    answer = get(host, f"{URL}/").json()
    assert (answer["sapi"], answer["user"]) == ("apache2handler", "www-data")
    parent = main_pid(host, "apache2@prefork.service")
    assert run(host, f"ps --no-headers -o ppid {answer['pid']}").strip() == str(parent)
    assert set(children(host, parent)) == {"www-data"}


def test_prefork_has_one_thread_in_every_process(host: t.Any) -> None:
    parent = main_pid(host, "apache2@prefork.service")
    assert set(run(host, f"ps --no-headers --ppid {parent} -o nlwp").split()) == {"1"}


def test_what_the_site_gives_reaches_php(host: t.Any) -> None:
    answer = get(host, f"{URL}/index.php", "--user", "a:b").json()
    assert (answer["colour"], answer["upload"]) == ('deep "blue"', "20M")
    assert answer["authorization"].startswith("Basic ")


@pytest.mark.parametrize("path", ["/library.inc", "/old.phtml", "/.env"])
def test_source_and_hidden_files_are_not_served(host: t.Any, path: str) -> None:
    answer = get(host, URL + path)
    assert answer.status == 403
    assert "xyzzy" not in answer.body


def test_only_scripts_run(host: t.Any) -> None:
    assert "executed" not in get(host, f"{URL}/picture.jpg/x.php").body.replace("echo 'executed'", "")


@pytest.mark.parametrize("chunked", [[], ["--header", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_a_body_arrives_whole_up_to_its_limit(host: t.Any, chunked: list[str]) -> None:
    run(host, "head -c 100000 /dev/zero > /root/small; head -c 20971521 /dev/zero > /root/large")
    assert get(host, f"{URL}/index.php", *chunked, "--data-binary", "@/root/small").json()["body"] == 100000
    answer = get(host, f"{URL}/index.php", *chunked, "--header", "Expect:", "--data-binary", "@/root/large")
    assert answer.status == 413
