# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much one client may have: how long it waits, how large its requests are, and how many messages it sends."""

from __future__ import annotations

import time

#: Seconds: longest wait of a long poll, and for which a stream lives, so that old processes of a front server can end.
LONGEST_POLL = 25.0
AGE = 600.0
#: Bytes of a request's body.
LARGEST = 16 * 1024
#: Messages a second, in the long run and at once, that are taken of one address, however many connections it has; and
#: that one connection may bring without being ended.
RATE, BURST = 10.0, 20.0
TOO_MANY = f"more than {RATE:g} messages a second"
#: So many senders are remembered; those that were silent for longest are forgotten first.
SENDERS = 10_000


def same_origin(origin: str, scheme: str, host: str) -> bool:
    """Is ``origin``, as a browser names a page's (RFC 6454, 6.2), the site that was asked?"""
    return origin.lower() == f"{'https' if scheme in ('https', 'wss') else 'http'}://{host.lower()}"


class Buckets:
    """A bucket of tokens for each sender, which fills again at a steady rate."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, sender: str) -> bool:
        """Take a token, if there is one."""
        now = time.monotonic()
        left, then = self._left.pop(sender, (BURST, now))
        left = min(BURST, left + (now - then) * RATE)
        self._left[sender] = (left - 1 if left >= 1 else left, now)
        while len(self._left) > SENDERS:
            del self._left[next(iter(self._left))]
        return left >= 1
