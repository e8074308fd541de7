# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import children, get, main_pid, run, tcp_listeners

URLS = {"one": "http://127.0.0.1:8094", "two": "http://127.0.0.1:8095", "hello": "http://127.0.0.1:8096"}


def test_the_instance_is_prefork_with_itk_and_php_inside(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-itk -M"), flags=re.MULTILINE))
    assert {"mpm_prefork", "mpm_itk", "php"} <= modules
    assert not {"mpm_event", "mpm_worker", "proxy_fcgi"} & modules
    done = host.run("apache2ctl-itk -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")


def test_debians_own_instance_does_not_run(host: t.Any) -> None:
    assert not host.service("apache2.service").is_running
    assert not host.service("apache2.service").is_enabled
    assert not any(address.endswith((":80", ":9096")) for address in tcp_listeners(host))


@pytest.mark.parametrize("user", URLS)
def test_each_site_is_served_by_its_user(host: t.Any, user: str) -> None:
    # The process that holds the connection is there for as long as the connection is: ps looks while curl keeps it.
    script = f"""
import http.client, json, subprocess
client = http.client.HTTPConnection("{URLS[user].removeprefix("http://")}")
client.request("GET", "/?format=json")
answer = json.loads(client.getresponse().read())
line = subprocess.check_output(["ps", "-o", "user:32=,ppid=,nlwp=", "-p", str(answer["pid"])], text=True)
print(json.dumps([answer["user"], *line.split()]))
"""
    done = host.run("python3 -c %s", script)
    assert done.rc == 0, done.stderr
    said, shown, parent, threads = re.findall(r'"([^"]+)"', done.stdout)
    assert (said, shown, threads) == (user, user, "1")
    # Its parent is one of Apache's children, which wait for the next connection.
    assert run(host, f"ps --no-headers -o ppid {parent}").strip() == str(main_pid(host, "apache2@itk.service"))


def test_a_connection_costs_a_fork_and_a_request_on_it_does_not(host: t.Any) -> None:
    url = f"{URLS['one']}/?format=json"
    kept = re.findall(r'"pid":(\d+)', run(host, f"curl --silent '{url}' '{url}' '{url}'"))
    new = [get(host, url).json()["pid"] for _connection in range(3)]
    assert (len(kept), len(set(kept))) == (3, 1)
    assert len({*new, int(kept[0])}) == 4


def test_those_who_wait_have_only_the_rights_to_become_a_user(host: t.Any) -> None:
    parent = main_pid(host, "apache2@itk.service")
    assert set(children(host, parent)) == {"www-data"}
    # CAP_DAC_READ_SEARCH, CAP_SETGID, CAP_SETUID, CAP_SYS_NICE: bits 2, 6, 7 and 23 (capabilities(7)).
    child = run(host, f"pgrep --newest --parent {parent}").strip()
    permitted = int(run(host, f"awk '/^CapPrm/ {{print $2}}' /proc/{child}/status"), 16)
    assert permitted == 1 << 2 | 1 << 6 | 1 << 7 | 1 << 23


@pytest.mark.parametrize(("site", "other"), [("one", "two"), ("two", "one")])
def test_two_sites_cannot_read_each_others_files(host: t.Any, site: str, other: str) -> None:
    assert get(host, f"{URLS[site]}/?format=json").json()["notes"] == {site: True, other: False}
    assert host.file(f"/srv/weblab/neighbours/{site}").mode == 0o700
    denied = host.run(f"runuser -u {site} -- cat /srv/weblab/neighbours/{other}/note")
    assert "Permission denied" in denied.stderr
    page = get(host, f"{URLS[site]}/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<td>{site}</td>" in page.body


def test_a_site_does_not_run_from_the_shared_cache_what_it_may_not_read(host: t.Any) -> None:
    code = "<?php return 'private';"
    root = "/srv/weblab/neighbours/one/public"
    run(host, f'echo "{code}" > {root}/own.php; echo \'<?php echo include "own.php";\' > {root}/ask.php')
    run(host, f"chown one {root}/*.php; chmod 0600 {root}/*.php; touch -d '1 hour ago' {root}/*.php")
    # OPcache has it from the second request on.
    assert [get(host, f"{URLS['one']}/ask.php").body for _attempt in range(4)] == ["private"] * 4
    theft = f"<?php echo (@include '{root}/own.php') ?: 'nothing';"
    run(host, f'echo "{theft}" > /srv/hello/theft.php')
    assert get(host, f"{URLS['hello']}/theft.php").body == "nothing"


def test_what_the_site_gives_reaches_php(host: t.Any) -> None:
    answer = get(host, f"{URLS['hello']}/index.php/a/b", "--user", "a:b").json()
    assert (answer["sapi"], answer["colour"], answer["upload"]) == ("apache2handler", 'deep "blue"', "20M")
    assert (answer["path_info"], answer["authorization"][:6]) == ("/a/b", "Basic ")


@pytest.mark.parametrize("path", ["/library.inc", "/old.phtml", "/.env"])
def test_source_and_hidden_files_are_not_served(host: t.Any, path: str) -> None:
    answer = get(host, URLS["hello"] + path)
    assert answer.status == 403
    assert "xyzzy" not in answer.body


def test_only_scripts_run(host: t.Any) -> None:
    assert "executed" not in get(host, f"{URLS['hello']}/picture.jpg/x.php").body.replace("echo 'executed'", "")


def test_a_reload_goes_on_serving_as_the_sites_users(host: t.Any) -> None:
    parent = main_pid(host, "apache2@itk.service")
    run(host, "systemctl reload apache2@itk.service")
    assert get(host, f"{URLS['one']}/?format=json").json()["user"] == "one"
    assert main_pid(host, "apache2@itk.service") == parent


@pytest.mark.parametrize("chunked", [[], ["--header", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_a_body_arrives_whole_up_to_its_limit(host: t.Any, chunked: list[str]) -> None:
    run(host, "head -c 100000 /dev/zero > /root/small; head -c 20971521 /dev/zero > /root/large")
    assert get(host, f"{URLS['hello']}/index.php", *chunked, "--data-binary", "@/root/small").json()["body"] == 100000
    answer = get(host, f"{URLS['hello']}/index.php", *chunked, "--header", "Expect:", "--data-binary", "@/root/large")
    assert answer.status == 413
