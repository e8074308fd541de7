# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Ask a stand everything that the checks want to know, from outside and on its host, and hand it to the judge."""

from __future__ import annotations

import dataclasses
import secrets
import typing as t

from ...module_utils._probe import ask_all
from ._evidence import MAX_BODY, Answered, Ask, Facts
from ._judge import document, judge, subjects
from ._kinds import Scope

if t.TYPE_CHECKING:
    from ._manifest import Site, Stand
    from ._rubric import Criterion, Rubric


class Host(t.Protocol):
    """The way to the stand's host."""

    def facts(self) -> Facts | None:
        """What the host says of itself; None where nobody gets there."""

    def ask(self, asks: t.Sequence[Ask]) -> list[Answered]:
        """Answers to requests that are sent on the host."""


@dataclasses.dataclass(frozen=True)
class Given:
    """What is known of a stand beside what is seen of it."""

    token: str | None = None
    work: t.Mapping[str, str] | None = None


class Nobody:
    """The way to a host that can only be looked at from outside."""

    def facts(self) -> Facts | None:
        return None

    def ask(self, asks: t.Sequence[Ask]) -> list[Answered]:
        return [Answered("unreachable", "the host is looked at from outside only") for _ask in asks]


def from_controller(asks: t.Sequence[Ask], timeout: float) -> list[Answered]:
    """Send the requests from here: all at once, for ``timeout`` seconds, and keep MAX_BODY bytes of each answer."""
    return [
        answered(record.cause or "", record.message, answer)
        for record, answer in ask_all([ask.spec() for ask in asks], timeout, max_body=MAX_BODY)
    ]


def answered(cause: str, message: str, answer: t.Any) -> Answered:
    """What the checks see of an answer of the probe. A status of 500 is an answer; what is no HTTP is none."""
    if answer is None or (answer.status is None and cause):
        return Answered(cause or "closed", message)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answered("", "", answer.status, headers, answer.body, answer.truncated)


def examine(
    rubric: Rubric, stand: Stand, host: Host, given: Given = Given(), timeout: float = 20.0
) -> dict[str, t.Any]:
    """Look at the stand, and return the document of the verdict.

    :param timeout: seconds for each round of requests.
    """
    facts = host.facts()
    nonces = {site.name: secrets.token_hex(8) for site in stand.sites}
    whole = secrets.token_hex(8)

    def scope(criterion: Criterion, site: Site | None) -> Scope:
        return Scope(
            stand,
            site,
            criterion.options,
            nonces[site.name] if site else whole,
            given.token,
            facts,
            answers,
            given.work,
        )

    answers: dict[Ask, Answered] = {}
    wanted: dict[Ask, None] = {}
    for criterion in rubric.criteria.values():
        if not (criterion.kind.host and facts is None):
            for site in subjects(criterion, stand.sites):
                wanted.update(dict.fromkeys(criterion.kind.asks(scope(criterion, site))))
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
            answers.update(zip(inside, host.ask(inside)))
    return document(rubric, stand.sites, judge(rubric, stand.sites, scope))
