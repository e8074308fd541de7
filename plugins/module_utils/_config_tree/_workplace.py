# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""A closed directory beside the tree, where the new tree is built and the old one ends.

It is there exactly while a transaction is under way. One that is found without its process is what a killed run left:
its journal says what that run may have begun outside of the tree, where no exchange makes it one step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import tempfile
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import Ledger, PlanError


@dataclasses.dataclass(frozen=True)
class Journal:
    """What a run may have begun.

    :param ledger: the system files that it or its predecessors declared.
    :param units: the units that served the old tree.
    :param created: whether the root was not there before.
    """

    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    units: tuple[str, ...] = ()
    created: bool = False


class Workplace:
    """``tree`` is the tree that is built, ``private`` stands in for a directory during the daemon's own test."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.tree = os.path.join(path, "tree")
        self.private = os.path.join(path, "private")
        self._journal = os.path.join(path, "journal.json")

    @classmethod
    def make(cls, directory: str, name: str) -> Workplace:
        """A new one, closed to everybody else."""
        os.makedirs(directory, mode=0o755, exist_ok=True)
        return cls(tempfile.mkdtemp(prefix=f"{_prefix(name)}{os.getpid()}-", dir=directory))

    def write_journal(self, journal: Journal) -> None:
        """Before anything is done that it speaks of."""
        data = {"ledger": journal.ledger.dump().decode(), "units": journal.units, "created": journal.created}
        with open(self._journal, "w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        _tree.sync_directory(self.path)
        _tree.sync_directory(os.path.dirname(self.path))

    def read_journal(self) -> Journal:
        """An unreadable one was being written when its run ended: nothing had been done yet."""
        try:
            with open(self._journal, encoding="utf-8") as file:
                data = json.load(file)
            ledger = Ledger.parse(data["ledger"], self._journal)
            return Journal(ledger, tuple(map(str, data["units"])), bool(data["created"]))
        except (OSError, ValueError, KeyError, TypeError, PlanError):
            return Journal()

    @property
    def abandoned(self) -> bool:
        pid = os.path.basename(self.path).rpartition(".weblab-")[2].partition("-")[0]
        return not (pid.isdigit() and os.path.exists(f"/proc/{pid}"))

    def clear(self) -> None:
        """Everything but the journal goes."""
        _tree.remove(self.tree)
        _tree.remove(self.private)

    def remove(self) -> None:
        # The journal last: until then another run can read it.
        self.clear()
        _tree.remove(self.path)


@contextlib.contextmanager
def temporary(directory: str, name: str) -> t.Iterator[Workplace]:
    work = Workplace.make(directory, name)
    try:
        yield work
    finally:
        work.remove()


def left(directory: str, name: str) -> list[Workplace]:
    """What is there already, of this run or of others."""
    found = sorted(glob.glob(os.path.join(glob.escape(directory), f"{glob.escape(_prefix(name))}*")))
    return [Workplace(path) for path in found if os.path.isdir(path) and not os.path.islink(path)]


def _prefix(name: str) -> str:
    return f".{name}.weblab-"
