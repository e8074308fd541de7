# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What differs between the daemons: their test, their units, what a reload cannot apply, how they prove a reload.

``facts`` are the parts of a configuration that only a restart can change. They are plain data: the facts of the
loaded configuration are kept, so that a later run can still tell reload from restart.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils import _command
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _service
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._service import Running, ServiceError
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree
from ansible_collections.weblab.stacks.plugins.module_utils._php_fpm_pools import read_pools

Facts = t.Dict[str, t.Any]
#: Processes are born on the kernel's ticks, pipes to the millisecond.
_TICK = 0.02


class Command(t.NamedTuple):
    """A validation command, with the environment, the input and the private directory that it needs."""

    argv: t.Sequence[str]
    env: t.Mapping[str, str] = {}
    stdin: str = ""
    private: str = ""

    def __str__(self) -> str:
        return " ".join([*(f"{key}={value}" for key, value in self.env.items()), *self.argv])


class Daemon:
    """The generic profile: one unit, a test and a reload that the caller names."""

    #: Its test would disturb the running daemon outside of a namespace.
    needs_namespace = False
    #: Its test is also about its units, which lie outside of the tree.
    tests_units = False

    def __init__(
        self, root: str, service: str | None, validate: t.Sequence[str] = (), reload: t.Sequence[str] = ()
    ) -> None:
        self.root = root
        self.service = service or ""
        self._validate = validate
        self._reload = reload

    @property
    def program(self) -> str:
        """The program that tells whether the daemon is installed."""
        return self._validate[0] if self._validate else "systemctl"

    def installed(self) -> bool:
        return shutil.which(self.program) is not None

    def commands(self, tree: Tree, changed: t.Collection[str]) -> list[Command]:
        """What tests the tree, of which these paths changed; nothing where there is nothing to serve."""
        return [Command(self._validate)] if self._validate else []

    def units(self, tree: Tree) -> dict[str, bool]:
        """Unit -> has it something to serve?"""
        return {self.service: True} if self.service else {}

    def belongs(self, unit: str, path: str) -> bool:
        """Is this file of the tree part of the unit's configuration?"""
        return True

    def facts(self, unit: str, tree: Tree) -> Facts:
        return {}

    def restart_reason(self, unit: str, old: Facts, new: Facts) -> str:
        """Why a reload would not be enough; empty when it is."""
        return ""

    def interrupts(self, unit: str, old: Facts, new: Facts) -> str:
        """Why a part of it restarts although the unit is only reloaded; empty when none does."""
        return ""

    def reload(self, unit: str, old: Facts, new: Facts, before: Running, timeout: float) -> None:
        """Make the running daemon read the tree again."""
        if not self._reload:
            _service.systemctl("reload", unit, timeout=timeout)
            return
        done = _command.run(self._reload, timeout)
        if done.code != 0:
            raise ServiceError(f"`{' '.join(self._reload)}` failed: {done.output}")

    def observe(self, unit: str, pid: int, tree: Tree) -> Running:
        """The daemon as it runs now, as far as `pending` needs it."""
        return _service.running(pid)

    def pending(self, unit: str, tree: Tree, changed: t.Collection[str], before: Running, now: Running) -> str:
        """What is still missing until the configuration is proven live; empty when it is."""
        return ""

    def refusal(self, log: str) -> str:
        """The line with which the daemon refused a reload; empty when it did not."""
        return ""

    def unnoticed(self, unit: str, tree: Tree, loaded: Facts) -> list[str]:
        """The files that the daemon watches and that are not those of ``loaded``: nobody knows whether it saw them."""
        return []

    def watches(self, path: str) -> bool:
        """Does the daemon itself watch the modification time of this file?"""
        return False

    def keeps_listening(self, unit: str, tree: Tree) -> bool:
        """Is its socket held by somebody else, so that a restart turns nobody away?"""
        return False

    def left_behind(self, unit: str, old: Facts, new: Facts) -> set[str]:
        """The sockets of ``old`` that the daemon may leave although it does not use them any more."""
        return set()

    def summary(self, output: str) -> str:
        """The part of what it said that is worth reading."""
        return output

    def warnings(self, output: str) -> list[str]:
        """The lines of a successful test that somebody should read."""
        return [line for line in output.splitlines() if re.search(r"\bwarn(ing)?\b", line, re.IGNORECASE)]


class Nginx(Daemon):
    program = "nginx"
    _SERVER = re.compile(r"^\s*server\s*\{", re.MULTILINE)
    _IPV6ONLY = re.compile(r"^\s*listen\s+(\S+)[^;]*\sipv6only=(on|off)", re.MULTILINE)
    #: Shared memory that outlives a reload where name and size stay, and then has to be used for the same.
    _ZONE = re.compile(
        r"^\s*((?:proxy|fastcgi|uwsgi|scgi)_cache_path|limit_(?:req|conn)_zone)\s([^;]*?\s)(?:keys_)?zone=([^:;\s]+):(\w+)([^;]*)",
        re.MULTILINE,
    )

    def units(self, tree: Tree) -> dict[str, bool]:
        return {self.service: self._serves(tree)}

    def commands(self, tree: Tree, changed: t.Collection[str]) -> list[Command]:
        return [Command(["nginx", "-t"])] if tree.exists("nginx.conf") else []

    def _serves(self, tree: Tree) -> bool:
        """Is there a server, in whichever file may be included?"""
        if not tree.exists("nginx.conf"):
            return False
        places = ("nginx.conf", "sites-enabled/*", "conf.d/*")
        likely = [path for place in places for path in tree.paths(place)]
        rest = (path for path in tree.fingerprint() if not path.startswith("sites-available"))
        return any(self._SERVER.search(tree.read(path)) for path in (*likely, *rest))

    def facts(self, unit: str, tree: Tree) -> Facts:
        files = ["nginx.conf", *tree.paths("conf.d/*.conf"), *tree.paths("sites-enabled/*")]
        both = {address: value for path in files for address, value in self._IPV6ONLY.findall(tree.read(path))}
        zones = [found for path in files for found in self._ZONE.findall(tree.read(path))]
        return {
            "listen": _listeners(r"listen", files, tree),
            "ipv6only": both,
            "zones": {name: [kind, _bytes(size), self._use(kind, f"{a} {b}")] for kind, a, name, size, b in zones},
        }

    def restart_reason(self, unit: str, old: Facts, new: Facts) -> str:
        for address in sorted({*old.get("ipv6only", {}), *new["ipv6only"]}):
            if old.get("ipv6only", {}).get(address, "on") != new["ipv6only"].get(address, "on"):
                return f"ipv6only of {address} changed, which nginx sets only when it opens the socket"
        for name, (kind, size, use) in sorted(new["zones"].items()):
            before = old.get("zones", {}).get(name, [])
            if before[:2] == [kind, size] and before[2] != use:
                return f"{kind} of {name} changes from {before[2]} to {use}, and a reload keeps what is in its memory"
        return _overlap(old, new)

    @staticmethod
    def _use(kind: str, words: str) -> str:
        """What a zone is for, of its directive's words: a key, or the place of a cache."""
        if not kind.endswith("_cache_path"):
            return " ".join(word for word in words.split() if not word.startswith(("rate=", "sync")))
        path, *options = words.split()
        levels = [option for option in options if option.startswith("levels=")]
        return " ".join([path.rstrip("/"), *levels])

    def pending(self, unit: str, tree: Tree, changed: t.Collection[str], before: Running, now: Running) -> str:
        if now.main is None:
            return "its main process is not there"
        working = {child for child in now.children if child.title.startswith("nginx: worker process")}
        working = {child for child in working if "shutting down" not in child.title}
        # A worker that crashed is replaced as well, beside others with the old configuration.
        if working & before.children:
            return "its old workers still work"
        return "" if working else "it has no worker with the new configuration yet"

    def refusal(self, log: str) -> str:
        return next((line for line in log.splitlines() if "[emerg]" in line and "still could not bind" in line), "")


class Apache(Daemon):
    program = "apache2ctl"
    #: Sizes of the memory that all generations of children share, and what a socket gets when it is opened.
    _LIMITS = re.compile(
        r"^[ \t]*(ServerLimit|ThreadLimit|ScoreBoardFile|PidFile"
        r"|ListenBacklog|ListenCoresBucketsRatio|SendBufferSize|ReceiveBufferSize)[ \t]+(\S+)",
        re.IGNORECASE | re.MULTILINE,
    )
    #: Modules that make their shared memory or start their daemon when a process reads its configuration with them for
    #: the second time, as it does when it starts. After the reload that loads them they have none, and answer nobody.
    _FROM_THE_START = ("cgid", "fcgid")

    def commands(self, tree: Tree, changed: t.Collection[str]) -> list[Command]:
        if not self._serves(tree):
            return []
        return [Command(["apache2ctl", "-t"], {"APACHE_CONFDIR": self.root})]

    def units(self, tree: Tree) -> dict[str, bool]:
        return {self.service: self._serves(tree)}

    def facts(self, unit: str, tree: Tree) -> Facts:
        files = ["apache2.conf", "ports.conf"]
        for kind in ("mods", "conf", "sites"):
            files += tree.paths(f"{kind}-enabled/*.conf")
        limits = {name.lower(): value for path in files for name, value in self._LIMITS.findall(tree.read(path))}
        return {
            "mpm": [os.path.basename(path)[:-5] for path in tree.paths("mods-enabled/mpm_*.load")],
            "limits": limits,
            "envvars": tree.read("envvars"),
            "listen": _listeners(r"Listen", files, tree),
            "from_the_start": [name for name in self._FROM_THE_START if tree.exists(f"mods-enabled/{name}.load")],
        }

    def restart_reason(self, unit: str, old: Facts, new: Facts) -> str:
        if old["mpm"] != new["mpm"]:
            return f"the MPM changes from {', '.join(old['mpm']) or 'none'} to {', '.join(new['mpm']) or 'none'}"
        changed = sorted(
            name for name in {**old["limits"], **new["limits"]} if old["limits"].get(name) != new["limits"].get(name)
        )
        if changed:
            return f"{', '.join(changed)} changed, which Apache reads only when it starts"
        if old["envvars"] != new["envvars"]:
            return "envvars changed, which Apache inherits only when it starts"
        added = [name for name in new["from_the_start"] if name not in old.get("from_the_start", ())]
        if added:
            return f"mod_{added[0]} is loaded, which gets ready only when Apache starts"
        return _overlap(old, new)

    def observe(self, unit: str, pid: int, tree: Tree) -> Running:
        return dataclasses.replace(_service.running(pid), pipes=_service.pipes(pid))

    def pending(self, unit: str, tree: Tree, changed: t.Collection[str], before: Running, now: Running) -> str:
        if now.main is None:
            return "its main process is not there"
        born = now.children - before.children
        # A new child alone proves nothing, since a busy Apache has new ones all the time. Each time that it reads its
        # configuration it opens a new pipe to its children: the ones born after that have the new configuration.
        if before.pipes:
            opened = [made for pipe, made in now.pipes.items() if pipe not in before.pipes]
            if not opened:
                return "it has not read its configuration again yet"
            born = frozenset(child for child in born if child.started_at + _TICK >= max(opened))
        return "" if born else "it has no worker with the new configuration yet"

    def warnings(self, output: str) -> list[str]:
        return [line for line in output.splitlines() if line.strip() and line.strip() != "Syntax OK"]

    def _serves(self, tree: Tree) -> bool:
        return bool(tree.paths("sites-enabled/*.conf"))


class PhpFpm(Daemon):
    _ACCESS = ("listen.owner", "listen.group", "listen.mode")
    _ACL = ("listen.acl_users", "listen.acl_groups")
    _KEYS = (*_ACCESS, *_ACL, "listen.backlog")

    @property
    def version(self) -> str:
        """``8.2`` from /etc/php/8.2/fpm."""
        return os.path.basename(os.path.dirname(self.root))

    @property
    def program(self) -> str:
        return f"php-fpm{self.version}"

    def commands(self, tree: Tree, changed: t.Collection[str]) -> list[Command]:
        return [Command([self.program, "-t"])] if self._pools(tree) else []

    def units(self, tree: Tree) -> dict[str, bool]:
        return {self.service or f"php{self.version}-fpm.service": bool(self._pools(tree))}

    def facts(self, unit: str, tree: Tree) -> Facts:
        sockets = {}
        for keys in self._pools(tree).values():
            sockets[keys.get("listen", "")] = {key: keys[key] for key in self._KEYS if key in keys}
        return {"sockets": sockets}

    def restart_reason(self, unit: str, old: Facts, new: Facts) -> str:
        for address, keys in new["sockets"].items():
            before = old["sockets"].get(address, keys)
            changed = sorted(key for key in {**before, **keys} if before.get(key) != keys.get(key))
            if changed and not self._by_hand(address, changed, keys):
                return f"{', '.join(changed)} of {address} changed, and a reload keeps the open socket as it is"
        return ""

    def reload(self, unit: str, old: Facts, new: Facts, before: Running, timeout: float) -> None:
        for address, keys in new["sockets"].items():
            if old["sockets"].get(address, keys) != keys:
                owner = keys.get("listen.owner", "root")
                group = keys.get("listen.group") or _service.main_group(owner)
                _service.give(address, owner, group, int(keys.get("listen.mode", "0660"), 8))
        super().reload(unit, old, new, before, timeout)

    def _by_hand(self, address: str, changed: t.Collection[str], keys: t.Mapping[str, str]) -> bool:
        """Can this change of an open socket be made at its file? Then nobody's connection is lost."""
        return address.startswith("/") and set(changed) <= set(self._ACCESS) and not any(map(keys.get, self._ACL))

    def pending(self, unit: str, tree: Tree, changed: t.Collection[str], before: Running, now: Running) -> str:
        if now.main is None:
            return "its master process is not there"
        if now.main == before.main:
            return "its master has not loaded the configuration yet"
        titles = {child.title for child in now.children}
        for pool, keys in self._pools(tree).items():
            if keys.get("pm") != "ondemand" and f"php-fpm: pool {pool}" not in titles:
                return f"the pool {pool} has no worker yet"
        return ""

    def warnings(self, output: str) -> list[str]:
        return [line for line in output.splitlines() if "WARNING" in line]

    def _pools(self, tree: Tree) -> dict[str, dict[str, str]]:
        return read_pools(tree.read(path) for path in tree.paths("pool.d/*.conf"))


def _listeners(directive: str, files: t.Iterable[str], tree: Tree) -> dict[str, list[str]]:
    """Port -> addresses, as far as the directives say them."""
    found: dict[str, set[str]] = {}
    pattern = re.compile(rf"^\s*{directive}\s+([^\s;]+)", re.MULTILINE)
    for path in files:
        for value in pattern.findall(tree.read(path)):
            match = re.fullmatch(r"(?:(\*|\[[^]]*\]|[^:/\[\]]+):)?(\d+)", value)
            if match:
                address = match[1] or "*"
                found.setdefault(match[2], set()).add("*" if address == "0.0.0.0" else address)
    return {port: sorted(addresses) for port, addresses in sorted(found.items())}


def _bytes(size: str) -> str:
    """A size as nginx reads it: two spellings of one size are one."""
    match = re.fullmatch(r"(\d+)([kKmM]?)", size)
    return str(int(match[1]) * {"": 1, "k": 1024, "m": 1024**2}[match[2].lower()]) if match else size


def _overlap(old: Facts, new: Facts) -> str:
    # While it reloads, a daemon holds the old sockets and opens the new ones: a wildcard and a
    # single address of one port exclude each other then.
    for port in sorted(set(old["listen"]) & set(new["listen"])):
        before, after = old["listen"][port], new["listen"][port]
        if before != after and ("*" in before) != ("*" in after):
            return f"port {port} moves from {', '.join(before)} to {', '.join(after)}, and both cannot be open at once"
    return ""
