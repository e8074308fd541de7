# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Who counts the visits: what makes the page tells how often it was asked."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .._evidence import Answered, Ask
from . import Outcome, Scope, failed, kind, not_applicable, ok
from ._servers import listening_at, makers

if t.TYPE_CHECKING:
    from .._manifest import Site

#: Visits that are counted, in rounds of their own: nobody else's requests are among them.
_VISITS, _ROUND = 5, 10


class _Count(t.NamedTuple):
    """Where visits are counted."""

    ask: Ask
    #: The numbers in the answer, the largest growth of which counts; nothing where it is no such page.
    read: t.Callable[[str], tuple[int, ...] | None]
    #: What the first look at them adds.
    own: int


def _count(scope: Scope) -> _Count | None:
    site = scope.site
    if site.stats is not None:
        return _Count(Ask("host", site.stats.url, statistics=True), _of_uwsgi, 0)
    if site.status is None:
        return None
    if site.backend is not None:
        return _Count(Ask("host", site.backend.url, f"{site.status}?full"), _of_php_fpm, 1)
    # Apache shows it to its own host, as Debian configures it.
    return _Count(Ask("host", site.endpoint("127.0.0.1"), f"{site.status}?auto", site.named), _of_apache, 1)


def _counted(scope: Scope) -> list[Ask]:
    """The count, visits through the front server, and the count once more."""
    site, count = scope.site, _count(scope)
    if count is None:
        return []
    path = site.nonce.replace("{nonce}", scope.nonce) if site.nonce else site.path
    endpoint = site.endpoint(scope.stand.address)
    visits = [
        Ask("controller", endpoint, path, site.named, number=number, round=_ROUND + 1) for number in range(_VISITS)
    ]
    before, after = (dataclasses.replace(count.ask, round=number) for number in (_ROUND, _ROUND + 2))
    return [before, *visits, after]


@kind("site", asks=_counted, host=True)
def counted(scope: Scope) -> Outcome:
    """What makes the page has counted the visits of the front server: PHP-FPM by pm.status_path, uWSGI by its stats
    server, a part of Apache by mod_status.
    """
    site, count = scope.site, _count(scope)
    if count is None:
        return not_applicable("no_status_in_manifest")
    first, *visits, last = scope.seen(_counted(scope))
    before, after = count.read(first.text), count.read(last.text)
    if before is None or after is None:
        return _no_count(site, first if before is None else last)
    if site.stats is not None:
        holders = {pid for one in listening_at(site.stats, scope.host) for pid in one.pids}
        meant = {one.pid for one in makers(scope)}
        if holders and meant and not holders & meant:
            return failed("statistics_of_another", where=site.stats.url)
    # A connection may have brought several requests, and a worker may have ended and taken its count with it.
    seen = max(now - then for then, now in zip(before, after)) - count.own
    came = sum(visit.came for visit in visits)
    return ok(visits=came) if came and seen >= came else failed("not_counted", visits=came, counted=max(seen, 0))


def _no_count(site: Site, answer: Answered) -> Outcome:
    seen = answer.status or answer.message or answer.cause
    if site.stats is not None:
        return failed("no_statistics", where=site.stats.url, seen=seen)
    if site.backend is not None:
        return failed("no_status_page", path=site.status)
    return failed("no_server_status", path=site.status, seen=seen)


def _of_uwsgi(text: str) -> tuple[int, ...] | None:
    """What stand_info has made of the statistics: requests that the workers have handled."""
    return (int(text),) if re.fullmatch(r"[0-9]{1,15}", text) else None


def _of_php_fpm(page: str) -> tuple[int, ...] | None:
    """Connections that the pool has accepted, and requests that its workers have handled."""
    accepted = re.search(r"^accepted conn: +([0-9]{1,15})$", page, re.MULTILINE)
    handled = re.findall(r"^requests: +([0-9]{1,15})$", page, re.MULTILINE)
    return (int(accepted[1]), sum(map(int, handled))) if accepted else None


def _of_apache(page: str) -> tuple[int, ...] | None:
    """Requests that all processes of this Apache have handled."""
    accesses = re.search(r"^Total Accesses: ([0-9]{1,15})$", page, re.MULTILINE)
    return (int(accesses[1]),) if accesses else None
