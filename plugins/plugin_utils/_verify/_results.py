# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""The directory of results: a document for each stand, and when the run began to which they belong."""

from __future__ import annotations

import datetime
import json
import pathlib
import typing as t

from ...module_utils._errors import DataError
from . import _signature
from ._report import Document, checked, file_name

if t.TYPE_CHECKING:
    from ._rubric import Rubric


def now() -> str:
    """As it stands in documents: ISO 8601, UTC, so that texts compare as times do."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")


def stamped(document: dict[str, t.Any], stand: str, host: str, sites: t.Sequence[str]) -> dict[str, t.Any]:
    """The document of a verdict, and whose it is."""
    document["format"] = 1
    document["stand"] = {"name": stand, "host": host, "sites": list(sites)}
    document["checked"] = now()
    document.setdefault("problem", None)
    return document


def unseen(rubric: Rubric, host: str, cause: str, reason: str) -> dict[str, t.Any]:
    """The document of a stand that could not be looked at."""
    document = {
        "rubric": rubric.name,
        "title": dict(rubric.title),
        "passing": "all" if rubric.percent is None else {"percent": rubric.percent},
        "verdict": "undecided",
        "percent": 0,
        "first": None,
        "sections": [],
        "problem": {"cause": cause, "facts": {"reason": reason[:500]}},
    }
    return stamped(document, host, host, [])


class Results:
    """The documents of a directory of the controller.

    :raises DataError: from each method: the directory or a document is not what it should be.
    """

    _BEGUN = ".begun"

    def __init__(self, directory: pathlib.Path, key: str | None = None) -> None:
        """The documents of a directory, which are signed where there is a key (a file, see _signature)."""
        self._directory = directory
        self._key = key

    def begin(self) -> None:
        """A new run: what is there stays, and belongs to an earlier one."""
        self._put(self._BEGUN, now() + "\n")

    def write(self, host: str, document: Document) -> None:
        """Put the document beside those of other stands; a reader never sees half of one."""
        name = f"{file_name(host)}.json"
        signature = self._directory / f"{name}{_signature.SUFFIX}"
        # One of an earlier document would make a forgery of this one.
        signature.unlink(missing_ok=True)
        self._put(name, json.dumps(document, ensure_ascii=False, indent=2) + "\n")
        if self._key:
            _signature.sign(self._directory / name, self._key)

    def all(self) -> list[Document]:
        """Every document, also of earlier runs, in the order of their names."""
        return [self._read(path) for path in sorted(self._directory.glob("*.json"))]

    def of_this_run(self, host: str) -> Document | None:
        """The host's document, where this run has made it."""
        path = self._directory / f"{file_name(host)}.json"
        document = self._read(path) if path.is_file() else None
        return document if document and document["checked"] >= self._begun() else None

    def done(self, hosts: t.Sequence[str]) -> int:
        """How many of the hosts this run has looked at."""
        begun = self._written(self._BEGUN)
        return sum(self._written(f"{file_name(host)}.json") > begun for host in hosts)

    def _written(self, name: str) -> float:
        try:
            return (self._directory / name).stat().st_mtime
        except OSError:
            return 0.0

    def _begun(self) -> str:
        try:
            return (self._directory / self._BEGUN).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            raise DataError("results", f"{self._directory / self._BEGUN} cannot be read: {error}") from error

    def _put(self, name: str, text: str) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            draft = self._directory / f".{name}.new"
            draft.write_text(text, encoding="utf-8")
            draft.rename(self._directory / name)
        except OSError as error:
            raise DataError("results", f"{error.filename} cannot be written: {error.strerror}") from error

    def _read(self, path: pathlib.Path) -> Document:
        try:
            return checked(path.name, json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise DataError("results", f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            if isinstance(error, DataError):
                raise
            raise DataError(path.name, f"is no JSON: {error}") from error
