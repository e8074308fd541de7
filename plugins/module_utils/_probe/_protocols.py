# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Which conversation belongs to which protocol."""

from __future__ import annotations

import typing as t

from ._conversations import Conversation
from ._requests import Http, LongPolling, Scgi, Uwsgi, fastcgi
from ._streams import EventStream, WebSocket

if t.TYPE_CHECKING:
    from ._check import Check

_CONVERSATIONS: dict[str, t.Callable[[Check], Conversation]] = {
    "tcp": Conversation,
    "unix": Conversation,
    "http": Http,
    "https": Http,
    "ws": WebSocket,
    "wss": WebSocket,
    "sse": EventStream,
    "long_polling": LongPolling,
    "fastcgi": fastcgi,
    "scgi": Scgi,
    "uwsgi": Uwsgi,
}


def converse(check: Check) -> Conversation:
    """A new conversation for a check. Nothing is said to an endpoint that shall be absent."""
    return Conversation(check) if check.absent else _CONVERSATIONS[check.endpoint.protocol](check)
