# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""One daemon takes over what others serve: nobody answers only from their reload to its own.

Everything is prepared and tested before the first daemon lets go of an address, and a daemon that cannot take it over
gives it back. Only for the address does the taker wait: an Apache that keeps other sites may have no worker for them
until a second later.
"""

from __future__ import annotations

import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _service
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Daemon
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._transaction import (
    StuckError,
    Transaction,
    TransactionError,
)
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree


def run(taker: Transaction, givers: t.Sequence[tuple[Transaction, Daemon]]) -> None:
    """Run the transactions as one.

    :raises TransactionError: when one of them failed; all of them have been rolled back then.
    """
    units = [unit for _giver, daemon in givers for unit in _service.show(daemon.units(Tree(daemon.root))).values()]
    taker.givers = {unit.pid for unit in units if unit.pid}
    taking = taker.phases()
    giving = [giver.phases() for giver, _daemon in givers]
    steps = [*giving, taking]
    stuck: list[str] = []
    for giver, _daemon in givers:
        giver.first_back = lambda error: stuck.extend(_take_back(taking, error))
    try:
        for phase in ("ready", "decided"):
            for each in steps:
                _advance(each, phase)
        for each in giving:
            _advance(each, "told")
        for each in reversed(steps):
            _advance(each, "applied")
        # The taker is the one that can still fail, by its probe: the givers are over when it is not going to.
        for each in reversed(steps):
            _advance(each, "")
    except Exception as error:
        # The one that failed has rolled back by itself.
        stuck += [words for each in reversed(steps) for words in _take_back(each, error)]
        if stuck:
            raise StuckError("\n".join([str(error), *stuck])) from error
        raise


def _advance(steps: t.Iterator[str], phase: str) -> None:
    """Go on until ``phase`` is reached; where somebody else wrote meanwhile, earlier ones come again."""
    for reached in steps:
        if reached == phase:
            return


def _take_back(steps: t.Iterator[str], error: Exception) -> list[str]:
    """Let a transaction that waits roll back, and return its words if it could not."""
    try:
        t.cast("t.Generator[str, None, None]", steps).throw(TransactionError(str(error)))
    except StuckError as words:
        return [str(words)]
    except (StopIteration, TransactionError):
        pass
    return []
