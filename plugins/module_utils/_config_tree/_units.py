# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Bring the units in line with the tree: start, reload, restart or stop each, and prove that it took."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils import _command
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import (
    _listen,
    _marker,
    _service,
    _tree,
)
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Daemon, Facts
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._marker import Loaded
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import Standing
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._service import Running, ServiceError, Unit
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree
from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import Endpoint

_POLL = 0.05
#: So many lines of a daemon's own words go into an error message.
_WORDS = 25


@dataclasses.dataclass(frozen=True)
class Decision:
    """What happens to a unit, and why."""

    action: str = "none"
    reason: str = ""
    enable: bool = False
    disable: bool = False

    @property
    def needed(self) -> bool:
        return self.action != "none" or self.enable or self.disable


@dataclasses.dataclass(frozen=True)
class Before:
    """A unit before it was touched: what a roll-back has to bring back."""

    unit: Unit
    running: Running
    words: _service.Words


def decide(unit: Unit, *, serves: bool, why: str, restart: str, before: Standing | None = None) -> Decision:
    """What has to happen to a unit.

    :param serves: whether its configuration has something to serve.
    :param why: why its configuration is not the one that it loaded; empty when it is.
    :param restart: why a reload would not be enough; empty when it is.
    :param before: how it stood before the tree had an owner, when it has none any more.
    """
    if before is not None:
        return _as_before(unit, before, why and (restart or why), reload=not restart)
    if not serves:
        if unit.up or unit.enabled == "enabled":
            return Decision("stopped", "it has nothing to serve any more")
        return Decision()
    enable = unit.enabled in ("disabled", "")
    if not unit.up:
        return Decision("started", f"it was {unit.active}", enable)
    if why and restart:
        return Decision("restarted", restart, enable)
    if why:
        return Decision("reloaded", why, enable)
    return Decision("none", "it was not enabled at boot" if enable else "", enable)


def _as_before(unit: Unit, before: Standing, why: str, *, reload: bool) -> Decision:
    boot = before.enabled == "enabled"
    enable, disable = boot and unit.enabled == "disabled", not boot and unit.enabled == "enabled"
    if unit.up and not before.active:
        # To stop it disables it as well.
        return Decision("stopped", "it did not run before", boot)
    if before.active and not unit.up:
        return Decision("started", "it ran before", enable, disable)
    if before.active and why:
        return Decision("reloaded" if reload else "restarted", why, enable, disable)
    return Decision("none", f"it was {before.enabled} before" if enable or disable else "", enable, disable)


def affects(unit: str, path: str) -> bool:
    """Does this system file belong to the unit, so that only a restart applies a change in it?"""
    if unit.endswith(".service") and path == f"/etc/systemd/system/{_socket(unit)}":
        # The service gets the socket from systemd, when it starts.
        return True
    stem = unit.partition("@")[0] if "@" in unit else unit.rpartition(".")[0]
    directory, name = os.path.split(path)
    if directory == "/etc/default":
        return name == stem
    return path in _unit_files(unit) or directory in {f"{file}.d" for file in _unit_files(unit)}


def _socket(service: str) -> str:
    return f"{service.rpartition('.')[0]}.socket"


def _unit_files(unit: str) -> set[str]:
    template = f"{unit.partition('@')[0]}@.service" if "@" in unit else unit
    return {f"/etc/systemd/system/{unit}", f"/etc/systemd/system/{template}"}


class Units:
    """The units of one tree."""

    def __init__(
        self,
        daemon: Daemon,
        root: str,
        tree: Tree,
        system: t.Collection[str],
        timeout: float,
        listen: t.Mapping[str, t.Sequence[Endpoint]],
    ) -> None:
        """
        :param tree: the tree that the units shall serve: the one at ``root``, or a staged one that is only looked at.
        :param system: the absolute paths of the system files that belong to the tree.
        :param listen: unit -> where it listens when it runs, as far as that is known.
        """
        self._daemon = daemon
        self._listen = listen
        #: Those of these places where somebody listened before: there the old configuration has to listen again.
        self._open_before: dict[str, list[Endpoint]] = {}
        self._root = root
        self._tree = tree
        self._system = system
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._changed: t.Collection[str] = ()
        self._facts: dict[str, tuple[Facts, Facts]] = {}
        self._touched: set[str] = set()
        #: Unit -> files that it watches, and that it may not have noticed.
        self._unnoticed: dict[str, list[str]] = {}
        self._hung: set[str] = set()
        #: Units that were told to stop, and may still be at it.
        self._stopping: set[str] = set()
        #: The main processes that were proven.
        self._proven: set[int] = set()
        self.before: dict[str, Before] = {}
        #: How the units ran right before the tree was exchanged.
        self._seen: dict[str, Before] = {}
        #: Unit -> why it was restarted, for how long its addresses were closed, how many connections waited there.
        self.restarts: dict[str, dict[str, t.Any]] = {}

    def look(self, names: t.Collection[str]) -> None:
        """See how units run, right before the tree under them is exchanged.

        Afterwards it may be too late: the Emperor watches its directory, and may have started new workers already.
        """
        self._seen = {name: self._look(unit) for name, unit in _service.show(names).items()}

    def decisions(
        self,
        changed: t.Collection[str],
        old_units: t.Collection[str],
        old_facts: t.Mapping[str, Facts],
        before: t.Mapping[str, Standing] | None = None,
    ) -> dict[str, Decision]:
        """What has to happen to every unit, the ones that stop first.

        :param changed: the paths of the tree and of the system that this run changed.
        :param old_units: the units that the tree had before.
        :param old_facts: their facts before; for a unit that is missing here the marker knows them.
        :param before: how the units stood before the tree had an owner, when it has none any more.
        """
        self._changed = changed
        serves = {**dict.fromkeys(old_units, False), **self._daemon.units(self._tree)}
        if before is not None:
            # It may have run on without what it had once loaded.
            before = {
                name: stood._replace(active=stood.active and serves.get(name, True)) for name, stood in before.items()
            }
            serves = {name: name in before and before[name].active for name in {**serves, **before}}
        marker = _marker.read(self._root)
        decided = {}
        for name, unit in _service.show(serves).items():
            # Without its package, nobody misses it as it was.
            stood = before.get(name) if before is not None and unit.known else None
            serves[name] &= before is None or stood is not None
            if serves[name] and not unit.known and not (_unit_files(name) & set(changed)):
                raise ServiceError(
                    f"systemd does not know {name}; install the package or declare the unit it comes from"
                )
            if unit.load == "masked" and serves[name]:
                raise ServiceError(f"{name} is masked; `systemctl unmask {name}` makes it usable again")
            why, restart = "", ""
            if serves[name] and unit.up:
                why, restart = self._why(unit, changed, old_facts.get(name), marker.get(name))
            decided[name] = decide(unit, serves=serves[name], why=why, restart=restart, before=stood)
            if decided[name].needed:
                self.before[name] = self._seen.pop(name) if name in self._seen else self._look(unit)
                facts = self._daemon.facts(name, self._tree)
                self._facts.setdefault(name, (old_facts.get(name, facts), facts))
        # A socket before its service: it is there when that starts, and when it is gone nothing starts that again.
        order = {name: (item.action != "stopped", not name.endswith(".socket"), name) for name, item in decided.items()}
        return dict(sorted(decided.items(), key=lambda item: order[item[0]]))

    def tell(self, decisions: t.Mapping[str, Decision], at_once: bool = False) -> None:
        """Do it. A unit that starts or reloads may still be at it then.

        :param at_once: do not wait for the end of what stops: an Apache may look only after a second whether its last
            process has ended, and its addresses are free long before.
        :raises ServiceError: with what the unit said itself.
        """
        self._open_before = {
            name: [place for place in places if not _listen.closed([place])] for name, places in self._listen.items()
        }
        reasons = {name: self._interruption(name, decision) for name, decision in decisions.items()}
        for name, decision in decisions.items():
            self._touched.add(name)
            with self._reported(name, reasons[name]):
                try:
                    if at_once and decision.action == "stopped":
                        _service.systemctl("disable", "--now", "--no-block", name)
                        self._stopping.add(name)
                    else:
                        self._do(name, decision)
                except ServiceError as error:
                    if not self.remaining():
                        self._hung.add(name)
                    raise self._failed(name, str(error)) from error
                if reasons[name]:
                    self._prove(name, decision.action)

    def prove(self, decisions: t.Mapping[str, Decision]) -> None:
        """Return when every unit that was told is proven to run the new configuration.

        :raises ServiceError: with what the unit said itself.
        """
        for name, decision in decisions.items():
            if name in self._stopping:
                self._do(name, decision)
            if decision.action in ("started", "reloaded", "restarted") and name not in self.restarts:
                self._prove(name, decision.action)
            left = self._daemon.left_behind(name, *self._facts.get(name, ({}, {})))
            self._wait_for_the_end_of(name, left)
            for path in left:
                _tree.remove_empty(path)

    def stop_new(self, decisions: t.Mapping[str, Decision]) -> None:
        """What did not run before stops, while the unit's files that say how are still there."""
        for name in decisions:
            if name in self._touched and name in self.before and not self.before[name].unit.up:
                _command.run(["systemctl", "stop", name])

    def put_back(self, decisions: t.Mapping[str, Decision]) -> None:
        """The old tree is back: bring every unit that was touched back to what it was."""
        deadline = time.monotonic() + self._timeout
        self._listen = self._open_before
        for name, decision in decisions.items():
            self._deadline = deadline
            before = self.before.get(name)
            if before is None or name not in self._touched:
                continue
            if before.unit.up:
                self._facts[name] = self._facts[name][::-1]
                self._run_old(name, decision.action, deadline)
            if decision.enable or decision.disable or decision.action == "stopped":
                _command.run(["systemctl", "enable" if before.unit.enabled == "enabled" else "disable", name])
            _command.run(["systemctl", "reset-failed", name])

    def _run_old(self, name: str, action: str, deadline: float) -> None:
        """A reload where one was done and can be again; else, or where it fails, a restart, which needs its share."""
        now = _service.show([name])[name]
        held = name in self._hung or now.active != "active" or _service.stopped(now.pid)
        if action == "reloaded" and not held:
            self._deadline -= self.remaining() / 4
            try:
                self._again(now, "reloaded")
            except ServiceError:
                now = _service.show([name])[name]
            else:
                return
        # It also ends a reload that hangs.
        self._deadline = deadline
        self._again(now, "restarted")

    def _again(self, unit: Unit, action: str) -> None:
        self.before[unit.name] = self._seen.pop(unit.name) if unit.name in self._seen else self._look(unit)
        decision = Decision(action, "the old configuration comes back")
        with self._reported(unit.name, self._interruption(unit.name, decision)):
            self._do(unit.name, decision)
            self._prove(unit.name, action)

    def loaded(self) -> dict[str, Loaded]:
        """What every serving unit has loaded now, for the marker."""
        serving = [name for name, serves in self._daemon.units(self._tree).items() if serves]
        found = {}
        for name, unit in _service.show(serving).items():
            main = _service.process(unit.pid) if unit.pid else None
            if main is not None:
                found[name] = Loaded(
                    _tree.digest(self._files(name)),
                    _tree.digest(self._system_files(name)),
                    main.pid,
                    main.started,
                    self._daemon.facts(name, self._tree),
                )
        return found

    def remaining(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

    # -- why a unit has to be touched ---------------------------------------------------------

    def _why(
        self, unit: Unit, changed: t.Collection[str], old_facts: Facts | None, loaded: Loaded | None
    ) -> tuple[str, str]:
        for path in changed:
            if path.startswith("/") and affects(unit.name, path):
                return f"{path} changed", f"{path} changed"
        if any(not path.startswith("/") and self._daemon.belongs(unit.name, path) for path in changed):
            why = "its configuration changed"
        else:
            why, old_facts = self._stale(unit, loaded)
            if old_facts is None:
                return why, why
            if why:
                self._unnoticed[unit.name] = self._daemon.unnoticed(unit.name, self._tree, old_facts)
        facts = self._daemon.facts(unit.name, self._tree)
        old = facts if old_facts is None else old_facts
        self._facts[unit.name] = (old, facts)
        return why, self._daemon.restart_reason(unit.name, old, facts)

    def _stale(self, unit: Unit, loaded: Loaded | None) -> tuple[str, Facts | None]:
        """Why the process does not run what its files say, and the facts that it loaded, if a reload may be enough."""
        main = _service.process(unit.pid) if unit.pid else None
        if main is None:
            newer = _tree.newest(self._system_files(unit.name)) > unit.since > 0
            return ("its unit's files are newer than it" if newer else ""), None
        files, system = self._files(unit.name), self._system_files(unit.name)
        if loaded is None or (loaded.pid, loaded.started) != (main.pid, main.started):
            if main.started_at >= _tree.newest({**files, **system}):
                return "", None
            return "its configuration is newer than the process, and nobody knows what that loaded", None
        if loaded.system != _tree.digest(system):
            return "its unit's files are newer than the process", None
        if loaded.digest != _tree.digest(files):
            return "its configuration is newer than what it loaded", loaded.facts
        return "", None

    def _files(self, name: str) -> dict[str, tuple[int, ...]]:
        own = self._tree.fingerprint()
        return {path: stamp for path, stamp in own.items() if self._daemon.belongs(name, path)}

    def _system_files(self, name: str) -> dict[str, tuple[int, ...]]:
        found = _tree.fingerprint_of(path for path in self._system if affects(name, path))
        # Those that a run has declared and taken back are not there.
        return {path: stamp for path, stamp in found.items() if stamp}

    # -- doing it -----------------------------------------------------------------------------

    def _interruption(self, name: str, decision: Decision) -> str:
        """Why nobody is served for a moment; empty when somebody always is."""
        if decision.action == "reloaded":
            return self._daemon.interrupts(name, *self._facts[name])
        if decision.action == "started" and name.endswith(".socket"):
            served = any(_socket(other) == name and before.unit.up for other, before in self.before.items())
            return "systemd opens its socket from now on" if served else ""
        if decision.action != "restarted" or self._daemon.keeps_listening(name, self._tree):
            return ""
        return decision.reason

    @contextlib.contextmanager
    def _reported(self, name: str, reason: str) -> t.Iterator[None]:
        if not reason:
            yield
            return
        watch = _listen.Watch()
        try:
            with watch:
                yield
        finally:
            # The way back may need a second one: both count.
            before = self.restarts.get(name, {"reason": reason, "closed_ms": 0, "waiting": 0})
            for key, value in watch.outage().items():
                before[key] = None if value is None or before[key] is None else before[key] + value
            self.restarts[name] = before

    def _wait_for_the_end_of(self, name: str, sockets: t.Collection[str]) -> None:
        """What served there shall be gone when the run ends: the Emperor takes its time."""
        while open_ones := _listen.still_open(sockets):
            if self.remaining() <= 0:
                raise self._failed(name, f"{', '.join(sorted(open_ones))} should be closed and is still open")
            time.sleep(_POLL)

    def _do(self, name: str, decision: Decision) -> None:
        limit = max(self.remaining(), 1.0)
        if decision.action == "stopped":
            _service.systemctl("disable", "--now", name, timeout=limit)
            _command.run(["systemctl", "reset-failed", name])
        if decision.enable or decision.disable:
            _service.systemctl("enable" if decision.enable else "disable", name)
        if decision.action == "reloaded":
            old, new = self._facts[name]
            for path in self._unnoticed.get(name, ()):
                _tree.touch(os.path.join(self._root, path))
            self._daemon.reload(name, old, new, self.before[name].running, limit)
        elif decision.action in ("started", "restarted"):
            # A unit that failed often may not start again before its counter is reset.
            _command.run(["systemctl", "reset-failed", name])
            # systemd opens no socket for a service that runs. A restart takes that along: once is enough for both.
            restart = decision.action == "restarted" and _service.show([name])[name].pid == self.before[name].unit.pid
            restart |= name.endswith(".socket")
            _service.systemctl("restart" if restart else "start", name, timeout=limit)

    def _prove(self, name: str, action: str) -> None:
        before = self.before[name]
        old = before.running if action == "reloaded" else Running()
        pid = before.unit.pid if action == "reloaded" else _service.show([name])[name].pid
        changed = {*self._changed, *self._unnoticed.get(name, ())}
        missing = "it is not there"
        while pid:
            now = self._daemon.observe(name, pid, self._tree)
            missing = self._daemon.pending(name, self._tree, changed, old, now) or self._closed(name)
            if not missing:
                break
            refusal = self._daemon.refusal(before.words.log())
            if refusal or now.main is None or self.remaining() <= 0:
                held = f"; its main process {pid} is held (`kill -CONT {pid}` lets it go on)"
                raise self._failed(name, refusal or missing + (held if _service.stopped(pid) else ""))
            time.sleep(_POLL)
        unit = _service.show([name])[name]
        if not unit.up:
            raise self._failed(name, f"it is {unit.active}")
        if unit.pid:
            self._proven.add(unit.pid)

    def _closed(self, name: str) -> str:
        addresses = ", ".join(_listen.closed(self._listen.get(name, ())))
        return f"it does not listen on {addresses}" if addresses else ""

    def ended(self) -> bool:
        """Has one of the processes ended that were proven to run the new configuration?"""
        return any(_service.process(pid) is None for pid in self._proven)

    def words(self) -> list[str]:
        """What the units that were touched said since."""
        return [text for name in self._touched if name in self.before and (text := self._said(name))]

    def _look(self, unit: Unit) -> Before:
        return Before(unit, self._daemon.observe(unit.name, unit.pid, self._tree), _service.Words(unit.name, unit.pid))

    def _failed(self, name: str, what: str) -> ServiceError:
        words = self._said(name) if name in self.before else ""
        return ServiceError("\n".join([f"{name}: {what}", *([words] if words else [])]))

    def _said(self, name: str) -> str:
        words = self._daemon.summary(self.before[name].words.all())
        # Each line once: daemons repeat themselves while they try again.
        lines = list(dict.fromkeys(words.splitlines()))[-_WORDS:]
        return "\n".join([f"{name} said:", *lines]) if lines else ""
