# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""The rubric: criteria as data, what each is worth, and what must be true before it is looked at."""

from __future__ import annotations

import dataclasses
import graphlib
import pathlib
import typing as t

from ._kinds import KINDS
from ._source import ROLE, Source

if t.TYPE_CHECKING:
    from ._kinds import Kind

#: Those that come with the collection.
SHIPPED = sorted(path.stem for path in (ROLE / "files" / "rubrics").glob("*.yml"))

Text = t.Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One thing that is looked at."""

    id: str
    text: Text
    kind: Kind
    options: t.Mapping[str, t.Any]
    #: What to write to a student whose work lacks it; empty where the kind's own words say it.
    missing: Text
    points: float
    needs: tuple[str, ...]
    #: required: must be met to pass; points; bonus: only adds; penalty: only takes away.
    counts: str
    #: Of several sites, each has its part of the points; else all must be right.
    share: bool


@dataclasses.dataclass(frozen=True)
class Section:
    """Criteria that belong together, and what they weigh together."""

    id: str
    title: Text
    weight: float
    criteria: tuple[Criterion, ...]

    @property
    def possible(self) -> float:
        """The points of all criteria that everybody is asked for."""
        return sum(one.points for one in self.criteria if one.counts in ("required", "points"))


@dataclasses.dataclass(frozen=True)
class Rubric:
    """Everything that a stand is judged by."""

    name: str
    title: Text
    about: Text
    #: Percent that are enough; None where every criterion must be met.
    percent: float | None
    sections: tuple[Section, ...]

    @property
    def criteria(self) -> dict[str, Criterion]:
        return {one.id: one for section in self.sections for one in section.criteria}

    def order(self) -> list[Criterion]:
        """Each after those that it needs, and otherwise as written."""
        criteria = self.criteria
        sorter = graphlib.TopologicalSorter({one.id: one.needs for one in criteria.values()})
        rank = {name: number for number, name in enumerate(criteria)}
        sorter.prepare()
        done = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=rank.__getitem__)
            done.extend(ready)
            sorter.done(*ready)
        return [criteria[name] for name in done]


def load(name: str) -> Rubric:
    """Read a rubric: the name of one that comes with the collection, or a file.

    :raises SourceError: it is wrong; with file and line.
    """
    path = ROLE / "files" / "rubrics" / f"{name}.yml" if name in SHIPPED else pathlib.Path(name)
    return parse(Source.read(path), path.stem)


def parse(source: Source, name: str) -> Rubric:
    """The rubric that is written there."""
    source.check("rubric")
    seen: dict[str, tuple[t.Any, ...]] = {}
    sections = []
    for number, section in enumerate(source.data["sections"]):
        criteria = []
        for index, given in enumerate(section["criteria"]):
            where = ("sections", number, "criteria", index)
            if given["id"] in seen:
                raise source.mistake((*where, "id"), f"{given['id']!r} is the id of another criterion")
            seen[given["id"]] = where
            criteria.append(_criterion(source, given, where))
        made = Section(section["id"], section["title"], 0.0, tuple(criteria))
        sections.append(dataclasses.replace(made, weight=float(section.get("weight", made.possible))))
    passing = source.data.get("passing", "all")
    rubric = Rubric(
        name, source.data["title"], source.data.get("about", {}),
        None if passing == "all" else float(passing["percent"]), tuple(sections),
    )  # fmt: skip
    for one in rubric.criteria.values():
        for index, needed in enumerate(one.needs):
            if needed not in seen:
                raise source.mistake((*seen[one.id], "needs", index), f"there is no criterion {needed!r}")
    try:
        rubric.order()
    except graphlib.CycleError as error:
        circle = error.args[1]
        raise source.mistake((*seen[circle[0]], "needs"), f"in a circle: {' needs '.join(reversed(circle))}") from error
    return rubric


def _criterion(source: Source, given: t.Mapping[str, t.Any], where: tuple[t.Any, ...]) -> Criterion:
    kind = KINDS.get(given["kind"])
    if kind is None:
        raise source.mistake(
            (*where, "kind"), f"there is no kind {given['kind']!r}; known are {', '.join(sorted(KINDS))}"
        )
    options = given.get("with", {})
    for key, value in options.items():
        if key not in kind.options:
            known = ", ".join(sorted(kind.options)) or "none"
            raise source.mistake((*where, "with", key), f"no option of {kind.name}; known are {known}")
        if not isinstance(value, type(kind.options[key])):
            wanted = type(kind.options[key]).__name__
            raise source.mistake((*where, "with", key), f"{value!r} is not of the type {wanted}")
    counts = given.get("counts", "points")
    return Criterion(
        id=given["id"], text=given["text"], kind=kind, options={**kind.options, **options},
        missing=given.get("missing", {}), points=float(given.get("points", 1)),
        needs=tuple(given.get("needs", ())), counts=counts, share=given.get("share", False),
    )  # fmt: skip
