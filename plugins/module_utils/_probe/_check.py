# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What the user asks of one endpoint, as a typed value."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .._endpoint import Endpoint, EndpointError, parse
from ..wire._http import MAX_BODY
from ._conversations import CONVERSATIONS, Conversation


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What a response must be like. Nothing asked: any complete response with a status below 500."""

    status: tuple[int, ...] = ()
    body: str | None = None
    regex: str | None = None
    json: t.Any = None


@dataclasses.dataclass(frozen=True)
class Check:
    """One endpoint, the request to send there, and what to expect."""

    endpoint: Endpoint
    name: str
    path: str | None = None
    host: str = "localhost"
    method: str = "GET"
    script_filename: str | None = None
    params: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    expect: Expectation = Expectation()
    validate_certs: bool = True
    ca_path: str | None = None
    #: How much of the answer's body is kept; for a caller in this collection, not for the user.
    max_body: int = MAX_BODY
    #: What is said instead of the protocol's usual; for such a caller as well.
    conversation: t.Callable[[Check], Conversation] | None = None

    def begin(self) -> Conversation:
        """What is said on a new connection."""
        return (self.conversation or CONVERSATIONS[self.endpoint.protocol])(self)

    @property
    def server_name(self) -> str:
        """The host without a port, as TLS wants it."""
        name, colon, port = self.host.rpartition(":")
        return (name if colon and port.isdigit() else self.host).strip("[]")


_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-][A-Za-z0-9._-]*)(:[0-9]+)?")
_KEYS = {field.name for field in dataclasses.fields(Check)} - {"max_body", "conversation"}
_EXPECT_KEYS = {field.name for field in dataclasses.fields(Expectation)}


def parse_check(spec: t.Any, where: str = "endpoints") -> Check:
    """Return the check that ``spec`` (a mapping, or a bare endpoint) describes. Raises EndpointError."""
    if not isinstance(spec, t.Mapping) or "endpoint" not in spec:
        endpoint = parse(spec, where)
        spec = {}
    else:
        endpoint = parse(spec["endpoint"], f"{where}.endpoint")
    if endpoint.protocol not in CONVERSATIONS:
        spoken = ", ".join(CONVERSATIONS)
        raise EndpointError(where, f"the probe does not speak {endpoint.protocol}; it speaks {spoken}")
    given = {key: value for key, value in spec.items() if value is not None}
    unknown = sorted(set(given) - _KEYS)
    if unknown:
        raise EndpointError(where, f"unknown key {unknown[0]!r}; a check has {', '.join(sorted(_KEYS))}")
    check = Check(
        endpoint=endpoint,
        name=_text(given, "name", where) or endpoint.url,
        path=_text(given, "path", where),
        host=_text(given, "host", where) or "localhost",
        method=_text(given, "method", where) or "GET",
        script_filename=_text(given, "script_filename", where),
        params={str(key): str(value) for key, value in _mapping(given, "params", where).items()},
        expect=_expectation(_mapping(given, "expect", where), f"{where}.expect"),
        validate_certs=_flag(given, "validate_certs", True, where),
        ca_path=_text(given, "ca_path", where),
    )
    if not _HOST.fullmatch(check.host):
        raise EndpointError(f"{where}.host", f"{check.host!r} is not a host name with or without a port")
    try:
        CONVERSATIONS[endpoint.protocol](check).opening()
    except ValueError as error:
        raise EndpointError(where, str(error)) from error
    return check


def _expectation(given: t.Mapping[str, t.Any], where: str) -> Expectation:
    unknown = sorted(set(given) - _EXPECT_KEYS)
    if unknown:
        raise EndpointError(where, f"unknown key {unknown[0]!r}; an expectation has {', '.join(sorted(_EXPECT_KEYS))}")
    status = given.get("status") or []
    codes = status if isinstance(status, (list, tuple)) else [status]
    if not all(isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 599 for code in codes):
        raise EndpointError(f"{where}.status", f"{status!r} is not a list of HTTP status codes")
    regex = _text(given, "regex", where)
    try:
        re.compile(regex or "")
    except re.error as error:
        raise EndpointError(f"{where}.regex", f"{regex!r} is not a regular expression: {error}") from error
    return Expectation(tuple(codes), _text(given, "body", where), regex, given.get("json"))


def _text(given: t.Mapping[str, t.Any], key: str, where: str) -> str | None:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise EndpointError(f"{where}.{key}", f"{value!r} is not text")
    return value


def _mapping(given: t.Mapping[str, t.Any], key: str, where: str) -> t.Mapping[str, t.Any]:
    value = given.get(key)
    if value is not None and not isinstance(value, t.Mapping):
        raise EndpointError(f"{where}.{key}", f"{value!r} is not a mapping")
    return value or {}


def _flag(given: t.Mapping[str, t.Any], key: str, default: bool, where: str) -> bool:
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise EndpointError(f"{where}.{key}", f"{value!r} is neither true nor false")
    return value
