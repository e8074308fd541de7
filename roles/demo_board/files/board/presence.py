# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is connected, to this process and to all of the board: each tells the broker how many clients it has."""

from __future__ import annotations

import collections
import json
import os
import socket
import time
import typing as t

from messages import STREAM

#: The ways for a message to reach a page.
TRANSPORTS = ("poll", "long", "sse", "ws")
#: Seconds between two reports of a process, and for how long one counts.
REPORT, COUNTS = 2.0, 6
#: Where all reports are.
REPORTS = f"{STREAM}:here:*"
#: Who polls is connected for so many of its intervals after its last request.
INTERVALS = 3


class Presence:
    """The clients of this process, and what all processes told last."""

    def __init__(self) -> None:
        #: Transport -> requests of this process that stay open.
        self.held: collections.Counter[str] = collections.Counter()
        #: Transport -> clients of all processes.
        self.here: dict[str, int] = dict.fromkeys(TRANSPORTS, 0)
        self._pollers: dict[str, float] = {}

    def polled(self, who: str, interval: float) -> None:
        """Somebody has polled, and is going to come again after ``interval`` seconds."""
        self._pollers[who] = time.monotonic() + INTERVALS * interval

    def report(self) -> tuple[str, str]:
        """Where this process tells how many clients it has, and what it tells."""
        now = time.monotonic()
        self._pollers = {who: until for who, until in self._pollers.items() if until > now}
        mine = {**{name: self.held[name] for name in TRANSPORTS}, "poll": len(self._pollers)}
        # Processes of two hosts may have one number.
        return f"{STREAM}:here:{socket.gethostname()}:{os.getpid()}", json.dumps(mine)

    def told(self, reports: t.Iterable[str | None]) -> None:
        """Add up what all processes tell; a report that is over is None."""
        found = [json.loads(report) for report in reports if report]
        self.here = {name: sum(one[name] for one in found) for name in TRANSPORTS}

    def clock(self) -> str:
        """The time, and how many clients are connected, as JSON."""
        return json.dumps({"type": "clock", "at": time.time(), "here": self.here, "pid": os.getpid()})

    def state(self, server: str, last: object, nonce: str) -> dict[str, t.Any]:
        """What this process knows, for those who look after it; the nonce shows that it was asked now."""
        known = {"server": server, "held": dict(self.held), "here": self.here, "last": str(last)}
        return {"pid": os.getpid(), **known, "nonce": nonce[:64]}
