# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from onhost import get, main_pid, may_connect, run, socket_access, tcp_listeners, unix_listeners

URL = "http://127.0.0.1:8098"
WITHOUT_CONTROLLER = "http://127.0.0.1:8099"


def workers(host: t.Any, pool: str) -> int:
    titles = run(host, f"ps --no-headers --ppid {main_pid(host, 'php8.2-fpm.service')} -o args").splitlines()
    return sum(title.strip() == f"php-fpm: pool {pool}" for title in titles)


def test_nginx_says_no_word_of_warning_and_no_apache_came_along(host: t.Any) -> None:
    done = host.run("nginx -t")
    assert done.rc == 0
    assert "[warn]" not in done.stderr
    assert not host.package("apache2").is_installed
    assert not host.package("libapache2-mod-php8.2").is_installed


@pytest.mark.parametrize(("port", "user"), [(8098, "hello"), (8099, "other"), (8100, "third")])
def test_php_runs_in_the_sites_pool(host: t.Any, port: int, user: str) -> None:
    answer = get(host, f"http://127.0.0.1:{port}/").json()
    assert (answer["sapi"], answer["user"]) == ("fpm-fcgi", user)
    assert run(host, f"ps --no-headers -o ppid {answer['pid']}").strip() == str(main_pid(host, "php8.2-fpm.service"))


def test_pools_listen_where_the_sites_say(host: t.Any) -> None:
    assert {"/run/php/hello.sock", "/run/php/demand.sock"} <= unix_listeners(host)
    assert socket_access(host, "/run/php/hello.sock") == "socket root www-data 660"
    assert not may_connect(host, "other", "/run/php/hello.sock")
    assert "127.0.0.1:9099" in tcp_listeners(host)
    assert "0.0.0.0:9099" not in tcp_listeners(host)


def test_how_many_workers_there_are_is_up_to_the_pool(host: t.Any) -> None:
    run(host, "systemctl restart php8.2-fpm.service")
    # A worker takes its title just after its birth.
    run(host, "timeout 20 sh -c 'until pgrep -fc \"^php-fpm: pool (fixed|hello)\" | grep -q [3-9]; do sleep 0.1; done'")
    assert workers(host, "fixed-9099") == 2
    assert workers(host, "hello") >= 1
    assert workers(host, "demand") == 0
    assert get(host, "http://127.0.0.1:8100/").status == 200
    assert workers(host, "demand") == 1


def test_what_the_site_gives_reaches_php(host: t.Any) -> None:
    answer = get(host, f"{URL}/index.php", "--user", "a:b").json()
    assert (answer["colour"], answer["upload"]) == ('deep "blue"', "20M")
    assert answer["authorization"].startswith("Basic ")


def test_the_front_controller_answers_for_what_is_no_file(host: t.Any) -> None:
    answer = get(host, f"{URL}/some/page?x=1").json()
    assert (answer["uri"], answer["script"]) == ("/some/page?x=1", "/index.php")
    assert get(host, f"{URL}/gone.php?x=1").json()["uri"] == "/gone.php?x=1"
    assert get(host, f"{URL}/plain.txt").body == "plain\n"
    assert get(host, f"{WITHOUT_CONTROLLER}/some/page").status == 404
    assert get(host, f"{WITHOUT_CONTROLLER}/gone.php").status == 404


def test_an_alias_is_a_directory_with_scripts_and_files(host: t.Any) -> None:
    moved = get(host, f"{URL}/again?x=1")
    assert (moved.status, moved.headers["location"]) == (301, f"{URL}/again/?x=1")
    assert get(host, f"{URL}/again/").json()["script"] == "/again/index.php"
    assert get(host, f"{URL}/again/plain.txt").body == "plain\n"
    # What is not there is not the front controller's, as under Apache.
    assert get(host, f"{URL}/again/nothing").status == 404
    assert get(host, f"{URL}/again/nothing.php").status == 404


@pytest.mark.parametrize("path", ["/againplain.txt", "/again../hello/plain.txt", "/again/../../etc/passwd"])
def test_an_alias_ends_where_it_ends(host: t.Any, path: str) -> None:
    answer = get(host, URL + path, "--path-as-is")
    assert answer.status == 400 or answer.json()["uri"] == path


HIDDEN = ["library.inc", "old.phtml", ".env", "UPPER.PHP", "copy.php.bak", "copy.php~", "five.php5", "x.phar", "x.pht"]


@pytest.mark.parametrize("below", ["", "/again"])
@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("tail", ["", "/", "/x", "%00", "%00.txt", "%20", "?x=.txt"])
def test_source_and_hidden_files_are_not_served(host: t.Any, below: str, name: str, tail: str) -> None:
    run(host, f"test -e '/srv/hello/{name}' || cp /srv/hello/library.inc '/srv/hello/{name}'")
    answer = get(host, f"{URL}{below}/{name}{tail}")
    assert "xyzzy" not in answer.body
    assert "SECRET" not in answer.body
    if tail in ("", "?x=.txt"):
        assert answer.status in (403, 404)


@pytest.mark.parametrize("tail", ["%00", "%00.txt", "%20", ".", "::$DATA", "~"])
def test_a_scripts_name_with_something_behind_is_not_its_source(host: t.Any, tail: str) -> None:
    for url in (URL, f"{URL}/again", WITHOUT_CONTROLLER):
        assert "<?php" not in get(host, f"{url}/index.php{tail}").body


@pytest.mark.parametrize("url", [URL, f"{URL}/again", WITHOUT_CONTROLLER])
@pytest.mark.parametrize(
    "path", ["/picture.jpg/x.php", "/picture.jpg/.php", "/picture.jpg%00.php", "/picture.jpg%20.php"]
)
def test_only_scripts_run(host: t.Any, url: str, path: str) -> None:
    assert "executed" not in get(host, url + path).body
    assert "echo 'executed'" in get(host, f"{url}/picture.jpg").body


@pytest.mark.parametrize("path", ["/doc/x.php", "/doc/x.php/more", "/doc/X.PHP", "/again/shut/index.php"])
def test_no_php_runs_where_it_is_denied(host: t.Any, path: str) -> None:
    run(host, "install -D -m 0644 /srv/hello/index.php /srv/hello/shut/index.php")
    answer = get(host, URL + path)
    assert answer.status == 403
    # It is the place that is denied.
    assert get(host, f"{URL}/shut/index.php").status == 200


def test_a_link_to_somebody_elses_file_is_not_followed(host: t.Any) -> None:
    run(host, "ln -sf /etc/passwd /srv/hello/stolen.txt && chown -h hello /srv/hello/stolen.txt")
    run(host, "ln -sf plain.txt /srv/hello/own.txt")
    assert get(host, f"{WITHOUT_CONTROLLER}/stolen.txt").status == 404
    assert get(host, f"{URL}/again/stolen.txt").status == 403
    assert get(host, f"{URL}/own.txt").body == "plain\n"


def test_a_stopped_pool_is_502_and_never_source(host: t.Any) -> None:
    run(host, "systemctl stop php8.2-fpm.service")
    try:
        for path in ("/index.php", "/", "/some/page", "/again/index.php", "/again/"):
            answer = get(host, URL + path)
            assert answer.status == 502
            assert "<?php" not in answer.body
        assert get(host, f"{URL}/plain.txt").status == 200
    finally:
        run(host, "systemctl start php8.2-fpm.service")
    assert get(host, f"{URL}/index.php").status == 200


@pytest.mark.parametrize("path", ["/fpm-status", "/fpm-ping"])
def test_the_status_page_is_not_published(host: t.Any, path: str) -> None:
    assert get(host, f"{WITHOUT_CONTROLLER}{path}").status == 404
    assert get(host, f"{URL}{path}").json()["uri"] == path


def test_a_pool_does_not_run_from_the_shared_cache_what_it_may_not_read(host: t.Any) -> None:
    run(host, "echo '<?php echo \"private\";' > /srv/hello/own.php && touch -d '1 hour ago' /srv/hello/own.php")
    run(host, "chown hello /srv/hello/own.php && chmod 0400 /srv/hello/own.php")
    # OPcache has it from the second request on.
    assert [get(host, f"{URL}/own.php").body for _attempt in range(4)] == ["private"] * 4
    assert "private" not in get(host, f"{WITHOUT_CONTROLLER}/own.php").body


@pytest.mark.parametrize("chunked", [[], ["--header", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_a_body_arrives_whole_up_to_its_limit(host: t.Any, chunked: list[str]) -> None:
    run(host, "head -c 100000 /dev/zero > /root/small; head -c 20971521 /dev/zero > /root/large")
    assert get(host, f"{URL}/index.php", *chunked, "--data-binary", "@/root/small").json()["body"] == 100000
    answer = get(host, f"{URL}/index.php", *chunked, "--header", "Expect:", "--data-binary", "@/root/large")
    assert answer.status == 413
