# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From outcomes to a verdict, by hand-made kinds: the arithmetic is done on paper here."""

from __future__ import annotations

import textwrap
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _judge, _kinds, _rubric
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._manifest import Site, Stand
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._source import Source

SITES = (Site("one", 8081, "http"), Site("two", 8082, "http"), Site("three", 8083, "http"))
OK, BAD, NOT = _kinds.ok(), _kinds.failed("too_few_sites"), _kinds.not_applicable("no_front")
UNSEEN = _kinds.unknown("no_processes_seen")


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    """Judge by criteria that are written as YAML; what comes of each is given."""

    def judge(criteria: str, outcomes: dict[str, t.Any], passing: str = "all") -> dict[str, t.Any]:
        def look(scope: _kinds.Scope) -> _kinds.Outcome:
            found = outcomes[scope.options["name"]]
            return found[scope.site.name] if scope.subject else found

        for about in ("site", "stand"):
            made = _kinds.Kind(f"of_{about}", about, look, lambda scope: (), False, False, {"name": ""})
            monkeypatch.setitem(_kinds.KINDS, made.name, made)
        text = f"title: {{en: T, ru: T}}\npassing: {passing}\nsections:\n" + textwrap.dedent(criteria)
        rubric = _rubric.parse(Source("r.yml", text), "r")
        stand = Stand("s", "127.0.0.1", SITES)
        results = _judge.judge(rubric, SITES, lambda one, site: _kinds.Scope(stand, site, one.options, "nonce"))
        return _judge.document(rubric, SITES, results)

    return judge


def criterion(name: str, about: str = "stand", **more: t.Any) -> str:
    words = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{{id: {name}, kind: of_{about}, with: {{name: {name}}}, text: {{en: {name}, ru: {name}}}{words}}}"


def section(name: str, *criteria: str, weight: float | None = None) -> str:
    weigh = f", weight: {weight}" if weight else ""
    return f"- {{id: {name}, title: {{en: {name}, ru: {name}}}{weigh}, criteria: [{', '.join(criteria)}]}}\n"


def states(document: dict[str, t.Any]) -> dict[str, str]:
    return {one["id"]: one["state"] for part in document["sections"] for one in part["criteria"]}


def test_points_and_weights(judged: t.Callable[..., dict[str, t.Any]]) -> None:
    rubric = section("a", criterion("x", points=3), criterion("y", points=1), weight=60) + section(
        "b", criterion("z", points=10), weight=40
    )
    got = judged(rubric, {"x": OK, "y": BAD, "z": OK}, "{percent: 80}")
    assert (got["percent"], got["verdict"]) == (0.75 * 60 + 40, "accepted")
    got = judged(rubric, {"x": BAD, "y": OK, "z": OK}, "{percent: 80}")
    assert (got["percent"], got["verdict"], got["first"]) == (55, "not_accepted", {"criterion": "x", "site": None})


def test_what_must_be_is_not_bought_with_points(judged: t.Callable[..., dict[str, t.Any]]) -> None:
    rubric = section("a", criterion("x", points=1, counts="required"), criterion("y", points=99))
    got = judged(rubric, {"x": BAD, "y": OK}, "{percent: 50}")
    assert (got["percent"], got["verdict"]) == (99, "not_accepted")


def test_sites_share_points_or_must_all_be_right(judged: t.Callable[..., dict[str, t.Any]]) -> None:
    two = {"one": OK, "two": BAD, "three": OK}
    rubric = section("a", criterion("x", "site", points=3, share="true"), criterion("y", "site", points=3))
    got = judged(rubric, {"x": two, "y": two}, "{percent: 10}")
    assert [one["earned"] for one in got["sections"][0]["criteria"]] == [2, 0]
    assert got["first"] == {"criterion": "x", "site": "two"}


def test_what_does_not_apply_is_asked_of_nobody(judged: t.Callable[..., dict[str, t.Any]]) -> None:
    rubric = section("a", criterion("x", points=5), criterion("y", "site", points=5))
    got = judged(rubric, {"x": NOT, "y": {"one": NOT, "two": OK, "three": NOT}})
    assert (got["percent"], got["verdict"]) == (100, "accepted")
    assert judged(section("a", criterion("x")), {"x": NOT})["percent"] == 0


def test_bonus_and_penalty(judged: t.Callable[..., dict[str, t.Any]]) -> None:
    rubric = section(
        "a",
        criterion("x", points=10),
        criterion("b", points=2, counts="bonus"),
        criterion("p", points=5, counts="penalty"),
    )
    for bonus, penalty, percent in ((OK, OK, 120), (BAD, OK, 100), (BAD, BAD, 50), (OK, BAD, 70), (OK, NOT, 120)):
        got = judged(rubric, {"x": OK, "b": bonus, "p": penalty})
        assert (got["percent"], got["verdict"]) == (percent, "accepted")
    assert judged(rubric, {"x": BAD, "b": BAD, "p": BAD})["percent"] == 0


def test_a_check_whose_need_is_missing_is_skipped_and_not_the_first_cause(
    judged: t.Callable[..., dict[str, t.Any]],
) -> None:
    rubric = section("a", criterion("late", needs="[early]"), criterion("later", needs="[late]"), criterion("early"))
    got = judged(rubric, {"late": BAD, "later": OK, "early": BAD})
    assert states(got) == {"late": "skipped", "later": "skipped", "early": "failed"}
    assert got["first"] == {"criterion": "early", "site": None}


def test_needs_are_those_of_the_same_site(judged: t.Callable[..., dict[str, t.Any]]) -> None:
    rubric = section(
        "a",
        criterion("answers", "site"),
        criterion("page", "site", needs="[answers]"),
        criterion("all", needs="[answers]"),
    )
    good = {"one": OK, "two": OK, "three": OK}
    got = judged(rubric, {"answers": {**good, "two": BAD}, "page": good, "all": OK})
    page = got["sections"][0]["criteria"][1]["results"]
    assert [one["state"] for one in page] == ["ok", "skipped", "ok"]
    assert states(got)["all"] == "skipped"


def test_what_was_not_seen_is_neither_right_nor_wrong(judged: t.Callable[..., dict[str, t.Any]]) -> None:
    rubric = section("a", criterion("x"), criterion("y"))
    assert judged(rubric, {"x": OK, "y": UNSEEN})["verdict"] == "undecided"
    assert judged(rubric, {"x": BAD, "y": UNSEEN})["verdict"] == "not_accepted"


def test_a_check_that_breaks_does_not_stop_the_others(judged: t.Callable[..., dict[str, t.Any]]) -> None:
    got = judged(section("a", criterion("x"), criterion("y")), {"y": OK})  # nothing is given for x: a KeyError
    assert states(got) == {"x": "unknown", "y": "ok"}
    assert got["verdict"] == "undecided"
