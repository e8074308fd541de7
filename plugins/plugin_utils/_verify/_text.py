# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""What a reader is shown: the catalogue's sentences with what was seen in them, and a summary for the console."""

from __future__ import annotations

import functools
import re
import string
import typing as t

import yaml

from ._source import ROLE

LANGUAGES = tuple(sorted(path.stem for path in (ROLE / "files" / "lang").glob("*.yml")))
#: How much a reader is told: that something is missing; what was seen; and how it is mended.
HINTS = ("none", "cause", "fix")

# Controls, which a terminal would obey; marks that turn the direction of writing; what is no character at all.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff]"
)


def plain(text: str) -> str:
    """The text, with nothing in it that a terminal, an editor or XML would obey: controls are spelled out."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


@functools.cache
def catalogue(language: str) -> dict[str, t.Any]:
    """All texts of a language."""
    return t.cast("dict[str, t.Any]", yaml.safe_load((ROLE / "files" / "lang" / f"{language}.yml").read_text("utf-8")))


class _Facts(t.Dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def sentence(language: str, cause: str, part: str, facts: t.Mapping[str, str]) -> str:
    """One sentence of a cause: ``seen``, ``expected`` or ``fix``; empty where it has none."""
    template = catalogue(language)["causes"].get(cause, {}).get(part, "")
    shown = _Facts({name: plain(value) for name, value in facts.items()})
    return string.Formatter().vformat(template, (), shown).strip()


def summary(document: t.Mapping[str, t.Any], language: str, hints: str) -> list[str]:
    """The document as lines for a console: a checklist, and the first real cause."""
    lines: list[str] = []
    for section in document["sections"]:
        lines += ["", plain(section["title"][language])]
        for criterion in section["criteria"]:
            lines += checked(criterion, language, hints)
    return [*lines, *ending(document, language, hints)]


def checked(criterion: t.Mapping[str, t.Any], language: str, hints: str) -> list[str]:
    """A criterion of the document as lines of a checklist."""
    words = catalogue(language)["words"]
    lines = [f"  {words[criterion['state']]:<{_widest(words)}}  {plain(criterion['text'][language])}"]
    if hints != "none":
        for one in criterion["results"]:
            if one["state"] in ("failed", "unknown"):
                site = f"{plain(one['site'])}: " if one["site"] else ""
                lines.append(
                    f"  {'':{_widest(words)}}    {site}{sentence(language, one['cause'], 'seen', one['facts'])}"
                )
    return lines


def ending(document: t.Mapping[str, t.Any], language: str, hints: str) -> list[str]:
    """What is below the checklist: the result, and the first real cause."""
    return ["", headline(document, language), *(f"  {line}" for line in first_cause(document, language, hints))]


def headline(document: t.Mapping[str, t.Any], language: str) -> str:
    """Whose stand it is, and what it is worth."""
    verdict = catalogue(language)["words"][document["verdict"]]
    return f"{plain(document['stand']['name'])}: {verdict}, {document['percent']:g} %"


def progress(document: t.Mapping[str, t.Any], language: str, hints: str, done: int, of: int) -> str:
    """One stand of many as one line."""
    first = first_cause(document, language, hints)[:1]
    return f"[{done}/{of}] {'. '.join([headline(document, language), *first])}"


def step(language: str, name: str, number: int) -> str:
    """What is being done, for somebody who waits."""
    return str(catalogue(language)["words"][name]).format(number=number)


def first_cause(document: t.Mapping[str, t.Any], language: str, hints: str) -> list[str]:
    """What to mend first: expected beside seen; or why nothing could be seen."""
    problem = document["problem"]
    if problem is not None:
        return [sentence(language, problem["cause"], "seen", problem["facts"])]
    first = document["first"]
    if first is None or hints == "none":
        return []
    words = catalogue(language)["words"]
    (criterion,) = (
        one for section in document["sections"] for one in section["criteria"] if one["id"] == first["criterion"]
    )
    (result,) = (one for one in criterion["results"] if one["site"] == first["site"])
    lines = [f"{words['first']}: {plain(criterion['missing'].get(language) or criterion['text'][language])}"]
    if first["site"]:
        lines.append(f"{words['site']}: {plain(first['site'])}")
    for part in ("seen", "expected", *(("fix",) if hints == "fix" else ())):
        if text := sentence(language, result["cause"], part, result["facts"]):
            lines.append(f"{words[part]}: {text}")
    return lines


def _widest(words: t.Mapping[str, str]) -> int:
    return max(len(words[state]) for state in ("ok", "failed", "skipped", "unknown", "not_applicable"))
