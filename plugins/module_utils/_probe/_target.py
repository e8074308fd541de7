# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The attempts at one endpoint, until it is ok or the time is up."""

from __future__ import annotations

import resource
import typing as t

from ._connection import Connection, Outcome, tls_for
from ._facts import Facts, gather
from ._judge import Verdict, is_doubtful, judge, with_peer
from ._loop import Loop
from ._names import Names
from ._queues import Queues
from ._record import Record, body_head

if t.TYPE_CHECKING:
    from ._check import Check
    from ._conversations import Answer, Conversation
    from ._identify import Peer
    from ._names import Address

_MOST_SOCKETS, _OTHER_FILES = 8192, 64
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
#: An attempt with less time than this is not worth it.
_LEAST = 0.05
_RESOLVER_POLL = 0.02
#: How long the first attempt may last; each further one may last twice as long.
_PATIENCE = 2.0
#: How long it may take to find out which protocol a peer speaks.
_IDENTIFICATION = 3.0
#: A snapshot of the kernel's queues serves all who want one within this time.
_SNAPSHOT = 0.02


class Run:
    """What the targets of one run share."""

    def __init__(self, timeout: float, wait: bool) -> None:
        self.loop = Loop(_room())
        self.names = Names()
        self.deadline = self.loop.now() + timeout
        self.wait = wait
        self.ended = 0
        self._queues = Queues()
        self._queues_until = self.loop.now() + _SNAPSHOT

    def queues(self) -> Queues:
        """The kernel's queues now, or as good as now."""
        if self.loop.now() > self._queues_until:
            self._queues = Queues()
            self._queues_until = self.loop.now() + _SNAPSHOT
        return self._queues


def _room() -> int:
    """How many sockets may be open at once. The usual soft limit of 1024 files is no limit of this kind of work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != soft:
        wanted = _MOST_SOCKETS if hard == resource.RLIM_INFINITY else min(hard, _MOST_SOCKETS)
        soft = max(soft, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, min(soft, _MOST_SOCKETS) - _OTHER_FILES)


class Target:
    """One endpoint; ``result`` is there when its last attempt is over."""

    def __init__(self, run: Run, check: Check, converse: t.Callable[[Check], Conversation]) -> None:
        """
        :param converse: makes what is said on a new connection.
        """
        self.result: tuple[Record, Answer | None] | None = None
        self._run = run
        self._loop = run.loop
        self._check = check
        self._converse = converse
        self._tls = tls_for(check)
        self._addresses: list[Address] = []
        self._connection: Connection | None = None
        self._doubts: set[str | None] = set()
        self._peer: Peer | None = None
        self._pause = _FIRST_PAUSE
        self._patience = check.duration + _PATIENCE
        self._attempts = 0
        self._slowest = 0.0  # of the attempts that ended by themselves
        #: The attempt that ended and is not settled yet; the one that counts so far.
        self._unsettled: tuple[Outcome, Facts, Verdict] | None = None
        self._evidence: tuple[Outcome, Facts, Verdict] | None = None

    def start(self) -> None:
        """Try."""
        self._attempts += 1
        self._started = self._loop.now()
        left = self._run.deadline - self._started
        left -= min(_IDENTIFICATION, left / 4)
        self._share = self._patience if self._run.wait and left > 1.5 * self._patience else left
        self._patience *= 2
        self._limit = self._loop.at(self._started + self._share, self._out_of_time)
        self._connection = None
        self._resolve()

    def _resolve(self) -> None:
        addresses = self._run.names.addresses(self._check.endpoint)
        if addresses is None:
            self._poll = self._loop.at(self._loop.now() + _RESOLVER_POLL, self._resolve)
        elif isinstance(addresses, OSError):
            self._ended(self._unresolved(addresses))
        else:
            self._addresses = addresses
            self._resolved = self._loop.now()
            self._connection = Connection(
                self._loop, addresses, self._converse(self._check), self._tls, self._started + self._share, self._ended
            )
            self._connection.start()

    def _unresolved(self, error: OSError) -> Outcome:
        return Outcome(self._converse(self._check), "resolve", error)

    def _out_of_time(self) -> None:
        if not self._connection:
            self._poll.cancel()
            self._ended(self._unresolved(TimeoutError()))
            return
        queue = self._queue()  # while the connection still waits in it
        busy = queue and queue["length"] and self._connection.outcome.received == 0
        if busy and self._loop.now() < self._run.deadline:
            # Who would come again would lose the place in the queue.
            self._limit = self._loop.at(self._run.deadline, self._out_of_time)
        else:
            self._ended(self._connection.abort(TimeoutError()), queue)

    def _identified(self, peer: Peer | None) -> None:
        self._peer = peer
        self._settle()

    def _ended(self, outcome: Outcome, queue: dict[str, int] | None = None) -> None:
        """Judge an attempt that is over."""
        self._limit.cancel()
        if self._connection:
            outcome.latency["resolve"] = self._resolved - self._started
            self._connection = None
        facts = gather(self._check.endpoint, outcome.error, queue or self._queue(), outcome.peer)
        verdict = judge(self._check, outcome, facts)
        self._unsettled = outcome, facts, verdict
        self._took = self._loop.now() - self._started
        # Whoever it is, is asked once for each kind of doubt.
        limit = min(self._run.deadline, self._loop.now() + _IDENTIFICATION)
        if is_doubtful(self._check, outcome, verdict) and verdict.cause not in self._doubts:
            from ._identify import Identification

            self._doubts.add(verdict.cause)
            Identification(self._loop, self._addresses, self._check, limit, self._identified).next()
        else:
            self._settle()

    def _settle(self) -> None:
        """Keep the evidence, and stop or plan the next attempt."""
        outcome, facts, verdict = t.cast("tuple[Outcome, Facts, Verdict]", self._unsettled)
        self._unsettled = None
        hopeless = False
        if is_doubtful(self._check, outcome, verdict):
            known = with_peer(self._check, verdict, self._peer)
            hopeless = known.cause == "wrong_protocol" and known is not verdict
            verdict = known
        late = isinstance(outcome.error, TimeoutError) and not hopeless
        # To be cut off sooner than an earlier attempt took proves nothing: the earlier evidence stays.
        if not (late and self._evidence and self._share < 2 * self._slowest):
            self._evidence = outcome, facts, verdict
        if not late:
            self._slowest = max(self._slowest, self._took)
        left = self._run.deadline - self._loop.now()
        if verdict.cause is None or hopeless or not self._run.wait or left < _LEAST:
            evidence = self._evidence or (outcome, facts, verdict)
            record = _record(self._check, evidence, self._attempts)
            self.result = record, evidence[0].conversation.answer() if evidence[0].done else None
            self._run.ended += 1
        else:
            self._loop.at(self._loop.now() + min(self._pause, left / 2), self.start)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _queue(self) -> dict[str, int] | None:
        return self._run.queues().of(self._check.endpoint, self._addresses)


def _record(check: Check, evidence: tuple[Outcome, Facts, Verdict], attempts: int) -> Record:
    outcome, facts, verdict = evidence
    endpoint = check.endpoint
    answer = outcome.conversation.answer()
    return Record(
        name=check.name,
        endpoint=endpoint.url,
        protocol=endpoint.protocol,
        kind="unix" if endpoint.is_unix else "tcp",
        address=endpoint.address,
        phase=verdict.phase,
        cause=verdict.cause,
        message=verdict.message,
        hint=verdict.hint,
        attempts=attempts,
        latency_ms={phase: _milliseconds(seconds) for phase, seconds in outcome.latency.items()},
        status=answer.status,
        headers=dict(answer.headers),
        body=None if answer.status is None else body_head(answer.body),
        stderr=answer.stderr,
        events=_events(answer),
        held_ms=_milliseconds(outcome.silence) if endpoint.protocol == "long_polling" else None,
        speaks=verdict.speaks,
        peer=facts.peer,
        socket=facts.socket,
        queue=facts.queue,
    )


def _events(answer: Answer) -> dict[str, t.Any] | None:
    found = answer.events
    return {"count": found.count, "gaps_ms": [_milliseconds(gap) for gap in found.gaps]} if found else None


def _milliseconds(seconds: float | None) -> t.Any:
    return None if seconds is None else round(seconds * 1000, 3)
