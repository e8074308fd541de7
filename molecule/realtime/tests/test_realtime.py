# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from onhost import get, may_connect, run, socket_access, tcp_listeners, unix_listeners

SERVER = "/run/app/board/www-data/http.sock"
BROKER = "/run/app/board-broker/board/redis.sock"
PORTS = {"nginx": 8112, "apache": 8113}
#: Every front of every server: http and https, at the root and below a prefix.
PAGES = [
    "http://127.0.0.1:8112/",
    "http://127.0.0.1:8113/",
    "http://127.0.0.1:8114/",
    "https://127.0.0.1:8115/board/",
    "https://127.0.0.1:8116/board/",
    "http://127.0.0.1:8117/",
]
#: What is said by WebSocket, in Debian's own implementation of it, is heard at another front by all four transports.
TRANSPORTS = """
import asyncio, json, ssl, sys, urllib.request, uuid
import websockets

one, other = (page + "api/" for page in sys.argv[1:])
text = uuid.uuid4().hex
trust = ssl.create_default_context(cafile="/etc/board.crt")

def ask(path):
    return urllib.request.urlopen(other + path, timeout=20, context=trust)

cursor = json.load(ask("state"))["last"]

def polled(wait):
    place, heard = cursor, ""
    while text not in heard:
        heard = ask(f"poll?after={place}&wait={wait}").read().decode()
        place = json.loads(heard)["cursor"]

def streamed():
    with ask(f"events?after={cursor}") as lines:
        for line in lines:
            if text in line.decode():
                return
    raise SystemExit("the stream has ended")

def connected(base):
    secure = {"ssl": trust} if base.startswith("https") else {}
    return websockets.connect(base.replace("http", "ws", 1) + "ws", **secure)

async def main():
    loop = asyncio.get_running_loop()
    async with connected(one) as speaker, connected(other) as listener:
        heard = [loop.run_in_executor(None, polled, 20), loop.run_in_executor(None, streamed)]
        await speaker.send(json.dumps({"key": text, "by": "ws", "text": text}))
        async for words in listener:
            if text in words:
                break
        await asyncio.gather(*heard, loop.run_in_executor(None, polled, 0))

asyncio.run(asyncio.wait_for(main(), 20))
"""


@pytest.mark.parametrize("front", PORTS)
def test_the_page_is_the_fronts_and_the_rest_the_servers(host: t.Any, front: str) -> None:
    assert "board.js" in get(host, f"http://127.0.0.1:{PORTS[front]}/").body
    state = json.loads(get(host, f"http://127.0.0.1:{PORTS[front]}/api/state").body)
    workers = run(host, "pgrep --parent $(systemctl show -P MainPID app@board)").split()
    assert str(state["pid"]) in workers


def test_who_runs_what_and_may_connect_to_whom(host: t.Any) -> None:
    assert run(host, "ps -o user= -p $(systemctl show -P MainPID app@board)").strip() == "board"
    assert run(host, "ps -o user= -p $(systemctl show -P MainPID app@board-broker)").strip() == "board-broker"
    assert [user for user in ("www-data", "board", "nobody") if may_connect(host, user, BROKER)] == ["board"]
    assert [user for user in ("www-data", "nobody") if may_connect(host, user, SERVER)] == ["www-data"]
    assert {SERVER, BROKER} <= set(unix_listeners(host))
    assert {address.rpartition(":")[2] for address in tcp_listeners(host)} == {str(port) for port in range(8112, 8118)}


@pytest.mark.parametrize(
    ("one", "other"),
    # The two fronts of each server, both ways.
    [(PAGES[one], PAGES[other]) for one, other in ((0, 1), (1, 0), (3, 4), (4, 3), (2, 5), (5, 2))],
)
def test_what_one_page_says_the_other_hears_by_all_transports(host: t.Any, one: str, other: str) -> None:
    host.run_test("python3 -c %s %s %s", TRANSPORTS, one, other)


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_other_sites_may_not_write(host: t.Any, page: str) -> None:
    words = ["--cacert", "/etc/board.crt", "--data", '{"key": "key-of-evil", "text": "x"}']
    url = f"{page}api/messages"
    assert get(host, url, *words, "-H", "Origin: http://evil.example").status == 403
    # With its own origin, as a browser sends it, a page may.
    assert get(host, url, *words, "-H", f"Origin: {page.partition('/board')[0].rstrip('/')}").status == 201


def test_uwsgi_has_a_greenlet_for_each_client(host: t.Any) -> None:
    state = get(host, f"{PAGES[2]}api/state").json()
    workers = run(host, "pgrep --parent $(systemctl show -P MainPID uwsgi@board-gevent)").split()
    assert state["server"] == "uwsgi"
    assert str(state["pid"]) in workers
    assert socket_access(host, "/run/uwsgi/board-gevent/www-data/http.sock") == "socket board-gevent www-data 660"


@pytest.mark.parametrize("front", PORTS)
def test_events_come_as_they_happen(host: t.Any, front: str) -> None:
    # More than one within the time of curl: nothing keeps them back until there are many.
    heard = host.run(f"curl -sN -m 3 http://127.0.0.1:{PORTS[front]}/api/events").stdout
    assert heard.startswith("retry: 500\n\n")
    assert heard.count("event: clock\n") >= 2


def test_the_environment_is_nobodys_business(host: t.Any) -> None:
    assert socket_access(host, "/etc/app-service/board.env") == "regular file root root 600"
