# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The record: what the probe found at one endpoint, in the same shape on success and failure."""

from __future__ import annotations

import dataclasses
import typing as t

STATES = ("ok", "busy", "degraded", "down")
PHASES = ("resolve", "connect", "tls", "send", "receive", "parse", "expect", "done")
#: cause -> the state it leaves the endpoint in
CAUSES = {
    "no_such_socket": "down",
    "stale_socket": "down",
    "refused": "down",
    "permission_denied": "down",
    "backlog_full": "busy",
    "busy": "busy",
    "timeout": "down",
    "wrong_protocol": "down",
    "application_error": "degraded",
    "denied": "degraded",
    "closed": "down",
    "expectation": "degraded",
    "unresolved": "down",
    "tls_failed": "down",
}

_BODY_KEPT = 2 * 1024


@dataclasses.dataclass
class Record:
    """The evidence of one endpoint's last attempt."""

    name: str
    endpoint: str
    protocol: str
    kind: str
    address: str
    phase: str
    #: One of CAUSES; None when all is well.
    cause: str | None = None
    message: str = ""
    hint: str = ""
    attempts: int = 0
    latency_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    status: int | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: str | None = None
    stderr: str | None = None
    #: Of a stream of events: how many, and the milliseconds from each to the next.
    events: dict[str, t.Any] | None = None
    #: How many milliseconds a request for long polling was held without a word.
    held_ms: float | None = None
    #: The protocol that the peer was found to speak, when it is not the endpoint's.
    speaks: str | None = None
    peer: dict[str, t.Any] | None = None
    socket: dict[str, str] | None = None
    queue: dict[str, int] | None = None

    @property
    def state(self) -> str:
        return CAUSES[self.cause] if self.cause else "ok"

    @property
    def ok(self) -> bool:
        return self.cause is None

    def as_dict(self) -> dict[str, t.Any]:
        """Plain data, every key always there."""
        return {**dataclasses.asdict(self), "state": self.state}


def body_head(body: bytes) -> str:
    """As much of a body as a record keeps."""
    return body[:_BODY_KEPT].decode("utf-8", "replace")


def describe(records: t.Iterable[Record]) -> str:
    """The endpoints that are not ok, for a reader: what, where, what to do."""
    lines = []
    for record in records:
        if not record.ok:
            named = f"{record.name} ({record.endpoint})" if record.name != record.endpoint else record.endpoint
            tries = f", {record.attempts} attempts" if record.attempts > 1 else ""
            lines.append(f"{named} is {record.state}: {record.message} [{record.cause} in phase {record.phase}{tries}]")
            if record.hint:
                lines.append(f"    hint: {record.hint}")
    return "\n".join(lines)
