# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of a hostile stand: other people's readers find the text, and nothing that does something."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import pathlib
import typing as t
import xml.etree.ElementTree as ET

import pytest
from empty_host import Empty

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import (
    _engine,
    _manifest,
    _report,
    _results,
    _rubric,
)
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._text import LANGUAGES, summary

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    '=HYPERLINK("http://evil.example")',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\tx",
    "\x1b[2J\x1b]0;owned\x07",
    "{{ 7 * 7 }}{% for x in y %}",
    "]]><x/>",
    "\u202egnp",
    "\ud800\x00\ufffe",
    "../../etc/passwd",
]


def document(name: str = "ivanova", text: str = "x") -> dict[str, t.Any]:
    """What comes of a stand where nobody listens, with a text of the stand's author wherever there can be one."""
    stand = _manifest.parse(
        {"sites": [{"name": text, "port": 1, "served_by": "http", "says": text, "token": "/"}]}, name, "127.0.0.1"
    )
    made = _engine.examine(_rubric.load("course"), stand, Empty(), timeout=2)
    made = _results.stamped(made, name, name, [text])
    for section in made["sections"]:
        for one in section["criteria"]:
            for result in one["results"]:
                result["facts"] = dict.fromkeys(result["facts"], text)
    return made


class Page(html.parser.HTMLParser):
    """What a browser would make of it: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes.update(name for name, _value in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def unseen(name: str, text: str) -> dict[str, t.Any]:
    """What comes of a stand that cannot be looked at."""
    return _results.unseen(_rubric.load("course"), name, "stand_unreachable", text)


@pytest.mark.parametrize("made", [document, unseen])
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_hostile_text_is_a_text_everywhere(
    made: t.Callable[[str, str], dict[str, t.Any]], text: str, language: str
) -> None:
    hostile, harmless = made(text, text), made("x", "x")
    for make in (
        lambda one: _report.page(one, language, "fix"),
        lambda one: _report.overview([one], language),
    ):
        got, usual = Page(make(hostile)), Page(make(harmless))
        assert got.elements == usual.elements
        assert got.attributes == usual.attributes
        assert "\x1b" not in got.text
    root = ET.fromstring(_report.junit(hostile, language))
    assert [one.tag for one in root.iter()] == [
        one.tag for one in ET.fromstring(_report.junit(harmless, language)).iter()
    ]
    cells = list(csv.reader(io.StringIO(_report.table([hostile], language))))
    assert len(cells) == 2
    assert not cells[1][0].startswith(("=", "+", "-", "@", "\t"))
    shown = "\n".join(
        [_report.chat(hostile, language, "fix"), *summary(hostile, language, "fix"), *_report.rows([hostile], language)]
    )
    assert not set(shown) & set("\x1b\x07\x00\u202e\t")
    shown.encode()


def test_file_names_stay_in_their_directory() -> None:
    for name in HOSTILE:
        made = _report.file_name(name)
        assert pathlib.Path(made).name == made
        assert not made.startswith(".")


def test_a_result_has_the_schema_of_a_result() -> None:
    made = document()
    assert _report.checked("x.json", json.loads(json.dumps(made))) == made
    for spoil in ({"verdict": "maybe"}, {"extra": 1}, {"percent": "many"}):
        with pytest.raises(DataError, match=r"x\.json: is no result"):
            _report.checked("x.json", {**made, **spoil})


def test_junit_counts_what_it_has() -> None:
    root = ET.fromstring(_report.junit(document(), "en"))
    for suite in root:
        cases = list(suite)
        assert suite.get("tests") == str(len(cases))
        for kind, name in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(kind) == str(sum(case.find(name) is not None for case in cases))


def test_the_table_has_a_line_for_each_stand_and_a_column_for_each_criterion() -> None:
    lines = list(csv.DictReader(io.StringIO(_report.table([document("a"), document("b")], "en"))))
    assert [line["stand"] for line in lines] == ["a", "b"]
    assert set(_rubric.load("course").criteria) <= set(lines[0])
    assert lines[0]["answers"] == "0"
    assert lines[0]["verdict"] == "not accepted"


def test_the_chat_says_first_things_first() -> None:
    lines = _report.chat(document(), "en", "fix").splitlines()
    assert lines[0].startswith("ivanova: not accepted, ")
    assert lines[1] == "first of all: Send the link to your repository"
    assert lines[lines.index("then:") + 1].startswith("- ")


def test_whose_work_was_copied_is_for_the_teacher_only() -> None:
    made = document()
    (row,) = [one for section in made["sections"] for one in section["criteria"] if one["id"] == "own_token"]
    facts = {"path": "/motto", "whose": "petrov"}
    row.update(state="failed", results=[{"site": "x", "state": "failed", "cause": "token_of_another", "facts": facts}])
    made["first"] = {"criterion": "own_token", "site": "x"}
    for language in LANGUAGES:
        assert "petrov" in "\n".join(summary(made, language, "fix"))
        assert "petrov" in _report.junit(made, language)
        for text in (_report.page(made, language, "fix"), _report.chat(made, language, "fix")):
            assert "petrov" not in text
            assert "/motto" in text
