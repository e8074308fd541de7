# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""uWSGI: instances with a unit each, and the vassals of one Emperor.

uWSGI has no configuration test. A dry run takes its place: uWSGI starts as the account that the application
runs as, loads the application, and ends before it opens a socket. It sees a private copy of /run/uwsgi, because
`vacuum` removes the sockets of the running application when the dry run ends.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils import _uwsgi_info
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _service
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Command, Daemon, Facts
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._service import Running, ServiceError
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree

EMPEROR = "uwsgi-emperor.service"
RUNTIME = "/run/uwsgi"

# Applications load in the master, so that one that cannot be imported ends the dry run; nothing is served.
_DRY_RUN = "[uwsgi]\nlazy-apps = false\nlazy = false\nstrict = true\nneed-app = true\nno-server = true\n"
#: What sockets, accounts and the like depend on. A reload executes uWSGI anew under the same pid and account, and keeps
#: the sockets that are open and still wanted as they are.
_FACTS = re.compile(r"(.*socket|http|https|listen|uid|gid|stats|master-fifo)$")
_ACCESS = ("chmod-socket", "chown-socket")
_AT_START = ("uid", "gid", "http", "https", "shared-socket", "abstract-socket")
#: What uWSGI says each time that it starts.
_CHATTER = re.compile(
    r"your |mapped |compiled with|os: |nodename: |machine: |clock source|pcre |detected |lock engine|thunder |spawned "
    r"|\*\*\* (?!no )|Python (version|main)|current working|chdir\(|set[ug]id\(|\[uWSGI\] getting|VACUUM"
    r"|unlink\(\): No such"
)


class Uwsgi(Daemon):
    program = "uwsgi"
    needs_namespace = True

    def commands(self, tree: Tree, changed: t.Collection[str]) -> list[Command]:
        found = []
        for path in (*tree.paths("instances/*.ini"), *tree.paths("vassals/*.ini")):
            if path in changed:
                found.append(self._dry_run(path, tree))
        return found

    def units(self, tree: Tree) -> dict[str, bool]:
        units = {_unit(path): True for path in tree.paths("instances/*.ini")}
        if tree.exists("emperor.ini"):
            units[EMPEROR] = bool(tree.paths("vassals/*.ini"))
        return units

    def belongs(self, unit: str, path: str) -> bool:
        if unit == EMPEROR:
            return path == "emperor.ini" or path.startswith("vassals/")
        return path == _path(unit)

    def facts(self, unit: str, tree: Tree) -> Facts:
        if unit == EMPEROR:
            vassals = {path: _fixed(tree, path) for path in tree.paths("vassals/*.ini")}
            written = {path: os.stat(os.path.join(tree.base, path)).st_mtime_ns for path in vassals}
            return {"emperor": tree.read("emperor.ini"), "vassals": vassals, "written": written}
        return _fixed(tree, _path(unit))

    def restart_reason(self, unit: str, old: Facts, new: Facts) -> str:
        if unit == EMPEROR:
            return "emperor.ini changed" if old["emperor"] != new["emperor"] else ""
        changed = _not_by_reload(old, new)
        return f"{', '.join(changed)} changed, and a reload keeps its sockets and its account" if changed else ""

    def interrupts(self, unit: str, old: Facts, new: Facts) -> str:
        if unit != EMPEROR:
            return ""
        restarts = {
            path: changed
            for path, facts in new["vassals"].items()
            if (changed := _not_by_reload(old["vassals"].get(path, facts), facts))
        }
        return "; ".join(f"{', '.join(changed)} of {path} changed" for path, changed in restarts.items())

    def reload(self, unit: str, old: Facts, new: Facts, before: Running, timeout: float) -> None:
        if unit != EMPEROR:
            _give_sockets(old, new)
            super().reload(unit, old, new, before, timeout)
            return
        # The Emperor sees changed vassals by itself. One that needs a restart has to go; the Emperor starts it again.
        for path, facts in new["vassals"].items():
            running = before.parts.get(path)
            if not _not_by_reload(old["vassals"].get(path, facts), facts):
                _give_sockets(old["vassals"].get(path, facts), facts)
            elif running is not None and running.main:
                # It may have gone by itself already: the Emperor was quicker.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.main.pid, signal.SIGINT)

    def observe(self, unit: str, pid: int, tree: Tree) -> Running:
        running = _service.running(pid)
        if unit != EMPEROR:
            return running
        parts = {}
        for path in tree.paths("vassals/*.ini"):
            master = _stats(_keys(tree, path)).get("pid")
            if master:
                parts[path] = _service.running(master)
        # The workers of all vassals: a master that has much to do may not say in time which ones are its own.
        workers = _service.children({master.pid for master in running.children})
        return Running(running.main, workers, parts)

    def pending(self, unit: str, tree: Tree, changed: t.Collection[str], before: Running, now: Running) -> str:
        if now.main is None:
            return "its master process is not there"
        if unit != EMPEROR:
            return _missing(_keys(tree, _path(unit)), before, now)
        for path in tree.paths("vassals/*.ini"):
            if before.main is not None and path not in changed:
                continue
            missing = _missing(_keys(tree, path), before, now.parts.get(path, Running()))
            if missing:
                return f"{path}: {missing}"
        return ""

    def left_behind(self, unit: str, old: Facts, new: Facts) -> set[str]:
        # After a reload `vacuum` does not know its sockets any more: they were inherited.
        if unit == EMPEROR:
            return _sockets(old.get("vassals", {}).values()) - _sockets(new.get("vassals", {}).values())
        return _sockets([old]) - _sockets([new])

    def summary(self, output: str) -> str:
        return "\n".join(line for line in output.splitlines() if not _CHATTER.match(line))

    def unnoticed(self, unit: str, tree: Tree, loaded: Facts) -> list[str]:
        if unit != EMPEROR:
            return []
        before = loaded.get("written", {})
        return [path for path, time in self.facts(unit, tree)["written"].items() if before.get(path) != time]

    def watches(self, path: str) -> bool:
        return path.startswith("vassals/")

    def _dry_run(self, path: str, tree: Tree) -> Command:
        keys = _keys(tree, path)
        argv = ["uwsgi", "--ini", os.path.join(self.root, path), "--ini", "-"]
        if path.startswith("vassals/"):
            # In tyrant mode a vassal runs as the owner of its file.
            info = os.lstat(os.path.join(tree.base, path))
            if not info.st_uid or not info.st_gid:
                raise ServiceError(
                    f"{path} belongs to root; the Emperor runs a vassal as the owner of its file. Give it one"
                )
            argv = ["setpriv", f"--reuid={info.st_uid}", f"--regid={info.st_gid}", "--clear-groups", *argv]
        elif "uid" not in keys:
            unit = _service.show([_unit(path)])[_unit(path)]
            if not unit.user:
                raise ServiceError(
                    f"{path} has no uid and {unit.name} no User=: its application would run as root. Give it an account"
                )
            group = unit.group or str(pwd.getpwnam(unit.user).pw_gid)
            argv = ["setpriv", f"--reuid={unit.user}", f"--regid={group}", "--init-groups", *argv]
        return Command(argv, stdin=_DRY_RUN, private=RUNTIME)


def _unit(path: str) -> str:
    return f"uwsgi@{os.path.basename(path)[:-4]}.service"


def _path(unit: str) -> str:
    return f"instances/{unit.partition('@')[2].rpartition('.')[0]}.ini"


def _keys(tree: Tree, path: str) -> dict[str, list[str]]:
    """The options of an ini file; ``%n`` is its name without the suffix."""
    return _uwsgi_info.options(tree.read(path), os.path.basename(path)[:-4])


def _fixed(tree: Tree, path: str) -> Facts:
    return {key: values for key, values in _keys(tree, path).items() if _FACTS.match(key)}


def _sockets(applications: t.Iterable[Facts]) -> set[str]:
    values = (value for facts in applications for values in facts.values() for value in values)
    return {value for value in values if value.startswith(RUNTIME + "/")}


def _addresses(facts: Facts) -> dict[str, str]:
    """Address -> the option that makes an application listen there."""
    options = {key: values for key, values in facts.items() if key.endswith("socket")}
    return {value: key for key, values in options.items() if key not in (*_ACCESS, *_AT_START) for value in values}


def _not_by_reload(old: Facts, new: Facts) -> list[str]:
    """The options whose change needs a restart."""
    before, after = _addresses(old), _addresses(new)
    kept = before.keys() & after.keys()
    changed = {after[address] for address in kept if before[address] != after[address]}
    # A wildcard and a single address of one port: the old one is open while the new one is opened.
    given_up = {_port(address) for address in before.keys() - after.keys()} - {""}
    changed |= {option for address, option in after.items() if address not in before and _port(address) in given_up}
    fixed = [*_AT_START, *(["listen"] if kept else []), *(key for key in _ACCESS if _access(key, new) is None)]
    return sorted(changed | {key for key in fixed if old.get(key) != new.get(key)})


def _port(address: str) -> str:
    return "" if address.startswith(("/", "@")) else address.rpartition(":")[2]


def _access(key: str, facts: Facts) -> t.Any:
    """The mode, or owner and group, that the sockets shall have; None for what only uWSGI itself understands."""
    value = facts.get(key, [""])[-1]
    match = re.fullmatch(r"0?[0-7]{3}" if key == "chmod-socket" else r"([\w-]+)(?::([\w-]+))?", value)
    return (int(value, 8) if key == "chmod-socket" else match.groups()) if match else None


def _give_sockets(old: Facts, new: Facts) -> None:
    """Change who may use the sockets that stay open, where that changed; uWSGI does it for those that it opens."""
    mode, account = (_access(key, new) if old.get(key) != new.get(key) else None for key in _ACCESS)
    if mode is None and account is None:
        return
    owner, group = account or (None, None)
    for address in _addresses(old).keys() & _addresses(new).keys():
        if address.startswith("/"):
            _service.give(address, owner, group, mode)


def _missing(keys: t.Mapping[str, list[str]], before: Running, now: Running) -> str:
    """What is missing until one application runs with its new configuration."""
    # All workers end before the master executes itself anew: until then it still answers for the old ones.
    if before.children & now.children:
        return "its old workers still run"
    workers = {child.pid for child in now.children}
    if "stats" not in keys:
        return "" if workers else "it has no worker"
    stats = _stats(keys)
    if not stats:
        return f"its stats socket {keys['stats'][-1]} does not answer"
    loaded = (worker for worker in stats.get("workers", ()) if worker.get("apps") and worker.get("accepting"))
    return "" if any(worker.get("pid") in workers for worker in loaded) else "no worker has loaded the application yet"


def _stats(keys: t.Mapping[str, list[str]]) -> dict[str, t.Any]:
    """What the stats socket says; empty when it says nothing."""
    return _uwsgi_info.statistics(keys["stats"][-1], timeout=1) if "stats" in keys else {}
