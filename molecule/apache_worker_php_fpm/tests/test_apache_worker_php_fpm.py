# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import children, get, main_pid, may_connect, run, socket_access, tcp_listeners

URL = "http://127.0.0.1:8093"


def test_the_instance_is_worker_without_php_inside(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-worker -M"), flags=re.MULTILINE))
    assert {"mpm_worker", "proxy_fcgi"} <= modules
    assert not {"mpm_prefork", "mpm_event", "php"} & modules
    done = host.run("apache2ctl-worker -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")
    assert not host.package("libapache2-mod-php8.2").is_installed


@pytest.mark.parametrize(("port", "user"), [(8093, "hello"), (8094, "other")])
def test_php_runs_in_the_sites_pool(host: t.Any, port: int, user: str) -> None:
    answer = get(host, f"http://127.0.0.1:{port}/").json()
    assert (answer["sapi"], answer["user"]) == ("fpm-fcgi", user)
    assert run(host, f"ps --no-headers -o ppid {answer['pid']}").strip() == str(main_pid(host, "php8.2-fpm.service"))


def test_worker_has_threads(host: t.Any) -> None:
    parent = main_pid(host, "apache2@worker.service")
    assert set(children(host, parent)) == {"www-data"}
    assert all(int(threads) > 25 for threads in run(host, f"ps --no-headers --ppid {parent} -o nlwp").split())


def test_one_pool_over_a_unix_socket_and_one_over_tcp(host: t.Any) -> None:
    assert socket_access(host, "/run/php/hello.sock") == "socket root www-data 660"
    assert not may_connect(host, "other", "/run/php/hello.sock")
    assert "127.0.0.1:9094" in tcp_listeners(host)


def test_what_the_site_gives_reaches_php(host: t.Any) -> None:
    answer = get(host, f"{URL}/index.php", "--user", "a:b").json()
    assert (answer["colour"], answer["upload"]) == ('deep "blue"', "20M")
    assert answer["authorization"].startswith("Basic ")


def test_the_front_controller_answers_for_what_is_no_file(host: t.Any) -> None:
    assert get(host, f"{URL}/some/page?x=1").json()["uri"] == "/some/page?x=1"
    assert get(host, f"{URL}/plain.txt").body == "plain\n"


@pytest.mark.parametrize("path", ["/library.inc", "/old.phtml", "/.env", "/doc/x.php", "/again/library.inc"])
def test_source_and_hidden_files_are_not_served(host: t.Any, path: str) -> None:
    answer = get(host, URL + path)
    assert answer.status == 403
    assert "xyzzy" not in answer.body


@pytest.mark.parametrize("name", ["UPPER.PHP", "copy.php.bak", "copy.php~", "five.php5", "archive.phar", "short.pht"])
def test_php_by_another_name_is_not_served(host: t.Any, name: str) -> None:
    run(host, f"cp /srv/hello/library.inc '/srv/hello/{name}'")
    answer = get(host, f"{URL}/{name}")
    assert answer.status == 403
    assert "xyzzy" not in answer.body


def test_a_stopped_pool_is_503_and_never_source(host: t.Any) -> None:
    run(host, "systemctl stop php8.2-fpm.service")
    try:
        answer = get(host, f"{URL}/index.php")
        assert answer.status == 503
        assert "<?php" not in answer.body
        assert get(host, f"{URL}/plain.txt").status == 200
    finally:
        run(host, "systemctl start php8.2-fpm.service")
    assert get(host, f"{URL}/index.php").status == 200


@pytest.mark.parametrize("chunked", [[], ["--header", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_a_body_arrives_whole_up_to_its_limit(host: t.Any, chunked: list[str]) -> None:
    run(host, "head -c 100000 /dev/zero > /root/small; head -c 20971521 /dev/zero > /root/large")
    assert get(host, f"{URL}/index.php", *chunked, "--data-binary", "@/root/small").json()["body"] == 100000
    if not chunked:
        # The limit of a body in chunks, which Apache receives before it knows, is PHP's own for forms.
        answer = get(host, f"{URL}/index.php", "--header", "Expect:", "--data-binary", "@/root/large")
        assert answer.status == 413
