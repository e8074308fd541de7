# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board without its servers: what is a message, who has seen what, how much one may send; its texts."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import pathlib
import re
import sys
import types
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROLE = pathlib.Path(__file__).resolve().parents[2] / "roles" / "demo_board"


def _load(name: str) -> t.Any:
    spec = importlib.util.spec_from_file_location(f"board_{name}", ROLE / "files" / "board" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


messages, limits = _load("messages"), _load("limits")


def row(number: int, text: str = "x") -> tuple[str, dict[str, str]]:
    return f"{number}-0", {"n": str(number), "key": f"key-{number:05}", "by": "ws", "text": text, "at": "1.5"}


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ("", "no JSON"),
        ("[]", "an object"),
        ('{"key": 1, "text": "x"}', "are texts"),
        ('{"key": "short", "text": "x"}', "8 to 64"),
        ('{"key": "k y-12345678", "text": "x"}', "8 to 64"),
        ('{"key": "key-12345", "text": "  "}', "is empty"),
        ('{"key": "key-12345", "by": "<b>", "text": "x"}', "a transport"),
        ('{"key": "key-12345", "text": "\\ud800"}', "lone surrogate"),
        (json.dumps({"key": "key-12345", "text": "x" * 2001}), "2001 characters; 2000 at most"),
        (b"\xff\xfe", "no JSON"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(sent: str | bytes, problem: str) -> None:
    with pytest.raises(messages.Refused, match=re.escape(problem)):
        messages.sent(sent)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=2000).filter(str.strip))
def test_any_text_arrives_as_it_was_sent_in_one_event(text: str) -> None:
    sent = messages.sent(json.dumps({"key": "key-12345", "by": "sse", "text": text}))
    found = messages.message("17-3", {"n": "4", "at": "2.5", **sent._asdict()})
    assert json.loads(found.json) == {
        "type": "message", "cursor": "17-3", "n": 4, "at": 2.5, "key": "key-12345", "by": "sse", "text": text,
    }  # fmt: skip
    # An event ends at an empty line, and a line at CR or LF: there is none inside.
    assert found.event == f"id: 17-3\ndata: {found.json}\n\n".encode()
    assert not set(found.json) & {"\r", "\n"}


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-2-3", "a-b", "1-2\n", "1" * 30 + "-0", "\u0661-\u0662"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(messages.Refused):
        messages.cursor(text)


@pytest.mark.parametrize("text", ["", "x", "nan", "-nan", "inf", "-inf", "1e999", "0x1"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(messages.Refused, match="wait is a number of seconds"):
        messages.seconds(text, "wait", 25)


def test_seconds_have_limits() -> None:
    assert [messages.seconds(text, "wait", 25) for text in ("-1", "0", "2.5", "1e3")] == [0, 0, 2.5, 25]


def test_events_go_out_in_small_bunches() -> None:
    size = len(messages.message("1-0", row(1)[1]).event)
    count = 5 * messages.BUNCH // size
    found = [messages.message(f"{number}-0", row(number)[1]) for number in range(1, count)]
    bunches = list(messages.bunches(found))
    assert b"".join(bunches) == b"".join(one.event for one in found)
    assert max(map(len, bunches)) < messages.BUNCH + 2 * size
    assert len(bunches) < 8


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "same"),
    [
        ("http://h:8112", "http", "h:8112", True),
        ("http://h:8112", "ws", "h:8112", True),
        ("https://h", "https", "h", True),
        ("https://h", "wss", "H", True),
        ("https://h", "https", "h:8115", False),
        ("http://h", "wss", "h", False),
        ("https://h", "ws", "h", False),
        ("null", "http", "h", False),
        ("http://[", "http", "[", True),
        ("http://[", "http", "h", False),
    ],
)
def test_a_page_is_of_the_same_site_by_scheme_host_and_port(origin: str, scheme: str, host: str, same: bool) -> None:
    assert limits.same_origin(origin, scheme, host) is same


def test_a_cursor_gets_everything_after_it_once_and_in_order() -> None:
    at_hand = messages.AtHand()
    assert (at_hand.reaches(messages.BEGINNING), at_hand.after(messages.BEGINNING)) == (True, [])
    # A broker that is read again tells what is known already.
    for rows in ([row(9), row(10)], [row(9), row(10), row(11)]):
        at_hand.add(rows)
    for number in (8, 9, 10, 11, 12):
        assert [found.cursor.time for found in at_hand.after(messages.Cursor(number, 0))] == [
            other for other in (9, 10, 11) if other > number
        ]
    # By number, not by letters.
    assert messages.cursor("9-0") < messages.cursor("10-0")


def test_who_is_further_back_than_what_is_at_hand_is_told_so() -> None:
    at_hand = messages.AtHand()
    at_hand.add(row(number) for number in range(1, messages.AT_HAND + 11))
    assert not at_hand.reaches(messages.Cursor(10, 0))
    assert at_hand.reaches(messages.Cursor(11, 0))
    assert len(at_hand.after(at_hand.recent())) == messages.RECENT


def test_a_flood_is_refused_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    buckets = limits.Buckets()
    assert [buckets.take("one") for _number in range(int(limits.BURST) + 5)].count(True) == limits.BURST
    assert buckets.take("two")
    now[0] += 1
    assert [buckets.take("one") for _number in range(50)].count(True) == limits.RATE


def test_senders_do_not_fill_the_memory() -> None:
    buckets = limits.Buckets()
    for number in range(limits.SENDERS + 100):
        assert buckets.take(f"{number}")
    assert len(buckets._left) == limits.SENDERS


def test_the_languages_say_the_same_things() -> None:
    def keys(value: t.Any, path: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {path}
        return {found for key, item in value.items() for found in keys(item, f"{path}.{key}")}

    texts = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROLE / "files" / "lang").glob("*.json"))]
    assert len(texts) == 2
    assert keys(texts[0]) == keys(texts[1])


class Broker:
    """Breaks in the way that is given, once for each; then it has a message."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def xread(self, *_stream: t.Any, **_options: t.Any) -> list[t.Any]:
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.sleep(0)
        return [("board:messages", [row(1)])]


def test_a_process_follows_the_broker_whatever_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py stumbles over a Unix socket that ends while it connects: an AttributeError, no error of its own."""
    for name in ("redis", "redis.asyncio", "redis.exceptions"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["redis"], "asyncio", sys.modules["redis.asyncio"], raising=False)
    monkeypatch.setattr(sys.modules["redis"], "exceptions", sys.modules["redis.exceptions"], raising=False)
    for name in ("messages", "presence"):
        monkeypatch.setitem(sys.modules, name, _load(name))
    broker = Broker(AttributeError("no attribute 'host'"), OSError("reset"))
    client = types.SimpleNamespace(from_url=lambda *_url, **_options: types.SimpleNamespace(
        register_script=lambda _script: None, xread=broker.xread))  # fmt: skip
    monkeypatch.setattr(sys.modules["redis.asyncio"], "Redis", client, raising=False)
    monkeypatch.setattr(sys.modules["redis.exceptions"], "RedisError", RuntimeError, raising=False)
    hub_module = _load("hub")

    async def follow() -> str:
        hub = hub_module.Hub("unix:///run/broker.sock")
        following = asyncio.ensure_future(hub._follow())
        await hub.wait(10)
        following.cancel()
        return str(hub.at_hand.last)

    assert asyncio.run(follow()) == "1-0"
