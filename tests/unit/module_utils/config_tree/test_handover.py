# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order daemons let go and take over, and what happens when one of them fails."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _handover
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Daemon
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._transaction import (
    StuckError,
    Transaction,
    TransactionError,
)


class Steps:
    """Stands in for a transaction: it goes through the phases, and fails where it is told to."""

    def __init__(self, name: str, log: list[str], fails: str = "", stuck: bool = False, again: bool = False) -> None:
        self.name, self.log, self.fails, self.stuck, self.again = name, log, fails, stuck, again
        self.givers: t.Collection[int] = ()
        self.first_back: t.Callable[[Exception], None] = lambda _error: None

    def phases(self) -> t.Iterator[str]:
        try:
            for phase in ("ready", *(["ready"] if self.again else []), "decided", "told", "applied", "over"):
                self.log.append(f"{self.name} {phase}")
                if phase == self.fails:
                    raise ValueError(f"{self.name} fails")
                if phase != "over":
                    yield phase
        except Exception as error:
            self.first_back(error)
            self.log.append(f"{self.name} back")
            kind = StuckError if self.stuck else TransactionError
            raise kind(f"{self.name} stuck" if self.stuck else str(error)) from error


def transaction(steps: Steps) -> Transaction:
    return t.cast("Transaction", steps)


def run(directory: pathlib.Path, taker: Steps, *givers: Steps) -> None:
    nothing = Daemon(str(directory), None)
    _handover.run(transaction(taker), [(transaction(giver), nothing) for giver in givers])


def test_all_are_ready_before_one_lets_go(tmp_path: pathlib.Path) -> None:
    log: list[str] = []
    run(tmp_path, Steps("taker", log, again=True), Steps("a", log), Steps("b", log))
    assert log == [
        *("a ready", "b ready", "taker ready"),
        *("a decided", "b decided", "taker ready", "taker decided"),
        # Nobody waits for more than that the addresses are free.
        *("a told", "b told", "taker told"),
        *("taker applied", "b applied", "a applied"),
        *("taker over", "b over", "a over"),
    ]


@pytest.mark.parametrize(
    ("who", "phase", "way_back"),
    [
        ("giver", "ready", ["giver back"]),
        ("taker", "ready", ["taker back", "giver back"]),
        # The taker lets go of the address first, so that the giver can have it again.
        ("giver", "told", ["taker back", "giver back"]),
        ("taker", "told", ["taker back", "giver back"]),
        ("giver", "applied", ["taker back", "giver back"]),
        ("taker", "applied", ["taker back", "giver back"]),
        ("taker", "over", ["taker back", "giver back"]),
    ],
)
def test_who_fails_takes_the_others_back(tmp_path: pathlib.Path, who: str, phase: str, way_back: list[str]) -> None:
    log: list[str] = []
    steps = {name: Steps(name, log, fails=phase if name == who else "") for name in ("giver", "taker")}
    with pytest.raises(TransactionError, match=f"{who} fails"):
        run(tmp_path, steps["taker"], steps["giver"])
    assert [line for line in log if line.endswith("back")] == way_back


def test_a_way_back_that_fails_is_told(tmp_path: pathlib.Path) -> None:
    log: list[str] = []
    with pytest.raises(StuckError, match="taker fails\ngiver stuck"):
        run(tmp_path, Steps("taker", log, fails="applied"), Steps("giver", log, stuck=True))
