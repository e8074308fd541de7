# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""SCGI as a web server speaks it: a request to bytes, and back. No sockets.

After "SCGI: A Simple Common Gateway Interface alternative". The answer to a request is a CGI
document, so :class:`ResponseReader` of the HTTP codec reads it.
"""

from __future__ import annotations

import re
import typing as t

from ._error import ClosedEarly, WireError

#: Bounds on what :func:`decode_request` takes.
MAX_HEADER = 64 * 1024
MAX_BODY = 64 * 1024

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,8}):")  # a netstring's: no leading zero


def encode_request(variables: t.Mapping[str, str], body: bytes = b"") -> bytes:
    """Spell a request: a netstring of names and values, each ended by NUL, then the body.

    CONTENT_LENGTH comes first and is counted here, SCGI is 1: ``variables`` need neither.
    """
    first = {"CONTENT_LENGTH": str(len(body)), "SCGI": "1"}
    header = bytearray()
    for name, value in [*first.items(), *((n, v) for n, v in variables.items() if n not in first)]:
        if not name or "\0" in name + value:
            raise ValueError(f"{name!r}: {value!r} is not a variable of SCGI, where NUL ends names and values")
        header += name.encode("utf-8") + b"\0" + value.encode("utf-8") + b"\0"
    return b"%d:%s," % (len(header), header) + body


def decode_request(data: bytes) -> tuple[dict[str, str], bytes]:
    """Read a request that is complete: its variables and its body. Raises WireError."""
    size = _SIZE.match(data)
    if not size:
        raise WireError(f"a request starts with {data[:16]!r}, which is not the size of a netstring")
    if int(size[1]) > MAX_HEADER:
        raise WireError(f"the header of the request is longer than {MAX_HEADER} bytes")
    end = size.end() + int(size[1])
    if len(data) <= end:
        raise ClosedEarly("the request ended inside its header")
    if data[end : end + 1] != b",":
        raise WireError(f"the netstring ends in {data[end : end + 1]!r} instead of a comma")
    variables = _variables(data[size.end() : end])
    length = variables["CONTENT_LENGTH"]
    if not re.fullmatch("[0-9]{1,9}", length) or int(length) > MAX_BODY:
        raise WireError(f"CONTENT_LENGTH {length[:20]!r} is not a length up to {MAX_BODY}")
    body = data[end + 1 : end + 1 + int(length)]
    if len(body) < int(length):
        raise ClosedEarly(f"the request ended inside its body, after {len(body)} of {length} bytes")
    return variables, body


def _variables(header: bytes) -> dict[str, str]:
    items = [item.decode("utf-8", "replace") for item in header.split(b"\0")]
    if items.pop() or len(items) % 2:
        raise WireError("the header of the request is not pairs of names and values, each ended by NUL")
    variables = dict(zip(items[::2], items[1::2]))
    if len(variables) < len(items) // 2 or "" in variables:
        raise WireError("a variable of the request comes twice, or has no name")
    if items[:1] != ["CONTENT_LENGTH"] or variables.get("SCGI") != "1":
        raise WireError("the header of the request lacks CONTENT_LENGTH in the first place, or SCGI=1")
    return variables
