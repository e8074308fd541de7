# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The index page in a real browser: Debian's Chromium, on a desk and on a phone, by day and by night.

Screenshots are left in WEBLAB_ARTEFACTS, by default .lab/artefacts.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import pathlib
import threading
import typing as t
import urllib.parse

import index_page
import pytest

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARTEFACTS = pathlib.Path(os.environ.get("WEBLAB_ARTEFACTS", ROOT / ".lab" / "artefacts"))
#: Words of the drawings that are cut off, or lie outside of their box.
OUTSIDE = """() => [...document.querySelectorAll('.card > svg text')].filter((text) => {
    const box = text.closest('.process, .box, .plug, .browser').querySelector('rect').getBoundingClientRect();
    const word = text.getBoundingClientRect();
    return word.width && (word.left < box.left - 1 || word.right > box.right + 1);
}).map((text) => text.textContent)"""
#: Height on the screen of the smallest words, in pixels.
SMALLEST = """() => Math.min(...[...document.querySelectorAll('.card > svg text')]
    .map((text) => text.getBoundingClientRect().height).filter((height) => height))"""
ALL = len(index_page.SITES)
DESK, PHONE = (1280, 900), (360, 740)
STATES = [
    f"/state/{site['site']}" + (f"/{page['name']}" if len(site["whoami"]) > 1 else "")
    for site in index_page.SITES
    for page in site["whoami"]
]


class Lab(http.server.ThreadingHTTPServer):
    """Serves a page, and answers for the stacks: with the next process id of a list, or with 502."""

    daemon_threads = True

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(directory)))
        self.pids = {path: [4000 + number] for number, path in enumerate(STATES)}
        self.stale = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Lab

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        if not address.path.startswith("/state/"):
            super().do_GET()
            return
        pids = self.server.pids.get(address.path, [])
        nonce = urllib.parse.parse_qs(address.query).get("nonce", [""])[0]
        answer = {"nonce": "old" if self.server.stale else nonce, "user": "someone", "hostname": "lab", "socket": None}
        if pids:
            answer["pid"] = str(pids[0])
            pids.append(pids.pop(0))
        body = json.dumps(answer).encode()
        self.send_response(200 if pids else 502)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: t.Any) -> None:
        """Quiet."""


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> t.Iterator[t.Callable[..., Lab]]:
    labs = []

    def start(language: str = "en", sites: list[dict[str, t.Any]] | None = None) -> Lab:
        index_page.write(tmp_path, language, sites)
        lab = Lab(tmp_path)
        labs.append(lab)
        threading.Thread(target=lab.serve_forever, daemon=True).start()
        return lab

    yield start
    for lab in labs:
        lab.shutdown()
        lab.server_close()


def _open(browser: Browser, url: str, size: tuple[int, int] = DESK, **options: t.Any) -> Page:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **options)
    page.goto(url)
    return page


def _wait_for_answers(page: Page) -> None:
    page.wait_for_function("!document.querySelector('.card[data-state=waiting]')")


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_looks_right(
    browser: Browser,
    serve: t.Callable[..., Lab],
    language: str,
    scheme: t.Literal["light", "dark"],
    size: tuple[int, int],
) -> None:
    lab = serve(language)
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(lab.url)
    _wait_for_answers(page)
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"index-{size[0]}-{scheme}-{language}.png", full_page=True)
    assert problems == []
    assert [url for url in requests if not url.startswith(lab.url)] == []
    assert page.evaluate("document.documentElement.scrollWidth") == size[0], "the page can be moved sideways"
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(SMALLEST) >= 9
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(colour.split("(")[1].split(",")[0]) < 128) == (scheme == "dark")
    page.close()


def test_shows_who_answered(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    lab = serve()
    lab.pids["/state/shop"] = [101, 102]
    page = _open(browser, lab.url)
    _wait_for_answers(page)
    assert page.text_content(".summary") == f"{ALL} of {ALL} sites answer"
    card = page.locator("#shop")
    assert card.locator("dd[data-live=pid]").text_content() == "101"
    assert card.locator("svg [data-live=pid]").text_content() == "pid 101"
    card.locator("button").click()
    playwright.expect(card.locator("svg [data-live=pid]")).to_have_text("pid 102")
    colours = card.locator(".answers li").evaluate_all(
        "marks => marks.map((mark) => getComputedStyle(mark).backgroundColor)"
    )
    assert len(set(colours)) == 2
    services = page.locator("#shop-services svg .back [data-live=pid]").all_text_contents()
    assert services == ["pid 4003", "pid 4004", "pid 4005"]
    page.close()


def test_one_dead_service_is_part_of_an_answer(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    lab = serve()
    lab.pids["/state/shop-services/reviews"] = []
    lab.pids["/state/shop"] = []
    page = _open(browser, lab.url)
    _wait_for_answers(page)
    assert page.get_attribute("#shop-services", "data-state") == "partly"
    assert page.get_attribute("#shop", "data-state") == "down"
    assert page.get_attribute("#blog-event", "data-state") == "up"
    assert page.text_content("#shop .state") == "does not answer"
    assert page.text_content(".summary") == f"{ALL - 2} of {ALL} sites answer"
    assert page.locator("#shop-services svg .dead").get_attribute("data-box") == "reviews"
    page.close()


def test_an_answer_without_the_nonce_is_no_answer(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    lab = serve()
    lab.stale = True
    page = _open(browser, lab.url)
    _wait_for_answers(page)
    assert page.text_content(".summary") == f"0 of {ALL} sites answer"
    page.close()


def test_links_follow_the_name_of_the_page(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    page = _open(browser, serve().url)
    links = page.locator("a[data-port]").evaluate_all("links => links.map((link) => link.href)")
    assert "http://127.0.0.1:8081/" in links
    assert "http://127.0.0.1:8084/catalog/whoami" in links
    assert [link for link in links if not link.startswith("http://127.0.0.1:8")] == []
    page.close()


def test_works_without_scripts(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    page = _open(browser, serve().url, java_script_enabled=False)
    assert page.locator("noscript .note").is_visible()
    assert page.get_attribute("#shop .go", "href") == "http://localhost:8083/"
    assert page.locator(".card > svg").count() == ALL
    assert all(page.locator(".card > svg").nth(number).is_visible() for number in range(4))
    assert page.locator("button").first.is_hidden()
    page.close()


def test_names_are_text(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    evil = "<img src=x onerror=alert(1)>"
    sites = [{**index_page.SITES[0], "title": evil}]
    page = browser.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(serve("en", sites).url)
    assert evil in (page.text_content(".what") or "")
    assert page.locator(".card img").count() == 0
    assert dialogs == []
    page.close()
