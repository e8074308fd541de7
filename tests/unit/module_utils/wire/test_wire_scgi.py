# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SCGI codec against the specification ("SCGI: A Simple Common Gateway Interface alternative", 2008-06-23)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _scgi as scgi
from ansible_collections.weblab.stacks.plugins.module_utils.wire._error import ClosedEarly, WireError

# Section 4, the example
BODY = b"What is the answer to life?"
VARIABLES = {"CONTENT_LENGTH": "27", "SCGI": "1", "REQUEST_METHOD": "POST", "REQUEST_URI": "/deepthought"}
EXAMPLE = (b"70:CONTENT_LENGTH\x0027\x00SCGI\x001\x00REQUEST_METHOD\x00POST\x00REQUEST_URI\x00/deepthought\x00,") + BODY


def netstring(header: bytes) -> bytes:
    return b"%d:%s," % (len(header), header)


def test_a_request_is_the_one_of_the_specification() -> None:
    assert scgi.encode_request({"REQUEST_METHOD": "POST", "REQUEST_URI": "/deepthought"}, BODY) == EXAMPLE
    assert scgi.decode_request(EXAMPLE) == (VARIABLES, BODY)


def test_what_the_codec_counts_is_not_the_callers_to_say() -> None:
    assert scgi.encode_request({"SCGI": "2", "CONTENT_LENGTH": "9999"}) == netstring(
        b"CONTENT_LENGTH\x000\x00SCGI\x001\x00"
    )


_NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60)
_VALUES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=300)


@given(st.dictionaries(_NAMES, _VALUES, max_size=8), st.binary(max_size=2000))
def test_requests_come_back(variables: dict[str, str], body: bytes) -> None:
    expected = {**variables, "CONTENT_LENGTH": str(len(body)), "SCGI": "1"}
    assert scgi.decode_request(scgi.encode_request(variables, body)) == (expected, body)


@pytest.mark.parametrize("variables", [{"A\0B": "x"}, {"A": "x\0y"}, {"": "x"}])
def test_nothing_is_smuggled_into_a_request(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a variable of SCGI"):
        scgi.encode_request(variables)


@pytest.mark.parametrize("size", range(len(EXAMPLE)))
def test_a_request_that_is_cut_anywhere_is_not_read(size: int) -> None:
    with pytest.raises(ClosedEarly if size > 2 else WireError):
        scgi.decode_request(EXAMPLE[:size])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not the size of a netstring"),
        (b"007:", "not the size of a netstring"),
        (b"-1:", "not the size of a netstring"),
        (b"999999999999999999999999:", "not the size of a netstring"),
        (b"2147483648:", "not the size of a netstring"),
        (b"214748364:CONTENT_LENGTH", "longer than 65536"),
        (EXAMPLE.replace(b",", b";"), "instead of a comma"),
        (netstring(b"CONTENT_LENGTH\x000\x00SCGI\x001"), "pairs of names and values"),
        (netstring(b"CONTENT_LENGTH\x000\x00SCGI\x00"), "pairs of names and values"),
        (netstring(b"SCGI\x001\x00CONTENT_LENGTH\x000\x00"), "in the first place"),
        (netstring(b"CONTENT_LENGTH\x000\x00"), "or SCGI=1"),
        (netstring(b"CONTENT_LENGTH\x000\x00SCGI\x002\x00"), "or SCGI=1"),
        (netstring(b""), "in the first place"),
        (netstring(b"CONTENT_LENGTH\x000\x00SCGI\x001\x00A\x001\x00A\x002\x00"), "comes twice"),
        (netstring(b"CONTENT_LENGTH\x000\x00SCGI\x001\x00\x00x\x00"), "has no name"),
        (netstring(b"CONTENT_LENGTH\x00-1\x00SCGI\x001\x00"), "is not a length"),
        (netstring(b"CONTENT_LENGTH\x00\x00SCGI\x001\x00"), "is not a length"),
        (netstring("CONTENT_LENGTH\0\u0661\0SCGI\x001\0".encode()), "is not a length"),
        (netstring(b"CONTENT_LENGTH\x002147483648\x00SCGI\x001\x00"), "is not a length"),
        (netstring(b"CONTENT_LENGTH\x00100000\x00SCGI\x001\x00"), "is not a length"),
    ],
)
def test_what_is_not_the_protocol_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        scgi.decode_request(data)
