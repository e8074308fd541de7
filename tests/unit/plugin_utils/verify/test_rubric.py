# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rubrics: what is wrong is named with its line; what is right is read whole."""

from __future__ import annotations

import textwrap

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _rubric
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._source import Source

GOOD = """\
title: {en: T, ru: Тема}
passing: {percent: 70}
sections:
  - id: one
    title: {en: One, ru: Один}
    weight: 30
    criteria:
      - id: answers
        kind: answers
        points: 2
        text: {en: Answers, ru: Отвечает}
      - id: computed
        kind: computed
        needs: [answers]
        text: {en: Computed, ru: Вычислено}
  - id: two
    title: {en: Two, ru: Два}
    criteria:
      - id: extra
        kind: says
        counts: bonus
        text: {en: Extra, ru: Ещё}
      - id: readme
        kind: readme
        with: {words: 5}
        points: 4
        text: {en: Readme, ru: Описание}
"""


def parse(text: str) -> _rubric.Rubric:
    return _rubric.parse(Source("mine.yml", textwrap.dedent(text)), "mine")


def test_a_rubric_is_read_whole() -> None:
    rubric = parse(GOOD)
    assert (rubric.percent, [section.weight for section in rubric.sections]) == (70, [30, 4])
    assert rubric.sections[0].possible == 3
    assert rubric.sections[1].possible == 4  # a bonus is asked of nobody
    assert rubric.criteria["readme"].options == {"words": 5}
    assert rubric.criteria["computed"].needs == ("answers",)


@pytest.mark.parametrize("name", _rubric.SHIPPED)
def test_the_rubrics_of_the_collection_are_right(name: str) -> None:
    assert _rubric.load(name).criteria


@pytest.mark.parametrize(
    ("good", "bad", "where", "said"),
    [
        ("points: 2", "pionts: 2", "mine.yml:10", "did you mean 'points'?"),
        ("points: 2", "points: many", "mine.yml:10", "'many' is not a number"),
        ("points: 2", "points: -2", "mine.yml:10", "points"),
        ("kind: answers", "kind: answer", "mine.yml:9", "there is no kind 'answer'"),
        ("id: computed", "id: answers", "mine.yml:12", "the id of another criterion"),
        ("needs: [answers]", "needs: [anwsers]", "mine.yml:14", "there is no criterion 'anwsers'"),
        ("points: 2", "needs: [computed]", "mine.yml:", "in a circle"),
        ("{words: 5}", "{word: 5}", "mine.yml:25", "known are words"),
        ("{words: 5}", "{words: many}", "mine.yml:25", "not of the type int"),
        ("text: {en: Extra, ru: Ещё}", "text: {en: Extra}", "mine.yml:22", "'ru' is missing"),
        ("counts: bonus", "counts: bonsu", "mine.yml:21", "required, points, bonus, penalty"),
        ("passing: {percent: 70}", "passing: {percent: 170}", "mine.yml:2", "170"),
        ("passing: {percent: 70}", "passing: most", "mine.yml:2", "passing"),
        ("sections:", "sektions:", "mine.yml:", "sections"),
        ("kind: says", "kind: says\n        kind: says", "mine.yml:21", "for the second time"),
        ("title: {en: T, ru: Тема}", "title: {en: T, ru: Тема", "mine.yml:2", "not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line(good: str, bad: str, where: str, said: str) -> None:
    assert GOOD.count(good) == 1
    with pytest.raises(DataError) as caught:
        parse(GOOD.replace(good, bad))
    assert str(caught.value).startswith(where)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "the file is empty"), ("- a\n", "is not a mapping"), ("a: !!python/object/new:os.system [id]\n", "not YAML")],
)
def test_what_is_no_rubric(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse(text)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"/nowhere/mine\.yml: cannot be read"):
        _rubric.load("/nowhere/mine.yml")
