# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown: every cause in every language, and nothing of a stand that a terminal or a reader would obey."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._probe._record import CAUSES
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _text
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._source import ROLE

SOURCE = ROLE.parents[1] / "plugins" / "plugin_utils" / "_verify"


def causes(language: str) -> dict[str, dict[str, str]]:
    return t.cast("dict[str, dict[str, str]]", _text.catalogue(language)["causes"])


def test_every_cause_that_the_code_names_has_its_sentences() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    failing = set(re.findall(r"\bfailed\(\s*\"(\w+)\"", code)) | {f"no_answer_{cause}" for cause in CAUSES}
    others = set(re.findall(r"\b(?:not_applicable|unknown)\(\s*\"(\w+)\"", code)) | {"needs"}
    action = (SOURCE.parents[1] / "action" / "verify_stand.py").read_text(encoding="utf-8")
    others |= set(re.findall(r"\bunseen\(rubric, name, \"(\w+)\"", action))
    for language in _text.LANGUAGES:
        found = causes(language)
        assert failing | others | {"no_answer_unreachable"} == set(found)
        for name in failing:
            assert set(found[name]) == {"seen", "expected", "fix"}, f"{language}: {name}"


def test_the_languages_say_the_same_of_the_same() -> None:
    english, russian = causes("en"), causes("ru")
    assert _text.catalogue("en")["words"].keys() == _text.catalogue("ru")["words"].keys()
    for name, sentences in english.items():
        assert sentences.keys() == russian[name].keys()
        for part, text in sentences.items():
            other = russian[name][part]
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", other)), f"{name}.{part}"
            assert not re.search(r"[\u0400-\u04ff]", text, re.IGNORECASE), f"{name}.{part}"
            assert text != other or not re.search("[a-z] [a-z]", re.sub(r"`[^`]*`", "", text)), f"{name}.{part}"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("line\nother\rline\tend", "line\\x0aother\\x0dline\\x09end"),
        ("\u202egnp.exe", "\\x202egnp.exe"),
        ("zero\u200bwidth\ufeff", "zero\\x200bwidth\\xfeff"),
        ("\ud800", "\\xd800"),
        ("{{ 7 * 7 }} {cause} %s", "{{ 7 * 7 }} {cause} %s"),
        ("Привет, 🧨", "Привет, 🧨"),
    ],
)
def test_controls_are_spelled_out(hostile: str, shown: str) -> None:
    assert _text.plain(hostile) == shown
    assert shown in _text.sentence("en", "debug_page", "seen", {"path": "/", "whose": hostile})


def test_what_was_seen_is_never_a_template() -> None:
    said = _text.sentence("en", "token_missing", "seen", {"path": "{path.__class__} {0} {{ lookup('pipe', 'id') }}"})
    assert said.startswith("{path.__class__} {0} {{ lookup('pipe', 'id') }}")
