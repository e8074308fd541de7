# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""From what the user writes to a check: every value looked at, a mistake named by its path."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import typing as t

from .._endpoint import Endpoint, EndpointError, parse
from ._check import Check, Expectation
from ._protocols import converse

_HTTP = ("http", "https", "sse", "long_polling")
_GATEWAYS = ("fastcgi", "scgi", "uwsgi")
_WEBSOCKETS = ("ws", "wss")
_REQUESTS = (*_HTTP, *_GATEWAYS)
_WITH_STATUS = (*_REQUESTS, *_WEBSOCKETS)

#: What only makes sense in some protocols. A key that could do nothing is an error, not a silent success.
_APPLIES = {
    "path": _WITH_STATUS,
    "headers": _WITH_STATUS,
    "method": _REQUESTS,
    "content": _REQUESTS,
    "params": _GATEWAYS,
    "script_filename": ("fastcgi", "scgi"),
    "origin": _WEBSOCKETS,
    "subprotocols": _WEBSOCKETS,
    "tls": ("sse", "long_polling"),
    "hold": ("long_polling",),
    "expect.status": _WITH_STATUS,
    "expect.header": _WITH_STATUS,
    "expect.body": _REQUESTS,
    "expect.regex": _REQUESTS,
    "expect.json": _REQUESTS,
    "expect.time": _WITH_STATUS,
    "expect.events": ("sse",),
    "expect.interval": ("sse",),
    "expect.echo": _WEBSOCKETS,
}
#: What of an expectation is about a response, which FastCGI's management query does not have.
_RESPONSE = ("status", "header", "body", "regex", "json")
_MOST_EVENTS = 100

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-][A-Za-z0-9._-]*)(:[0-9]+)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_KEYS = {field.name for field in dataclasses.fields(Check)} - {"max_body"}
_EXPECT_KEYS = {field.name for field in dataclasses.fields(Expectation)}
#: Fields that another key says, or the protocol itself.
_OWN_FIELDS = {
    "host": "host",
    "origin": "origin",
    "sec-websocket-protocol": "subprotocols",
    "content-length": "content",
}
_FRAMING = ("connection", "upgrade", "transfer-encoding", "sec-websocket-key", "sec-websocket-version", "te", "expect")


def parse_check(spec: t.Any, where: str = "endpoints") -> Check:
    """Return the check that ``spec`` (a mapping, or a bare endpoint) describes. Raises EndpointError."""
    if not isinstance(spec, t.Mapping) or "endpoint" not in spec:
        endpoint = parse(spec, where)
        spec = {}
    else:
        endpoint = parse(spec["endpoint"], f"{where}.endpoint")
    given = {key: value for key, value in spec.items() if value is not None}
    _refuse_unknown(given, _KEYS, "a check", where)
    state = _text(given, "state", where) or "present"
    if state not in ("present", "absent"):
        raise EndpointError(f"{where}.state", f"{state!r} is neither present nor absent")
    expect = {key: value for key, value in _mapping(given, "expect", where).items() if value is not None}
    _refuse_unknown(expect, _EXPECT_KEYS, "an expectation", f"{where}.expect")
    _refuse_useless(endpoint, state, given, expect, where)
    content = _text(given, "content", where)
    check = Check(
        endpoint=endpoint,
        name=_text(given, "name", where) or endpoint.url,
        state=state,
        path=_text(given, "path", where),
        host=_text(given, "host", where) or "localhost",
        method=_text(given, "method", where) or ("GET" if content is None else "POST"),
        headers=_headers(given, where),
        content=content,
        script_filename=_text(given, "script_filename", where),
        params={str(key): str(value) for key, value in _mapping(given, "params", where).items()},
        origin=_text(given, "origin", where),
        subprotocols=_subprotocols(given, where),
        hold=_seconds(given, "hold", where),
        expect=_expectation(expect, f"{where}.expect"),
        tls=_flag(given, "tls", False, where),
        validate_certs=_flag(given, "validate_certs", True, where),
        ca_path=_text(given, "ca_path", where),
    )
    if not _HOST.fullmatch(check.host):
        raise EndpointError(f"{where}.host", f"{check.host!r} is not a host name with or without a port")
    try:
        converse(check).opening()
    except ValueError as error:
        raise EndpointError(where, str(error)) from error
    return check


def _refuse_unknown(given: t.Mapping[str, t.Any], known: set[str], what: str, where: str) -> None:
    unknown = sorted(str(key) for key in set(given) - known)
    if unknown:
        raise EndpointError(where, f"unknown key {unknown[0]!r}; {what} has {', '.join(sorted(known))}")


def _refuse_useless(
    endpoint: Endpoint, state: str, given: t.Mapping[str, t.Any], expect: t.Mapping[str, t.Any], where: str
) -> None:
    """Refuse what cannot apply to the endpoint: it would pass without having been looked at."""
    if state == "absent" and expect:
        raise EndpointError(f"{where}.expect.{min(expect)}", "an endpoint that is absent answers nothing")
    for key in [*given, *(f"expect.{name}" for name in expect)]:
        if endpoint.protocol not in _APPLIES.get(key, (endpoint.protocol,)):
            message = f"this does not apply to {endpoint.protocol}, but to {', '.join(_APPLIES[key])}"
            raise EndpointError(f"{where}.{key}", message)
    if "peer" in expect and not endpoint.is_unix:
        raise EndpointError(f"{where}.expect.peer", "the kernel tells who listens only for Unix sockets")
    query = endpoint.protocol == "fastcgi" and not given.get("path") and not given.get("script_filename")
    for key in _RESPONSE:
        if query and key in expect:
            message = "give path or script_filename: without one, only FastCGI's management query is sent"
            raise EndpointError(f"{where}.expect.{key}", message)


def _expectation(given: t.Mapping[str, t.Any], where: str) -> Expectation:
    status = given.get("status", [])
    codes = status if isinstance(status, (list, tuple)) else [status]
    if not all(_is_number(code, int) and 100 <= code <= 599 for code in codes):
        raise EndpointError(f"{where}.status", f"{status!r} is not a list of HTTP status codes")
    regex = _text(given, "regex", where)
    if regex is not None:
        _pattern(regex, f"{where}.regex")
    peer = given.get("peer")
    if peer is not None and (not (isinstance(peer, str) or _is_number(peer, int)) or peer == ""):
        raise EndpointError(f"{where}.peer", f"{peer!r} is neither a user's name nor a uid")
    interval = _seconds(given, "interval", where)
    events = given.get("events", 1 if interval is None else 2)
    least = 1 if interval is None else 2
    if not _is_number(events, int) or not least <= events <= _MOST_EVENTS:
        raise EndpointError(f"{where}.events", f"{events!r} is not a number from {least} to {_MOST_EVENTS}")
    return Expectation(
        status=tuple(codes),
        header=_wanted_headers(given, where),
        body=_text(given, "body", where),
        regex=regex,
        json=given.get("json"),
        time=_time(given, where),
        peer=peer,
        events=events,
        interval=interval,
        echo=_text(given, "echo", where),
    )


def _wanted_headers(given: t.Mapping[str, t.Any], where: str) -> dict[str, str | re.Pattern[str]]:
    wanted: dict[str, str | re.Pattern[str]] = {}
    for name, value in _mapping(given, "header", where).items():
        here = f"{where}.header.{name}"
        if isinstance(value, t.Mapping) and set(value) == {"regex"} and isinstance(value["regex"], str):
            wanted[str(name).lower()] = _pattern(value["regex"], here)
        elif isinstance(value, (str, int)) and not isinstance(value, bool):
            wanted[str(name).lower()] = str(value)
        else:
            raise EndpointError(here, f"{value!r} is neither the header's value nor a mapping with regex")
    return wanted


def _time(given: t.Mapping[str, t.Any], where: str) -> tuple[float, float] | None:
    value = given.get("time")
    if value is None:
        return None
    if not isinstance(value, t.Mapping):
        return 0.0, t.cast("float", _seconds(given, "time", where))
    _refuse_unknown(value, {"min", "max"}, "a time", f"{where}.time")
    least = _seconds(value, "min", f"{where}.time") or 0.0
    most = _seconds(value, "max", f"{where}.time") or math.inf
    if least >= most or (least, most) == (0.0, math.inf):
        raise EndpointError(f"{where}.time", f"{dict(value)!r} is no span of time; give min, max, or both")
    return least, most


def _headers(given: t.Mapping[str, t.Any], where: str) -> dict[str, str]:
    headers = {str(name): str(value) for name, value in _mapping(given, "headers", where).items()}
    for name, value in headers.items():
        here = f"{where}.headers.{name}"
        if not _TOKEN.fullmatch(name) or re.search(r"[\r\n\0]", value):
            raise EndpointError(here, f"{name!r}: {value!r} is not a header field")
        if name.lower() in _OWN_FIELDS:
            raise EndpointError(here, f"this field has a key of its own: {_OWN_FIELDS[name.lower()]}")
        if name.lower() in _FRAMING:
            raise EndpointError(here, "the protocol itself needs this field")
    if len({name.lower() for name in headers}) < len(headers):
        raise EndpointError(f"{where}.headers", "a field is there twice, in capitals and small letters")
    return headers


def _subprotocols(given: t.Mapping[str, t.Any], where: str) -> tuple[str, ...]:
    value = given.get("subprotocols", [])
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) and _TOKEN.fullmatch(n) for n in names):
        raise EndpointError(f"{where}.subprotocols", f"{value!r} is not a list of names")
    return tuple(names)


def _pattern(text: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise EndpointError(where, f"{text!r} is not a regular expression: {error}") from error


def _is_number(value: t.Any, kind: t.Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _seconds(given: t.Mapping[str, t.Any], key: str, where: str) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    if not _is_number(value, (int, float)) or not 0 < value <= sys.float_info.max:
        raise EndpointError(f"{where}.{key}", f"{value!r} is not a finite number of seconds above zero")
    return float(value)


def _text(given: t.Mapping[str, t.Any], key: str, where: str) -> str | None:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise EndpointError(f"{where}.{key}", f"{value!r} is not text")
    if value is not None and re.search("[\ud800-\udfff]", value):
        raise EndpointError(f"{where}.{key}", f"{value!r} has bytes or halves of characters that are no UTF-8")
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
