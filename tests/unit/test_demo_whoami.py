# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two halves of the page answer with the same keys, and escape what they echo."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "roles" / "demo_whoami" / "files"
README = FILES.parent / "README.md"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    shutil.copytree(FILES / "page", tmp_path, dirs_exist_ok=True)
    shutil.copy(FILES / "lang" / "ru.json", tmp_path / "messages.json")
    return tmp_path


@pytest.fixture
def whoami(page: Path) -> t.Any:
    spec = importlib.util.spec_from_file_location("whoami", page / "whoami.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _call(whoami: t.Any, **environ: str) -> tuple[dict[str, str], str]:
    headers: dict[str, str] = {}

    def start_response(status: str, fields: list[tuple[str, str]]) -> None:
        assert status == "200 OK"
        headers.update(fields)

    body = b"".join(whoami.application({"QUERY_STRING": "", **environ}, start_response))
    assert int(headers["Content-Length"]) == len(body)
    return headers, body.decode()


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({}, "text/html; charset=utf-8"),
        ({"QUERY_STRING": "format=json"}, "application/json"),
        ({"HTTP_ACCEPT": "application/json"}, "application/json"),
        ({"HTTP_ACCEPT": "application/json", "QUERY_STRING": "format=html"}, "text/html; charset=utf-8"),
        ({"HTTP_ACCEPT": "text/html,*/*"}, "text/html; charset=utf-8"),
    ],
)
def test_html_or_json(whoami: t.Any, environ: dict[str, str], kind: str) -> None:
    headers, _body = _call(whoami, **environ)
    assert headers["Content-Type"] == kind
    assert headers["Cache-Control"] == "no-store"


def test_tells_about_this_very_process(whoami: t.Any) -> None:
    found = json.loads(_call(whoami, QUERY_STRING="format=json", REMOTE_ADDR="192.0.2.7", REMOTE_PORT="4711")[1])
    assert found["pid"] == os.getpid()
    assert found["ppid"] == os.getppid()
    assert found["thread"] == threading.get_native_id()
    assert found["uid"] == os.geteuid()
    assert found["peer"] == "192.0.2.7:4711"
    assert found["language"] == "Python " + ".".join(map(str, sys.version_info[:3]))
    assert found["socket"] is None
    assert found["socket_known_from"] is None
    again = json.loads(_call(whoami, QUERY_STRING="format=json")[1])
    assert again["requests"] == found["requests"] + 1


def test_declared_socket_is_named_as_declared(whoami: t.Any) -> None:
    found = whoami.facts({"WEBLAB_SOCKET": "/run/uwsgi/shop/front.sock"})
    assert (found["socket"], found["socket_known_from"]) == ("/run/uwsgi/shop/front.sock", "configuration")


def test_escapes_what_it_echoes(whoami: t.Any) -> None:
    body = _call(whoami, QUERY_STRING="nonce=%3Cscript%3E", PATH_INFO="/<b>")[1]
    assert "<script>" not in body
    assert "&lt;script&gt;" in body
    assert "/&lt;b&gt;" in body


def test_speaks_the_language_of_the_lab(whoami: t.Any) -> None:
    body = _call(whoami)[1]
    assert '<html lang="ru">' in body
    assert "Номер процесса" in body


def _php_keys() -> list[str]:
    source = (FILES / "page" / "index.php").read_text("utf-8")
    table = source.split("    return [\n", 1)[1].split("\n    ];", 1)[0]
    return re.findall(r"^        '(\w+)' =>", table, re.MULTILINE)


def test_php_and_python_have_the_same_keys_in_the_same_order(whoami: t.Any) -> None:
    assert _php_keys() == list(whoami.facts({}))


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_key_has_a_name_and_is_documented(whoami: t.Any, language: str) -> None:
    messages = json.loads((FILES / "lang" / f"{language}.json").read_text("utf-8"))
    readme = README.read_text("utf-8")
    for key in whoami.facts({}):
        assert key in messages
        assert f"`{key}`" in readme


@pytest.mark.skipif(not shutil.which("php"), reason="no php on this machine; the lab's tests ask the real servers")
def test_php_answers(page: Path, whoami: t.Any) -> None:
    script = "parse_str('format=json&nonce=<b>', $_GET); include 'index.php';"
    answer = subprocess.run(["php", "-r", script], cwd=page, capture_output=True, check=True)
    found = json.loads(answer.stdout)
    assert list(found) == list(whoami.facts({}))
    assert found["sapi"] == "cli"
    assert found["nonce"] == "<b>"
