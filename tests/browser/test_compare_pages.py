# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages on PHP's handlers and on WSGI in a real browser, under the policy that nginx sends with them.

The answers for PHP are made up here. Those for WSGI come from the role's application, in Python's own WSGI server.
Screenshots are left in WEBLAB_ARTEFACTS, by default .lab/artefacts.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import pathlib
import shutil
import socketserver
import threading
import typing as t
import urllib.parse
import wsgiref.simple_server

import jinja2
import pytest
import yaml

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/demo_compare"
ARTEFACTS = pathlib.Path(os.environ.get("WEBLAB_ARTEFACTS", ROOT / ".lab" / "artefacts"))
DESK, PHONE = (1280, 900), (360, 740)
ROWS: dict[str, list[dict[str, t.Any]]] = {
    "handlers": [
        {"name": name, "port": 8080 + number, "path": "/php"}
        for number, name in enumerate(("cgi", "mod_php", "fcgid", "php_fpm"))
    ],
    "wsgi": [{"name": name} for name in ("mod_wsgi", "uwsgi_uwsgi", "uwsgi_fastcgi")],
}
KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def texts(language: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((ROLE / "files/lang" / f"{language}.json").read_text("utf-8")))


def write(directory: pathlib.Path, language: str, rows: dict[str, list[dict[str, t.Any]]]) -> None:
    shutil.copytree(ROLE / "files/page", directory, dirs_exist_ok=True)
    for name in ("lab.css", "lab.js", "icon.svg"):
        shutil.copy(ROOT / "roles/demo_index/files/page" / name, directory)
    loader = jinja2.FileSystemLoader(ROLE / "templates")
    environment = jinja2.Environment(loader=loader, trim_blocks=True, undefined=jinja2.StrictUndefined)
    source = (ROLE / "files/programs/application.py").read_text("utf-8")
    for page in ("handlers", "wsgi"):
        template = environment.get_template(f"{page}.html.j2")
        (directory / page).mkdir(exist_ok=True)
        html = template.render(texts=texts(language), rows=rows, host="localhost", source=source)
        (directory / page / "index.html").write_text(html, encoding="utf-8")


def policy() -> str:
    """The Content-Security-Policy that the role gives to nginx."""
    front = yaml.safe_load((ROLE / "tasks/main.yml").read_text("utf-8"))[-1]
    return str(front["vars"]["nginx_sites"][0]["headers"]["Content-Security-Policy"])


def application() -> t.Callable[..., t.Iterable[bytes]]:
    spec = importlib.util.spec_from_file_location("application", ROLE / "files/programs/application.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return t.cast("t.Callable[..., t.Iterable[bytes]]", module.application)


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args: t.Any) -> None:
        """Say nothing."""


class Lab:
    """Serves the pages, and answers in place of the stacks."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.application = application()
        #: Answers of each handler, one after the other: process id, parent, memory as the process knows it, hits.
        self.answers: dict[str, t.Iterator[tuple[int, int, int | None, int]]] = {
            "cgi": ((pid, 1, pid + 500, 0) for pid in itertools.count(100)),
            "mod_php": ((200 + hits % 3, 2, None, hits) for hits in itertools.count(7)),
            "fcgid": ((300 + hits % 2, 3, 800 + hits % 2, hits // 2) for hits in itertools.count(4)),
            "php_fpm": ((400 + hits % 2, 4, None, hits) for hits in itertools.count(1)),
        }
        self.stale = False
        self.silent: set[str] = set()
        self.server = wsgiref.simple_server.make_server("127.0.0.1", 0, self, Server, Quiet)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __call__(self, environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> t.Iterable[bytes]:
        page, _slash, name = environ["PATH_INFO"].strip("/").partition("/ask/")
        if name in self.silent:
            start_response("502 Bad Gateway", [("Content-Type", "text/html")])
            return [b"<h1>502</h1>"]
        if name and page == "wsgi":
            if self.stale:
                environ["QUERY_STRING"] = "nonce=old"
            return self.application(environ, start_response)
        if name:
            body, kind = self._handler(name, environ["QUERY_STRING"]), "application/json"
        else:
            path = self.directory / environ["PATH_INFO"].strip("/")
            path = path / "index.html" if path.is_dir() else path
            if not path.is_file():
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"no such file"]
            body, kind = path.read_bytes(), KINDS[path.suffix]
        start_response("200 OK", [("Content-Type", kind), ("Content-Security-Policy", policy())])
        return [body]

    def _handler(self, name: str, query: str) -> bytes:
        asked = urllib.parse.parse_qs(query, keep_blank_values=True)
        assert "opcache" in asked
        pid, parent, memory, hits = next(self.answers[name])
        answer = {
            "nonce": "old" if self.stale else asked["nonce"][0],
            "pid": pid,
            "ppid": parent,
            "parent": "<b>master</b>",
            "process": "/usr/bin/php-cgi",
            "sapi": name,
            "user": "someone",
            "opcache": {"enabled": True, "started": 5, "hits": hits, "scripts": 1, "segment": memory},
        }
        return json.dumps(answer).encode()


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> t.Iterator[t.Callable[..., Lab]]:
    labs = []

    def start(language: str = "en", rows: dict[str, list[dict[str, t.Any]]] | None = None) -> Lab:
        write(tmp_path, language, rows or ROWS)
        labs.append(Lab(tmp_path))
        return labs[-1]

    yield start
    for lab in labs:
        lab.server.shutdown()
        lab.server.server_close()


def _open(browser: Browser, url: str) -> Page:
    page = browser.new_page()
    page.goto(url)
    _wait(page)
    return page


def _wait(page: Page) -> None:
    playwright.expect(page.locator("tr[data-state=waiting]")).to_have_count(0)


def _cell(page: Page, row: str, what: str) -> str:
    return (page.locator(f'tr[data-ask="ask/{row}"] {what}').text_content() or "").strip()


@pytest.mark.parametrize("name", ["handlers", "wsgi"])
@pytest.mark.parametrize(
    ("size", "scheme", "language"), [(DESK, "light", "en"), (PHONE, "dark", "ru"), (PHONE, "light", "en")]
)
def test_looks_right(
    browser: Browser,
    serve: t.Callable[..., Lab],
    name: str,
    size: tuple[int, int],
    scheme: t.Literal["light", "dark"],
    language: str,
) -> None:
    lab = serve(language)
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{lab.url}/{name}/")
    _wait(page)
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}-{size[0]}-{scheme}-{language}.png", full_page=True)
    assert problems == []
    assert [url for url in requests if not url.startswith(lab.url)] == []
    assert page.locator("h1").text_content() == texts(language)["pages"][name]["title"]
    assert page.locator("tr[data-state=up]").count() == len(ROWS[name])
    assert page.locator("tr[data-ask] [data-live]", has_text="—").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == size[0], "the page can be moved sideways"
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(colour.split("(")[1].split(",")[0]) < 128) == (scheme == "dark")
    page.close()


def test_says_what_the_answers_prove_of_opcache(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    page = _open(browser, f"{serve().url}/handlers/")
    words = texts("en")["words"]
    verdicts = {row["name"]: _cell(page, row["name"], "[data-verdict]") for row in ROWS["handlers"]}
    assert verdicts == {
        "cgi": words["anew"],
        "mod_php": words["shared"],
        "fcgid": words["apart"],
        "php_fpm": words["shared"],
    }
    assert _cell(page, "mod_php", "[data-proof]") == "processes: 3; hits 7 to 15"
    pids = page.locator('tr[data-ask="ask/php_fpm"] .pids li')
    assert sorted(pids.all_text_contents()) == sorted(["400", "401"] * 4 + ["401"])
    colours = pids.evaluate_all("marks => marks.map((mark) => getComputedStyle(mark).backgroundColor)")
    assert len(set(colours)) == 2
    assert _cell(page, "cgi", "[data-live=parent]") == "<b>master</b>"
    page.close()


def test_one_process_proves_nothing(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    lab = serve()
    lab.answers["fcgid"] = ((300, 3, 800, hits) for hits in itertools.count())
    page = _open(browser, f"{lab.url}/handlers/")
    assert _cell(page, "fcgid", "[data-verdict]") == texts("en")["words"]["one"]
    page.close()


@pytest.mark.parametrize("name", ["handlers", "wsgi"])
def test_a_row_without_an_answer_says_so_and_the_others_go_on(
    browser: Browser, serve: t.Callable[..., Lab], name: str
) -> None:
    lab = serve()
    first, *others = (row["name"] for row in ROWS[name])
    lab.silent = {first}
    page = _open(browser, f"{lab.url}/{name}/")
    assert _cell(page, first, "[data-verdict]") == f"{texts('en')['words']['down']}: 502"
    assert page.locator("tr[data-state=up]").count() == len(others)
    lab.silent = set()
    page.locator("[data-again]").click()
    playwright.expect(page.locator("tr[data-state=up]")).to_have_count(len(others) + 1)
    page.close()


@pytest.mark.parametrize("name", ["handlers", "wsgi"])
def test_an_answer_without_the_nonce_is_no_answer(browser: Browser, serve: t.Callable[..., Lab], name: str) -> None:
    lab = serve()
    lab.stale = True
    page = _open(browser, f"{lab.url}/{name}/")
    assert page.locator("tr[data-state=down]").count() == len(ROWS[name])
    page.close()


def test_shows_what_the_server_handed_over(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    page = _open(browser, f"{serve().url}/wsgi/")
    assert _cell(page, "mod_wsgi", "[data-verdict]") == texts("en")["words"]["kept"]
    assert _cell(page, "mod_wsgi", "[data-live=software]").startswith("WSGIServer/")
    assert _cell(page, "mod_wsgi", "[data-live=multi]") == texts("en")["words"]["neither"]
    assert _cell(page, "mod_wsgi", ".pids") == str(os.getpid()) * 3
    details = page.locator('[data-of="ask/mod_wsgi"]')
    details.locator("summary").click()
    assert details.locator("tr", has_text="REQUEST_METHOD").locator("td").text_content() == "POST"
    assert "200 OK\ncontent-length: " in (details.locator("[data-headers]").text_content() or "")
    source = (ROLE / "files/programs/application.py").read_text("utf-8")
    assert page.locator("pre code").text_content() == source
    page.close()


@pytest.mark.parametrize(
    ("way", "objection"), [("status", "Status codes must be"), ("headers", "The Status header"), ("body", "a string")]
)
def test_a_broken_contract_is_shown(browser: Browser, serve: t.Callable[..., Lab], way: str, objection: str) -> None:
    page = _open(browser, f"{serve().url}/wsgi/")
    page.locator(f"[data-break={way}]").click()
    playwright.expect(page.locator("[data-good=no]")).to_have_count(len(ROWS["wsgi"]))
    assert _cell(page, "mod_wsgi", "[data-verdict]") == "AssertionError"
    assert objection in _cell(page, "mod_wsgi", "[data-proof]")
    assert page.locator("details [data-live=status]").first.text_content() == "500 Internal Server Error"
    page.locator("[data-again]").click()
    playwright.expect(page.locator("[data-good=yes]")).to_have_count(len(ROWS["wsgi"]))
    page.close()


def test_a_server_that_loses_the_objection_is_not_excused(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    lab = serve()
    page = _open(browser, f"{lab.url}/wsgi/")
    lab.silent = {"uwsgi_uwsgi"}
    page.locator("[data-break=body]").click()
    playwright.expect(page.locator("[data-good=no]")).to_have_count(len(ROWS["wsgi"]))
    assert _cell(page, "uwsgi_uwsgi", "[data-verdict]") == "502 Bad Gateway"
    assert _cell(page, "uwsgi_uwsgi", "[data-proof]") == texts("en")["words"]["lost"]
    page.close()


def test_names_are_text(browser: Browser, serve: t.Callable[..., Lab]) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    rows = {**ROWS, "handlers": [{"name": "cgi", "port": 1, "path": evil}]}
    page = _open(browser, f"{serve('en', rows).url}/handlers/")
    assert page.locator("img").count() == 0
    assert page.locator("tr[data-ask] a").get_attribute("data-path") == evil
    page.close()


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_text_of_the_catalogue_is_without_use(language: str) -> None:
    found = texts(language)
    pages = "".join(path.read_text("utf-8") for path in (ROLE / "templates").glob("*.html.j2"))
    scripts = "".join(path.read_text("utf-8") for path in (ROLE / "files/page").glob("*.js"))
    assert [key for key in found if f"texts.{key}" not in pages and not key.startswith("break_")] == []
    assert [key for key in found["columns"] if f"'{key}'" not in pages and f"columns.{key}" not in pages] == []
    assert [key for key in found["words"] if f"words.{key}" not in scripts and f'"{key}"' not in scripts] == []
