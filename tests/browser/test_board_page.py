# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board's page in Debian's Chromium, by four transports behind nginx and Apache, also where the network fails.

Screenshots are left in WEBLAB_ARTEFACTS, by default .lab/artefacts.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import shutil
import socket
import threading
import time
import typing as t

import jinja2
import pytest

from playbooks import Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost
    from playwright.sync_api import Browser, BrowserContext, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "demo_board"
ARTEFACTS = pathlib.Path(os.environ.get("WEBLAB_ARTEFACTS", ROOT / ".lab" / "artefacts"))
TRANSPORTS = ("poll", "long", "sse", "ws")
FRONTS = {"nginx": 8112, "apache": 8113}
TLS = {"nginx": 8115, "apache": 8116}
#: One that the probe believes.
CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost "
    "-keyout /etc/ssl/board.key -out /usr/local/share/ca-certificates/board.crt && update-ca-certificates"
)
EVIL = "<img src=x onerror='window.executed = true'><script>window.executed = true</script>"


class Foreign(t.NamedTuple):
    """Pages of two other origins: the board allows one of them."""

    listed: str
    other: str


class Board:
    """A host with the board behind both fronts."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.address = host.shell("hostname -I").stdout.split()[0]

    def url(self, front: str, scheme: str = "http") -> str:
        return f"{scheme}://{self.address}:{(TLS if scheme == 'https' else FRONTS)[front]}/"

    def post(self, text: str, origin: str = "") -> int:
        """Send a message from the host itself, and return the status."""
        message = json.dumps({"key": os.urandom(8).hex(), "by": "", "text": text})
        headers = ["-H", f"Origin: {origin}"] if origin else []
        url = f"http://127.0.0.1:{FRONTS['nginx']}/api/messages"
        done = self.host.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *headers, "--data", message, url)
        return int(done.stdout)


class Relay:
    """A network that can be cut: TCP connections to `target`, each way in a thread of its own."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def restore(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()


class _Blank(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, *args: t.Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def foreign() -> t.Iterator[Foreign]:
    with contextlib.ExitStack() as stack:
        origins = []
        for _number in range(2):
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Blank))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            origins.append(f"http://127.0.0.1:{server.server_address[1]}")
        yield Foreign(*origins)


@pytest.fixture(scope="module")
def board(foreign: Foreign, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> Board:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("board-page")
    host.shell(f"apt-get install -y -q --no-install-recommends curl openssl ca-certificates && {CERTIFICATE}")
    site: dict[str, t.Any] = {
        "stack": "realtime",
        "user": "board",
        "path": "/api/",
        "health_path": "/api/state",
        "application": {
            "path": "/srv/weblab/board",
            "module": "asgi:application",
            "packages": ["python3-starlette", "python3-redis", "python3-hiredis"],
            "environment": {"PREFIX": "/api", "ORIGINS": foreign.listed},
        },
        "static": [{"path": "/", "root": "/srv/weblab/board-page"}],
    }
    tls = {"certificate": "/usr/local/share/ca-certificates/board.crt", "key": "/etc/ssl/board.key"}
    sites = [
        {**site, "name": "board", "port": FRONTS["nginx"]},
        {**site, "name": "board-apache", "port": FRONTS["apache"], "front": "apache", "server_of": "board"},
        *(
            {**site, "name": f"board-tls-{front}", "port": port, "front": front, "server_of": "board", "tls": tls}
            for front, port in TLS.items()
        ),
    ]
    variables = {"weblab_applications": [{"role": "weblab.stacks.demo_board"}], "weblab_sites": sites}
    run = Stand(host.name, tmp_path_factory.mktemp("board")).play("site", variables)
    assert run.code == 0, run.output[-4000:]
    return Board(host)


@pytest.fixture
def context(browser: Browser) -> t.Iterator[BrowserContext]:
    made = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
    yield made
    made.close()


def connected(page: Page, state: str = "up") -> None:
    page.wait_for_selector(f"#state[data-state={state}]")


def tabs(context: BrowserContext, url: str) -> dict[str, Page]:
    """A page for each transport."""
    found = {name: context.new_page() for name in TRANSPORTS}
    for name, page in found.items():
        page.goto(f"{url}?transport={name}")
        connected(page)
        # Chosen before the first answer: from now on the page tells what it has seen.
        page.wait_for_selector("#messages[aria-busy=false]", state="attached")
    return found


def say(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.keyboard.press("Enter")


def has(page: Page, *texts: str) -> None:
    """Each of these is there, once, in this order, and nothing was lost or doubled on the way."""
    for text in texts:
        playwright.expect(page.locator("#messages b").get_by_text(text, exact=True)).to_have_count(1, timeout=20_000)
    shown = page.locator("#messages b").all_text_contents()
    assert [text for text in shown if text in texts] == list(texts)
    numbers = [
        int(number or 0) for number in page.eval_on_selector_all("#messages li", "all => all.map((li) => li.dataset.n)")
    ]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert (page.inner_text("#lost"), page.inner_text("#doubled")) == ("0", "0")


def until(page: Page, expression: str) -> None:
    """Wait until it is true. (Playwright's own way needs ``eval``, which the page's policy forbids.)"""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def figure(page: Page, transport: str, what: str) -> str:
    return page.inner_text(f"#card-{transport} [data-live={what}]")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("front", FRONTS)
def test_all_four_send_and_receive(board: Board, context: BrowserContext, front: str, scheme: str) -> None:
    word = os.urandom(3).hex()
    pages = tabs(context, board.url(front, scheme))
    sockets: list[str] = []
    pages["ws"].on("websocket", lambda found: sockets.append(found.url))
    pages["ws"].reload()
    connected(pages["ws"])
    assert [url.split("?")[0] for url in sockets] == [pages["ws"].url.split("?")[0].replace("http", "ws") + "api/ws"]
    texts = []
    for name, page in pages.items():
        texts.append(f"{word}, by {name} {EVIL}")
        say(page, texts[-1])
        has(pages["long" if name == "ws" else "ws"], texts[-1])
    for name, page in pages.items():
        has(page, *texts)
        # Text, and nothing else.
        assert page.evaluate(
            "[window.executed === undefined, document.querySelectorAll('#messages img, #messages script').length]"
        ) == [True, 0]
        title = page.inner_text(f"#card-{name} b")
        playwright.expect(page.locator("#messages li.mine small")).to_contain_text(f"{title} \u2192 {title}, ")
        # Figures are written some times a second.
        playwright.expect(page.locator(f"#card-{name} [data-live=delay]")).to_contain_text(" ms")
        if name != "poll":
            playwright.expect(page.locator(f"#card-{name} [data-live=held]")).to_have_text("1")
        assert int(figure(page, name, "requests").replace(",", "")) >= 1
        assert int(figure(page, name, "bytes").replace(",", "")) > 300
        assert [figure(page, other, "requests") for other in TRANSPORTS if other != name] == ["0", "0", "0"]
    # The processes tell each other who is here; a reloaded page is counted twice for a moment.
    for name in TRANSPORTS:
        playwright.expect(pages["ws"].locator(f"#card-{name} [data-live=here]")).to_have_text("1", timeout=20_000)
    first = pages["long"].inner_text("#clock")
    playwright.expect(pages["long"].locator("#clock")).not_to_have_text(first)


@pytest.mark.parametrize("front", FRONTS)
def test_a_page_changes_its_transport_and_misses_nothing(board: Board, context: BrowserContext, front: str) -> None:
    word = os.urandom(3).hex()
    page, other = context.new_page(), context.new_page()
    page.goto(f"{board.url(front)}?transport=poll")
    other.goto(f"{board.url(front)}?transport=ws")
    connected(page)
    connected(other)
    texts = []
    page.focus("[name=transport][value=poll]")
    for number, name in enumerate((*TRANSPORTS[1:], *TRANSPORTS)):
        # One while it changes, and one afterwards.
        texts += [f"{word} before {number}", f"{word} after {number}"]
        say(other, texts[-2])
        page.focus("[name=transport]:checked")
        page.keyboard.press("ArrowDown")
        assert page.locator("[name=transport]:checked").input_value() == name
        say(other, texts[-1])
        has(page, *texts)
    while page.locator("[name=transport]:checked").input_value() != "poll":
        page.focus("[name=transport]:checked")
        page.keyboard.press("ArrowDown")
    page.focus("#interval")
    page.keyboard.press("Home")
    playwright.expect(page.locator("#seconds")).to_have_text("0.2")
    asked = int(figure(page, "poll", "requests"))
    until(page, f"Number(document.querySelector('#card-poll [data-live=requests]').textContent) > {asked + 10}")


@pytest.mark.parametrize("front", FRONTS)
def test_the_network_fails_and_comes_back(board: Board, context: BrowserContext, front: str) -> None:
    word = os.urandom(3).hex()
    relay = Relay((board.address, FRONTS[front]))
    pages = tabs(context, f"http://127.0.0.1:{relay.port}/")
    say(pages["ws"], f"{word}: before the cut")
    for page in pages.values():
        has(page, f"{word}: before the cut")
    relay.cut()
    assert board.post(f"{word}: meanwhile") == 201
    for page in pages.values():
        connected(page, "down")
    say(pages["sse"], f"{word}: said into the void")
    pages["sse"].screenshot(path=_artefact(f"board-cut-{front}"), full_page=True)
    assert pages["ws"].locator("#messages b").get_by_text(f"{word}: meanwhile").count() == 0
    relay.restore()
    for page in pages.values():
        has(page, *(f"{word}: {text}" for text in ("before the cut", "meanwhile", "said into the void")))
        connected(page)
    relay.cut()


@pytest.mark.parametrize("front", FRONTS)
def test_servers_restart_and_pages_come_again(board: Board, context: BrowserContext, front: str) -> None:
    word = os.urandom(3).hex()
    pages = tabs(context, board.url(front))
    texts = []
    for unit in (
        "restart app@board",
        f"reload {'nginx' if front == 'nginx' else 'apache2@event'}",
        "restart app@board-broker",
    ):
        texts.append(f"{word}: {unit}")
        board.host.shell(f"systemctl {unit}")
        say(pages["ws"], texts[-1])
        for page in pages.values():
            has(page, *texts)
    # The restart has cut what was open.
    for name in ("sse", "ws"):
        assert int(figure(pages[name], name, "requests")) >= 2
    # No server at all: the front says 502 or 503, and no browser asks again by itself for a stream that was refused.
    board.host.shell("systemctl stop app@board.socket app@board.service")
    try:
        for name in ("poll", "sse", "ws"):
            connected(pages[name], "down")
        until(pages["sse"], "board.transport.source.readyState === EventSource.CLOSED")
    finally:
        board.host.shell("systemctl start app@board.socket app@board.service")
    texts.append(f"{word}: there again")
    assert board.post(texts[-1]) in (201, 502, 503)
    for page in pages.values():
        connected(page)
    say(pages["long"], f"{word}: and again")
    for page in pages.values():
        has(page, f"{word}: and again")


def test_who_says_too_much_is_slowed_down_and_loses_nothing(board: Board, context: BrowserContext) -> None:
    """120 messages at once, from one address over four ways: more than is taken at once, and over one connection."""
    word = os.urandom(3).hex()
    pages = tabs(context, board.url("nginx"))
    heard: list[str] = []
    statuses: list[int] = []
    for page in pages.values():
        page.on("response", lambda answer: statuses.append(answer.status))
    pages["ws"].on("websocket", lambda found: found.on("framereceived", lambda text: heard.append(str(text))))
    pages["ws"].reload()
    connected(pages["ws"])
    for name, page in pages.items():
        page.evaluate(f"for (let i = 0; i < 30; i += 1) {{ send(`{word} {name} ${{i}}`); }}")
    expected = {f"{word} {name} {number}" for name in TRANSPORTS for number in range(30)}
    for page in pages.values():
        playwright.expect(page.locator("#messages b").get_by_text(word)).to_have_count(len(expected), timeout=60_000)
        shown = page.locator("#messages b").all_text_contents()
        assert sorted(text for text in shown if word in text) == sorted(expected)
        has(page)
    refused = [json.loads(text) for text in heard if '"refused"' in text]
    assert all(found["key"] and found["wait"] == 1 for found in refused)
    assert refused or 429 in statuses


def test_a_message_that_comes_twice_is_shown_once(board: Board, context: BrowserContext) -> None:
    """Servers do not send one twice; a page would not show it if they did, and would notice one that is missing."""
    page = context.new_page()
    page.goto(f"{board.url('nginx')}?transport=ws")
    connected(page)
    say(page, word := os.urandom(3).hex())
    has(page, word)
    again = (
        f"take('ws', {{messages: [{{cursor: board.cursor, n: board.last, text: '{word}', by: 'ws', at: 0, key: ''}}]}})"
    )
    page.evaluate(again)
    assert page.locator("#messages b").get_by_text(word).count() == 1
    assert (page.inner_text("#lost"), page.inner_text("#doubled")) == ("0", "1")
    next_one = again.replace("board.cursor", "`${Date.now() * 2}-0`").replace("n: board.last", "n: board.last + 3")
    page.evaluate(next_one)
    assert (page.inner_text("#lost"), page.inner_text("#doubled")) == ("2", "1")


ASKS = """async ([base, word]) => {
  const answer = (made) => made.then((value) => value, (error) => error.name);
  const opens = (target, close) => new Promise((done) => {
    target.onopen = () => { close(); done("open"); };
    target.onerror = () => { close(); done("refused"); };
  });
  const source = new EventSource(`${base}api/events`);
  const socket = new WebSocket(`${base.replace("http", "ws")}api/ws`);
  const events = opens(source, () => source.close()), connection = opens(socket, () => socket.close());
  const message = {key: `key-${Date.now()}`, by: "", text: `${word} from ${location.origin}`};
  return {
    fetch: await answer(fetch(`${base}api/poll`).then(async (found) => typeof (await found.json()).cursor)),
    post: await answer(fetch(`${base}api/messages`, {
      method: "POST", body: JSON.stringify(message), headers: {"Content-Type": "application/json"},
    }).then((found) => found.status)),
    plain: await answer(fetch(`${base}api/messages`, {
      method: "POST", mode: "no-cors", body: JSON.stringify({...message, key: `${message.key}-2`}),
    }).then((found) => found.type)),
    events: await events,
    socket: await connection,
  };
}"""


@pytest.mark.parametrize("front", FRONTS)
def test_pages_of_other_sites(board: Board, context: BrowserContext, foreign: Foreign, front: str) -> None:
    word = os.urandom(3).hex()
    ours, page = context.new_page(), context.new_page()
    ours.goto(f"{board.url(front)}?transport=ws")
    connected(ours)
    page.goto(foreign.other)
    refused = page.evaluate(ASKS, [board.url(front), word])
    # Without a question before it (no-cors) the request arrives; the server refuses it, and the page is told nothing.
    assert refused == {
        "fetch": "TypeError",
        "post": "TypeError",
        "plain": "opaque",
        "events": "refused",
        "socket": "refused",
    }
    page.goto(foreign.listed)
    allowed = page.evaluate(ASKS, [board.url(front), word])
    assert allowed == {"fetch": "string", "post": 201, "plain": "opaque", "events": "open", "socket": "open"}
    playwright.expect(ours.locator("#messages b").get_by_text(word)).to_have_text([f"{word} from {foreign.listed}"] * 2)


def test_frames_are_those_of_the_standard_and_of_the_wire(board: Board, context: BrowserContext) -> None:
    page = context.new_page()
    frames: list[str] = []
    page.on("websocket", lambda found: found.on("framesent", lambda payload: frames.append(str(payload))))
    page.goto(f"{board.url('nginx')}?transport=ws")
    connected(page)
    # RFC 6455, 5.7: a single-frame masked text message.
    assert page.locator("#frame code").all_text_contents() == ["81", "85", "37 fa 21 3d", "7f 9f 4d 51 58"]
    assert page.locator("#draft code").all_text_contents() == ["00", "48 65 6c 6c 6f", "ff"]
    for text in ("\u20ac", "x" * 200):
        say(page, text)
        playwright.expect(page.locator("#draft span").nth(1)).to_contain_text(text[:20])
        payload = frames[-1].encode()
        assert json.loads(payload)["text"] == text
        head, size, mask, masked = (
            bytes.fromhex(part.strip(" \u2026")) for part in page.locator("#frame code").all_text_contents()
        )
        assert head == b"\x81"
        assert size == (
            bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        )
        assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked)) == payload[:32]
        assert page.locator("#frame span").nth(1).inner_text() == f"MASK = 1, length = {len(payload)}"
    say(page, "\x1c")
    playwright.expect(page.locator("#problem")).to_have_text("Not accepted: the text is empty")
    assert page.input_value("#text") == "\x1c"


def _artefact(name: str) -> pathlib.Path:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    return ARTEFACTS / f"{name}.png"


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["desk", "phone"])
def test_looks_right(
    board: Board, browser: Browser, language: str, width: int, scheme: t.Literal["light", "dark"]
) -> None:
    loader = jinja2.FileSystemLoader(ROLE / "templates")
    template = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined).get_template("index.html.j2")
    texts = json.loads((ROLE / "files/lang" / f"{language}.json").read_text("utf-8"))
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    # Beside the page that the role has put there, in one language.
    html = template.render(texts=texts, host="localhost")
    board.host.run("tee", f"/srv/weblab/board-page/{language}.html", stdin=html)
    page.goto(f"{board.url('nginx')}{language}.html?transport=sse")
    connected(page)
    say(page, f"{language} {width} " + "W" * 120)
    playwright.expect(page.locator("#messages li.mine")).to_have_count(1)
    for name in ("long", "poll", "ws"):
        page.locator(f"#card-{name} label").first.click()
        until(page, f"counts.{name}.bytes > 0 || counts.{name}.held > 0")
    until(page, "counts.ws.bytes > 0")
    page.screenshot(path=_artefact(f"board-{width}-{scheme}-{language}"), full_page=True)
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth") == width, "the page can be moved sideways"
    assert "unsafe" not in (page.get_attribute("meta[http-equiv]", "content") or "unsafe")
    # Something is drawn in the lane of each transport that was used.
    drawn = page.evaluate(
        """() => [0, 1, 2, 3].map((lane) => {
          const {width, height} = canvas, part = height / 4;
          const pixels = context.getImageData(width / 2, lane * part + part / 2, width / 2, part / 2 - 6).data;
          return pixels.some((value) => value > 0);
        })"""
    )
    assert drawn == [True] * 4
    # What reads the page aloud has a name for everything that can be used.
    named = {
        ("textbox", texts["say"]),
        ("button", texts["send"]),
        ("list", texts["messages"]),
        ("img", texts["timeline"]),
    }
    for role, name in sorted(named | {("radio", texts["words"]["names"][transport]) for transport in TRANSPORTS}):
        playwright.expect(page.get_by_role(t.cast("t.Any", role), name=name, exact=True)).to_have_count(1)
    playwright.expect(page.get_by_role("slider", name=texts["interval"])).to_have_count(1)
    page.close()
