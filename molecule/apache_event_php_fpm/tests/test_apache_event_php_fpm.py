# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import children, get, main_pid, may_connect, run, socket_access, tcp_listeners

URL = "http://127.0.0.1:8082"


def test_the_instance_is_event_without_php_inside(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-event -M"), flags=re.MULTILINE))
    assert {"mpm_event", "proxy_fcgi"} <= modules
    assert not {"mpm_prefork", "mpm_worker", "php"} & modules
    done = host.run("apache2ctl-event -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")
    assert not host.package("libapache2-mod-php8.2").is_installed


@pytest.mark.parametrize(("port", "user"), [(8082, "hello"), (8092, "other")])
def test_php_runs_in_the_sites_pool(host: t.Any, port: int, user: str) -> None:
    answer = get(host, f"http://127.0.0.1:{port}/").json()
    assert (answer["sapi"], answer["user"]) == ("fpm-fcgi", user)
    assert run(host, f"ps --no-headers -o ppid {answer['pid']}").strip() == str(main_pid(host, "php8.2-fpm.service"))


def test_event_has_threads(host: t.Any) -> None:
    parent = main_pid(host, "apache2@event.service")
    assert set(children(host, parent)) == {"www-data"}
    assert all(int(threads) > 1 for threads in run(host, f"ps --no-headers --ppid {parent} -o nlwp").split())


def test_one_pool_over_a_unix_socket_and_one_over_tcp(host: t.Any) -> None:
    assert socket_access(host, "/run/php/hello.sock") == "socket root www-data 660"
    assert not may_connect(host, "other", "/run/php/hello.sock")
    assert "127.0.0.1:9092" in tcp_listeners(host)


def test_what_the_site_gives_reaches_php(host: t.Any) -> None:
    answer = get(host, f"{URL}/index.php", "--user", "a:b").json()
    assert (answer["colour"], answer["upload"]) == ('deep "blue"', "20M")
    assert answer["authorization"].startswith("Basic ")


def test_the_front_controller_answers_for_what_is_no_file(host: t.Any) -> None:
    assert get(host, f"{URL}/some/page?x=1").json()["uri"] == "/some/page?x=1"
    assert get(host, f"{URL}/plain.txt").body == "plain\n"


@pytest.mark.parametrize("path", ["/library.inc", "/old.phtml", "/.env", "/doc/x.php"])
def test_source_and_hidden_files_are_not_served(host: t.Any, path: str) -> None:
    answer = get(host, URL + path)
    assert answer.status == 403
    assert "xyzzy" not in answer.body


def test_only_scripts_run(host: t.Any) -> None:
    # Without a front controller, PATH_INFO behind a picture is nothing that runs.
    answer = get(host, "http://127.0.0.1:8092/picture.jpg/x.php")
    assert "executed" not in answer.body.replace("echo 'executed'", "")


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


def test_the_status_page_is_not_published(host: t.Any) -> None:
    assert "pool:" not in get(host, f"{URL}/fpm-status").body


def test_a_pool_does_not_run_from_the_shared_cache_what_it_may_not_read(host: t.Any) -> None:
    run(host, "echo '<?php echo \"private\";' > /srv/hello/own.php && touch -d '1 hour ago' /srv/hello/own.php")
    run(host, "chown hello /srv/hello/own.php && chmod 0400 /srv/hello/own.php")
    # OPcache has it from the second request on.
    assert [get(host, f"{URL}/own.php").body for _attempt in range(4)] == ["private"] * 4
    assert "private" not in get(host, "http://127.0.0.1:8092/own.php").body


@pytest.mark.parametrize("chunked", [[], ["--header", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_a_body_arrives_whole_up_to_its_limit(host: t.Any, chunked: list[str]) -> None:
    run(host, "head -c 100000 /dev/zero > /root/small; head -c 20971521 /dev/zero > /root/large")
    assert get(host, f"{URL}/index.php", *chunked, "--data-binary", "@/root/small").json()["body"] == 100000
    if not chunked:
        # The limit of a body in chunks, which Apache receives before it knows, is PHP's own for forms.
        answer = get(host, f"{URL}/index.php", "--header", "Expect:", "--data-binary", "@/root/large")
        assert answer.status == 413
