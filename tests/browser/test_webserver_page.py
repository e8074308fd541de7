# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the textbook's web server in Debian's Chromium, under the policy that nginx sends with it.

Screenshots are left in WEBLAB_ARTEFACTS, by default .lab/artefacts.
"""

from __future__ import annotations

import copy
import functools
import http.server
import os
import pathlib
import threading
import typing as t

import pytest
import webserver_page
import yaml

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARTEFACTS = pathlib.Path(os.environ.get("WEBLAB_ARTEFACTS", ROOT / ".lab" / "artefacts"))
TASKS = yaml.safe_load((webserver_page.ROLE / "tasks/main.yml").read_text("utf-8"))
HEADERS = next(task["vars"]["nginx_sites"][0]["headers"] for task in TASKS if "nginx_sites" in task.get("vars", {}))
#: Words of the drawing that are cut off by their box.
OUTSIDE = """() => [...document.querySelectorAll('.loop svg text')].filter((text) => {
    const box = text.closest('.step').querySelector('rect').getBoundingClientRect();
    const word = text.getBoundingClientRect();
    return word.left < box.left || word.right > box.right;
}).map((text) => text.textContent)"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *args: t.Any) -> None:
        """Quiet."""


@pytest.fixture
def url(tmp_path: pathlib.Path) -> t.Iterator[str]:
    handler = functools.partial(_Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def _open(browser: Browser, url: str, **options: t.Any) -> Page:
    page = browser.new_page(**options)
    page.goto(url)
    page.wait_for_selector("body[data-shown]", state="attached")
    return page


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")], ids=["desk", "phone"])
def test_looks_right(
    browser: Browser,
    url: str,
    tmp_path: pathlib.Path,
    language: str,
    width: int,
    scheme: t.Literal["light", "dark"],
) -> None:
    webserver_page.write(tmp_path, language, webserver_page.RECORDING)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    page.wait_for_selector("body[data-shown]", state="attached")
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"webserver-{width}-{scheme}-{language}.png", full_page=True)
    assert problems == []
    assert [asked for asked in requests if not asked.startswith(url)] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width, "the page can be moved sideways"
    assert page.evaluate(OUTSIDE) == []
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(colour.split("(")[1].split(",")[0]) < 128) == (scheme == "dark")
    titles = [webserver_page.texts(language)["kinds"][r["kind"]]["title"] for r in webserver_page.RECORDING["requests"]]
    assert page.locator(".card:not(.loop) h2").all_text_contents() == titles
    page.close()


def test_tells_who_served_and_who_woke_up_for_nothing(browser: Browser, url: str, tmp_path: pathlib.Path) -> None:
    webserver_page.write(tmp_path, "en", webserver_page.RECORDING)
    page = _open(browser, url)
    event = page.locator("#event")
    fates = {pid: event.locator(f"tr[data-pid='{pid}'] td").last.text_content() for pid in (100, 101, 102, 103)}
    assert fates == {100: "takes no part", 101: "served", 102: "slept on", 103: "woke up for nothing"}
    assert event.locator("summary").first.text_content() == "Who was there: k = 3 workers"
    assert event.locator(".remark").first.inner_text().startswith("Woke up for nothing: pid 103.")
    first = event.locator("details").nth(1)
    assert first.locator(".step-name").all_text_contents() == [
        *("accept", "read the request", "map the path", "send", "close or keep")
    ]
    assert "1168 \u00d7 newfstatat, 580 \u00d7 access" in first.inner_text()
    assert first.locator(".error").all_text_contents() == ["EAGAIN"]
    assert "nginx has the file open already" in (page.locator("#open_files details").last.text_content() or "")
    assert page.locator("#cache summary").nth(1).text_content() == "Request 1 · 200 · 10637 bytes · MISS"
    page.close()


def test_shows_what_proc_told(browser: Browser, url: str, tmp_path: pathlib.Path) -> None:
    webserver_page.write(tmp_path, "en", webserver_page.RECORDING)
    page = _open(browser, url)
    prefork = page.locator("#prefork")
    assert prefork.locator("tr[data-pid='102'] td").last.text_content() == "served"
    moments = prefork.locator(".steps > li").all_inner_texts()
    assert [("TCP_DEFER_ACCEPT" in said, "held by pid 102" in said, "is gone" in said) for said in moments] == [
        (True, False, False),
        (False, True, False),
        (False, True, False),
        (False, False, True),
    ]
    assert "written 11039 bytes" in moments[2]
    blind = page.locator("#worker")
    assert "CAP_SYS_PTRACE" in blind.locator(".remark").inner_text()
    assert blind.locator("tr[data-pid='101'] td").last.text_content() == "not to be seen"
    page.close()


def test_a_step_of_the_drawing_is_shown_in_every_server(browser: Browser, url: str, tmp_path: pathlib.Path) -> None:
    webserver_page.write(tmp_path, "en", webserver_page.RECORDING)
    page = _open(browser, url)
    steps = page.locator("#event details").nth(1).locator(".steps > li")
    step = page.locator(".loop [data-step=map]")
    step.click()
    assert [item.get_attribute("data-step") for item in steps.all() if item.is_visible()] == ["map"]
    page.locator(".loop .all").click()
    assert all(item.is_visible() for item in steps.all())
    step.focus()
    page.keyboard.press("Enter")
    assert step.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Enter")
    assert step.get_attribute("aria-pressed") == "false"
    assert page.get_attribute("a[data-port]", "href") == "http://127.0.0.1:8080/"
    page.close()


def test_data_is_text(browser: Browser, url: str, tmp_path: pathlib.Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    recording = copy.deepcopy(webserver_page.RECORDING)
    for process in recording["requests"][0]["processes"]:
        process["name"] = process["user"] = evil
    recording["requests"][0]["rounds"][0]["actors"][0]["calls"][0]["arguments"] = evil
    webserver_page.write(tmp_path, "en", recording)
    page = _open(browser, url)
    assert page.locator("#event", has_text=evil).count() == 1
    assert page.locator(".card img").count() == 0
    page.close()


def test_says_when_there_is_no_recording(browser: Browser, url: str, tmp_path: pathlib.Path) -> None:
    webserver_page.write(tmp_path, "en", None)
    page = browser.new_page()
    page.goto(url)
    playwright.expect(page.locator(".recorded")).to_have_text("There is no recording. Run the playbook again.")
    page.close()
