# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board behind nginx and Apache: nothing is lost or doubled, whatever is reloaded or restarted."""

from __future__ import annotations

import functools
import json
import pathlib
import shutil
import typing as t
from concurrent import futures

import clients
import kosoku
import lab_docker
import pytest

from playbooks import Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROUNDS = 20
NGINX, APACHE, GEVENT = 8112, 8113, 8114
#: Fronts that give up a silent server after so many seconds; the server pings each 20.
SILENCE = {8121: ("nginx", 25), 8122: ("nginx", 10), 8123: ("apache", 25), 8124: ("apache", 10)}
HELD = 32
APPLICATION = {
    "path": "/srv/weblab/board",
    "module": "asgi:application",
    "packages": ["python3-starlette", "python3-redis", "python3-hiredis"],
    "environment": {"PREFIX": "/api"},
}
SITE: dict[str, t.Any] = {
    "stack": "realtime",
    "user": "board",
    "path": "/api/",
    "health_path": "/api/state",
    "application": APPLICATION,
    "static": [{"path": "/", "root": "/srv/weblab/board-page"}],
}
#: The same board in WSGI.
WSGI = {**APPLICATION, "module": "wsgi:application", "packages": ["python3-redis", "python3-hiredis"]}
#: One server behind two fronts: the second site has only its front. And uWSGI with gevent.
SITES = [
    {**SITE, "name": "board", "port": NGINX},
    {**SITE, "name": "board-apache", "port": APACHE, "front": "apache", "server_of": "board"},
    {**SITE, "name": "board-gevent", "port": GEVENT, "server": "uwsgi", "user": "board-gevent", "application": WSGI},
    *(
        {**SITE, "name": f"board-{port}", "port": port, "front": front, "server_of": "board", "timeout": timeout}
        for port, (front, timeout) in SILENCE.items()
    ),
]
VARIABLES: dict[str, t.Any] = {
    "weblab_applications": [{"role": "weblab.stacks.demo_board"}],
    "weblab_sites": SITES,
}


RELAY = 8199
RELAYED = (
    f"systemd-run -q --collect --unit=relay systemd-socket-activate --listen=127.0.0.1:{RELAY}"
    " /lib/systemd/systemd-socket-proxyd /run/app/board/www-data/http.sock"
)

Stands = t.Callable[[str], t.Tuple["Host", Stand]]


@pytest.fixture(scope="module")
def stands(new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> Stands:
    """A host of each release, made when it is asked for first; it stays until the last test of this file."""
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")

    @functools.cache
    def stand(release: str) -> tuple[Host, Stand]:
        made = new_module_host("realtime", release)
        made.shell("apt-get install -y -q --no-install-recommends python3-aiohttp curl")
        stand = Stand(made.name, tmp_path_factory.mktemp("realtime"))
        run = stand.play("site", VARIABLES)
        assert run.code == 0, run.output[-4000:]
        again = stand.play("site", VARIABLES)
        assert (again.code, again.recap("changed")) == (0, 0), again.output[-4000:]
        return made, stand

    return stand


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request: pytest.FixtureRequest, stands: Stands) -> Host:
    return stands(request.param)[0]


def test_no_message_is_lost_or_doubled(host: Host) -> None:
    """200 clients by all transports through both fronts, while one after the other is reloaded and restarted."""
    bases = [f"http://127.0.0.1:{port}/api" for port in (NGINX, APACHE)]
    options = [option for base in bases for option in ("--base", base)]
    units = [
        "reload nginx",
        "reload apache2@event",
        "reload app@board",
        "restart app@board",
        "restart app@board-broker",
    ]
    with clients.running(host, "readers", NGINX, *options) as seen:
        host.shell("sleep 2")
        for number in range(ROUNDS):
            host.shell(f"systemctl {units[number % len(units)]}; sleep 1")
    assert seen["readers"] == 200
    assert len(seen["sent"]) > 10 * ROUNDS
    assert seen["wrong"] == [], seen["ends"]
    # None of it was easy: streams ended, and were told that it is a restart.
    assert seen["ends"]["ws: close 1012"] >= 50
    assert seen["ends"]["sse: end"] >= 50
    assert seen["sent"] == list(range(seen["sent"][0], seen["sent"][-1] + 1))


def test_behind_uwsgi_with_gevent_nothing_is_lost_either(host: Host) -> None:
    base = f"http://127.0.0.1:{GEVENT}/api"
    units = [
        "reload nginx",
        "reload uwsgi@board-gevent",
        "restart uwsgi@board-gevent",
        "restart app@board-gevent-broker",
    ]
    with clients.running(host, "readers", GEVENT, "--base", base, "--clients", "60") as seen:
        host.shell("sleep 2")
        for unit in units * 2:
            host.shell(f"systemctl {unit}; sleep 1")
    assert seen["readers"] == 60
    assert len(seen["sent"]) > 50
    assert seen["wrong"] == [], seen["ends"]
    # A reload says so to who is connected.
    assert seen["ends"]["ws: close 1012"] >= 15
    assert seen["ends"]["sse: end"] >= 15


def ask(host: Host, port: int, path: str, *options: str) -> tuple[int, str]:
    done = host.run(
        "curl", "-s", "-m", "5", "-w", "\n%{http_code}", *options, f"http://127.0.0.1:{port}{path}", check=False
    )
    body, _line, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.mark.parametrize(("port", "server"), [(NGINX, "asgi"), (APACHE, "asgi"), (GEVENT, "uwsgi")])
def test_the_page_comes_from_the_front_and_the_rest_from_the_server(host: Host, port: int, server: str) -> None:
    status, page = ask(host, port, "/")
    assert (status, "board.js" in page) == (200, True)
    status, state = ask(host, port, "/api/state")
    assert (status, json.loads(state)["server"]) == (200, server)


@pytest.mark.parametrize("port", [NGINX, APACHE, GEVENT])
@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--data", "{"], 400, "no JSON"),
        (["--data", '{"key": "key-12345", "text": ""}'], 400, "empty"),
        (["--data-binary", "@/dev/shm/no-utf8"], 400, "no JSON"),
        (["--data", "[" * 16000], 400, "no JSON"),
        (["--data", '{"key": "key-12345", "text": "\\ud83d"}'], 400, "half of a character"),
        (["--data", '{"key": "key-12345", "text": "%s"}' % ("x" * 2001)], 400, "2001 characters"),
        (["--data", "@/dev/shm/large"], 413, "16384"),
        (["--data", '{"key": "key-12345", "text": "x"}', "-H", "Origin: http://evil.example"], 403, "evil.example"),
        (["--data", '{"key": "key-12345", "text": "x"}', "-H", "Origin: http://["], 403, "http://["),
    ],
    ids=[
        "broken", "empty", "no UTF-8", "deep", "a lone surrogate", "long", "too large", "another site's page",
        "an origin that is none",
    ],
)  # fmt: skip
def test_what_is_no_message_changes_nothing(host: Host, port: int, options: list[str], status: int, said: str) -> None:
    host.shell(
        "head -c 20000 /dev/zero | tr '\\0' x > /dev/shm/large; printf '{\"key\": \"\\377\"}' > /dev/shm/no-utf8"
    )
    before = json.loads(ask(host, port, "/api/state")[1])["last"]
    found, body = ask(host, port, "/api/messages", *options)
    assert (found, said in body) == (status, True), body
    assert json.loads(ask(host, port, "/api/state")[1])["last"] == before


@pytest.mark.parametrize("port", [NGINX, APACHE, GEVENT])
@pytest.mark.parametrize("question", ["wait=nan", "wait=inf", "wait=x", "interval=-nan", "after=1", "after=%00"])
def test_what_is_no_question_is_refused(host: Host, port: int, question: str) -> None:
    status, body = ask(host, port, f"/api/poll?{question}")
    assert status == 400, body


def misuse(host: Host, *words: str) -> dict[str, t.Any]:
    program = pathlib.Path(clients.__file__).with_name("misuse.py").read_text(encoding="utf-8")
    found: dict[str, t.Any] = json.loads(host.run("python3", "-", *words, stdin=program).stdout)
    return found


@pytest.mark.parametrize("port", [NGINX, APACHE])
@pytest.mark.parametrize(
    ("kind", "content", "code"),
    # RFC 6455, 7.4.1.
    [("1", "ff", 1007), ("2", "00ff", 1003), ("1", "x140000", 1009)],
    ids=["no UTF-8", "binary", "too large"],
)
def test_frames_that_are_no_messages_end_the_connection(
    host: Host, port: int, kind: str, content: str, code: int
) -> None:
    assert misuse(host, "frame", str(port), "/api/ws", kind, content)["code"] == code


@pytest.fixture(scope="module")
def relays() -> set[str]:
    """Hosts that have one."""
    return set()


#: What the server sends back is what it heard: one connection for each case.
ECHO = "/api/echo"
#: The Autobahn cases but for those about size and speed (9) and compression (12, 13), which the board does not have.
KOSOKU = "import sys; from kosoku._cli import main; sys.exit(main())"
CASES, LEFT_OUT = 247, ("9.*", "12.*", "13.*")


@pytest.mark.parametrize("way", ["nginx", "apache", "direct"])
def test_the_autobahn_cases(host: Host, relays: set[str], way: str) -> None:
    """Run on the host itself; the server's own socket is reached by systemd's relay."""
    port = {"nginx": NGINX, "apache": APACHE, "direct": RELAY}[way]
    if host.name not in relays:
        host.shell(f"mkdir -p /root/kosoku; {RELAYED}")
        lab_docker.must(["docker", "cp", "-q", str(pathlib.Path(kosoku.__file__).parent), f"{host.name}:/root/kosoku/"])
        relays.add(host.name)

    def run(*options: str) -> dict[str, dict[str, str]]:
        """Case -> what it found."""
        argv = ["python3", "-c", KOSOKU, *options, "-o", f"/root/{way}", f"127.0.0.1:{port}{ECHO}"]
        said = host.run("env", "PYTHONPATH=/root/kosoku", *argv, check=False)
        found: dict[str, t.Any] = json.loads(host.run("cat", f"/root/{way}/index.json").stdout or said.stderr)
        return dict(next(iter(found.values())))

    def failed(found: dict[str, dict[str, str]]) -> list[str]:
        good = {"OK", "NON-STRICT", "INFORMATIONAL"}
        return [case for case, seen in found.items() if {seen["behavior"], seen["behaviorClose"]} - good]

    found = run("-p", "4", *(word for cases in LEFT_OUT for word in ("-x", cases)))
    assert len(found) == CASES
    # They have limits of a second. On a busy machine one may need to be alone.
    again = {case: run("-i", case)[case] for case in failed(found)}
    assert len(again) < 10
    assert failed(again) == [], again


@pytest.mark.parametrize("port", [NGINX, APACHE])
def test_a_flood_over_one_connection_ends_it(host: Host, port: int) -> None:
    seen = misuse(host, "flood", str(port), "/api/ws", "200")
    assert (seen["code"], seen["reason"]) == (1008, "more than 10 messages a second")
    # What was taken before, is there for others.
    assert 20 <= len(seen["taken"]) < 100
    _status, found = ask(host, port, "/api/poll")
    assert json.loads(found)["messages"][-1]["n"] == seen["taken"][-1]


@pytest.mark.parametrize("port", [NGINX, GEVENT])
def test_many_connections_of_one_address_may_send_no_more_than_one(host: Host, port: int) -> None:
    seen = misuse(host, "crowd", str(port), "/api/ws", "10", "15")
    assert len(seen["answers"]) == 150
    taken = [answer for answer in seen["answers"] if answer["type"] == "sent"]
    refused = [answer for answer in seen["answers"] if answer["type"] == "refused"]
    # Each of two processes takes 20 at once, and 10 more each second.
    assert 0 < len(taken) <= 2 * (20 + 10 * seen["seconds"])
    assert {(answer["problem"], answer["wait"]) for answer in refused} == {("more than 10 messages a second", 1)}
    assert len({answer["key"] for answer in seen["answers"]}) == 150


def test_pings_keep_a_silent_connection_and_nginx_cuts_what_is_silent_for_longer(host: Host) -> None:
    """They come often enough for 25 seconds, and not for 10. Apache waits as long as the connection lives."""
    ports = [str(port) for port in SILENCE]
    assert misuse(host, "silent", ports[0], ECHO, str(HELD), *ports[1:])["heard"] == [True, False, True, True]


@pytest.mark.parametrize("port", [NGINX, APACHE])
def test_a_flood_of_requests_is_refused_whoever_they_say_they_come_from(host: Host, port: int) -> None:
    seen = misuse(host, "forged", str(port), "300")
    assert set(seen["statuses"]) == {201, 429}
    assert seen["retry"] == ["1"]
    # Each of the two processes takes 20 at once, and 10 more each second.
    assert seen["statuses"].count(201) <= 2 * (20 + 10 * seen["seconds"])


def test_who_does_not_read_is_dropped_and_costs_the_others_nothing(host: Host) -> None:
    """40 readers that read nothing, through both fronts, while 5.6 MB of news come."""
    seen = misuse(host, "slow", str(NGINX), str(APACHE))
    assert seen["good"] == [True] * 4
    assert seen["dropped"]
    # On a busy machine the unanswered ping may come first.
    assert {tuple(end) for end in seen["ends"]} <= {
        (4000, "nothing was read for 10 seconds"), (1011, "keepalive ping timeout"),
    }  # fmt: skip
    # Each process keeps 500 messages of 8 KB, as text and as event. What is sent to 40 readers would be 220,000 KiB.
    assert seen["grown"] < 60_000


@pytest.mark.parametrize("port", [NGINX, APACHE, GEVENT])
def test_pages_of_other_sites(host: Host, port: int) -> None:
    """The WebSocket is refused at once. Events may be asked for, and are not told (CORS, Fetch standard)."""
    key = "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Connection: Upgrade"
    upgrade = [word for line in (*key, "Upgrade: websocket") for word in ("-H", line)]
    own, foreign = f"Origin: http://127.0.0.1:{port}", "Origin: http://127.0.0.1:1"
    for origin, status in ((own, 101), (foreign, 403), ("Origin: null", 403), (own.replace("http:", "https:"), 403)):
        found, _body = ask(host, port, "/api/ws", *upgrade, "-H", origin, "-m", "1", "-o", "/dev/null")
        assert found == status, origin
    for path in ("/api/poll", "/api/events"):
        _status, answer = ask(host, port, path, "-i", "-N", "-m", "1", "-H", foreign)
        assert " 200" in answer.splitlines()[0]
        assert "access-control-allow-origin" not in answer.lower()


@pytest.mark.parametrize("port", [NGINX, APACHE, GEVENT])
def test_a_stream_goes_on_where_its_reader_was(host: Host, port: int) -> None:
    text = "line\nline\r\n\u2028 \U0001f600"
    cursors = []
    for number in range(3):
        sent = json.dumps({"key": f"resume-{port}-{number}", "text": f"{number} {text}"})
        status, answer = ask(host, port, "/api/messages", "--data", sent)
        assert status == 201, answer
        cursors.append(json.loads(answer)["cursor"])
    _status, stream = ask(host, port, "/api/events", "-N", "-m", "1.5", "-H", f"Last-Event-ID: {cursors[0]}")
    events = [event.split("\n") for event in stream.split("\n\n") if event.startswith("id:")]
    assert [event[0] for event in events] == [f"id: {cursor}" for cursor in cursors[1:]]
    assert [json.loads(event[1].removeprefix("data: "))["text"] for event in events] == [f"1 {text}", f"2 {text}"]


def test_two_readers_see_a_message_as_it_was_sent(host: Host) -> None:
    text = "<script>alert(1)</script> \u20ac \U0001f600 \u2028"
    sent = json.dumps({"key": "key-of-script", "by": "poll", "text": text})
    status, answer = ask(host, NGINX, "/api/messages", "--data", sent)
    assert status == 201
    # The same key is the same message, by whichever way it comes again.
    assert ask(host, APACHE, "/api/messages", "--data", sent) == (201, answer)
    for port in (NGINX, APACHE):
        _status, found = ask(host, port, "/api/poll")
        assert json.loads(found)["messages"][-1]["text"] == text


#: Streams held, what each of the experiment's sites says, and streams still held.
WATCH = """
held() { ss -Htn state established "( sport = :$1 )" | wc -l; }
page() { curl -s -m 2 -o /dev/null -w '%{http_code} ' http://127.0.0.1:$1/; }
if [ $(held 8118) = 0 ]; then sleep 0.5; echo 0 0 0 0 0; exit; fi
echo $(held 8118) $(page 8118) $(held 8118) $(held 8119) $(page 8119)
"""


@pytest.mark.parametrize("host", ["bookworm"], indirect=True)
def test_streams_starve_workers_and_the_event_loop_serves_on(host: Host, tmp_path: pathlib.Path) -> None:
    """The experiment, beside the board, watched by curl and ss."""
    stand = Stand(host.name, tmp_path)
    variables = {**VARIABLES, "weblab_lab_dir": str(tmp_path)}
    seen = []
    with futures.ThreadPoolExecutor() as pool:
        run = pool.submit(stand.play, "experiments/starve", variables, "-e", '{"starve_pause": 3}')
        while not run.done():
            seen.append([int(word) for word in host.shell(WATCH, check=False).stdout.split()])
    assert run.result().code == 0, run.result().output[-4000:]
    assert "it stops at 2, which hold all workers of the uWSGI starve-sync" in run.result().text
    # Held at the workers before and after the question, and their answer (0: none in 2 s); the same of the event loop.
    assert any((before, sync, after, loop) == (1, 200, 1, 200) for before, sync, after, _held, loop in seen), seen
    assert any(min(before, after) >= 2 and (sync, loop) == (0, 200) for before, sync, after, _held, loop in seen), seen
    assert any(held >= 300 and loop == 200 for _before, _sync, _after, held, loop in seen), seen
    assert json.loads((tmp_path / "starve.json").read_text())["stand"]["as_expected"]
    assert (
        host.shell("find /etc /srv /run -name '*starve*'; ss -Htln '( sport = :8118 or sport = :8119 )'").stdout == ""
    )
    again = stand.play("site", VARIABLES)
    assert (again.code, again.recap("changed")) == (0, 0), again.output[-4000:]


PASSWORD = "one-board-of-two-hosts"
SHARED = 8120
#: Says the text on a WebSocket, and waits until it hears it.
SAY = """
import asyncio, sys
import websockets

async def main(text):
    async with websockets.connect("ws://127.0.0.1:8120/api/ws") as socket:
        await socket.send('{"key": "%s", "by": "ws", "text": "%s"}' % (text, text))
        async for words in socket:
            if text in words:
                return

asyncio.run(asyncio.wait_for(main(sys.argv[1]), 10))
"""


def test_two_hosts_are_one_board(stands: Stands) -> None:
    """The broker of the first one listens for the second, where uWSGI serves: each hears what the other says."""
    (first, one), (second, other) = stands("bookworm"), stands("trixie")
    address = first.run("hostname", "-I").stdout.split()[0]
    site = {**SITE, "name": "shared", "port": SHARED, "user": "shared"}
    broker = {"broker_listen": {"address": address, "port": 16379, "password": PASSWORD}}
    url = {"broker_url": f"redis://:{PASSWORD}@{address}:16379/0", "server": "uwsgi", "application": WSGI}
    for stand, more in ((one, broker), (other, url)):
        run = stand.play("site", {**VARIABLES, "weblab_sites": [*SITES, {**site, **more}]}, "--diff", "-v")
        assert run.code == 0, run.output[-4000:]
        assert PASSWORD not in run.output
    for speaker, listener, text in ((first, second, "from-one-to-other"), (second, first, "from-other-to-one")):
        cursor = json.loads(ask(listener, SHARED, "/api/state")[1])["last"]
        with futures.ThreadPoolExecutor() as pool:
            url_of_poll = f"http://127.0.0.1:{SHARED}/api/poll?wait=20&after={cursor}"
            heard = pool.submit(listener.run, "curl", "-s", "-m", "25", url_of_poll)
            speaker.run("python3", "-c", SAY, text)
            assert text in heard.result().stdout
    # Who does not know the password gets nothing, and it is nowhere for everybody to read.
    without = second.run("python3", "-c", f"import redis; redis.Redis('{address}', 16379).get('x')", check=False)
    assert "Authentication required" in without.stderr
    for made in (first, second):
        assert PASSWORD not in made.run("ps", "-ww", "-eo", "args").stdout
        read = made.shell(f"runuser -u nobody -- grep -rsl {PASSWORD} /etc /run /srv /var/lib; true").stdout
        assert read.split() == []
