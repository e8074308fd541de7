# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Which drawings of the lecture a stand has: sites that say what makes them, and are seen to be made so."""

from __future__ import annotations

import typing as t

from .._evidence import Ask
from . import KINDS, Outcome, Scope, failed, kind, ok
from ._connections import mpm
from ._pages import answers, computed, events, websocket
from ._servers import front_server, handler, process_model

if t.TYPE_CHECKING:
    from .._manifest import Site

#: What a site must be, beside what it says of itself.
_PROOF = (answers, computed, front_server, handler, process_model)
_MORE = {"mpm": mpm, "websocket": websocket, "events": events}


def _candidates(scope: Scope) -> list[Site]:
    """The sites that say that they are of this sort."""
    wanted = scope.options
    return [
        site
        for site in scope.stand.sites
        if (not wanted["served_by"] or site.served_by in wanted["served_by"])
        and (not wanted["front"] or site.front == wanted["front"])
        and (not wanted["mpm"] or site.mpm == wanted["mpm"])
        and (not wanted["websocket"] or site.websocket)
        and (not wanted["events"] or site.events)
    ]


def _proof(scope: Scope) -> list[t.Callable[[Scope], Outcome]]:
    return [*_PROOF, *(judge for word, judge in _MORE.items() if scope.options[word])]


def _asks(scope: Scope) -> list[Ask]:
    return [
        ask
        for site in _candidates(scope)
        for judge in _proof(scope)
        for ask in KINDS[judge.__name__].asks(scope.of(site, KINDS[judge.__name__]))
    ]


@kind("stand", asks=_asks, host=True, stays=True, served_by=[], front="", mpm="", websocket=False, events=False)
def stack(scope: Scope) -> Outcome:
    """A site is made in this way: it says so, and all that is seen of it agrees."""
    wanted = ", ".join(
        f"{word}: {'/'.join(value) if isinstance(value, list) else value}"
        for word, value in scope.options.items()
        if value
    )
    first: Outcome | None = None
    for site in _candidates(scope):
        outcomes = [judge(scope.of(site, KINDS[judge.__name__])) for judge in _proof(scope)]
        # What makes a page is known by its process; a site that does not show it is not told from another sort.
        bad = next((one for one in outcomes if one.state in ("failed", "unknown")), None) or next(
            (one for one in outcomes if one.cause == "no_process_in_manifest"), None
        )
        if bad is None:
            return ok(site=site.name)
        first = first or failed("stack_not_proved", wanted=wanted, site=site.name, because=bad.cause)
    return first or failed("no_such_stack", wanted=wanted)
