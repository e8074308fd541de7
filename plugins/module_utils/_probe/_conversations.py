# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What is said on a connection: one class per protocol, in one table. Bytes in, bytes out."""

from __future__ import annotations

import dataclasses
import typing as t
from urllib.parse import unquote

from ..wire import _fastcgi, _http, _uwsgi

if t.TYPE_CHECKING:
    from ._check import Check


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the peer said, as far as the protocol has it."""

    status: int | None = None
    reason: str = ""
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    truncated: bool = False
    stderr: str | None = None
    #: The peer's own word for "too many requests" (FCGI_OVERLOADED).
    overloaded: bool = False
    #: A failure that only the protocol tells (FastCGI's appStatus and protocolStatus).
    failure: str | None = None


class Conversation:
    """One exchange with a peer. This one says nothing: that the peer accepts is enough."""

    complete = True

    def __init__(self, check: Check) -> None:
        self.check = check

    def opening(self) -> bytes:
        """The bytes to send first. Raises ValueError if the check cannot be spelled."""
        return b""

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. Raises WireError."""

    def feed_eof(self) -> None:
        """The peer will send no more. Raises WireError if something is missing."""

    def answer(self) -> Answer:
        """What has come so far."""
        return Answer()


class _Reader(t.Protocol):
    complete: bool

    def feed(self, data: bytes) -> None: ...

    def feed_eof(self) -> None: ...


class _ReaderConversation(Conversation):
    """An exchange of one request and one answer, which a reader of the codec takes."""

    reader: _Reader

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self.reader.complete

    def feed(self, data: bytes) -> None:
        self.reader.feed(data)

    def feed_eof(self) -> None:
        self.reader.feed_eof()


class Http(_ReaderConversation):
    """An HTTP request on a connection of its own."""

    reader: _http.ResponseReader

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.reader = _http.ResponseReader(bodiless=check.method == "HEAD", max_body=check.max_body)

    def opening(self) -> bytes:
        fields = [
            ("Host", self.check.host),
            ("User-Agent", "weblab.stacks-probe"),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ]
        return _http.encode_request(self.check.method, self.check.path or "/", fields)

    def answer(self) -> Answer:
        return _http_answer(self.reader)


class Uwsgi(Http):
    """A uwsgi request for an application; the answer is HTTP."""

    def opening(self) -> bytes:
        target = self.check.path or "/"
        variables = {
            **_cgi_variables(self.check, target),
            "PATH_INFO": unquote(target.partition("?")[0]),
            **self.check.params,
        }
        return _uwsgi.encode_request(variables)


class FastCgi(_ReaderConversation):
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
        return _fastcgi.encode_request(params)

    def answer(self) -> Answer:
        stream = self.reader
        failure = None
        if stream.protocol_status:
            failure = f"END_REQUEST has protocolStatus {stream.protocol_status}"
        elif stream.app_status:
            failure = f"END_REQUEST has appStatus {stream.app_status}"
        return dataclasses.replace(
            _http_answer(stream.response),
            stderr=stream.stderr.decode("utf-8", "replace") or None,
            overloaded=stream.protocol_status == _fastcgi.OVERLOADED,
            failure=failure,
        )


class FastCgiQuery(_ReaderConversation):
    """FastCGI's management query: a worker takes it and answers, and no script runs."""

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.reader = _fastcgi.ManagementReader()

    def opening(self) -> bytes:
        return _fastcgi.encode_get_values("FCGI_MAX_CONNS", "FCGI_MPXS_CONNS")


def fastcgi(check: Check) -> Conversation:
    """A request where the check names one, else the management query."""
    return FastCgi(check) if check.path or check.script_filename else FastCgiQuery(check)


def _http_answer(reader: _http.ResponseReader) -> Answer:
    return Answer(
        status=reader.status,
        reason=reader.reason,
        headers=reader.headers,
        body=bytes(reader.body),
        truncated=reader.truncated,
    )


def _cgi_variables(check: Check, target: str) -> dict[str, str]:
    """What a front server would say of the request (RFC 3875, 4.1)."""
    return {
        "REQUEST_METHOD": check.method,
        "REQUEST_URI": target,
        "QUERY_STRING": target.partition("?")[2],
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "",
        "SERVER_NAME": check.host,
        "SERVER_PORT": str(check.endpoint.port or 80),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "weblab.stacks-probe",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "0",
        "HTTP_HOST": check.host,
        "HTTP_USER_AGENT": "weblab.stacks-probe",
    }


#: protocol -> what is said there. A protocol that is not here is not spoken.
CONVERSATIONS: dict[str, t.Callable[[Check], Conversation]] = {
    "tcp": Conversation,
    "unix": Conversation,
    "http": Http,
    "https": Http,
    "fastcgi": fastcgi,
    "uwsgi": Uwsgi,
}
