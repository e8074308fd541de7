# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Do something to a stand, see what its visitors get meanwhile, and put everything back.

Nothing here happens unless whoever looks at the stand has named the change.
"""

from __future__ import annotations

import re
import secrets
import time
import typing as t

from ._evidence import Answered, Ask
from ._kinds._servers import behind, makers

if t.TYPE_CHECKING:
    from ._kinds import Scope
    from ._manifest import Site, Stand

#: In the order in which they are done: what may lose everything comes last.
CHANGES = ("stop_backend", "second_run", "reboot")
#: Seconds in which a site must be back, and between two looks.
PATIENCE, PAUSE = 60.0, 1.0
#: Letters of the output of a second run that are read; its end has the numbers.
MAX_OUTPUT = 1024 * 1024

Seen = t.Dict[str, t.Any]
Ask_all = t.Callable[[t.Sequence[Ask]], t.List[Answered]]


class ChangeError(Exception):
    """The change could not be made; the text says why."""


class Hands(t.Protocol):
    """What can be done to a stand's host. Each raises ChangeError."""

    def stop(self, unit: str) -> list[str]:
        """Stop a service or a container, and the sockets that would start it again; what was stopped.

        The host starts all of it again by itself, if nobody does.
        """

    def start(self, units: t.Sequence[str]) -> None:
        """Start what was stopped."""

    def run(self, command: str) -> tuple[int, str]:
        """Run a command of the manifest on the host, by its shell: the code, and what it said."""

    def reboot(self) -> None:
        """Restart the host, and wait until it can be reached."""


def change(
    names: t.Collection[str], stand: Stand, hands: Hands, scope: t.Callable[[Site], Scope], ask: Ask_all
) -> t.Iterator[tuple[str, Seen]]:
    """Make the changes of these names, each when the next one is asked for.

    :param scope: what was seen of a site before.
    :param ask: sends requests from the controller.
    :returns: each name, and what was seen or ``{"error": why}``.
    """
    todo: dict[str, t.Callable[[], Seen]] = {
        # A page that the backend is known to make, and no cache has.
        "stop_backend": lambda: _stop_backends(_Visitors(stand, ask, _computed), hands, scope),
        "second_run": lambda: _second_run(stand, hands),
        "reboot": lambda: _reboot(_Visitors(stand, ask, lambda site: site.path), hands),
    }
    for name in CHANGES:
        if name in names:
            try:
                seen = todo[name]()
            except ChangeError as error:
                seen = {"error": str(error)}
            yield name, seen


class _Visitors:
    """The sites, as somebody sees them who comes from another machine."""

    def __init__(self, stand: Stand, ask: Ask_all, page: t.Callable[[Site], str]) -> None:
        self._ask = ask
        self._page = page
        self.stand = stand
        self.good = [name for name, status in self.statuses().items() if status is not None and status < 400]

    def statuses(self) -> dict[str, int | None]:
        """Name of a site -> the status of its page."""
        sites = self.stand.sites
        asks = [Ask("controller", site.endpoint(self.stand.address), self._page(site), site.named) for site in sites]
        return {site.name: answer.status for site, answer in zip(sites, self._ask(asks))}

    def come_back(self) -> dict[str, int | None]:
        """The statuses once all sites answer that did before, or when PATIENCE has ended."""
        until = time.monotonic() + PATIENCE
        while True:
            seen = self.statuses()
            if all((seen[name] or 599) < 400 for name in self.good) or time.monotonic() > until:
                return seen
            time.sleep(PAUSE)


def _computed(site: Site) -> str:
    return site.nonce.replace("{nonce}", secrets.token_hex(8)) if site.nonce else site.path


#: A container of Docker, as systemd has it. Other scopes are somebody's session, and stay.
CONTAINER = re.compile(r"docker-([0-9a-f]{64})\.scope")


def units(scope: Scope) -> list[str]:
    """The services and containers that make the site's page, and are not the front server itself."""
    front = {one.unit for one in behind(scope)}
    mine = {one.unit for one in makers(scope) if one.unit.endswith(".service") or CONTAINER.fullmatch(one.unit)}
    return sorted(mine - front)


def _stop_backends(visitors: _Visitors, hands: Hands, scope: t.Callable[[Site], Scope]) -> Seen:
    of_site = {site.name: units(scope(site)) for site in visitors.stand.sites}
    found: Seen = {}
    for name, mine in of_site.items():
        if not mine or name not in visitors.good:
            continue
        stopped: list[str] = []
        try:
            for unit in mine:
                stopped += hands.stop(unit)
            status = visitors.statuses()
        finally:
            hands.start(stopped)
        # Also what went with it, though it should not have.
        hands.start([unit for other in visitors.good if (status[other] or 599) >= 400 for unit in of_site[other]])
        back = visitors.come_back()
        if (back[name] or 599) >= 400:
            raise ChangeError(f"{', '.join(mine)} was started again, and {name} answers {back[name] or 'nothing'}")
        # Sites that the same service makes go with it.
        others = [
            other
            for other in visitors.good
            if other != name and not set(of_site[other]) & set(mine) and (status[other] or 599) >= 400
        ]
        found[name] = {"units": mine, "status": status[name], "others": others}
    return found


_RECAP = re.compile(r"^\S.* : +ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)


def _second_run(stand: Stand, hands: Hands) -> Seen:
    if stand.again is None:
        return {"missing": True}
    code, output = hands.run(stand.again)
    output = output[-MAX_OUTPUT:]
    recap = [tuple(map(int, numbers)) for numbers in _RECAP.findall(output)]
    tasks: dict[str, None] = {}
    task = ""
    for line in output.split("\n"):
        if match := re.match(r"TASK \[(.{0,200}?)\] \**$", line):
            task = match[1]
        elif line.startswith(("changed: [", "fatal: [", "failed: [")):
            tasks[task] = None
    return {
        "code": code,
        "recaps": len(recap),
        "changed": sum(changed for changed, _unreachable, _failed in recap),
        "failed": sum(unreachable + bad for _changed, unreachable, bad in recap),
        "tasks": list(tasks),
    }


def _reboot(visitors: _Visitors, hands: Hands) -> Seen:
    hands.reboot()
    return {"status": {name: status for name, status in visitors.come_back().items() if name in visitors.good}}
