# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Who has the connections of visitors who stay: Apache's MPMs differ by that."""

from __future__ import annotations

import typing as t

from .._evidence import Facts, Held
from . import Outcome, Scope, failed, kind, not_applicable, ok, unknown
from ._servers import FRONTS, named

if t.TYPE_CHECKING:
    from .._manifest import Site

#: Connections of which the holders were seen: with fewer, chance would have a say.
_ENOUGH = 4


def stay_at(sites: t.Iterable[Site], facts: Facts) -> dict[str, Site]:
    """Name of a site with an MPM -> the one at which visitors stay for it.

    The sites of one server share its processes, and so its limit of them: visitors at each would leave no room.
    """
    first: dict[int, Site] = {}
    return {
        site.name: first.setdefault(min((one.pid for one in facts.listening_on(site.port)), default=-site.port), site)
        for site in sites
        if site.mpm
    }


@kind("site", host=True, stays=True)
def mpm(scope: Scope) -> Outcome:
    """Apache's MPM, by who has the connections of visitors who stay: prefork and itk a process for each, itk's with a
    parent of its own; worker a thread for each, of a few processes; event one thread for all, by epoll.
    """
    wanted = scope.site.mpm
    if wanted is None:
        return not_applicable("no_mpm_in_manifest")
    site = stay_at(scope.stand.sites, scope.host)[scope.site.name]
    staying = scope.staying.get(site.name, 0)
    held = [one for one in scope.held if one.port == site.port]
    connections = len({one.connection for one in held})
    if min(staying, connections) < _ENOUGH:
        return unknown("nobody_stays", open=staying, found=connections)
    found = _mpm_of(held, scope.host)
    return ok(mpm=found) if found == wanted else failed("another_mpm", seen=found, wanted=wanted)


def _mpm_of(held: t.Sequence[Held], facts: Facts) -> str:
    """Which MPM has its connections so."""
    holders: dict[int, list[Held]] = {}
    for one in held:
        holders.setdefault(one.connection, []).append(one)
    # A connection whose visitor has just asked again is out of the set for that moment; no other MPM polls for any.
    if sum(any(one.polled for one in some) for some in holders.values()) * 2 > len(holders):
        return "event"
    connections: dict[int, set[int]] = {}
    for one in held:
        connections.setdefault(one.pid, set()).add(one.connection)
    if any(len(some) > 1 for some in connections.values()):
        return "worker"
    # Whose parent is no Apache has started the others. A process that is new since the facts is none of these.
    apaches = {one.pid for one in facts.processes.values() if named(one, FRONTS["apache"])}
    first = {pid for pid in apaches if facts.processes[pid].ppid not in apaches}
    return "prefork" if all(one.ppid in first for one in held) else "itk"
