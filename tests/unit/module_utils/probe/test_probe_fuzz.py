# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Arbitrary data where a user writes, and arbitrary bytes where a peer does: a named error, or a verdict."""

from __future__ import annotations

import contextlib
import json
import math
import re
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_server import cut, server_frame

from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import PROTOCOLS, EndpointError, parse
from ansible_collections.weblab.stacks.plugins.module_utils._probe._check import Check
from ansible_collections.weblab.stacks.plugins.module_utils._probe._connection import Outcome
from ansible_collections.weblab.stacks.plugins.module_utils._probe._facts import Facts
from ansible_collections.weblab.stacks.plugins.module_utils._probe._identify import Peer
from ansible_collections.weblab.stacks.plugins.module_utils._probe._judge import is_doubtful, judge, with_peer
from ansible_collections.weblab.stacks.plugins.module_utils._probe._parse import _EXPECT_KEYS, _KEYS, parse_check
from ansible_collections.weblab.stacks.plugins.module_utils._probe._protocols import converse
from ansible_collections.weblab.stacks.plugins.module_utils._probe._record import CAUSES
from ansible_collections.weblab.stacks.plugins.module_utils.wire._error import WireError
from ansible_collections.weblab.stacks.plugins.module_utils.wire._websocket import accept_for

#: What goes wrong by experience: nothing, what no encoding has, what ends lines and names, what no number is.
ODD = ["", "\ud800", "\0", "a b", "a\r\nb: c", "::1%a b", "/run/a.sock", "@a", "200", "[", "(?P<a", "1" * 400]
ODD += [10**400, -1, 0, 200, 65536, math.nan, math.inf, 1e-300, True, [], [[]], {}, {1: 2, "a": 3}, {"regex": 1}]  # type: ignore[list-item]
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(ODD)
_JSON: st.SearchStrategy[t.Any] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
_RIGHT_PLACES = ["://127.0.0.1:81", "://[::1]:81", "+unix:///run/a.sock", "+unix://@a", "://a.example:81"]
_URLS = st.builds("{}{}".format, st.sampled_from(PROTOCOLS), st.sampled_from(_RIGHT_PLACES))
_TYPED = st.fixed_dictionaries(
    {"protocol": st.sampled_from(PROTOCOLS) | _JSON},
    optional={"unix": st.just("/run/a.sock") | _JSON, "host": st.just("::1") | _JSON, "port": st.just(81) | _JSON},
)
_ENDPOINTS = _URLS | _TYPED | st.from_regex(r"[a-z]+(\+unix)?://.{0,20}", fullmatch=True) | _JSON

#: Values that are right somewhere: nothing is looked into whose key was refused.
_GOOD: dict[str, st.SearchStrategy[t.Any]] = {
    "path": st.sampled_from(["/", "/a?b=c"]),
    "headers": st.dictionaries(
        st.sampled_from(["A", "a", "Host", "X-\u0436"]), st.sampled_from(["b", "\ud800", "\u0436"])
    ),
    "content": st.sampled_from(["", "x", "\ud800"]),
    "params": st.dictionaries(st.text(max_size=3), _SCALARS, max_size=2),
    "hold": st.floats(0, 10),
    "subprotocols": st.just(["a", "b"]),
    "state": st.sampled_from(["present", "absent"]),
    "method": st.sampled_from(["GET", "HEAD", "POST"]),
}
_GOOD_EXPECTATIONS: dict[str, st.SearchStrategy[t.Any]] = {
    "status": st.sampled_from([200, [200, 101], 101]),
    "header": st.dictionaries(st.sampled_from(["a", "B"]), st.sampled_from(["b", 1, {"regex": "x"}])),
    "regex": st.sampled_from(["x", "\u0436+"]),
    "json": _JSON,
    "time": st.sampled_from([1, {"min": 1}, {"max": 2.5}]),
    "peer": st.sampled_from(["root", 0]),
    "interval": st.floats(0, 10),
    "events": st.integers(0, 5),
    "echo": st.text(max_size=5) | st.just("\ud800"),
}
_EXPECTATIONS = st.fixed_dictionaries(
    {}, optional={key: _GOOD_EXPECTATIONS.get(key, _JSON) | _JSON for key in sorted(_EXPECT_KEYS)}
)
_OPTIONS = {key: _GOOD.get(key, _JSON) | _JSON for key in sorted(_KEYS - {"endpoint", "expect"})}


@st.composite
def _specs(draw: st.DrawFn) -> dict[str, t.Any]:
    """An endpoint and a few of the many options: with all of them none would ever be right."""
    spec = {"endpoint": draw(_URLS | _ENDPOINTS)}
    for key in draw(st.lists(st.sampled_from(sorted(_OPTIONS)), max_size=2)):
        spec[key] = draw(_OPTIONS[key])
    if draw(st.booleans()):
        expectation = draw(_EXPECTATIONS)
        names = draw(st.lists(st.sampled_from(sorted(_EXPECT_KEYS)), max_size=2))
        spec["expect"] = {name: expectation[name] for name in names if name in expectation} or draw(_JSON)
    return spec


# What a user writes


@pytest.mark.parametrize(
    "spec",
    [  # found by the tests below
        {1: None, "a": None},
        {"endpoint": "http://127.0.0.1:81", 1: 2, "a": 3},
        "unix:///run/\ud800",
        {"protocol": "http", "host": "::1%a; b", "port": 81},
        "http://[::1%a;b]:81",
        {"endpoint": "long_polling://127.0.0.1:81", "hold": 10**400},
        {"endpoint": "ws://127.0.0.1:81", "expect": {"echo": "\ud800"}},
        {"endpoint": "http://127.0.0.1:81", "content": "\ud800"},
        {"endpoint": "http://127.0.0.1:81", "headers": {"A": "\ud800"}},
    ],
)
def test_what_once_was_no_named_error(spec: t.Any) -> None:
    with pytest.raises(EndpointError):
        parse_check(spec)


@given(_ENDPOINTS, st.sampled_from([None, "http", "unix"]))
@settings(max_examples=300)
def test_an_endpoint_is_right_or_refused_by_name(value: t.Any, protocol: str | None) -> None:
    try:
        endpoint = parse(value, "here", protocol)
    except EndpointError as error:
        assert str(error).startswith("here")
        return
    assert parse(endpoint.url) == endpoint
    assert parse(endpoint.as_dict()) == endpoint
    assert not re.search(r"[\s;{}|\"']", endpoint.address), "no daemon could spell it"
    json.dumps(endpoint.url).encode()


@given(_specs() | _JSON)
@settings(max_examples=500)
def test_a_check_is_right_or_refused_by_name(spec: t.Any) -> None:
    try:
        check = parse_check(spec, "here")
    except EndpointError as error:
        assert str(error).startswith("here")
        return
    assert isinstance(converse(check).opening(), bytes)
    assert math.isfinite(check.duration)


# What a peer says


OK = b"HTTP/1.1 200 OK\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\n\r\n"
CONVERSATIONS: dict[str, list[bytes]] = {
    "http": [OK + b"Content-Length: 2\r\n\r\n{}", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"],
    "sse": [
        STREAM + b"data: a\n\nid: 1\ndata: b\n\n",
        STREAM[:-2] + b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n",
    ],
    "ws": [server_frame(1, b"a") + server_frame(9, b"b") + server_frame(10, b"c") + server_frame(8, b"\x03\xe8")],
    "fastcgi": [
        b"\1\7\0\1\0\2\0\0no\1\6\0\1\0\x14\0\0Status: 201 Yes\r\n\r\nx\1\3\0\1\0\10\0\0" + bytes(8),
        b"\1\n\0\0\0\x11\0\0\x0f\1FCGI_MAX_CONNS1",
    ],
    "scgi": [b"Status: 404 No\r\n\r\ngone"],
    "uwsgi": [OK + b"\r\nhello"],
}
CONVERSATIONS |= {"https": CONVERSATIONS["http"], "long_polling": CONVERSATIONS["http"], "wss": CONVERSATIONS["ws"]}


@st.composite
def _talks(draw: st.DrawFn) -> tuple[Check, bytes]:
    """A check, and what a peer says: right, or with something put in its place; and in the beginning of a WebSocket."""
    spec = draw(_specs().filter(lambda spec: isinstance(spec["endpoint"], str)))
    check = None
    with contextlib.suppress(EndpointError):
        check = parse_check(spec)
    check = check or parse_check(draw(_URLS.filter(_is_right)))
    data = draw(st.sampled_from([*CONVERSATIONS.get(check.endpoint.protocol, [b""]), b"HTTP/1.1 400 Bad\r\n\r\n", b""]))
    for _change in range(draw(st.integers(0, 2))):
        start, size = draw(st.integers(0, len(data))), draw(st.integers(0, 9))
        data = data[:start] + draw(st.binary(max_size=9)) + data[start + size :]
    return check, data


def _is_right(url: str) -> bool:
    with contextlib.suppress(EndpointError):
        return bool(parse_check(url))
    return False


_PEERS = st.sampled_from(
    [
        None,
        Peer(None, greeting=b"\xff\0"),
        Peer("http"),
        Peer("http", tls=True),
        Peer("ws"),
        Peer("sse", tls=True),
        Peer("scgi"),
    ]
)
_ENDS = st.sampled_from([None, TimeoutError(), ConnectionResetError(104, "reset"), OSError(2, "none"), OSError("odd")])


@given(_talks(), st.lists(st.integers(1, 9), max_size=20), _ENDS, _PEERS)
@settings(max_examples=500)
def test_whatever_a_peer_says_there_is_a_verdict(
    talk: tuple[Check, bytes], sizes: list[int], end: Exception | None, peer: Peer | None
) -> None:
    check, data = talk
    conversation = converse(check)
    request = conversation.opening()
    key = re.search(rb"Sec-WebSocket-Key: (.*)\r", request)
    if key and data[:1] not in (b"H", b""):
        accept = accept_for(key[1].decode())
        head = "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        data = f"{head}{accept}\r\n\r\n".encode() + data
    outcome = Outcome(conversation, "receive", received=len(data))
    try:
        for number, piece in enumerate(cut(data, sizes)):
            if not conversation.complete:
                conversation.now = float(number)
                conversation.feed(piece)
                assert isinstance(conversation.take_output(), bytes)
        if not conversation.complete and end is None:
            conversation.feed_eof()
    except WireError as error:
        outcome.error = error
    else:
        outcome.error = end
        outcome.phase = "done" if conversation.complete else "receive"
    if outcome.phase != "done" and outcome.error is None:
        return
    facts = Facts(queue={"length": 0, "limit": 1}, user="u", groups=("g",))
    verdict = judge(check, outcome, facts)
    if is_doubtful(check, outcome, verdict):
        verdict = with_peer(check, verdict, peer)
    assert verdict.cause is None or (verdict.cause in CAUSES and verdict.message and verdict.hint)
    json.dumps([verdict.message, verdict.hint, conversation.missing()]).encode()
