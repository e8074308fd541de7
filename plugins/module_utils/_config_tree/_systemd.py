# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Any programs, each a service of systemd: the tree has their environments and files, and a link to each unit.

``NAME.service`` leads to the unit file of a service, ``NAME.socket`` to that of the socket which systemd opens for
it; ``NAME.env`` is its environment, and below ``NAME/`` is what the program itself reads.
"""

from __future__ import annotations

import hashlib
import os
import re
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Command, Daemon, Facts
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree

_UNITS = "/etc/systemd/system/"
_KINDS = (".service", ".socket")
#: What systemd says each time, and what it says on hosts with both kinds of control groups.
_CHATTER = re.compile(
    r"Start(ing|ed) |Stopp(ing|ed) |Listening on |\S+: Scheduled restart|Failed to attach \d+ to compat systemd cgroup "
)


class Systemd(Daemon):
    program = "systemd-analyze"
    tests_units = True

    def units(self, tree: Tree) -> dict[str, bool]:
        return {unit: True for kind in _KINDS for unit in _links(tree, kind).values()}

    def commands(self, tree: Tree, changed: t.Collection[str]) -> list[Command]:
        """One for all units: most of its time goes into what every unit depends on."""
        named = {unit: _UNITS + unit for unit in self.units(tree)}
        wanted = sorted(
            path
            for unit, path in named.items()
            if path in changed or any(self.belongs(unit, other) for other in changed if not other.startswith("/"))
        )
        argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *wanted]
        return [Command(argv)] if wanted else []

    def belongs(self, unit: str, path: str) -> bool:
        if not unit.endswith(".service"):
            return False
        name = _name(unit)
        return path == f"{name}.env" or path.startswith(f"{name}/")

    def facts(self, unit: str, tree: Tree) -> Facts:
        if not unit.endswith(".service"):
            return {}
        text = _read(_UNITS + unit)
        # A digest: the facts are kept, and an environment may be secret.
        environment = hashlib.sha256(tree.read(f"{_name(unit)}.env").encode()).hexdigest()
        reloads = re.search(r"^ExecReload=.", text, re.MULTILINE) is not None
        return {"environment": environment, "reloads": reloads}

    def restart_reason(self, unit: str, old: Facts, new: Facts) -> str:
        if old.get("environment") != new.get("environment"):
            return "its environment changed, which a process gets only when it starts"
        if not new.get("reloads"):
            return "its configuration changed, and its unit has no ExecReload"
        return ""

    def summary(self, output: str) -> str:
        return "\n".join(line for line in output.splitlines() if not _CHATTER.match(line))

    def keeps_listening(self, unit: str, tree: Tree) -> bool:
        return unit in {f"{socket[: -len('.socket')]}.service" for socket in _links(tree, ".socket").values()}


def _links(tree: Tree, kind: str) -> dict[str, str]:
    """Link in the tree -> the unit that it leads to."""
    found = {}
    for path in tree.paths(f"*{kind}"):
        node = tree.node(path)
        if node is not None and node.kind == "link" and node.target.startswith(_UNITS):
            found[path] = os.path.basename(node.target)
    return found


def _name(unit: str) -> str:
    """``shop`` of app@shop.service, and of shop.service."""
    stem = unit.rpartition(".")[0]
    return stem.partition("@")[2] or stem


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
