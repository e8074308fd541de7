# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A visitor of the running lab's applications: a browser without scripts, made of the standard library."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import html.parser
import http.client
import http.cookiejar
import json
import os
import pathlib
import subprocess
import typing as t
import urllib.error
import urllib.parse
import urllib.request
import uuid

import pytest

#: Another lab: WEBLAB_URLS="blog-prefork=http://10.0.0.5:8081 shop=http://10.0.0.5:8083".
URLS = {
    "index": "http://127.0.0.1:8080",
    "blog-prefork": "http://127.0.0.1:8081",
    "blog-event": "http://127.0.0.1:8082",
    "shop": "http://127.0.0.1:8083",
    "shop-services": "http://127.0.0.1:8084",
    "blog-worker": "http://127.0.0.1:8093",
    "neighbour-one": "http://127.0.0.1:8094",
    "neighbour-two": "http://127.0.0.1:8095",
    "blog-nginx": "http://127.0.0.1:8098",
    "wiki": "http://127.0.0.1:8099",
    "webserver": "http://127.0.0.1:8111",
    "compare": "http://127.0.0.1:8105",
}
for _entry in os.environ.get("WEBLAB_URLS", "").split():
    URLS[_entry.partition("=")[0]] = _entry.partition("=")[2]
#: The lab's container, for what only root on the host may know.
CONTAINER = os.environ.get("WEBLAB_CONTAINER", "weblab-lab")


_LOCK = pathlib.Path(__file__).resolve().parents[2] / ".lab" / "visitors.lock"


@contextlib.contextmanager
def visiting(*, alone: bool = False) -> t.Iterator[None]:
    """Be one of the lab's visitors, or its only one, among tests that run at the same time."""
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def url_of(site: str) -> str:
    """The base URL of a site of the running lab; the test is skipped where no lab runs."""
    try:
        urllib.request.urlopen(URLS[site], timeout=10).close()
    except urllib.error.HTTPError:
        pass
    except OSError as error:
        pytest.skip(f"nothing answers at {URLS[site]} ({error}); run `make lab` or set WEBLAB_URLS")
    return URLS[site]


def on_host(*argv: str) -> str:
    """What a command says as root in the lab's container."""
    try:
        done = subprocess.run(["docker", "exec", CONTAINER, *argv], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no docker client; this test needs the lab's container")
    if done.returncode:
        raise AssertionError(f"{CONTAINER}: {argv}: {done.stdout}{done.stderr}")
    return done.stdout


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    url: str

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> t.Any:
        return json.loads(self.body)

    def fields(self) -> dict[str, str]:
        """Names and values of the page's hidden fields."""
        parser = _Hidden()
        parser.feed(self.text)
        return parser.found


class _Hidden(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "input" and values.get("type") == "hidden" and values.get("name"):
            self.found[str(values["name"])] = values.get("value") or ""


class Visitor:
    """Keeps cookies and follows redirects; every answer is a result, also a refusal."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def get(self, path: str, **headers: str) -> Answer:
        return self._send(urllib.request.Request(self._absolute(path), headers=_names(headers)))

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        body = urllib.parse.urlencode(fields).encode()
        return self._send(urllib.request.Request(self._absolute(path), body, headers=_names(headers)))

    def upload(self, path: str, fields: dict[str, str], name: str, filename: str, content: bytes, kind: str) -> Answer:
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in fields.items()
        ]
        head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}'
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self._send(urllib.request.Request(self._absolute(path), body, headers=headers))

    def _absolute(self, path: str) -> str:
        return path if path.startswith("http") else self.base + path

    def _send(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=60) as response:
                return Answer(response.status, response.headers, response.read(), response.url)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, t.cast("http.client.HTTPMessage", error.headers), error.read(), error.url)


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
