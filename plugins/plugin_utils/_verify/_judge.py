# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""What was seen becomes a verdict: one document, from which every report is made. Its schema is result.json."""

from __future__ import annotations

import typing as t

from ._kinds import Outcome, not_applicable, unknown

if t.TYPE_CHECKING:
    from ._kinds import Scope
    from ._manifest import Site
    from ._rubric import Criterion, Rubric, Section

#: The state of a check that was not looked at, since another one that it needs is not ok.
SKIPPED = "skipped"

#: What stands for the stand as a whole where the name of a site would be.
Subject = t.Optional[str]
Results = t.Dict[t.Tuple[str, Subject], Outcome]


def subjects(criterion: Criterion, sites: t.Sequence[Site]) -> list[Site | None]:
    """What the criterion is about: each site, or the stand."""
    return list(sites) if criterion.kind.about == "site" else [None]


def judge(
    rubric: Rubric,
    sites: t.Sequence[Site],
    scope: t.Callable[[Criterion, Site | None], Scope],
    known: Results | None = None,
    ready: t.Callable[[Criterion], bool] = lambda criterion: True,
) -> Results:
    """An outcome for each criterion and subject, those first that others need.

    :param known: what came of criteria before, which stays.
    :param ready: whether all that the criterion looks at is there. The others, and those that need one of them, have
        no outcome.
    """
    results: Results = dict(known or {})
    judged = {name for name, _subject in results}
    for criterion in rubric.order():
        if criterion.id in judged or not judged.issuperset(criterion.needs) or not ready(criterion):
            continue
        judged.add(criterion.id)
        for site in subjects(criterion, sites):
            name = site.name if site else None
            results[criterion.id, name] = _missing_need(criterion, name, results) or _outcome(criterion, scope, site)
    return results


def _missing_need(criterion: Criterion, name: Subject, results: Results) -> Outcome | None:
    for needed in criterion.needs:
        # Of the same site; of the stand; or, for a check of the stand, of every site.
        states = {subject: outcome.state for (other, subject), outcome in results.items() if other == needed}
        about = (
            states if name is None else {subject: state for subject, state in states.items() if subject in (name, None)}
        )
        if any(state not in ("ok", "not_applicable") for state in about.values()):
            return Outcome(SKIPPED, "needs", {"needed": needed})
    return None


def _outcome(criterion: Criterion, scope: t.Callable[[Criterion, Site | None], Scope], site: Site | None) -> Outcome:
    looked_at = scope(criterion, site)
    if criterion.kind.host and looked_at.facts is None:
        return unknown("host_not_seen", reason=looked_at.unseen)
    if criterion.kind.work and looked_at.work is None and criterion.kind.name != "repository":
        return not_applicable("no_repository_given")
    try:
        return criterion.kind.judge(looked_at)
    except Exception as error:  # A stand must not be able to stop the run; what broke is shown.
        return unknown("check_broke", error=f"{type(error).__name__}: {error}")


def marked(criterion: Criterion, outcomes: t.Sequence[Outcome]) -> tuple[str, float]:
    """The state of all subjects together, and the part of the points that is earned (of a penalty: taken)."""
    counted = [one for one in outcomes if one.state != "not_applicable"]
    if not counted:
        return "not_applicable", 0.0
    good = sum(one.state == "ok" for one in counted)
    states = {one.state for one in counted}
    state = next(name for name in ("failed", "unknown", SKIPPED, "ok") if name in states)
    if criterion.counts == "penalty":
        bad = sum(one.state == "failed" for one in counted)
        return state, (bad / len(counted) if criterion.share else float(bad > 0))
    return state, (good / len(counted) if criterion.share else float(good == len(counted)))


def document(rubric: Rubric, sites: t.Sequence[Site], results: Results) -> dict[str, t.Any]:
    """The verdict and what it is made of, as plain data."""
    sections = [_section(section, sites, results) for section in rubric.sections]
    weighed = [one for one in sections if one["possible"]]
    weight = sum(one["weight"] for one in weighed)
    percent = 100 * sum(one["weight"] * one["earned"] / one["possible"] for one in weighed) / weight if weight else 0.0
    extra = sum(one["earned"] for one in sections if not one["possible"])
    percent = max(0.0, round(percent + extra, 2))
    criteria = [one for section in sections for one in section["criteria"]]
    asked = [one for one in criteria if one["counts"] in ("required", "points")]
    must = asked if rubric.percent is None else [one for one in asked if one["counts"] == "required"]
    bad = {one["state"] for one in must} - {"ok", "not_applicable"}
    enough = rubric.percent is None or percent >= rubric.percent
    if enough and not bad:
        verdict = "accepted"
    elif "failed" in {one["state"] for one in asked}:
        verdict = "not_accepted"
    else:
        # Nothing was found wrong, and not everything was seen.
        verdict = "undecided"
    return {
        "rubric": rubric.name,
        "title": dict(rubric.title),
        "passing": "all" if rubric.percent is None else {"percent": rubric.percent},
        "verdict": verdict,
        "percent": percent,
        "first": _first(rubric, results),
        "sections": sections,
    }


def row(criterion: Criterion, sites: t.Sequence[Site], results: Results) -> tuple[dict[str, t.Any], float]:
    """What came of a criterion, as it is in the document; and the points that it adds, which are rounded there."""
    about = [site.name if site else None for site in subjects(criterion, sites)]
    outcomes = [results[criterion.id, name] for name in about]
    state, part = marked(criterion, outcomes)
    worth = criterion.points * part * (-1 if criterion.counts == "penalty" else 1)
    found = {
        "id": criterion.id,
        "kind": criterion.kind.name,
        "text": dict(criterion.text),
        "missing": dict(criterion.missing),
        "counts": criterion.counts,
        "points": criterion.points,
        "earned": round(worth, 4),
        "state": state,
        "results": [
            {"site": name, "state": outcome.state, "cause": outcome.cause, "facts": dict(outcome.facts)}
            for name, outcome in zip(about, outcomes)
        ],
    }
    return found, worth


def _section(section: Section, sites: t.Sequence[Site], results: Results) -> dict[str, t.Any]:
    rows, earned, possible = [], 0.0, 0.0
    for one in section.criteria:
        found, worth = row(one, sites, results)
        rows.append(found)
        earned += worth
        if one.counts in ("required", "points") and found["state"] != "not_applicable":
            possible += one.points
    return {
        "id": section.id,
        "title": dict(section.title),
        "weight": section.weight,
        "earned": round(max(0.0, earned), 4),
        "possible": possible,
        "criteria": rows,
    }


def _first(rubric: Rubric, results: Results) -> dict[str, t.Any] | None:
    """The first real cause: what others need goes before what needs it, and what is wrong before what was not seen."""
    for state in ("failed", "unknown"):
        for criterion in rubric.order():
            for (name, site), outcome in results.items():
                if name == criterion.id and outcome.state == state and criterion.counts != "bonus":
                    return {"criterion": name, "site": site}
    return None
