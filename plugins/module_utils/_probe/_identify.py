# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Finds out which protocol a peer speaks, by trying what the probe knows."""

from __future__ import annotations

import re
import typing as t

from ._check import Check
from ._connection import Connection, Outcome, tls_for
from ._conversations import CONVERSATIONS

if t.TYPE_CHECKING:
    from ._loop import Loop
    from ._names import Address

#: In the order of proof: a server for HTTP with TLS answers plain HTTP too (with an error), and
#: a server for HTTP answers whatever it gets in HTTP, as an application behind uwsgi does.
PROTOCOLS = ("https", "http", "fastcgi", "uwsgi")


class Identification:
    """Calls ``found`` once, with the protocol or None. What is sent asks the peer for nothing but an answer.

    One protocol after the other: a server with one worker serves one connection at a time.
    """

    def __init__(
        self,
        loop: Loop,
        addresses: t.Sequence[Address],
        check: Check,
        limit: float,
        found: t.Callable[[str | None], None],
    ) -> None:
        self._loop = loop
        self._addresses = addresses
        self._check = check
        self._limit = limit
        self._found = found
        self._untried = list(PROTOCOLS)

    def next(self) -> None:
        """Try the next protocol, for its share of the time."""
        if not self._untried:
            self._found(None)
            return
        protocol = self._untried[0]
        candidate = Check(
            endpoint=self._check.endpoint.speaking(protocol),
            name=protocol,
            path=None if protocol == "fastcgi" else "*",  # without a path: FastCGI's management query
            host=self._check.host,
            method="OPTIONS",
            validate_certs=False,
        )
        conversation = CONVERSATIONS[protocol](candidate)
        connection = Connection(self._loop, self._addresses, conversation, tls_for(candidate), self._ended)
        share = max(0.0, self._limit - self._loop.now()) / len(self._untried)
        self._timer = self._loop.at(self._loop.now() + share, lambda: self._ended(connection.abort(TimeoutError())))
        connection.start()

    def _ended(self, outcome: Outcome) -> None:
        self._timer.cancel()
        protocol = self._untried.pop(0)
        if _is_spoken(protocol, outcome):
            self._found(protocol)
        else:
            self.next()


def _is_spoken(protocol: str, outcome: Outcome) -> bool:
    if protocol == "https":
        # An alert comes from a TLS peer that does not like this client.
        alert = re.search("ALERT|UNRECOGNIZED_NAME", str(outcome.error))
        return outcome.phase not in ("connect", "tls") or bool(alert)
    if protocol == "fastcgi":
        return outcome.done
    return outcome.conversation.answer().status is not None
