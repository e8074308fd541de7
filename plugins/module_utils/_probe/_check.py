# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What is asked of one endpoint, as a typed value."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .._endpoint import Endpoint
from ..wire._http import MAX_BODY


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What a response must be like. Nothing asked: any complete response with a status below 500."""

    status: tuple[int, ...] = ()
    #: By name in lower case: the exact value, or a pattern to be found in it.
    header: t.Mapping[str, str | re.Pattern[str]] = dataclasses.field(default_factory=dict)
    body: str | None = None
    regex: str | None = None
    json: t.Any = None
    #: The least and the most seconds from the first byte sent to the end of the answer.
    time: tuple[float, float] | None = None
    #: Who made the Unix socket listen: the name or the number of a user.
    peer: str | int | None = None
    events: int = 1
    interval: float | None = None
    echo: str | None = None


@dataclasses.dataclass(frozen=True)
class Check:
    """One endpoint, the request to send there, and what to expect."""

    endpoint: Endpoint
    name: str
    state: str = "present"
    path: str | None = None
    host: str = "localhost"
    method: str = "GET"
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    content: str | None = None
    script_filename: str | None = None
    params: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    hold: float | None = None
    expect: Expectation = Expectation()
    tls: bool = False
    validate_certs: bool = True
    ca_path: str | None = None
    #: How much of the answer's body is kept; for a caller in this collection, not for the user.
    max_body: int = MAX_BODY

    @property
    def absent(self) -> bool:
        """Whether the endpoint is meant not to be there."""
        return self.state == "absent"

    @property
    def encrypted(self) -> bool:
        """Whether TLS comes before the protocol. Nothing is said to what is meant to be absent, nor in TLS."""
        return (self.endpoint.tls or self.tls) and not self.absent

    @property
    def body(self) -> bytes:
        """The body of the request."""
        return (self.content or "").encode("utf-8")

    @property
    def duration(self) -> float:
        """Seconds that a good answer takes by what is asked for."""
        least = self.expect.time[0] if self.expect.time else 0.0
        return max(least, self.hold or 0.0, (self.expect.events - 1) * (self.expect.interval or 0.0))

    @property
    def server_name(self) -> str:
        """The host without a port, as TLS wants it."""
        name, colon, port = self.host.rpartition(":")
        return (name if colon and port.isdigit() else self.host).strip("[]")
