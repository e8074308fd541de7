# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SSE codec against the examples of the HTML standard (9.2.6), in pieces of any size.

tests/browser/test_event_source.py asks a browser how it reads the same bytes.
"""

from __future__ import annotations

import pytest
from event_streams import STREAMS
from hypothesis import given
from hypothesis import strategies as st
from wire_server import cut

from ansible_collections.weblab.stacks.plugins.module_utils.wire._error import WireError
from ansible_collections.weblab.stacks.plugins.module_utils.wire._sse import Event, EventReader


def read(data: bytes, step: int = 0) -> list[Event]:
    reader = EventReader()
    return [e for piece in cut(data, [step] * len(data) if step else []) for e in reader.feed(piece)]


@pytest.mark.parametrize("step", [0, 1, 2, 7])
@pytest.mark.parametrize(("data", "events"), STREAMS.values(), ids=STREAMS)
def test_a_stream_is_read_whole_and_in_pieces(data: bytes, events: list[tuple[str, str, str]], step: int) -> None:
    assert read(data, step) == events


def test_an_event_is_there_as_soon_as_its_line_ends() -> None:
    reader = EventReader()
    assert reader.feed(b"data: x\r\r") == [Event("message", "x", "")]
    assert reader.feed(b"\ndata: y\n") == []
    assert reader.feed(b"\n") == [Event("message", "y", "")]
    # A CR LF that is cut ends one line, not two.
    assert reader.feed(b"data: one\r") == []
    assert reader.feed(b"\ndata: two\r") == []
    assert reader.feed(b"") == []
    assert reader.feed(b"\n\r\n") == [Event("message", "one\ntwo", "")]


@pytest.mark.parametrize(
    ("value", "retry"), [(b"1500", 1500), (b"0", 0), (b"1.5", None), (b"-1", None), (b"", None), (b"\xd9\xa1", None)]
)
def test_the_reconnection_time_is_digits(value: bytes, retry: int | None) -> None:
    reader = EventReader()
    reader.feed(b"retry: " + value + b"\n")
    assert reader.retry == retry


def test_a_reconnection_time_beyond_reason_is_none() -> None:
    reader = EventReader()
    reader.feed(b"retry: 7\nretry: " + b"9" * 5000 + b"\n")
    assert reader.retry == 7


def test_comments_are_counted_and_are_no_events() -> None:
    reader = EventReader()
    assert reader.feed(b": keep\n:\n\n:alive\n\n") == []
    assert reader.comments == 3


_LINES = st.sampled_from(
    [b"data: a", b"data:", b"data", b"data:  b", b"id: 1", b"id", b"id: x\0y", b"event: e", b"event", b": c", b"x: y",
     b"", b"", b"", b"data: \xff\xd0\xb6", b"\xef\xbb\xbfdata: bom", b"retry: 3"]
)  # fmt: skip


@given(st.lists(st.tuples(_LINES, st.sampled_from([b"\n", b"\r", b"\r\n"]))), st.lists(st.integers(0, 9)))
def test_neither_the_ends_of_lines_nor_those_of_pieces_matter(
    lines: list[tuple[bytes, bytes]], sizes: list[int]
) -> None:
    # An empty line after one that ended in CR would make that end a CR LF.
    ends = [end if end != b"\n" or index == 0 or lines[index - 1][1] != b"\r" or line else b"\r\n"
            for index, (line, end) in enumerate(lines)]  # fmt: skip
    reader = EventReader()
    data = b"".join(line + end for (line, _end), end in zip(lines, ends))
    events = [event for piece in cut(data, sizes) for event in reader.feed(piece)]
    assert events == read(b"".join(line + b"\n" for line, _end in lines))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 2000],
        [b"data: " + b"x" * 100 + b"\n"] * 20,
        [b"x" * 100] * 20,
        [b"data\n" * 100] * 20,
        [b"event: " + b"x" * 2000 + b"\n"],
    ],
)
def test_an_event_without_end_is_refused(pieces: list[bytes]) -> None:
    reader = EventReader(1000)
    with pytest.raises(WireError, match="an event is longer than 1000 bytes"):
        for piece in pieces:
            reader.feed(piece)


def test_a_stream_without_end_is_read() -> None:
    reader = EventReader(1000)
    for _number in range(1000):
        assert len(reader.feed(b": heartbeat\ndata: " + b"x" * 900 + b"\n\n")) == 1
