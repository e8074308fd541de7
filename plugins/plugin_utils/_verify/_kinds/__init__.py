# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""The kinds of checks: what each asks, and how it judges what was seen.

A kind is a pure function from what was seen to an outcome. What it wants to be asked it says before, so that all
requests of a stand go out together.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing as t

if t.TYPE_CHECKING:
    from .._evidence import Answered, Ask, Facts, Held
    from .._manifest import Site, Stand


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one check."""

    #: ok; failed: the stand is not as it should be; not_applicable: there is nothing of that sort; unknown: it could
    #: not be seen, which is neither the one nor the other.
    state: str
    #: Which of the catalogue's causes; empty for ok.
    cause: str = ""
    #: What stands in the cause's sentences: texts of the stand among them, bounded, never a template.
    facts: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


_LONGEST = 200


def _facts(facts: t.Mapping[str, object]) -> dict[str, str]:
    return {
        name: text if len(text := str(value)) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
        for name, value in facts.items()
    }


def ok(**facts: object) -> Outcome:
    return Outcome("ok", "", _facts(facts))


def failed(cause: str, /, **facts: object) -> Outcome:
    return Outcome("failed", cause, _facts(facts))


def not_applicable(cause: str, /, **facts: object) -> Outcome:
    return Outcome("not_applicable", cause, _facts(facts))


def unknown(cause: str, /, **facts: object) -> Outcome:
    return Outcome("unknown", cause, _facts(facts))


@dataclasses.dataclass(frozen=True)
class Scope:
    """Everything that a check may look at."""

    stand: Stand
    #: None for a check of the stand as a whole.
    subject: Site | None
    #: The criterion's, over the kind's own.
    options: t.Mapping[str, t.Any]
    #: A text that nobody could foresee; another one for every site and run.
    nonce: str
    #: What the task sheet gave to this student, where there was one.
    token: str | None = None
    facts: Facts | None = None
    answers: t.Mapping[Ask, Answered] = dataclasses.field(default_factory=dict)
    #: Path -> text of the repository's files; None where there is none.
    work: t.Mapping[str, str] | None = None
    #: Name of a change that was made -> what was seen then.
    changes: t.Mapping[str, t.Mapping[str, t.Any]] = dataclasses.field(default_factory=dict)
    #: Why there are no facts.
    unseen: str = ""
    #: The task sheet's; nothing where there was none.
    ports: tuple[int, ...] = ()
    #: Tokens of other students, and whose they are.
    others: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Name of a site -> how many connections to it stayed open, while it was looked who has them.
    staying: t.Mapping[str, int] = dataclasses.field(default_factory=dict)
    held: t.Sequence[Held] = ()

    #: Name of a site -> its nonce.
    nonces: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    def of(self, site: Site, kind: Kind) -> Scope:
        """What a kind with its own options would look at, of a site."""
        return dataclasses.replace(
            self, subject=site, options=kind.options, nonce=self.nonces.get(site.name, self.nonce)
        )

    @property
    def site(self) -> Site:
        if self.subject is None:
            raise AssertionError("a check of the stand as a whole has no site")
        return self.subject

    @property
    def host(self) -> Facts:
        """The host's facts, for a kind that needs them."""
        if self.facts is None:
            raise AssertionError("this kind did not say that it needs the host")
        return self.facts

    def seen(self, asks: t.Iterable[Ask]) -> list[Answered]:
        return [self.answers[ask] for ask in asks]


Judge = t.Callable[[Scope], Outcome]
Asks = t.Callable[[Scope], t.Sequence["Ask"]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way of checking."""

    name: str
    #: site: once for each; stand: once.
    about: str
    judge: Judge
    asks: Asks
    #: Whether it needs the host's facts, and not only what can be seen from outside.
    host: bool
    #: Whether it reads the repository.
    work: bool
    #: With their defaults, whose types they have.
    options: t.Mapping[str, t.Any]
    #: What must be done to the stand for it.
    change: str = ""
    #: Whether connections to the site are kept open for it.
    stays: bool = False


KINDS: dict[str, Kind] = {}


def kind(
    about: str,
    *,
    asks: Asks = lambda scope: (),
    host: bool = False,
    work: bool = False,
    change: str = "",
    stays: bool = False,
    **options: t.Any,
) -> t.Callable[[Judge], Judge]:
    """Make the function the judge of a kind of its name."""

    def register(judge: Judge) -> Judge:
        name = judge.__name__
        KINDS[name] = Kind(name, about, judge, asks, host, work, options, change, stays)
        return judge

    return register


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
