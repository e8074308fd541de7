# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls between the parts of the shop: the one difference between the monolith and the services.

A part offers functions in its module `api`; arguments and results are plain JSON values. Whether `call` runs the
function in this process or sends it through a Unix socket is decided by the environment alone.
"""

from __future__ import annotations

import contextvars
import dataclasses
import http.client
import importlib
import json
import os
import socket
import time
import typing as t

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.urls import NoReverseMatch, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

_ANSWER_LIMIT = 4 * 1024 * 1024


class PartDownError(Exception):
    """A part of the shop does not answer."""

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Record:
    """Who answered one call; shown at the foot of each page."""

    part: str
    function: str
    socket: str
    pid: int
    user: str
    milliseconds: float


_records: contextvars.ContextVar[list[Record]] = contextvars.ContextVar("records")


def call(part: str, function: str, **arguments: t.Any) -> t.Any:
    """Ask another part; PartDownError when it does not answer."""
    begin = time.monotonic()
    path = settings.SOCKETS[part]
    if path:
        result, pid, user = _over_socket(part, path, function, arguments)
    else:
        result, pid, user = _in_process(part, function, arguments), os.getpid(), settings.USER
    milliseconds = round((time.monotonic() - begin) * 1000, 2)
    _records.get([]).append(Record(part, function, path, pid, user, milliseconds))
    return result


def _in_process(part: str, function: str, arguments: dict[str, t.Any]) -> t.Any:
    if part not in settings.PARTS[settings.PART]:
        raise PartDownError(part, f"{part.upper()}_SOCKET is not set, and this process does not contain the part")
    return getattr(importlib.import_module(f"{part}.api"), function)(**arguments)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _over_socket(part: str, path: str, function: str, arguments: dict[str, t.Any]) -> tuple[t.Any, int, str]:
    connection = _UnixConnection(path, settings.CALL_TIMEOUT)
    try:
        connection.request(
            "POST", f"/{part}/api/{function}", json.dumps(arguments), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        body = response.read(_ANSWER_LIMIT)
        if response.status != http.HTTPStatus.OK:
            raise PartDownError(part, f"it answered {response.status} {response.reason}")
        answer = json.loads(body)
        return answer["result"], answer["pid"], answer["user"]
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise PartDownError(part, f"{path}: {error or type(error).__name__}") from error
    finally:
        connection.close()


def from_caller() -> bool:
    """Did this request come through the socket for callers? The kernel knows, and no header can say otherwise."""
    try:
        import uwsgi  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return False
    configured = uwsgi.opt.get("http-socket", [])
    sockets = {os.fsdecode(name) for name in (configured if isinstance(configured, list) else [configured])}
    with socket.socket(fileno=os.dup(uwsgi.connection_fd())) as connection:
        return connection.family == socket.AF_UNIX and connection.getsockname() in sockets


def endpoint(part: str) -> t.Callable[..., HttpResponse]:
    """The view that offers a part's functions to callers on its HTTP-speaking socket."""

    @csrf_exempt
    @require_POST
    def view(request: HttpRequest, function: str) -> HttpResponse:
        if not from_caller():
            raise Http404
        api = importlib.import_module(f"{part}.api")
        if function not in api.OFFERED:
            raise Http404
        try:
            arguments = json.loads(request.body)
            result = getattr(api, function)(**arguments)
        except (TypeError, ValueError) as error:
            return HttpResponseBadRequest(str(error), content_type="text/plain")
        return JsonResponse({"result": result, "pid": os.getpid(), "user": settings.USER})

    return view


def middleware(get_response: t.Callable[[HttpRequest], HttpResponse]) -> t.Callable[[HttpRequest], HttpResponse]:
    def run(request: HttpRequest) -> HttpResponse:
        _records.set([])
        return get_response(request)

    return run


def _link(name: str, fallback: str) -> str:
    try:
        return reverse(name)
    except NoReverseMatch:
        return fallback


def context(request: HttpRequest) -> dict[str, t.Any]:
    """What every page shows: texts, links to the parts (here or elsewhere), and who made it."""
    return {
        "t": settings.TEXTS,
        "lang": settings.LANGUAGE_CODE,
        "links": {
            "home": _link("pages:home", "/"),
            "catalog": _link("catalog:index", "/catalog/"),
            "reviews": _link("reviews:index", "/reviews/"),
            "admin": reverse("admin:index"),
            "whoami": f"{request.META.get('SCRIPT_NAME', '')}/whoami",
        },
        "part": settings.PART,
        "served_by": {"pid": os.getpid(), "user": settings.USER},
        "calls": _records.get([]),
    }
