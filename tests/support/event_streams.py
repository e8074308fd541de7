# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams of server-sent events, and what is in them: for the codec, and for a browser as its judge."""

from __future__ import annotations

#: name -> bytes, and (type, data, last event id) of each event. The first four are examples of the standard (9.2.6).
STREAMS: dict[str, tuple[bytes, list[tuple[str, str, str]]]] = {
    "stock": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
    "four blocks": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [("message", "first event", "1"), ("message", "second event", "")],
    ),
    "two blocks": (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
    "a space": (b"data:test\n\ndata: test\n\n", [("message", "test", ""), ("message", "test", "")]),
    "nothing": (b"", []),
    "types": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent\ndata: x\n\ndata: plain\n\n",
        [("add", "73857293", ""), ("remove", "2153", ""), ("message", "x", ""), ("message", "plain", "")],
    ),
    "a type without data": (b"event: add\n\ndata: x\n\n", [("message", "x", "")]),
    "a mark": (b"\xef\xbb\xbfdata: x\n\n", [("message", "x", "")]),
    "two marks": (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", []),
    "a mark in the middle": (b"data: x\n\n\xef\xbb\xbfdata: y\n\n", [("message", "x", "")]),
    "CR": (b"data: a\rdata: b\r\rdata: c\r\r", [("message", "a\nb", ""), ("message", "c", "")]),
    "CR LF": (b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", [("message", "a\nb", ""), ("message", "c", "")]),
    "LF CR": (b"data: a\n\rdata: b\n\r", [("message", "a", ""), ("message", "b", "")]),
    "NUL in an id": (b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", [("message", "a", "1"), ("message", "b", "1")]),
    "an id alone": (b"id: 7\n\ndata: a\n\n", [("message", "a", "7")]),
    "an id stays": (b"id: 7\ndata: a\n\ndata: b\n\nid:\ndata: c\n\n",
                    [("message", "a", "7"), ("message", "b", "7"), ("message", "c", "")]),
    "colons": (b"data:a:b: c\n\n", [("message", "a:b: c", "")]),
    "two spaces, a tab": (b"data:  a\n\ndata:\tb\n\n", [("message", " a", ""), ("message", "\tb", "")]),
    "other fields": (b"Data: a\ndata : b\n data: c\nretry: 99999\nx\n\ndata: d\n\n", [("message", "d", "")]),
    "not UTF-8": (b"data: a\xffb\xd0\n\n", [("message", "a\ufffdb\ufffd", "")]),
    "Russian type": (b"event: \xd0\xb6\ndata: x\n\n", [("\u0436", "x", "")]),
    "Russian": ("data: \u0434\u0430\n\n".encode(), [("message", "\u0434\u0430", "")]),
    "empty lines": (b"\n\n\n\r\n\r\rdata: x\n\n\n\n", [("message", "x", "")]),
    "comments in an event": (b"data: a\n: c\ndata: b\n:\n\n", [("message", "a\nb", "")]),
    "cut in a line": (b"data: a\n\ndata: b", [("message", "a", "")]),
    "cut before the empty line": (b"data: a\n\ndata: b\n", [("message", "a", "")]),
}  # fmt: skip
