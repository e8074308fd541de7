# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Conversations of one request and one answer: HTTP, long polling, FastCGI, SCGI, uwsgi."""

from __future__ import annotations

import typing as t
from urllib.parse import unquote

from ..wire import _fastcgi, _http, _scgi, _uwsgi
from ._conversations import Answer, Conversation, ReaderConversation

if t.TYPE_CHECKING:
    from ._check import Check


class Http(ReaderConversation):
    """An HTTP request on a connection of its own."""

    reader: _http.ResponseReader
    accept = "*/*"

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.reader = _http.ResponseReader(bodiless=check.method == "HEAD", max_body=check.max_body)

    def opening(self) -> bytes:
        fields = [*request_fields(self.check, self.accept), ("Connection", "close")]
        return _http.encode_request(self.check.method, self.check.path or "/", fields, self.check.body)

    def answer(self) -> Answer:
        return http_answer(self.reader)


class LongPolling(Http):
    """An HTTP request that the server may keep until it has something to say."""

    _held = False

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.patience = check.hold

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self._held or self.reader.complete

    def hold(self) -> None:
        self._held = True

    def answer(self) -> Answer:
        return http_answer(self.reader, held=self._held)


class Uwsgi(Http):
    """A uwsgi request for an application; the answer is HTTP."""

    def opening(self) -> bytes:
        target = self.check.path or "/"
        variables = {
            **_cgi_variables(self.check, target),
            # Empty, but there: without it, wsgiref.validate fails.
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(target.partition("?")[0]),
            **self.check.params,
        }
        return _uwsgi.encode_request(variables) + self.check.body


class Scgi(Http):
    """An SCGI request; the answer is a CGI document."""

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.reader = _http.ResponseReader(cgi=True, bodiless=check.method == "HEAD", max_body=check.max_body)

    def opening(self) -> bytes:
        target = self.check.path or "/"
        variables = {
            **_cgi_variables(self.check, target),
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(target.partition("?")[0]),
            **({"SCRIPT_FILENAME": self.check.script_filename} if self.check.script_filename else {}),
            **self.check.params,
        }
        return _scgi.encode_request(variables, self.check.body)


class FastCgi(ReaderConversation):
    """A FastCGI responder request."""

    reader: _fastcgi.ResponseStream

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.reader = _fastcgi.ResponseStream(bodiless=check.method == "HEAD", max_body=check.max_body)

    def opening(self) -> bytes:
        script = self.check.script_filename
        root, _slash, file_name = (script or "").rpartition("/")
        target = self.check.path or f"/{file_name}"
        script_name = f"/{file_name}" if script else unquote(target.partition("?")[0])
        params = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            **_cgi_variables(self.check, target),
            # PHP-FPM finds its ping and status paths by SCRIPT_NAME, and only if SCRIPT_FILENAME is there too.
            "SCRIPT_FILENAME": script or script_name,
            "SCRIPT_NAME": script_name,
            "DOCUMENT_ROOT": root or "/",
            "DOCUMENT_URI": script_name,
            "REDIRECT_STATUS": "200",  # php-cgi refuses requests without it
            **self.check.params,
        }
        return _fastcgi.encode_request(params, self.check.body)

    def answer(self) -> Answer:
        stream = self.reader
        failure = None
        if stream.protocol_status:
            failure = f"the application failed: END_REQUEST has protocolStatus {stream.protocol_status}"
        elif stream.app_status:
            failure = f"the application failed: END_REQUEST has appStatus {stream.app_status}"
        return http_answer(
            stream.response,
            stderr=stream.stderr.decode("utf-8", "replace") or None,
            overloaded=stream.protocol_status == _fastcgi.OVERLOADED,
            failure=failure,
        )


class FastCgiQuery(ReaderConversation):
    """FastCGI's management query: a worker takes it and answers, and no script runs."""

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.reader = _fastcgi.ManagementReader()

    def opening(self) -> bytes:
        return _fastcgi.encode_get_values("FCGI_MAX_CONNS", "FCGI_MPXS_CONNS")


def fastcgi(check: Check) -> Conversation:
    """A request where the check names one, else the management query."""
    return FastCgi(check) if check.path or check.script_filename else FastCgiQuery(check)


def http_answer(reader: _http.ResponseReader, **more: t.Any) -> Answer:
    """What a reader has so far, and what else the protocol knows."""
    fields: dict[str, t.Any] = {
        "status": reader.status,
        "reason": reader.reason,
        "headers": reader.headers,
        "body": bytes(reader.body),
        "truncated": reader.truncated,
    }
    return Answer(**{**fields, **more})


def request_fields(check: Check, accept: str = "*/*") -> list[tuple[str, str]]:
    """The fields of an HTTP request; what the check says goes before what the probe says by itself."""
    given = {name.lower() for name in check.headers}
    own = [("User-Agent", "weblab.stacks-probe"), ("Accept", accept)]
    return [
        ("Host", check.host),
        *((name, value) for name, value in own if name.lower() not in given),
        *check.headers.items(),
    ]


def _cgi_variables(check: Check, target: str) -> dict[str, str]:
    """What a front server would say of the request (RFC 3875, 4.1)."""
    fields = {name.upper().replace("-", "_"): value for name, value in request_fields(check)}
    content_type = fields.pop("CONTENT_TYPE", "")
    return {
        "REQUEST_METHOD": check.method,
        "REQUEST_URI": target,
        "QUERY_STRING": target.partition("?")[2],
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(check.body)) if check.body else "",
        "SERVER_NAME": check.host,
        "SERVER_PORT": str(check.endpoint.port or 80),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "weblab.stacks-probe",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "0",
        **{f"HTTP_{name}": value for name, value in fields.items()},
    }
