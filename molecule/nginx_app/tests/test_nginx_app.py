# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shlex
import typing as t

import pytest
from onhost import get, main_pid, may_connect, run, socket_access, tcp_listeners, unix_listeners

#: Over TCP, the service has its port in its name.
UNITS = {"js": "app@js", "python": "app@python", "java": "app@java-9103", "ruby": "app@ruby"}
SITES = {"js": 8101, "python": 8102, "java": 8103, "ruby": 8104}
#: Asks again and again while something else happens, and says how many answers it did not get.
CLIENT = "n=0; for i in $(seq 60); do curl -fso /dev/null -m 20 http://127.0.0.1:{}/whoami || n=$((n+1)); done; echo $n"
#: Two visitors of the chat: what the one says, the other hears.
CHAT = """
const {WebSocket} = require("ws");
const [one, other] = [1, 2].map(() => new WebSocket("ws://127.0.0.1:8101/chat"));
other.on("message", (words) => { if (String(words) === "xyzzy") { console.log("heard"); process.exit(0); } });
let open = 0;
for (const each of [one, other]) each.on("open", () => { if (++open === 2) one.send("xyzzy"); });
setTimeout(() => process.exit(1), 10000);
"""


def test_config_test_has_no_warning(host: t.Any) -> None:
    done = host.run("nginx -t")
    assert done.rc == 0
    assert "[warn]" not in done.stderr


@pytest.mark.parametrize("site", SITES)
def test_the_process_that_answers_is_the_sites_service(host: t.Any, site: str) -> None:
    answer = get(
        host, f"http://127.0.0.1:{SITES[site]}/whoami?nonce=%22%C3%A4%3C", "--header", "Accept: application/json"
    )
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert (found["site"], found["stack"], found["user"], found["nonce"]) == (site, "nginx_app", site, '"ä<')
    pid = main_pid(host, f"{UNITS[site]}.service")
    assert pid in (found["pid"], found["ppid"])
    user, parent, threads = run(host, f"ps --no-headers -o user:32=,ppid=,nlwp= {found['pid']}").split()
    assert (user, int(parent), int(threads)) == (site, found["ppid"], found["threads"])
    assert set(run(host, f"ps --no-headers -o user:32 --ppid {pid} || true").split()) <= {site}


@pytest.mark.parametrize("site", SITES)
def test_the_page_for_people_escapes_what_it_echoes(host: t.Any, site: str) -> None:
    answer = get(host, f"http://127.0.0.1:{SITES[site]}/whoami?nonce=%3Cscript%3E")
    assert answer.headers["content-type"].lower().replace(" ", "") == "text/html;charset=utf-8"
    assert "<script>" not in answer.body
    assert "script" in answer.body
    assert "Who served me" in answer.body


@pytest.mark.parametrize("site", ["js", "python", "ruby"])
def test_the_socket_is_the_front_servers_and_nobody_elses(host: t.Any, site: str) -> None:
    path = f"/run/app/{site}/www-data/http.sock"
    assert path in unix_listeners(host)
    assert socket_access(host, path).split()[:3] == ["socket", site, "www-data"]
    assert may_connect(host, "www-data", path)
    assert not may_connect(host, "java", path)
    assert get(host, "http://localhost/whoami", "--unix-socket", path).status == 200


def test_a_site_over_tcp_listens_on_the_host_itself_alone(host: t.Any) -> None:
    assert {address for address in tcp_listeners(host) if address.endswith(":9103")} & {
        "127.0.0.1:9103",
        "[::ffff:127.0.0.1]:9103",
    }
    assert get(host, "http://127.0.0.1:8103/examples/servlets/servlet/HelloWorldExample").status == 200


def test_a_websocket_goes_through(host: t.Any) -> None:
    for path in ("8101/chat", "8103/examples/websocket/echoProgrammatic"):
        # The pair of key and answer is that of RFC 6455.
        headers = "-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13'"
        key = "-H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='"
        said = host.run(
            f"curl --silent --http1.1 --include --max-time 2 {headers} {key} http://127.0.0.1:{path}"
        ).stdout
        assert said.startswith("HTTP/1.1 101"), said
        assert "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in said
    assert run(host, f"cd /usr/share/nodejs && node -e {shlex.quote(CHAT)}").strip() == "heard"


def test_events_come_one_by_one(host: t.Any) -> None:
    # The stream does not end by itself: what came, came while it was open.
    lines = run(host, "curl --silent --no-buffer --max-time 20 http://127.0.0.1:8101/events | head -n 3").splitlines()
    assert [line[:5] for line in lines] == ["data:", "", "data:"]


def test_what_is_written_is_there_for_the_next(host: t.Any) -> None:
    post = ("--data-urlencode", "text=<b>Grüße</b>")
    assert get(host, "http://127.0.0.1:8104/", *post).status == 303
    assert "&lt;b&gt;Grüße&lt;" in get(host, "http://127.0.0.1:8104/").body


def test_the_client_cannot_say_who_it_is(host: t.Any) -> None:
    found = get(host, "http://127.0.0.1:8101/whoami?format=json", "--header", "X-Forwarded-For: 203.0.113.9").json()
    assert found["peer"] == "127.0.0.1"


@pytest.mark.parametrize("site", ["python", "ruby"])
def test_a_restart_loses_no_request_where_systemd_holds_the_socket(host: t.Any, site: str) -> None:
    before = main_pid(host, f"{UNITS[site]}.service")
    restart = f"for i in 1 2; do systemctl restart app@{site}.service; done"
    assert run(host, f"({CLIENT.format(SITES[site])}) & {restart}; wait").split() == ["0"]
    assert main_pid(host, f"{UNITS[site]}.service") != before


def test_a_reload_takes_new_code_and_loses_no_request(host: t.Any) -> None:
    main = main_pid(host, "app@python.service")
    worker = get(host, "http://127.0.0.1:8102/whoami?format=json").json()["pid"]
    assert run(host, f"({CLIENT.format(8102)}) & systemctl reload app@python.service; wait").split() == ["0"]
    assert main_pid(host, "app@python.service") == main
    run(host, f"for i in $(seq 100); do ps -o pid= -p {worker} || exit 0; sleep 0.1; done; exit 1")


@pytest.mark.parametrize("site", SITES)
def test_a_stopped_program_is_502_on_its_port_only(host: t.Any, site: str) -> None:
    units = f"{UNITS[site]}.service" + (f" {UNITS[site]}.socket" if site in ("python", "ruby") else "")
    run(host, f"systemctl stop {units}")
    try:
        # Ended when it was asked to, and not by force after a time-out.
        assert run(host, f"systemctl show --property Result --value {UNITS[site]}.service").strip() == "success"
        assert get(host, f"http://127.0.0.1:{SITES[site]}/").status == 502
        assert {
            get(host, f"http://127.0.0.1:{port}/whoami").status for other, port in SITES.items() if other != site
        } == {200}
        assert get(host, "http://127.0.0.1:8101/doc/base-files/copyright").status == 200
    finally:
        run(host, f"systemctl start {units}")
    ask = f"curl -fso /dev/null http://127.0.0.1:{SITES[site]}/whoami"
    run(host, f"for i in $(seq 300); do {ask} && exit 0; sleep 0.1; done; exit 1")


def test_all_of_them_together_are_small(host: t.Any) -> None:
    """Resident memory of all programs, in MiB: the lab has to stay small."""
    lines = run(host, f"ps --no-headers -o rss= -u {','.join(SITES)}").split()
    assert sum(map(int, lines)) / 1024 < 450
