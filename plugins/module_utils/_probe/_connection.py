# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""One conversation on one connection, driven by the loop. Knows nothing of retries or of reports."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import struct
import typing as t

from ..wire._error import ClosedEarly, WireError
from ._loop import READ, WRITE, Loop, Timer

if t.TYPE_CHECKING:
    from ._check import Check
    from ._conversations import Conversation
    from ._names import Address
    from ._tls import Tls

#: Also the longest TLS record: a read leaves nothing behind in TLS, where the loop could not see it.
_READ_SIZE = 16 * 1024
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


@dataclasses.dataclass
class Outcome:
    """How far a conversation came: the phase it ended in, and why if that is not ``done``."""

    conversation: Conversation
    phase: str = "connect"
    error: Exception | None = None
    latency: dict[str, float] = dataclasses.field(default_factory=dict)
    received: int = 0
    #: Seconds between the request and the first byte of the answer, or the end of waiting for it.
    silence: float | None = None
    peer: dict[str, int] | None = None

    @property
    def done(self) -> bool:
        return self.phase == "done"


def tls_for(check: Check) -> Tls | None:
    """How to speak TLS to the check's endpoint, if it does. Raises OSError for a wrong ca_path."""
    if not check.encrypted:
        return None
    from ._tls import Tls  # imports ssl, which only an endpoint with TLS needs

    return Tls(check.server_name, validate=check.validate_certs, ca_path=check.ca_path)


class Connection:
    """Connects to the first address that takes it, says the opening, reads the answer.

    :param tls: how to speak TLS, when that comes before the protocol.
    :param limit: the moment when whoever started this will end it; an address that does not answer
        gets its share of the time until then, so that it does not keep the others from being tried.
    :param ended: called once with the outcome; not after :meth:`abort`.
    """

    def __init__(
        self,
        loop: Loop,
        addresses: t.Sequence[Address],
        conversation: Conversation,
        tls: Tls | None,
        limit: float,
        ended: t.Callable[[Outcome], None],
    ) -> None:
        self.outcome = Outcome(conversation)
        self._loop = loop
        self._addresses = list(addresses)
        self._conversation = conversation
        self._tls = tls
        self._limit = limit
        self._turn: Timer | None = None
        self._sent: float | None = None
        self._patience: Timer | None = None
        self._ended: t.Callable[[Outcome], None] | None = ended
        self._socket: socket.socket | None = None
        self._unsent = conversation.opening()
        self._phase_start = loop.now()
        self._has_slot = False

    def start(self) -> None:
        """Connect as soon as there is room for one more socket."""
        self._loop.take_slot(self._connect)

    def abort(self, error: Exception) -> Outcome:
        """End the conversation where it is."""
        self._ended = None
        self._close(error)
        return self.outcome

    # Each of these does what the socket is ready for, and says what to wait for next.

    def _connect(self) -> None:
        if self._ended is None:  # aborted while it waited for a slot
            self._loop.leave_slot()
            return
        self._has_slot = True
        self._phase_start = self._loop.now()
        self._guard(self._next_address)

    def _next_address(self) -> None:
        family, address = self._addresses.pop(0)
        try:
            self._socket = sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            code = sock.connect_ex(address)
        except OSError as error:  # no such address family on this host
            self._connected(error.errno or errno.EIO)
            return
        if code == errno.EINPROGRESS:
            if self._addresses:
                now = self._loop.now()
                share = (self._limit - now) / (1 + len(self._addresses))
                self._turn = self._loop.at(now + share, lambda: self._guard(self._pass_over))
            self._wait(WRITE, lambda: self._connected(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
        else:
            self._connected(code)

    def _pass_over(self) -> None:
        """Leave an address that has had its share of the time."""
        self._connected(errno.ETIMEDOUT)

    def _connected(self, code: int) -> None:
        self._stop(self._turn)
        sock = self._socket
        if code or sock is None:
            if self._addresses:
                self._drop_socket()
                self._next_address()
            else:
                self._end(OSError(code, os.strerror(code)))
            return
        if sock.family == socket.AF_UNIX:
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            self.outcome.peer = dict(zip(("pid", "uid", "gid"), _UCRED.unpack(credentials)))
        if self._tls:
            self._socket = self._tls.wrap(sock)
            self._enter("tls")
            self._shake_hands()
        else:
            self._enter("send")
            self._send()

    def _shake_hands(self) -> None:
        handshake = t.cast("t.Any", self._socket).do_handshake
        if self._try(handshake, self._shake_hands) is not _LATER:
            self._enter("send")
            self._send()

    def _send(self) -> None:
        sock = t.cast("socket.socket", self._socket)
        while self._unsent:
            try:
                sent = self._try(lambda: sock.send(self._unsent), self._send, events=WRITE)
            except (BrokenPipeError, ConnectionResetError):
                break  # the peer may have answered before it closed
            if sent is _LATER:
                return
            self._unsent = self._unsent[sent:]
        if self._conversation.complete:
            self._end(None)
            return
        if self._sent is None:
            self._enter("receive")
            self._sent = self._loop.now()
            if self._conversation.patience is not None:
                self._patience = self._loop.at(self._sent + self._conversation.patience, self._hold)
        self._wait(READ, self._receive)

    def _hold(self) -> None:
        """The peer has said nothing for as long as it was asked to."""
        if self._ended is not None and self.outcome.received == 0:
            self._conversation.hold()
            self._end(None)

    def _receive(self) -> None:
        sock = t.cast("socket.socket", self._socket)
        data = self._try(lambda: sock.recv(_READ_SIZE), self._receive)
        if data is _LATER:
            return
        conversation = self._conversation
        conversation.now = self._loop.now()
        if self.outcome.silence is None:
            self.outcome.silence = conversation.now - t.cast("float", self._sent)
        self.outcome.received += len(data)
        try:
            conversation.feed(data) if data else conversation.feed_eof()
        except WireError as error:
            if not isinstance(error, ClosedEarly):
                self._enter("parse")
            self._end(error)
            return
        self._unsent += conversation.take_output()
        if conversation.complete:
            self._end(None)
        elif not data:
            self._end(ClosedEarly("no answer came"))
        elif self._unsent:
            self._send()
        else:
            self._wait(READ, self._receive)

    def _try(self, action: t.Callable[[], t.Any], again: t.Callable[[], None], events: int = READ) -> t.Any:
        """Do ``action``; if the socket is not ready for it, do ``again`` when it is, and return _LATER."""
        try:
            return action()
        except BlockingIOError:
            self._wait(events, again)
        except OSError as error:
            wants = self._tls.wants(error) if self._tls else None
            if wants is None:
                raise
            self._wait(wants, again)
        return _LATER

    def _wait(self, events: int, callback: t.Callable[[], None]) -> None:
        self._loop.watch(t.cast("socket.socket", self._socket), events, lambda: self._guard(callback))

    def _guard(self, callback: t.Callable[[], None]) -> None:
        try:
            callback()
        except OSError as error:
            error = self._tls.plain(error) if self._tls else error
            self._end(None if self._conversation.parting else error)

    def _enter(self, phase: str) -> None:
        now = self._loop.now()
        latency = self.outcome.latency
        latency[self.outcome.phase] = latency.get(self.outcome.phase, 0.0) + now - self._phase_start
        self._phase_start = now
        self.outcome.phase = phase

    def _end(self, error: Exception | None) -> None:
        self._close(error)
        if self._ended:
            ended, self._ended = self._ended, None
            ended(self.outcome)

    def _close(self, error: Exception | None) -> None:
        phase = self.outcome.phase
        self._enter("done" if error is None else phase)
        self.outcome.error = error
        if self._sent is not None and self.outcome.silence is None:
            self.outcome.silence = self._loop.now() - self._sent
        self._stop(self._turn)
        self._stop(self._patience)
        self._drop_socket()
        if self._has_slot:
            self._has_slot = False
            self._loop.leave_slot()

    @staticmethod
    def _stop(timer: Timer | None) -> None:
        if timer:
            timer.cancel()

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._loop.unwatch(self._socket)
            self._socket.close()
            self._socket = None


_LATER = object()
