# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""How much of each one's own work is in another one's repository too, without what the course handed out.

Pygments reads a file as words of its language. Of what is left without comments, layout, numbers and names that are
easily changed, every row of a few words is kept (Schleimer, Wilkerson, Aiken: Winnowing, 2003, without the winnowing:
a class is small enough to keep all of them, and so the figures are exact, and the same every time). What somebody has
in common with another is evidence, and no proof.

Files are read and never run; their names are texts.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import re
import signal
import sys
import threading
import typing as t

from ...module_utils._errors import DataError
from . import _work
from ._report import _templates
from ._text import catalogue, plain

#: Words of a run, and how many of them are different at least (`V, V, V, V` says nothing): of data, and of code. Found
#: with roles and programs of people who never met, and with disguised copies of these: a shorter run is in everybody's
#: work, a longer one is lost with the first edit.
RUN = {False: (7, 4), True: (12, 5)}
#: Words of one's own below which two repositories cannot be told to be alike.
SMALLEST = 150
THRESHOLD = 0.6
#: Bounds: characters of a file that a person wrote, words of a repository, seconds of a processor for it.
MAX_TEXT = 128 * 1024
MAX_WORDS = 100_000
SECONDS = 60.0
#: In what is made by a program and not for readers, a line is longer.
_LONGEST_LINE = 2000

#: Files by the end of their names. Of data every word counts; in code, names are the author's to change.
_DATA = {
    "yml yaml": "yaml",
    "conf vhost nginx site": "nginx",
    "ini cfg cnf env service socket timer target properties": "ini",
    "htaccess": "apacheconf",
    "toml": "toml",
    "sh bash": "bash",
    "sql": "sql",
    "html htm twig vue xhtml": "html",
    "css scss": "css",
    "xml": "xml",
    "json": "json",
    "tf": "terraform",
    "gradle": "groovy",
    "mk": "make",
}
_CODE = {
    "py wsgi": "python",
    "php phtml": "php",
    "js jsx mjs cjs": "javascript",
    "ts tsx": "typescript",
    "go": "go",
    "rb ru rake": "ruby",
    "pl pm cgi psgi fcgi": "perl",
    "java": "java",
    "kt": "kotlin",
    "rs": "rust",
    "cs": "csharp",
    "c h": "c",
    "cpp hpp": "cpp",
    "lua": "lua",
}
_KINDS: dict[str, tuple[str, bool]] = {
    ending: (lexer, code)
    for kinds, code in ((_DATA, False), (_CODE, True))
    for endings, lexer in kinds.items()
    for ending in endings.split()
}
#: Those that are called by what they are, whatever comes behind a dot.
_NAMED = {
    "vagrantfile": "ruby",
    "gemfile": "ruby",
    "dockerfile": "docker",
    "containerfile": "docker",
    "makefile": "make",
    "caddyfile": "nginx",
}
#: Where servers have their sites, which are called by their host names.
_SITES = frozenset({"sites-available", "sites-enabled", "conf.d"})
#: What is made by programs for browsers is in long lines.
_MINIFIED = frozenset({"javascript", "css", "html", "json"})
#: A template is what it makes.
_TEMPLATE = re.compile(r"\.(j2|jinja2?|erb|tpl|tmpl|dist|example|sample|template)$", re.IGNORECASE)
#: What others wrote, by the names of directories, and what a program wrote, by those of files.
_VENDORED = frozenset(
    "node_modules bower_components vendor .vagrant wp-content wp-admin wp-includes venv .venv site-packages __pycache__"
    " ansible_collections .terraform .idea .vscode .next target".split()
)
_LOCKED = re.compile(r"(\.lock|-lock\.(json|yaml)|npm-shrinkwrap\.json|go\.sum|[.-]min\.\w+)$", re.IGNORECASE)

#: Of YAML, the keys that a text for readers belongs to.
_PROSE = frozenset({"name", "notify", "msg", "listen"})
_WORD = re.compile(r"[\w$@%.:/-]*\w")
_NUMBER = re.compile(r"\d+")
_QUALIFIED = "ansible.builtin."
_TRUTH = {"yes": "true", "on": "true", "no": "false", "off": "false"}
#: Before a name that its author has made.
_DECLARES = frozenset("function func def class const let var fn sub interface struct type".split())
_MEMBER = frozenset({".", "->", "::", "?.", "?->"})

Mark = t.Tuple[int, int]


class _Slow(Exception):
    """The processor's time is over."""


@dataclasses.dataclass
class _File:
    """A file's words, and its runs by where they begin; a run that says nothing is none."""

    path: str
    words: list[str]
    runs: list[t.Optional[int]]
    length: int
    own: bytearray = dataclasses.field(default_factory=bytearray)

    def cover(self, mask: bytearray, start: int) -> None:
        mask[start : start + self.length] = b"\1" * self.length


@dataclasses.dataclass
class _Repository:
    """What was read of one. ``where`` has the places of each run that was not handed out, as (file, first word)."""

    name: str
    files: list[_File]
    #: Files that were not read to the end or not as their language, since it would have taken too long.
    hurried: int = 0
    problem: str = ""
    handed_out: int = 0
    where: dict[int, list[Mark]] = dataclasses.field(default_factory=dict)

    @property
    def own(self) -> int:
        return sum(sum(file.own) for file in self.files)

    @property
    def words(self) -> int:
        return sum(len(file.words) for file in self.files)


def compare(
    repositories: t.Mapping[str, str],
    handed_out: t.Sequence[str] = (),
    threshold: float = THRESHOLD,
    smallest: int = SMALLEST,
) -> dict[str, t.Any]:
    """Every repository with every other one.

    :param repositories: name -> directory of the controller. One that cannot be read is a result.
    :param handed_out: directories with what everybody was given.
    :param threshold: the share, 0 to 1, from which on two are of one family: the greater one of both directions.
    :param smallest: with fewer words of one's own a repository is not compared.
    :returns: plain data. ``repositories``: name, ``state`` (``compared``, ``small``, ``unread``), ``words``,
        ``handed_out`` and ``own`` (numbers of words; those in no run that says something are neither), ``files``,
        ``hurried``, ``family`` (a number from 1, or None), ``problem``; in the order of families. ``families``: lists
        of names. ``pairs``: ``one``, ``other``, ``share`` (of one's own work in the other's repository, of the other's
        own in one's), ``words`` (the same as numbers) and ``files`` (``one``, ``other``, ``words``), the most alike
        first.
    :raises DataError: no Pygments; a threshold beyond 0 to 1; something handed out that is not there.
    """
    if not 0 < threshold <= 1:
        raise DataError("threshold", f"{threshold:g} is not above 0 and at most 1")
    _pygments()  # of a repository, an error would be a result
    given: set[int] = set()
    for directory in handed_out:
        try:
            files, _hurried = _read(directory, trusted=True)
        except DataError as error:
            raise DataError("handed_out", error.problem) from None
        given.update(run for file in files for run in file.runs if run is not None)
    read = [_repository(name, repositories[name], given) for name in sorted(repositories)]
    judged = [one for one in read if not one.problem and one.own >= smallest]
    pairs = [_pair(one, other) for index, one in enumerate(judged) for other in judged[index + 1 :]]
    pairs.sort(key=lambda pair: (-max(pair["share"]), -min(pair["share"]), pair["one"], pair["other"]))
    families = _families([(pair["one"], pair["other"]) for pair in pairs if max(pair["share"]) >= threshold])
    return {
        "format": 1,
        "threshold": threshold,
        "smallest": smallest,
        "repositories": _in_order(read, families, smallest),
        "families": families,
        "pairs": pairs,
    }


def _in_order(read: list[_Repository], families: list[list[str]], smallest: int) -> list[dict[str, t.Any]]:
    """What there is to say of each, families first, those that were not compared last."""
    family = {name: number for number, names in enumerate(families, 1) for name in names}
    states = ["compared", "small", "unread"]
    found = []
    for one in read:
        own = one.own
        found.append(
            {
                "name": one.name,
                "state": "unread" if one.problem else "small" if own < smallest else "compared",
                "words": one.words,
                "handed_out": one.handed_out,
                "own": own,
                "files": len(one.files),
                "hurried": one.hurried,
                "family": family.get(one.name),
                "problem": one.problem,
            }
        )
    last = len(families) + 1
    return sorted(found, key=lambda one: (states.index(one["state"]), one["family"] or last, one["name"]))


def _repository(name: str, directory: str, given: t.Collection[int]) -> _Repository:
    try:
        files, hurried = _read(directory)
    except DataError as error:
        return _Repository(name, [], problem=error.problem)
    made = _Repository(name, files, hurried)
    for number, file in enumerate(files):
        known = bytearray(len(file.words))
        file.own = bytearray(len(file.words))
        for start, run in enumerate(file.runs):
            if run is None:
                continue
            if run in given:
                file.cover(known, start)
            else:
                file.cover(file.own, start)
                made.where.setdefault(run, []).append((number, start))
        # A word is handed out when any run around it is: what was changed there is the author's, and no more.
        made.handed_out += sum(known)
        for place, word in enumerate(known):
            if word:
                file.own[place] = 0
    return made


def _pair(one: _Repository, other: _Repository) -> dict[str, t.Any]:
    common = one.where.keys() & other.where.keys()
    shares, words = [], []
    for mine in (one, other):
        masks = _masks(mine, common)
        words.append(sum(map(sum, masks.values())))
        # Nobody without work of his own is here, unless the teacher wants so.
        shares.append(round(words[-1] / mine.own, 4) if mine.own else 0.0)
    return {
        "one": one.name,
        "other": other.name,
        "share": shares,
        "words": words,
        "files": _files(one, other, common),
    }


def _masks(mine: _Repository, common: t.Collection[int]) -> dict[int, bytearray]:
    """Of each file that has some of them, which of its author's own words are in the runs."""
    masks: dict[int, bytearray] = {}
    for run in common:
        for number, start in mine.where[run]:
            file = mine.files[number]
            file.cover(masks.setdefault(number, bytearray(len(file.words))), start)
    return {
        number: bytearray(here & own for here, own in zip(mask, mine.files[number].own))
        for number, mask in masks.items()
    }


def _files(one: _Repository, other: _Repository, common: t.Collection[int]) -> list[dict[str, t.Any]]:
    """For each file of the one, the file of the other with most of the same runs; the longest first."""
    same: dict[int, collections.Counter[int]] = {}
    for run in common:
        theirs = {number for number, _start in other.where[run]}
        for mine in {number for number, _start in one.where[run]}:
            same.setdefault(mine, collections.Counter()).update(theirs)
    masks = _masks(one, common)
    found = [
        {
            "one": one.files[mine].path,
            "other": other.files[min(counts, key=lambda number: (-counts[number], number))].path,
            "words": sum(masks[mine]),
        }
        for mine, counts in same.items()
        if sum(masks[mine])
    ]
    return sorted(found, key=lambda match: (-match["words"], match["one"], match["other"]))


def _families(edges: t.Iterable[tuple[str, str]]) -> list[list[str]]:
    """Who is connected, through others or not; the largest family first."""
    family: dict[str, set[str]] = {}
    for one, other in edges:
        joined = family.get(one, {one}) | family.get(other, {other})
        family.update(dict.fromkeys(joined, joined))
    groups = {min(names): sorted(names) for names in family.values()}
    return sorted(groups.values(), key=lambda names: (-len(names), names))


def _read(directory: str, trusted: bool = False) -> tuple[list[_File], int]:
    """The files that count, and how many of them were read in a hurry; of a teacher's none is."""
    texts = _work.read(directory)
    files, hurried = [], 0
    left, room = (math.inf, sys.maxsize) if trusted else (SECONDS, MAX_WORDS)
    for path in sorted(texts):
        kind, text = _kind(path), texts[path]
        if kind is None or len(text) > MAX_TEXT or _is_minified(kind[0], text):
            continue
        if room <= 0:
            hurried += 1
            continue
        words, left, slow = _words(text, *kind, left)
        hurried += slow or len(words) > room
        words = words[:room]
        room -= len(words)
        if words:
            files.append(_file(path, words, kind[1]))
    return files, hurried


def _is_minified(lexer: str, text: str) -> bool:
    return lexer in _MINIFIED and max(map(len, text.splitlines()), default=0) > _LONGEST_LINE


def _kind(path: str) -> tuple[str, bool] | None:
    """The lexer of a file, and whether it is code; nothing where the file does not count."""
    *folders, name = path.lower().split("/")
    if _VENDORED.intersection(folders) or _LOCKED.search(name):
        return None
    while (shorter := _TEMPLATE.sub("", name)) != name:
        name = shorter
    stem, _dot, ending = name.rpartition(".")
    if ending in _KINDS:
        return _KINDS[ending]
    if name in ("hosts", "inventory"):
        return "ini", False
    lexer = _NAMED.get((stem or ending).partition(".")[0]) or ("nginx" if _SITES.intersection(folders) else None)
    return (lexer, False) if lexer else None


def _file(path: str, words: list[str], code: bool) -> _File:
    """The words and their runs. A short file is one run."""
    usual, varied = RUN[code]
    length = min(usual, len(words))
    runs: list[int | None] = []
    for start in range(len(words) - length + 1):
        run = tuple(words[start : start + length])
        # Only ever compared with others of this process, so that the hash may be another one each time.
        runs.append(hash(run) if len(set(run)) >= varied else None)
    return _File(path, words, runs, length)


def _words(text: str, lexer: str, code: bool, left: float) -> tuple[list[str], float, bool]:
    """The words of a text; the seconds that are left after it; whether its language was given up.

    A lexer is a heap of regular expressions: a text can be made for which one takes hours, or which one does not take.
    """
    if left > 0:
        try:
            with _within(left) as clock:
                tokens = _tokens(text, lexer)
            return (_of_code(tokens) if code else _of_data(tokens, lexer)), clock(), False
        except _Slow:
            left = 0.0
        except Exception:  # whatever the lexer stumbled over: it costs this file its language, and nothing else
            pass
    return [_plainly(word) for word in _WORD.findall(text)], left, True


@contextlib.contextmanager
def _within(seconds: float) -> t.Iterator[t.Callable[[], float]]:
    """Stop what is inside when it has used the processor for so long; yields what tells how much is left.

    :raises _Slow: that was the case.
    """
    # Signals come to the main thread alone. That is where Ansible runs a task; a caller elsewhere waits.
    if math.isinf(seconds) or threading.current_thread() is not threading.main_thread():
        yield lambda: seconds
        return

    def stop(_number: int, _frame: object) -> t.NoReturn:
        raise _Slow

    left = [0.0]
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield lambda: left[0]
    finally:
        left[0] = signal.setitimer(signal.ITIMER_VIRTUAL, 0)[0]
        signal.signal(signal.SIGVTALRM, before)


Token = t.Tuple[t.Any, str]


def _tokens(text: str, lexer: str) -> list[Token]:
    """Everything but layout and comments."""
    pygments = _pygments()
    return [
        (kind, value.strip())
        for kind, value in pygments.lexers.get_lexer_by_name(lexer).get_tokens(text)
        if value.strip() and kind not in pygments.token.Comment
    ]


def _pygments() -> t.Any:
    """The library, which Ansible does not bring.

    :raises DataError: nobody has installed it.
    """
    try:
        import pygments.lexers  # type: ignore[import-untyped]
        import pygments.token  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError("", "Python's Pygments is missing on the controller: pip install pygments") from error
    return pygments


def _plainly(word: str) -> str:
    """A word as everybody writes it: case, numbers, and how Ansible's own things are called make no difference."""
    word = _NUMBER.sub("0", word.lower())
    word = word[len(_QUALIFIED) :] if word.startswith(_QUALIFIED) else word
    return _TRUTH.get(word, word)


def _of_data(tokens: list[Token], lexer: str) -> list[str]:
    """Every word, without titles: a task with another name is the same task."""
    token = _pygments().token
    tag, indicator = token.Name.Tag, token.Punctuation.Indicator
    words: list[str] = []
    title: list[str] | None = None
    for kind, value in [*tokens, (tag, "")]:
        if title is not None and kind not in tag and kind not in indicator:
            title += _WORD.findall(value)
            continue
        if title is not None:
            # One word is what a thing is called, such as a package.
            words += map(_plainly, title if len(title) == 1 else ())
            title = None
        words += map(_plainly, _WORD.findall(value))
        if lexer == "yaml" and kind in tag and value in _PROSE:
            title = []
    return words


def _of_code(tokens: list[Token]) -> list[str]:
    """Keywords, operators, and names that are somebody else's; those of the author, and texts, are all alike."""
    token = _pygments().token
    keyword, literal, name, operator = token.Keyword, token.Literal, token.Name, token.Operator
    own = {
        value
        for (_kind, before), (kind, value) in zip([(None, ""), *tokens], tokens)
        if kind in name and (kind in name.Function or kind in name.Class or before in _DECLARES)
    }
    words: list[str] = []
    before = ""
    for index, (kind, value) in enumerate(tokens):
        after = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        if kind in literal.String:
            if before != "S":
                words.append("S")
            before = "S"
            continue
        if kind in literal.Number:
            words.append("0")
        elif kind in name:
            # A member or something called is an interface's, unless the file itself makes it.
            known = before in _MEMBER or after.startswith("(") or kind in name.Builtin or kind in name.Namespace
            words.append(value if known and value not in own else "V")
        elif kind in keyword or (kind in operator and value not in _MEMBER):
            words.append(value)
        elif kind not in operator:
            words += map(_plainly, _WORD.findall(value))
        before = value
    return words


def rows(found: t.Mapping[str, t.Any], language: str) -> list[str]:
    """For a console: a line for each family; then for all that could not be compared; or that there is none."""
    words = catalogue(language)["words"]
    most = {
        number: max(max(pair["share"]) for pair in found["pairs"] if pair["one"] in names and pair["other"] in names)
        for number, names in enumerate(found["families"], 1)
    }
    lines = [
        f"{words['similarity_family']} {number}: {', '.join(map(plain, names))} ({_percent(most[number])} %)"
        for number, names in enumerate(found["families"], 1)
    ]
    lines = lines or [words["similarity_none"]]
    for state in ("small", "unread"):
        names = [plain(one["name"]) for one in found["repositories"] if one["state"] == state]
        if names:
            lines.append(f"{words[f'similarity_{state}']}: {', '.join(names)}")
    return lines


def _percent(share: float) -> int:
    """Down, so that 100 is all of it."""
    return int(share * 100)


def page(found: t.Mapping[str, t.Any], language: str) -> str:
    """The page: who is alike as a picture with figures, and what the pairs have in common. Readable on paper."""
    names = [one["name"] for one in found["repositories"] if one["state"] == "compared"]
    shares = {}
    for pair in found["pairs"]:
        shares[pair["one"], pair["other"]], shares[pair["other"], pair["one"]] = pair["share"]
    return _templates().get_template("similarity.html.j2").render(
        found=found, language=language, words=catalogue(language)["words"], names=names, percent=_percent,
        matrix=[[None if one == other else shares[one, other] for other in names] for one in names],
        pairs=[pair for pair in found["pairs"] if max(pair["share"]) >= found["threshold"]],
    )  # fmt: skip
