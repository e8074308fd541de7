# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contract of WSGI (PEP 3333), in one file that every WSGI server runs as it is.

A server calls `application` with the request (`environ`) and a function (`start_response`), and sends the bytes of what
it returns. Between the two stands wsgiref.validate, which holds both of them to the contract.
"""

from __future__ import annotations

import json
import os
import platform
import pwd
import sys
import typing as t
import urllib.parse
from wsgiref.validate import validator

Environ = dict[str, t.Any]
StartResponse = t.Callable[..., t.Any]


def contract(environ: Environ, start_response: StartResponse) -> t.Iterable[bytes]:
    """The application: a callable with two arguments."""
    query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = json.dumps(tell(environ, query, body), indent=1).encode()
    status = "200 OK"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    # Three ways to break the contract, on purpose.
    broken = query.get("break", [""])[0]
    if broken == "status":
        status = "fine"
    if broken == "headers":
        headers.append(("Status", "200"))
    start_response(status, headers)
    if broken == "body":
        return answer.decode()  # type: ignore[return-value]
    return Body(answer)


class Body:
    """The answer's body: anything that gives bytes, piece by piece. The server closes it, whatever happens."""

    given = closed = 0

    def __init__(self, answer: bytes) -> None:
        self.pieces = answer.splitlines(keepends=True)
        Body.given += 1

    def __iter__(self) -> t.Iterator[bytes]:
        return iter(self.pieces)

    def close(self) -> None:
        Body.closed += 1


def tell(environ: Environ, query: dict[str, list[str]], body: bytes) -> dict[str, t.Any]:
    """What came over the contract, and who is here."""
    return {
        "nonce": query.get("nonce", [""])[0][:64],
        "read": body[:64].decode("utf-8", "replace"),
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "file": __file__,
        "python": platform.python_version(),
        "bodies": {"given": Body.given, "closed": Body.closed},
        "environ": {key: value if isinstance(value, str) else repr(value) for key, value in sorted(environ.items())},
    }


checked = validator(contract)


def application(environ: Environ, start_response: StartResponse) -> t.Iterable[bytes]:
    """What the server calls: the checked contract, or what was wrong with it."""
    environ["weblab.start_response"] = repr(start_response)
    environ["weblab.input"] = repr(environ.get("wsgi.input"))
    begun = []

    def start(*response: t.Any) -> t.Any:
        begun.append(response)
        return start_response(*response)

    try:
        return checked(environ, start)
    except AssertionError as objection:
        answer = json.dumps({"objection": str(objection), "pid": os.getpid()}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
        # The third argument takes back what start_response was told before, as long as nothing is sent.
        start_response("500 Internal Server Error", headers, *([sys.exc_info()] if begun else []))
        return [answer]
