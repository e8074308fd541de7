# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Probes many endpoints at once, under one deadline."""

from __future__ import annotations

import typing as t

from .._endpoint import EndpointError
from ._check import Check, parse_check
from ._connection import Connection, Outcome
from ._conversations import CONVERSATIONS, Conversation
from ._judge import Verdict, judge
from ._loop import Loop
from ._names import Names
from ._record import Record, body_head

if t.TYPE_CHECKING:
    from ._tls import Tls

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_LEAST = 0.05  # an attempt with less time than this is not worth it
_RESOLVER_POLL = 0.02
_MAX_SOCKETS = 512


def probe_all(specs: t.Sequence[t.Any], timeout: float = 30.0, wait: bool = True) -> list[Record]:
    """Probe all endpoints at once and return a record for each, in their order.

    :param specs: as the module's ``endpoints``: mappings, or bare endpoints.
    :param timeout: seconds for all together.
    :param wait: try again until an endpoint is ok or the time is up; else try once.
    :raises EndpointError: a spec is wrong; nothing was probed.
    """
    checks = [parse_check(spec, f"endpoints[{index}]") for index, spec in enumerate(specs)]
    if timeout <= 0:
        raise EndpointError("timeout", f"{timeout} is not a number of seconds above zero")
    loop = Loop(_MAX_SOCKETS)
    names = Names()
    deadline = loop.now() + timeout
    targets = [_Target(loop, names, check, deadline, wait) for check in checks]
    try:
        loop.run(lambda: all(target.record is not None for target in targets))
    finally:
        loop.close()
    return [t.cast("Record", target.record) for target in targets]


class _Target:
    """The attempts at one endpoint; ``record`` is there when they are over."""

    def __init__(self, loop: Loop, names: Names, check: Check, deadline: float, wait: bool) -> None:
        self.record: Record | None = None
        self._loop = loop
        self._names = names
        self._check = check
        self._tls = _tls(check)
        self._deadline = deadline
        self._wait = wait
        self._pause = _FIRST_PAUSE
        self._attempts = 0
        self._slowest = 0.0  # of the attempts that ended by themselves
        self._evidence: tuple[Outcome, Verdict] | None = None
        self._connection: Connection | None = None
        loop.at(loop.now(), self._attempt)

    def _attempt(self) -> None:
        """Try. An attempt that others may follow gets half of the time that is left."""
        self._attempts += 1
        self._started = self._loop.now()
        left = self._deadline - self._started
        self._share = left / 2 if self._wait and left > 4 * _LEAST else left
        self._limit = self._loop.at(self._started + self._share, self._out_of_time)
        self._resolve()

    def _resolve(self) -> None:
        endpoint = self._check.endpoint
        addresses = self._names.addresses(endpoint)
        conversation = CONVERSATIONS[endpoint.protocol](self._check)
        self._connection = None
        if addresses is None:
            self._poll = self._loop.at(self._loop.now() + _RESOLVER_POLL, self._resolve)
        elif isinstance(addresses, OSError):
            self._ended(Outcome(conversation, "resolve", addresses))
        else:
            self._resolved = self._loop.now()
            self._connection = Connection(self._loop, addresses, conversation, self._tls, self._ended)
            self._connection.start()

    def _out_of_time(self) -> None:
        if self._connection:
            self._ended(self._connection.abort(TimeoutError()))
        else:
            self._poll.cancel()
            self._ended(Outcome(Conversation(self._check), "resolve", TimeoutError()))

    def _ended(self, outcome: Outcome) -> None:
        self._limit.cancel()
        if self._connection:
            outcome.latency["resolve"] = self._resolved - self._started
        late = isinstance(outcome.error, TimeoutError)
        # To be cut off sooner than an earlier attempt took proves nothing: the earlier evidence stays.
        if not (late and self._evidence and self._share < 2 * self._slowest):
            self._evidence = outcome, judge(self._check, outcome)
        if not late:
            self._slowest = max(self._slowest, self._loop.now() - self._started)
        left = self._deadline - self._loop.now()
        if self._evidence[1].cause is None or not self._wait or left < _LEAST:
            self.record = _record(self._check, *self._evidence, self._attempts)
        else:
            self._loop.at(self._loop.now() + min(self._pause, left / 2), self._attempt)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)


def _tls(check: Check) -> Tls | None:
    if not check.endpoint.tls:
        return None
    from ._tls import Tls  # imports ssl, which only an endpoint with TLS needs

    try:
        return Tls(check.host.partition(":")[0], validate=check.validate_certs, ca_path=check.ca_path)
    except OSError as error:
        raise EndpointError(f"{check.name}: ca_path", f"{check.ca_path} is no file of certificates: {error}") from error


def _record(check: Check, outcome: Outcome, verdict: Verdict, attempts: int) -> Record:
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
        latency_ms={phase: round(seconds * 1000, 3) for phase, seconds in outcome.latency.items()},
        status=answer.status,
        headers=dict(answer.headers),
        body=None if answer.status is None else body_head(answer.body),
        stderr=answer.stderr,
        peer=outcome.peer,
    )
