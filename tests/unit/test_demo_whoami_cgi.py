# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page as a program: the same keys as in PHP and Python, in what a program for CGI writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "roles" / "demo_whoami" / "files"

pytestmark = pytest.mark.skipif(
    not shutil.which("perl"), reason="no perl on this machine; the lab's tests ask real servers"
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    shutil.copy(FILES / "cgi" / "whoami.cgi", tmp_path)
    shutil.copy(FILES / "page" / "page.html", tmp_path)
    shutil.copy(FILES / "lang" / "ru.json", tmp_path / "messages.json")
    return tmp_path / "whoami.cgi"


def run(program: Path, **environ: str) -> tuple[dict[str, str], str]:
    done = subprocess.run(
        ["perl", program],
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        check=True,
    )
    head, _blank, body = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    assert int(headers["Content-Length"]) == len(body)
    assert not done.stderr
    return headers, body.decode()


def facts(program: Path, **environ: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(run(program, **{"HTTP_ACCEPT": "application/json", **environ})[1]))


def test_has_the_keys_of_the_other_languages_in_their_order(program: Path) -> None:
    known = json.loads((FILES / "lang" / "en.json").read_text("utf-8"))
    keys = list(facts(program))
    python = (FILES / "page" / "whoami.py").read_text("utf-8").partition("    return {\n")[2].partition("    }\n")[0]
    assert keys == [line.split('"')[1] for line in python.splitlines() if line.startswith('        "')]
    assert set(keys) <= set(known)


def test_every_call_is_a_new_process_and_its_first_request(program: Path) -> None:
    first, second = facts(program), facts(program)
    assert first["pid"] != second["pid"]
    assert (first["requests"], second["requests"]) == (1, 1)
    assert (first["sapi"], first["gateway"], first["socket"]) == ("CGI", "cgi", None)


def test_says_what_the_gateway_says(program: Path) -> None:
    found = facts(
        program,
        SCRIPT_NAME="/whoami",
        PATH_INFO="/ж",
        QUERY_STRING="a=1&nonce=%D0%B6+%22%3Cb%3E",
        REMOTE_ADDR="2001:db8::7",
        REMOTE_PORT="4711",
        WEBLAB_SITE="git",
    )
    assert (found["script_name"], found["path_info"], found["site"]) == ("/whoami", "/ж", "git")
    assert (found["nonce"], found["peer"]) == ('ж "<b>', "[2001:db8::7]:4711")


@pytest.mark.parametrize(("query", "nonce"), [("nonce=%ff", None), ("nonce=" + "x" * 99, "x" * 64), ("nonce=", None)])
def test_a_nonce_is_at_most_64_characters_of_text(program: Path, query: str, nonce: str | None) -> None:
    assert facts(program, QUERY_STRING=query)["nonce"] == nonce


def test_the_page_is_in_the_labs_language_and_escapes_what_it_echoes(program: Path) -> None:
    headers, body = run(program, QUERY_STRING="nonce=%3Cscript%3E", PATH_INFO="/<b>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<script>" not in body
    assert "&lt;script&gt;" in body
    assert "/&lt;b&gt;" in body
    assert '<html lang="ru">' in body
    assert "Номер процесса" in body
    assert "{{" not in body
