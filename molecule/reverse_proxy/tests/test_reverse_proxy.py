# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who listens where, and what goes to whom. What is kept, and for whom: tests/daemons/test_reverse_proxy.py."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from onhost import get, run, socket_access, tcp_listeners

URL, OLD = "http://127.0.0.1:8106", "http://127.0.0.1:8107"
LOG, OLD_LOG = "/var/log/apache2-event/front-10106.access.log", "/var/log/apache2-prefork/old-10107.access.log"


def asked(host: t.Any, path: str, log: str = LOG) -> int:
    """How often Apache was asked for this."""
    return sum(f" {path} HTTP" in line for line in run(host, f"cat {log}").splitlines())


def test_config_test_has_no_warning(host: t.Any) -> None:
    done = host.run("nginx -t")
    assert done.rc == 0
    assert "[warn]" not in done.stderr


def test_only_nginx_listens_to_the_world(host: t.Any) -> None:
    listeners = {address for address in tcp_listeners(host) if re.search(r":(8|10)10[67]$", address)}
    assert {"0.0.0.0:8106", "[::]:8106", "0.0.0.0:8107", "[::]:8107"} <= listeners
    assert listeners - {"0.0.0.0:8106", "[::]:8106", "0.0.0.0:8107", "[::]:8107"} == {
        "127.0.0.1:10106",
        "127.0.0.1:10107",
    }


def test_an_apache_of_each_kind_runs_the_program(host: t.Any) -> None:
    event, prefork = get(host, f"{URL}/index.php").json(), get(host, f"{OLD}/index.php").json()
    assert (event["sapi"], event["user"]) == ("fpm-fcgi", "hello")
    assert (prefork["sapi"], prefork["user"]) == ("apache2handler", "www-data")
    assert socket_access(host, "/run/php/front.sock") == "socket root www-data 660"


def test_a_file_comes_from_disk_and_apache_knows_nothing_of_it(host: t.Any) -> None:
    answer = get(host, f"{URL}/plain.txt")
    assert (answer.status, answer.body) == (200, "plain\n")
    assert answer.headers["cache-control"] == "max-age=3600"
    assert "x-cache-status" not in answer.headers
    assert get(host, f"{URL}/doc/base-files/FAQ.txt").status in (200, 404)
    assert asked(host, "/plain.txt") == 0


def test_a_file_that_is_not_there_is_the_applications(host: t.Any) -> None:
    assert get(host, f"{URL}/made.css?x=1").json()["uri"] == "/made.css?x=1"
    assert asked(host, "/made.css?x=1") == 1


def test_a_file_of_another_kind_is_apaches(host: t.Any) -> None:
    assert get(host, f"{URL}/doc/base-files/copyright").status == 200
    assert asked(host, "/doc/base-files/copyright") == 1


@pytest.mark.parametrize("url", [URL, OLD])
@pytest.mark.parametrize(
    "path", ["/library.inc", "/old.phtml", "/.env", "/doc/x.php", "/index.php%20", "/index.php/x.css", "/index.php~"]
)
def test_source_and_hidden_files_are_not_served(host: t.Any, url: str, path: str) -> None:
    run(host, "cp /srv/hello/index.php /srv/hello/index.php~")
    answer = get(host, url + path)
    assert "<?php" not in answer.body
    assert "xyzzy" not in answer.body
    assert "SECRET" not in answer.body


def test_a_link_to_what_is_somebody_elses_is_not_followed(host: t.Any) -> None:
    run(host, "ln -sf /etc/hostname /srv/hello/theirs.txt && chown -h hello /srv/hello/theirs.txt")
    assert get(host, f"{URL}/theirs.txt").status == 403


def test_the_site_reaches_php(host: t.Any) -> None:
    answer = get(host, f"{URL}/index.php/a/b?x", "--user", "a:b").json()
    assert (answer["colour"], answer["upload"], answer["path_info"]) == ('deep "blue"', "20M", "/a/b")
    assert answer["authorization"].startswith("Basic ")


@pytest.mark.parametrize(("url", "log"), [(URL, LOG), (OLD, OLD_LOG)])
def test_who_the_visitor_is_only_nginx_says(host: t.Any, url: str, log: str) -> None:
    run(host, "echo '<?php echo json_encode($_SERVER);' > /srv/hello/server.php")
    says = [
        "-HX-Forwarded-For: 192.0.2.66",
        "-HX-Forwarded-Proto: https",
        "-HX-Forwarded-Host: evil.example",
        "-HForwarded: for=192.0.2.66",
    ]
    seen = get(
        host, f"{url.replace('127.0.0.1', '127.0.0.9')}/server.php?who", "--interface", "127.0.0.8", *says
    ).json()
    assert seen["REMOTE_ADDR"] == "127.0.0.8"
    assert "HTTPS" not in seen
    assert not {"HTTP_X_FORWARDED_HOST", "HTTP_FORWARDED"} & set(seen)
    assert "192.0.2.66" not in json.dumps(seen)
    assert re.search(r"^127\.0\.0\.8 .*/server\.php\?who", run(host, f"cat {log}"), flags=re.MULTILINE)
    # Past nginx nobody is believed either, but for the proxy's own address.
    run(
        host,
        f"curl --silent --interface 127.0.0.8 --header 'X-Forwarded-For: 192.0.2.77' {url[:-4]}10{url[-3:]}/server.php",
    )
    assert "192.0.2.77" not in run(host, f"cat {log}")


def test_a_second_visitor_gets_what_the_first_one_got(host: t.Any) -> None:
    answers = [get(host, f"{URL}/index.php?kept") for _visitor in range(3)]
    assert [answer.headers["x-cache-status"] for answer in answers] == ["MISS", "HIT", "HIT"]
    assert asked(host, "/index.php?kept") == 1
    kept = run(host, "grep -rla '^KEY: http://127.0.0.1:8106/index.php?kept' /var/cache/nginx-front").split()
    assert run(host, f"stat --format '%U %a' {kept[0]}").strip() == "www-data 600"


def test_purge_removes_it_and_not_from_everywhere(host: t.Any) -> None:
    url = f"{URL}/index.php?purge"
    assert [get(host, url).headers["x-cache-status"] for _visitor in range(2)] == ["MISS", "HIT"]
    assert get(host, url, "--request", "PURGE", "--interface", "127.0.0.8").status == 403
    assert get(host, url).headers["x-cache-status"] == "HIT"
    assert get(host, url, "--request", "PURGE").status == 200
    assert get(host, url).headers["x-cache-status"] == "MISS"
    # By hand, as the README says: nginx notices that the file is gone.
    run(host, "grep -rlaZ '^KEY: http://127.0.0.1:8106/index.php?purge' /var/cache/nginx-front | xargs -0 rm")
    assert get(host, url).headers["x-cache-status"] == "MISS"


def test_without_a_cache_nothing_is_kept(host: t.Any) -> None:
    answers = [get(host, f"{OLD}/index.php?kept") for _visitor in range(2)]
    assert not any("x-cache-status" in answer.headers for answer in answers)
    assert asked(host, "/index.php?kept", OLD_LOG) == 2


def test_a_stopped_apache_is_502_on_its_port_only(host: t.Any) -> None:
    assert get(host, f"{URL}/index.php?before").status == 200
    run(host, "systemctl stop apache2@event.service")
    try:
        assert get(host, f"{URL}/index.php?never-asked").status == 502
        assert get(host, f"{URL}/plain.txt").status == 200
        assert get(host, f"{URL}/index.php?before").headers["x-cache-status"] == "HIT"
        assert get(host, f"{OLD}/index.php").status == 200
    finally:
        run(host, "systemctl start apache2@event.service")
    assert get(host, f"{URL}/index.php?never-asked").status == 200
