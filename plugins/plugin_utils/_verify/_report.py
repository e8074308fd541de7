# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Reports: one document for each stand in; a page, a table, JUnit and a text for the chat out.

What is shown of a stand was written by anybody. It is a text everywhere: escaped by the template engine, by the XML
library, and in a table so that no spreadsheet takes it for a formula.
"""

from __future__ import annotations

import collections
import copy
import csv
import functools
import io
import re
import typing as t
import xml.etree.ElementTree as ET

import jinja2

from ._source import ROLE, SourceError, conforms
from ._text import catalogue, first_cause, headline, plain, sentence

Document = t.Mapping[str, t.Any]

#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = tuple("=+-@\t\r")
#: Bars of the distribution: so many percent each, the last with everything from 100 on.
_STEP = 10


def checked(name: str, document: t.Any) -> Document:
    """The document, when it is one.

    :raises SourceError: it does not have the schema of a result.
    """
    problems = conforms(document, "result")
    if problems:
        raise SourceError(name, f"is no result: {problems[0]}")
    return t.cast("Document", document)


def file_name(host: str) -> str:
    """The name of a stand's files, whatever the host is called."""
    return re.sub(r"[^\w.-]", "_", host).lstrip(".") or "_"


def rows(documents: t.Sequence[Document], language: str) -> list[str]:
    """A line for each stand, for a console."""
    words = catalogue(language)["words"]
    names = [plain(document["stand"]["name"]) for document in documents]
    widest = max(map(len, names), default=0)
    return [
        f"{name:<{widest}}  {document['percent']:5g} %  {words[document['verdict']]}"
        + (f" ({_first(document)})" if _first(document) else "")
        for name, document in zip(names, documents)
    ]


def _first(document: Document) -> str:
    """What is to be mended first, in a word."""
    named = document["problem"] or document["first"] or {}
    return str(named.get("cause") or named.get("criterion") or "")


def criteria(document: Document) -> list[t.Mapping[str, t.Any]]:
    """The criteria of all sections."""
    return [one for section in document["sections"] for one in section["criteria"]]


def table(documents: t.Sequence[Document], language: str) -> str:
    """CSV for a gradebook: a line for each stand, a column for each criterion with what was earned."""
    words = catalogue(language)["words"]
    names = list(dict.fromkeys(one["id"] for document in documents for one in criteria(document)))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    writer.writerow([words["stand"], words["verdict"], "%", words["first"], *names])
    for document in documents:
        earned = {one["id"]: f"{one['earned']:g}" for one in criteria(document)}
        row = [document["stand"]["name"], words[document["verdict"]], f"{document['percent']:g}", _first(document)]
        writer.writerow([*map(_cell, row), *(earned.get(name, "") for name in names)])
    return out.getvalue()


def _cell(text: str) -> str:
    text = plain(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def junit(document: Document, language: str) -> str:
    """JUnit's XML: a suite for each section, a case for each criterion and site."""
    root = ET.Element("testsuites", name=plain(document["stand"]["name"]))
    if document["problem"]:
        suite = ET.SubElement(root, "testsuite", name="stand", tests="1", failures="0", errors="1", skipped="0")
        case = ET.SubElement(suite, "testcase", classname=document["rubric"], name="stand")
        message = first_cause(document, language, "cause")[0]
        ET.SubElement(case, "error", message=message, type=document["problem"]["cause"])
    for section in document["sections"]:
        suite = ET.SubElement(root, "testsuite", name=plain(section["title"][language]))
        counts = collections.Counter[str]()
        for one in section["criteria"]:
            for result in one["results"]:
                name = plain(one["text"][language]) + (f" [{plain(result['site'])}]" if result["site"] else "")
                case = ET.SubElement(suite, "testcase", classname=f"{document['rubric']}.{one['id']}", name=name)
                seen = sentence(language, result["cause"], "seen", result["facts"])
                counts[result["state"]] += 1
                if result["state"] == "failed":
                    expected = sentence(language, result["cause"], "expected", result["facts"])
                    ET.SubElement(case, "failure", message=seen, type=result["cause"]).text = expected
                elif result["state"] == "unknown":
                    ET.SubElement(case, "error", message=seen, type=result["cause"])
                elif result["state"] != "ok":
                    ET.SubElement(case, "skipped", message=seen)
        suite.set("tests", str(sum(counts.values())))
        suite.set("failures", str(counts["failed"]))
        suite.set("errors", str(counts["unknown"]))
        suite.set("skipped", str(counts["skipped"] + counts["not_applicable"]))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _for_its_author(document: Document) -> Document:
    """The document without the names of other students, which are for the teacher."""
    named = copy.deepcopy(dict(document))
    for one in criteria(named):
        for result in one["results"]:
            if result["cause"] == "token_of_another":
                result["facts"]["whose"] = "…"
    return named


def chat(document: Document, language: str, hints: str) -> str:
    """A few lines to paste where the homework is talked about."""
    document = _for_its_author(document)
    words = catalogue(language)["words"]
    lines = [headline(document, language)]
    lines += first_cause(document, language, hints)
    others = [
        plain(one["missing"].get(language) or one["text"][language])
        for one in criteria(document)
        if one["state"] == "failed" and one["id"] != (document["first"] or {}).get("criterion")
    ]
    if others:
        lines += [f"{words['then']}:", *(f"- {text}" for text in others)]
    return "\n".join(lines) + "\n"


@functools.cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(ROLE / "templates")
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters.update(plain=plain, file_name=file_name, first=_first)
    return made


def page(document: Document, language: str, hints: str) -> str:
    """The page of one stand for its author, readable on paper."""
    document = _for_its_author(document)
    return _templates().get_template("stand.html.j2").render(
        document=document, language=language, words=catalogue(language)["words"],
        show_seen=hints != "none", show_fix=hints == "fix",
        say=functools.partial(sentence, language), first=first_cause(document, language, hints),
    )  # fmt: skip


def overview(documents: t.Sequence[Document], language: str) -> str:
    """The page of a class: every stand, how percents are distributed, and the checks that most fail."""
    bars = collections.Counter(min(int(document["percent"]) // _STEP, 100 // _STEP) for document in documents)
    missing: collections.Counter[str] = collections.Counter()
    texts: dict[str, str] = {}
    for document in documents:
        for one in criteria(document):
            texts[one["id"]] = one["text"][language]
            missing[one["id"]] += one["state"] == "failed"
    return _templates().get_template("class.html.j2").render(
        documents=documents, language=language, words=catalogue(language)["words"],
        bars=[(step * _STEP, bars[step]) for step in range(100 // _STEP + 1)], tallest=max(bars.values(), default=1),
        missing=[(texts[name], count) for name, count in missing.most_common(10) if count],
    )  # fmt: skip
