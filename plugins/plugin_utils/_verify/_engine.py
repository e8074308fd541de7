# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Ask a stand everything that the checks want to know, from outside and on its host, and hand it to the judge."""

from __future__ import annotations

import dataclasses
import functools
import secrets
import typing as t

from ...module_utils._probe import ask_all
from . import _changes, _visitors
from ._evidence import MAX_BODY, Answered, Ask, Facts, Held
from ._judge import document, judge, row, subjects
from ._kinds import Scope
from ._kinds._connections import stay_at

if t.TYPE_CHECKING:
    from ._judge import Results
    from ._manifest import Site, Stand
    from ._rubric import Criterion, Rubric


class NotReached(Exception):
    """Nobody gets to the host; the text says why."""


class Unreachable(Exception):
    """Neither the host can be looked at nor any site of it: that is no verdict on the work."""


class Host(t.Protocol):
    """The way to the stand's host."""

    def facts(self) -> Facts:
        """What the host says of itself.

        :raises NotReached: nobody gets there.
        """

    def ask(self, asks: t.Sequence[Ask]) -> list[Answered]:
        """Answers to requests that are sent on the host."""

    def held(self, ports: t.Sequence[int]) -> list[Held]:
        """Who has the connections that are open at these ports."""


@dataclasses.dataclass(frozen=True)
class Given:
    """What is known of a stand beside what is seen of it."""

    token: str | None = None
    work: t.Mapping[str, str] | None = None
    #: Of the task sheet; nothing where there was none.
    ports: tuple[int, ...] = ()
    #: Tokens of other students, and whose they are.
    others: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def from_controller(asks: t.Sequence[Ask], timeout: float) -> list[Answered]:
    """Send the requests from here: all at once, for ``timeout`` seconds, and keep MAX_BODY bytes of each answer."""
    found = ask_all([ask.spec() for ask in asks], timeout, max_body=MAX_BODY)
    return [
        # What stays open has its status before it has shown what it is.
        dataclasses.replace(seen, cause=record.cause or "", message=record.message) if ask.stays else seen
        for ask, (record, answer) in zip(asks, found)
        for seen in [answered(record.cause or "", record.message, answer)]
    ]


def answered(cause: str, message: str, answer: t.Any) -> Answered:
    """What the checks see of an answer of the probe. A status of 500 is an answer; what is no HTTP is none."""
    if answer is None or (answer.status is None and cause):
        return Answered(cause or "closed", message)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answered("", "", answer.status, headers, answer.body, answer.truncated)


def _on_host(host: Host, asks: t.Sequence[Ask]) -> list[Answered]:
    try:
        return host.ask(asks)
    except NotReached as error:
        return [Answered("unreachable", str(error)) for _ask in asks]


def _held(host: Host, ports: t.Sequence[int]) -> list[Held]:
    try:
        return host.held(ports)
    except NotReached:
        return []


def _quiet(step: str, number: int) -> None:
    """Nobody watches."""


def examine(
    rubric: Rubric,
    stand: Stand,
    host: Host,
    given: Given = Given(),
    timeout: float = 20.0,
    changes: t.Collection[str] = (),
    hands: _changes.Hands | None = None,
    say: t.Callable[[str, int], None] = _quiet,
    show: t.Callable[[dict[str, t.Any]], None] | None = None,
) -> dict[str, t.Any]:
    """Look at the stand, and return the document of the verdict.

    :param timeout: seconds for each round of requests.
    :param changes: what may be done to the stand, of CHANGES; it is done where the rubric has a use for it.
    :param hands: do it.
    :param say: is told each step, and how many things it has.
    :param show: gets each criterion as it will be in the document, once, as soon as all is seen that it looks at.
    :raises Unreachable: nothing of the stand can be seen.
    """
    say("step_host", 0)
    facts: Facts | None = None
    reason = ""
    try:
        facts = host.facts()
    except NotReached as error:
        reason = str(error)
    nonces = {site.name: secrets.token_hex(8) for site in stand.sites}
    whole = secrets.token_hex(8)
    answers: dict[Ask, Answered] = {}
    changed: dict[str, t.Any] = {}
    staying: dict[str, int] = {}
    held: list[Held] = []

    def scope(criterion: Criterion | None, site: Site | None) -> Scope:
        return Scope(
            stand,
            site,
            criterion.options if criterion else {},
            nonces[site.name] if site else whole,
            token=given.token,
            facts=facts,
            answers=answers,
            work=given.work,
            changes=changed,
            unseen=reason,
            ports=given.ports,
            others=given.others,
            staying=staying,
            held=held,
            nonces=nonces,
        )

    asked_by = {
        name: [
            ask
            for site in (() if criterion.kind.host and facts is None else subjects(criterion, stand.sites))
            for ask in criterion.kind.asks(scope(criterion, site))
        ]
        for name, criterion in rubric.criteria.items()
    }
    wanted = dict.fromkeys(ask for asks in asked_by.values() for ask in asks)
    kinds = [one.kind for one in rubric.criteria.values()]
    stays: dict[str, Site] = {}
    todo: list[str] = []
    if facts is not None:
        if any(kind.stays for kind in kinds):
            stays = {site.name: site for site in stay_at(stand.sites, facts).values()}
        if hands is not None:
            todo = list(dict.fromkeys(kind.change for kind in kinds if kind.change in changes))
    # What is still to be seen, beside answers.
    pending = {*todo, *(["stays"] if stays else [])}
    results: Results = {}

    def ready(criterion: Criterion) -> bool:
        kind = criterion.kind
        late = kind.change in pending or (kind.stays and "stays" in pending)
        return not late and all(ask in answers for ask in asked_by[criterion.id])

    def report() -> None:
        """Show what can be judged by now and could not be before."""
        if show is None or (facts is None and not any(answer.came for answer in answers.values())):
            return
        found = judge(rubric, stand.sites, scope, results, ready)
        new = {name for name, _subject in found.keys() - results.keys()}
        results.update(found)
        for name, criterion in rubric.criteria.items():
            if name in new:
                show(row(criterion, stand.sites, results)[0])

    report()
    say("step_asks", len(wanted))
    for number in sorted({ask.round for ask in wanted}):
        asks = [ask for ask in wanted if ask.round == number]
        # Who has not let anybody in is not waited for once more.
        dead = {one.endpoint: seen for one, seen in answers.items() if one.place == "controller" and seen.cause}
        answers.update({ask: dead[ask.endpoint] for ask in asks if ask.place == "controller" and ask.endpoint in dead})
        left = [ask for ask in asks if ask not in answers]
        outside = [ask for ask in left if ask.place == "controller"]
        inside = [ask for ask in left if ask.place == "host"]
        if outside:
            answers.update(zip(outside, from_controller(outside, timeout)))
        if inside:
            answers.update(zip(inside, _on_host(host, inside)))
        report()
    if facts is None and not any(answer.came for answer in answers.values()):
        raise Unreachable(reason)
    if stays:
        with _visitors.staying(list(stays.values()), stand.address, timeout) as count:
            staying.update(count)
            held += _held(host, [site.port for site in stays.values()])
        pending.discard("stays")
        report()
    if todo and hands is not None:
        say("step_changes", len(todo))
        visit = functools.partial(from_controller, timeout=timeout)
        for name, seen in _changes.change(todo, stand, hands, lambda site: scope(None, site), visit):
            changed[name] = seen
            pending.discard(name)
            report()
    return document(rubric, stand.sites, judge(rubric, stand.sites, scope, results))
