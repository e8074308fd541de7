# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages on PHP's handlers and on WSGI: every row asked by curl, and held against ps, ss and /proc of the host."""

from __future__ import annotations

import html
import json
import pathlib
import re
import typing as t
import uuid

import pytest
from visitor import Visitor, on_host, url_of

PROGRAMS = "/srv/weblab/compare/programs"
SOURCE = pathlib.Path(__file__).resolve().parents[2] / "roles/demo_compare/files/programs/application.py"
#: Row of the page, what PHP calls its server, what brought the request, the user, and part of its parent's name.
HANDLERS = {
    "cgi": ("cgi-fcgi", "cgi", "www-data", "apach"),
    "mod_php": ("apache2handler", "none", "www-data", "apach"),
    "fcgid": ("cgi-fcgi", "fastcgi", "www-data", "apache2"),
    "php_fpm": ("fpm-fcgi", "fastcgi", "blog-event", "php-fpm"),
}
#: Row of the page, its user, its process as ps has it, the socket that it is asked through, and how it takes a second
#: start_response with exc_info: the status, and whether the new body comes.
SERVERS = {
    "mod_wsgi": ("wsgi-modwsgi", "(wsgi:wsgi-modws", ":8107", (500, True)),
    "gunicorn": ("wsgi-gunicorn", "gunicorn", "/run/app/wsgi-gunicorn/www-data/http.sock", (500, True)),
    "aioscgi": ("wsgi-aioscgi", "serve.py", "/run/app/wsgi-aioscgi-scgi/www-data/scgi.sock", (200, True)),
    **{
        f"uwsgi_{protocol}": (
            "wsgi-uwsgi",
            "wsgi-uwsgi uWSGI worker",
            f"/run/uwsgi/wsgi-uwsgi/www-data/{protocol}.sock",
            (500, False),
        )
        for protocol in ("uwsgi", "http", "fastcgi", "scgi")
    },
}


@pytest.fixture(scope="module")
def pages() -> str:
    return url_of("compare")


@pytest.fixture(params=HANDLERS)
def handler(request: pytest.FixtureRequest, pages: str) -> str:
    return str(request.param)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, pages: str) -> str:
    return str(request.param)


def ask(handler: str) -> dict[str, t.Any]:
    nonce = uuid.uuid4().hex
    url = f"http://127.0.0.1:8105/handlers/ask/{handler}?format=json&opcache&nonce={nonce}"
    answer = json.loads(on_host("curl", "--silent", "--fail", url))
    assert answer["nonce"] == nonce
    return t.cast("dict[str, t.Any]", answer)


def send(server: str, query: str = "") -> tuple[int, dict[str, t.Any] | None]:
    """A request with a body, and its status and answer."""
    nonce = uuid.uuid4().hex
    url = f"http://127.0.0.1:8105/wsgi/ask/{server}?nonce={nonce}{query}"
    # uWSGI announces a body that does not come.
    alone = ("--header", "Connection: close", "--ignore-content-length")
    found = on_host("curl", "--silent", *alone, "--write-out", "\n%{http_code}", "--data", f"body {nonce}", url)
    body, _newline, status = found.rpartition("\n")
    answer = json.loads(body) if body.startswith("{") else None
    if answer and "objection" not in answer:
        assert (answer["nonce"], answer["read"]) == (nonce, f"body {nonce}")
    return int(status), answer


def process(pid: int) -> tuple[str, int, str]:
    """User, parent and command line as ps has them."""
    user, parent, command = on_host("ps", "-o", "user:32=,ppid=,args=", "-p", str(pid)).split(maxsplit=2)
    return user, int(parent), command.strip()


def memory(pid: int) -> int:
    """The kernel's number of the largest nameless memory that this process could share."""
    sizes = {
        int(found[3]): int(found[2], 16) - int(found[1], 16)
        for found in re.finditer(r"(?m)^(\w+)-(\w+) rw-s \S+ \S+ (\d+) +/dev/zero", on_host("cat", f"/proc/{pid}/maps"))
    }
    return max(sizes, key=lambda inode: sizes[inode])


def children(parent: int) -> set[int]:
    return set(map(int, on_host("ps", "-o", "pid=", "--ppid", str(parent)).split()))


def test_who_runs_the_script_and_as_whom(handler: str) -> None:
    sapi, gateway, user, parent = HANDLERS[handler]
    found = ask(handler)
    assert (found["sapi"], found["gateway"], found["user"]) == (sapi, gateway, user)
    assert parent in found["parent"]
    assert on_host("ps", "-o", "comm=", "-p", str(found["ppid"])).strip() == found["parent"]
    assert list(found) == list(ask("php_fpm")), "another script"
    if handler == "cgi":
        with pytest.raises(AssertionError):
            on_host("ps", "-p", str(found["pid"]))
    else:
        assert process(found["pid"]) == (found["user"], found["ppid"], found["process"])


def test_cgi_is_a_new_process_for_every_request(pages: str) -> None:
    found = [ask("cgi") for _number in range(3)]
    assert len({answer["pid"] for answer in found}) == 3
    assert len({answer["opcache"]["segment"] for answer in found}) == 3
    assert {answer["opcache"]["hits"] for answer in found} == {0}


@pytest.mark.parametrize("handler", ["mod_php", "php_fpm"])
def test_forked_processes_share_opcache(pages: str, handler: str) -> None:
    found = [ask(handler) for _number in range(6)]
    hits = [answer["opcache"]["hits"] for answer in found]
    assert hits == sorted(set(hits)), "each answer is a hit more, whoever gives it"
    assert len({answer["opcache"]["started"] for answer in found}) == 1
    (parent,) = {answer["ppid"] for answer in found}
    workers = children(parent)
    assert {answer["pid"] for answer in found} <= workers
    assert len({memory(pid) for pid in {parent, *workers}}) == 1


def test_processes_of_mod_fcgid_share_nothing(pages: str) -> None:
    url = "http://127.0.0.1:8105/handlers/ask/fcgid?format=json&opcache&nonce=[1-12]"
    decoder, found = json.JSONDecoder(), []
    for _round in range(5):
        answers, place = on_host("curl", "--silent", "--fail", "--parallel", "--parallel-immediate", url), 0
        while place < len(answers):
            answer, place = decoder.raw_decode(answers, place)
            found.append(answer)
        if len({answer["pid"] for answer in found}) > 1:
            break
    segments = {answer["pid"]: answer["opcache"]["segment"] for answer in found}
    assert len(segments) > 1, "requests at the same time did not bring a second process"
    assert {pid: memory(pid) for pid in segments} == segments
    assert len(set(segments.values())) == len(segments)


def test_the_contract_is_kept(server: str) -> None:
    user, title, socket, _again = SERVERS[server]
    answers = [send(server) for _number in range(6)]
    assert [status for status, _found in answers] == [200] * 6
    # The one that has seen most of its process; with threads, the body before it may be closed at this moment.
    found = max((found for _status, found in answers if found), key=lambda found: found["bodies"]["given"])
    environ = found["environ"]
    assert environ["wsgi.version"] == "(1, 0)"
    assert environ["REQUEST_METHOD"] == "POST"
    assert found["bodies"]["given"] >= 2
    assert 0 <= found["bodies"]["given"] - found["bodies"]["closed"] <= 1
    assert found["file"] == f"{PROGRAMS}/application.py"
    shown = process(found["pid"])
    assert (user, found["ppid"]) == shown[:2]
    assert found["user"] == user
    assert title in shown[2]
    assert any(local.endswith(socket) for local in on_host("ss", "-Hltnx").split())


def test_one_unchanged_application(pages: str) -> None:
    text = SOURCE.read_text("utf-8")
    assert on_host("cat", f"{PROGRAMS}/application.py") == text
    (shown,) = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", Visitor(pages).get("/wsgi/").text, re.DOTALL)
    assert html.unescape(shown).strip() == text.strip()


@pytest.mark.parametrize(("way", "objection"), [("status", "Status codes must be"), ("headers", "The Status header")])
def test_a_broken_contract_is_an_assertion_error(server: str, way: str, objection: str) -> None:
    status, found = send(server, f"&break={way}")
    assert status == 500
    assert found
    assert objection in found["objection"]


def test_what_a_second_start_response_does(server: str) -> None:
    """Where servers differ: the role's page says it."""
    status, new_body = SERVERS[server][3]
    if server == "gunicorn" and 'VERSION_ID="13"' in on_host("cat", "/etc/os-release"):
        status, new_body = 502, False
    got, found = send(server, "&break=body")
    assert (got, found is not None and "a string" in found["objection"]) == (status, new_body)
    assert send(server)[0] == 200


@pytest.mark.parametrize("page", ["handlers", "wsgi"])
def test_nothing_comes_from_elsewhere(pages: str, page: str) -> None:
    answer = Visitor(pages).get(f"/{page}/")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    links = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert [link for link in links if not re.match(r"(\.\./[\w.]+$|http://localhost:80\d\d/)", link)] == []
    for link in links:
        if link.startswith(".."):
            assert Visitor(pages).get(f"/{page}/{link}").status == 200
