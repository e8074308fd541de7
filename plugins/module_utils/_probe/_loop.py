# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""One thread that waits for many sockets and moments at once."""

from __future__ import annotations

import collections
import heapq
import itertools
import selectors
import time
import typing as t

if t.TYPE_CHECKING:
    import socket

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Timer:
    """A callback that is due at a moment, unless it is cancelled."""

    def __init__(self, callback: t.Callable[[], None]) -> None:
        self.callback: t.Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Calls back when a socket is ready, when a moment has come, when there is room for a socket."""

    def __init__(self, slots: int, clock: t.Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._slots = slots
        self._waiting: collections.deque[t.Callable[[], None]] = collections.deque()

    def at(self, moment: float, callback: t.Callable[[], None]) -> Timer:
        """Call back at ``moment``."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (moment, next(self._order), timer))
        return timer

    def watch(self, sock: socket.socket, events: int, callback: t.Callable[[], None]) -> None:
        """Call back whenever ``sock`` is ready for ``events``; replaces an earlier watch of it."""
        if sock in self._selector.get_map():
            self._selector.modify(sock, events, callback)
        else:
            self._selector.register(sock, events, callback)

    def unwatch(self, sock: socket.socket) -> None:
        """Watch ``sock`` no more."""
        if sock in self._selector.get_map():
            self._selector.unregister(sock)

    def take_slot(self, callback: t.Callable[[], None]) -> None:
        """Call back as soon as one more socket may be open."""
        if self._slots > 0:
            self._slots -= 1
            callback()
        else:
            self._waiting.append(callback)

    def leave_slot(self) -> None:
        """A socket was closed."""
        if self._waiting:
            self.at(self.now(), self._waiting.popleft())
        else:
            self._slots += 1

    def run(self, finished: t.Callable[[], bool]) -> None:
        """Run until ``finished``."""
        while not finished():
            for key, _events in self._selector.select(self._pause()):
                # An earlier callback of this round may have closed the socket.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
            while self._timers and self._timers[0][0] <= self.now():
                _moment, _order, timer = heapq.heappop(self._timers)
                if timer.callback:
                    timer.callback()

    def close(self) -> None:
        self._selector.close()

    def _pause(self) -> float:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.now()) if self._timers else 1.0
