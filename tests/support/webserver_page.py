# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the textbook's web server as the role makes it, with a small recording, for tests."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t

import jinja2

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
ROLE = ROLES / "demo_webserver"
SHARED = ("lab.css", "lab.js", "icon.svg")


def _call(
    step: str, why: str, call: str, arguments: str, result: str = "0", error: str | None = None
) -> dict[str, t.Any]:
    return {
        "at": 1500,
        "took": 12,
        "step": step,
        "why": why,
        "call": call,
        "arguments": arguments,
        "result": result,
        "error": error,
    }


def _process(pid: int, role: str, **more: t.Any) -> dict[str, t.Any]:
    return {
        "pid": pid,
        "ppid": 1 if role == "master" else 100,
        "role": role,
        "user": "www-data",
        "name": "server",
        "sockets": ["0.0.0.0:8087"],
        "threads": 1,
        "waits": [{"call": "epoll_wait", "on": "[eventpoll]", "threads": 1}],
        **more,
    }


def _actor(pid: int, *calls: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "pid": pid,
        "tid": pid,
        "user": "www-data",
        "name": "nginx: worker process",
        "threads": 1,
        "sockets": ["0.0.0.0:8087"],
        "calls": list(calls),
    }


CONNECTION = "8<TCP:[127.0.0.1:8087->127.0.0.1:46364]>"
FILE = "13</usr/share/a-rather-long-name-of-a-directory/static/gitweb.css>"
ACCEPT = _call("accept", "accept", "accept4", "11<TCP:[0.0.0.0:8087]>, 0x7ffe, [112 => 16], SOCK_NONBLOCK", CONNECTION)
READ = _call("read", "request", "recvfrom", f'{CONNECTION}, "GET /static/gitweb.css HTTP/1.1\\r\\n"..., 1024, 0', "115")
OPEN = _call("map", "open", "openat", 'AT_FDCWD</>, "/static/gitweb.css", O_RDONLY|O_NONBLOCK', FILE)
SEND = _call("send", "sendfile", "sendfile", f"{CONNECTION}, {FILE}, [0] => [10637], 10637", "10637")
KEEP = _call("close", "keep", "read", f"{CONNECTION}, 0x7f0a, 8000", "-1 EAGAIN (Resource unavailable)", "EAGAIN")
LEFT_OUT: dict[str, t.Any] = {"at": 1600, "left_out": {"newfstatat": 1168, "access": 580}}


def _round(*actors: dict[str, t.Any], woken: t.Sequence[int] = (), cache: str | None = None) -> dict[str, t.Any]:
    return {
        "status": 200,
        "bytes": 10637,
        "cache": cache,
        "actors": list(actors),
        "woken": [{"pid": pid, "tid": pid, "call": "accept4", "error": "EAGAIN"} for pid in woken],
    }


def _request(kind: str, **more: t.Any) -> dict[str, t.Any]:
    processes = [_process(100, "master"), *(_process(pid, "worker") for pid in (101, 102, 103))]
    named = {"kind": kind, "site": "git", "port": 8087, "path": "/static/gitweb.css", "method": "strace"}
    return {**named, "processes": processes, **more}


def _moment(moment: str, state: str, held_by: t.Sequence[int] = ()) -> dict[str, t.Any]:
    thread = {"pid": 102, "tid": 102, "switches": 2, "rchar": 94, "wchar": 11039, "call": "poll", "on": ""}
    connection = {"state": state, "accepted": bool(held_by), "held_by": list(held_by)}
    return {"moment": moment, "connection": connection, "threads": [thread] if held_by else []}


MOMENTS = [
    _moment("connected", "SYN_RECV"),
    _moment("half", "ESTABLISHED", [102]),
    _moment("answered", "ESTABLISHED", [102]),
    _moment("closed", ""),
]
RECORDING: dict[str, t.Any] = {
    "recorded": "2026-01-02T03:04:05Z",
    "kernel": "6.1.0",
    "requests": [
        _request(
            "event",
            rounds=[
                _round(_actor(101, ACCEPT, READ, OPEN, LEFT_OUT, SEND, KEEP), woken=[103]),
                _round(_actor(101, READ, SEND)),
            ],
        ),
        _request("open_files", rounds=[_round(_actor(102, ACCEPT, READ, OPEN, SEND)), _round(_actor(102, READ, SEND))]),
        _request("cache", rounds=[_round(_actor(101, ACCEPT, READ), cache="MISS"), _round(_actor(101), cache="HIT")]),
        _request("prefork", method="proc", sees=True, moments=MOMENTS, rounds=[_round()]),
        _request("worker", method="proc", sees=False, moments=[_moment("half", "ESTABLISHED")], rounds=[_round()]),
    ],
}


def texts(language: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((ROLE / "files/lang" / f"{language}.json").read_text("utf-8")))


def write(directory: pathlib.Path, language: str, recording: dict[str, t.Any] | None) -> None:
    shutil.copytree(ROLE / "files/host/page", directory, dirs_exist_ok=True)
    for name in SHARED:
        shutil.copy(ROLES / "demo_index/files/page" / name, directory)
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((ROLE / "templates/index.html.j2").read_text("utf-8"))
    (directory / "index.html").write_text(template.render(texts=texts(language), host="localhost"), encoding="utf-8")
    shutil.copy(ROLE / "files/lang" / f"{language}.json", directory / "texts.json")
    if recording is not None:
        (directory / "steps.json").write_text(json.dumps(recording), encoding="utf-8")
