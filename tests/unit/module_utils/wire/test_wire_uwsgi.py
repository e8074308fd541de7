# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The uwsgi codec against the protocol's documentation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _uwsgi as uwsgi
from ansible_collections.weblab.stacks.plugins.module_utils.wire._error import WireError


def test_a_request_has_the_bytes_of_the_documentation() -> None:
    # modifier1 0, the size as 16 bits little endian, modifier2 0; then size and bytes of each name and value
    body = b"\x0e\x00REQUEST_METHOD\x03\x00GET\x09\x00PATH_INFO\x01\x00/"
    assert uwsgi.encode_request({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}) == b"\x00\x23\x00\x00" + body
    assert uwsgi.encode_request({"A": "x" * 300})[:4] == b"\x00\x31\x01\x00"


@given(st.dictionaries(st.text(max_size=300), st.text(max_size=300), max_size=8))
def test_variables_come_back(variables: dict[str, str]) -> None:
    packet = uwsgi.encode_request(variables)
    modifier1, size, modifier2 = uwsgi.HEADER.unpack_from(packet)
    assert (modifier1, size, modifier2) == (0, len(packet) - 4, 0)
    assert uwsgi.decode_variables(packet[4:]) == variables


@pytest.mark.parametrize("variables", [{"A": "x" * 65536}, {"A": "x" * 40000, "B": "x" * 40000}])
def test_what_16_bits_cannot_count_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="16 bits"):
        uwsgi.encode_request(variables)
    with pytest.raises(ValueError, match="16 bits"):
        uwsgi.encode_packet(uwsgi.WSGI, b"x" * 65536)


@pytest.mark.parametrize("body", [b"\x01", b"\x02\x00x", b"\x01\x00x", b"\x01\x00x\x05\x00y"])
def test_broken_variables_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        uwsgi.decode_variables(body)
