# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""One daemon's whole configuration in one transaction: plan, stage, validate, swap, apply, prove - or roll back."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import os
import tempfile
import time
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import (
    _listen,
    _marker,
    _namespace,
    _service,
    _tree,
)
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Daemon, Facts
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import (
    LEDGER,
    Change,
    Ledger,
    Node,
    Plan,
    declare,
    diff,
    make_plan,
)
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._units import Decision, Units

_LOCKS = "/run/lock/weblab.stacks"
_ATTEMPTS = 3
_UNITS = "/etc/systemd/system/"


class TransactionError(Exception):
    """The transaction failed; the message is for the user, the result says how far it came."""


class _MovedError(Exception):
    """Somebody else wrote into the live tree while it was being copied."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What the task asks for."""

    root: str
    owners: t.Mapping[str, t.Any]
    requires: t.Sequence[t.Mapping[str, t.Any]] = ()
    listen: t.Sequence[t.Mapping[str, t.Any]] = ()
    probe: t.Sequence[t.Any] = ()
    timeout: float = 30
    check: bool = False


@dataclasses.dataclass
class Result:
    """What the task returns, filled while the transaction goes on."""

    changed: bool = False
    actions: dict[str, str] = dataclasses.field(default_factory=dict)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)
    validated: dict[str, str] = dataclasses.field(default_factory=lambda: {"command": "", "way": "none", "output": ""})
    swap: str = "none"
    probe: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    rolled_back: bool = False
    healed: bool = False
    files: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    diff: list[dict[str, str]] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


class Transaction:
    """Runs once; ``result`` is complete on success and says how far it came on failure."""

    def __init__(self, request: Request, daemon: Daemon) -> None:
        self.result = Result()
        self._request = request
        self._daemon = daemon
        self._root = os.path.realpath(request.root)
        self._live = Tree(self._root)
        self._declared = declare(request.owners, request.root)

    def run(self) -> None:
        if self._request.check:
            self._once()
            return
        with _lock(self._root, self._request.timeout):
            for leftover in glob.glob(f"{glob.escape(self._beside())}*"):
                _tree.remove(leftover)
            for _attempt in range(_ATTEMPTS):
                with contextlib.suppress(_MovedError):
                    self._once()
                    return
        self.result.changed = False
        raise TransactionError(
            f"Somebody else keeps writing into {self._root} while its new configuration is being prepared"
            f" ({_ATTEMPTS} attempts). Nothing was changed. Stop the other writer and run again."
        )

    # -- the steps ----------------------------------------------------------------------------

    def _once(self) -> None:
        plan = self._plan()
        if plan.changes:
            self._preconditions()
            if self._request.check:
                self._validate_only(plan)
            else:
                self._commit(plan)
        else:
            self._unchanged(plan)

    def _plan(self) -> Plan:
        text = self._live.read(LEDGER) if self._live.exists(LEDGER) else None
        ledger = Ledger.parse(text, os.path.join(self._root, LEDGER))
        plan = make_plan(self._declared, self._request.owners, ledger, self._live.node)
        self.result.changed = bool(plan.changes) or plan.ledger_changed
        self.result.diff = [diff(change, self._root) for change in plan.changes]
        self.result.files = {"added": [], "changed": [], "removed": []}
        for change in plan.changes:
            self.result.files[change.verb].append(change.full(self._root))
        return plan

    def _unchanged(self, plan: Plan) -> None:
        """The files are right. Is the running daemon, too?"""
        if plan.ledger_changed and not self._request.check:
            _tree.apply(self._root, [_ledger_change(self._live, plan.ledger)])
        if self._request.check and not self._daemon.installed():
            return
        units = self._units(plan)
        decisions = units.decisions((), (), {})
        if not any(decision.needed for decision in decisions.values()):
            self._report(decisions)
            return
        self.result.changed = self.result.healed = True
        self._report(decisions)
        if self._request.check:
            return
        try:
            # A run that was killed may have written these files and not used them.
            _create_accounts_and_directories(plan.ledger.paths)
            if any(path.startswith(_UNITS) for path in plan.ledger.paths):
                _service.systemctl("daemon-reload")
            units.act(decisions)
            self._probe(units)
        except (_service.ServiceError, TransactionError) as error:
            raise TransactionError(
                f"The files in {self._root} are as declared and were not touched, but the running daemon is not as they"
                f" say, and it could not be brought there.\n{error}\nMend what these words name, and run again."
            ) from error
        _marker.write(self._root, units.loaded())

    def _preconditions(self) -> None:
        """Refuse what cannot work, before anything is touched."""
        if self._request.probe:
            from ansible_collections.weblab.stacks.plugins.module_utils._probe._check import parse_check

            for index, spec in enumerate(self._request.probe):
                parse_check(spec, f"probe[{index}]")
        problems = [
            f"{item['path']}{_what(item)} does not exist on this host; create it first, or correct the variable"
            for item in self._request.requires
            if not os.path.exists(item["path"])
        ]
        if self._request.listen:
            units = _service.show(self._daemon.units(self._live))
            problems += _listen.conflicts(self._request.listen, {unit.pid for unit in units.values() if unit.pid})
        if not self._daemon.installed() and not self._request.check:
            problems.append(f"{self._daemon.program} is not installed on this host; install its package first")
        if not problems:
            return
        if not self._request.check:
            self.result.changed = False
            raise TransactionError("\n".join([*problems, "Nothing was changed."]))
        self.result.warnings += problems

    def _validate_only(self, plan: Plan) -> None:
        if not os.path.isdir(self._root) or not self._daemon.installed() or not _prepared(plan):
            return
        with tempfile.TemporaryDirectory(prefix="weblab-") as directory:
            staged = os.path.join(directory, "tree")
            self._stage(plan, staged)
            if _namespace.available():
                self._validate(plan, staged)
            try:
                self._report(self._units(plan, Tree(staged)).decisions(*self._change(plan)))
            except _service.ServiceError as error:
                self.result.warnings.append(str(error))

    def _commit(self, plan: Plan) -> None:
        staged = self._beside(str(os.getpid()))
        undo = _Undo()
        units = self._units(plan)
        decisions: dict[str, Decision] = {}
        change = self._change(plan)
        try:
            # Units, accounts and directories first: the tree may belong to accounts that they create.
            undo.system([change for change in plan.system_changes if change.after is not None])
            _create_accounts_and_directories(plan.ledger.paths)
            self._replace_tree(plan, staged, undo)
            decisions = units.decisions(*change)
            self._report(decisions)
            units.act(decisions)
            undo.system([change for change in plan.system_changes if change.after is None])
            self._probe(units)
        except _MovedError:
            undo.run()
            raise
        except Exception as error:
            # Whatever it was, a half-made change is worse: the old tree comes back.
            expected = isinstance(error, (TransactionError, _service.ServiceError, _tree.TreeError, OSError))
            problem = str(error) if expected else f"{type(error).__name__}: {error}"
            self._roll_back(undo, units, decisions, problem)
        finally:
            _tree.remove(staged)
        _marker.write(self._root, units.loaded())

    def _replace_tree(self, plan: Plan, staged: str, undo: _Undo) -> None:
        if not plan.tree_changes and not plan.ledger_changed:
            return
        new = not os.path.lexists(self._root)
        if new:
            os.makedirs(self._root, mode=0o755)
            undo.add(lambda: _tree.remove_empty(self._root))
        seen = self._live.fingerprint()
        self._stage(plan, staged)
        in_namespace = _namespace.available()
        if in_namespace:
            self._validate(plan, staged)
        _tree.sync(os.path.dirname(staged))
        if self._live.fingerprint() != seen:
            raise _MovedError
        if new:
            os.rename(staged, self._root)
            self.result.swap = "create"
            undo.add(lambda: os.rename(self._root, staged))
        elif not plan.ledger.owners and Tree(staged).empty():
            # The last owner let go of its last file, and nobody else has one: the tree goes with them.
            _tree.remove(staged)
            os.rename(self._root, staged)
            self.result.swap = "remove"
            undo.add(lambda: os.rename(staged, self._root))
        elif _tree.exchange(staged, self._root):
            self.result.swap = "exchange"
            undo.add(lambda: self._exchange_back(plan, staged))
        else:
            self.result.swap = "stepwise"
            undo.files(self._root, [*plan.tree_changes, _ledger_change(self._live, plan.ledger)])
        _tree.sync_directory(os.path.dirname(self._root))
        if not in_namespace and not self._daemon.needs_namespace:
            # The weaker way: the tree is live already, but no daemon has been told to read it.
            self._validate(plan, None)

    def _exchange_back(self, plan: Plan, staged: str) -> None:
        _tree.exchange(staged, self._root)
        for change in plan.tree_changes:
            if change.verb == "changed" and self._daemon.watches(change.path):
                _tree.touch(os.path.join(self._root, change.path))

    def _stage(self, plan: Plan, staged: str) -> None:
        _tree.stage(self._root, staged)
        _tree.apply(staged, [*plan.tree_changes, _ledger_change(self._live, plan.ledger)])

    def _validate(self, plan: Plan, staged: str | None) -> None:
        """Run the daemon's own test; ``staged`` is None when the new tree is at its final path already."""
        commands = self._daemon.commands(Tree(staged or self._root), [change.path for change in plan.tree_changes])
        if not commands:
            return
        outputs = []
        validated = self.result.validated = {
            "command": " && ".join(map(str, commands)),
            "way": "namespace" if staged else "swapped",
            "output": "",
        }
        for command in commands:
            if staged:
                done = _namespace.run(staged, self._root, command, self._request.timeout)
            else:
                done = _service.run(command.argv, self._request.timeout, command.env, command.stdin)
            output = self._daemon.summary(done.output)
            outputs.append(output)
            validated["output"] = "\n".join(outputs)
            if done.code != 0:
                raise TransactionError(f"`{command}` refuses the new configuration of {self._root}:\n{output}")
            self.result.warnings += self._daemon.warnings(done.output)

    def _probe(self, units: Units) -> None:
        if not self._request.probe:
            return
        from ansible_collections.weblab.stacks.plugins.module_utils._probe import describe, probe_all

        records = probe_all(list(self._request.probe), max(units.remaining(), 1.0), True)
        self.result.probe = [record.as_dict() for record in records]
        bad = [record for record in records if not record.ok]
        if bad:
            raise TransactionError(f"With the new configuration these endpoints do not answer:\n{describe(bad)}")

    def _roll_back(self, undo: _Undo, units: Units, decisions: t.Mapping[str, Decision], problem: str) -> t.NoReturn:
        touched = undo.any
        try:
            undo.run()
            units.put_back(decisions)
        except (_service.ServiceError, _tree.TreeError, OSError) as error:
            raise TransactionError(
                f"{problem}\nRolling back failed as well: {error}\nLook at {self._root} and at the service by hand."
            ) from error
        self.result.rolled_back = touched
        self.result.changed = False
        if decisions:
            _marker.write(self._root, units.loaded())
        serves = " and serves" if any(before.unit.up for before in units.before.values()) else ""
        state = f"The old configuration was restored{serves}." if touched else "Nothing was changed."
        raise TransactionError(f"{problem}\n{state} Correct what the words above name, and run again.")

    # -- small things -------------------------------------------------------------------------

    def _units(self, plan: Plan, tree: Tree | None = None) -> Units:
        system = [path for path in plan.ledger.paths if path.startswith("/")]
        return Units(self._daemon, self._root, tree or self._live, system, self._request.timeout)

    def _change(self, plan: Plan) -> tuple[list[str], dict[str, bool], dict[str, Facts]]:
        """What changes, and the units and their facts before: asked while the old tree is still the live one."""
        old_units = self._daemon.units(self._live)
        facts = {name: self._daemon.facts(name, self._live) for name in old_units}
        return [change.path for change in plan.changes], old_units, facts

    def _report(self, decisions: t.Mapping[str, Decision]) -> None:
        self.result.actions = {name: decision.action for name, decision in decisions.items()}
        self.result.reasons = {name: decision.reason for name, decision in decisions.items() if decision.reason}

    def _beside(self, tail: str = "") -> str:
        directory, name = os.path.split(self._root)
        return os.path.join(directory, f".{name}.weblab-{tail}")


class _Undo:
    """What has been done to files, and how to take it back, newest first."""

    def __init__(self) -> None:
        self._steps: list[t.Callable[[], t.Any]] = []

    @property
    def any(self) -> bool:
        return bool(self._steps)

    def add(self, step: t.Callable[[], t.Any]) -> None:
        self._steps.append(step)

    def files(self, base: str, changes: t.Sequence[Change]) -> None:
        self.add(lambda: _tree.apply(base, [change.reversed() for change in changes]))
        _tree.apply(base, changes)

    def system(self, changes: t.Sequence[Change]) -> None:
        """Apply changes outside of the tree; systemd reads its units anew, now and on the way back."""
        if changes:
            units = any(change.path.startswith(_UNITS) for change in changes)
            if units:
                self.add(lambda: _service.systemctl("daemon-reload"))
            self.files("/", changes)
            if units:
                _service.systemctl("daemon-reload")

    def run(self) -> None:
        while self._steps:
            self._steps.pop()()


def _create_accounts_and_directories(paths: t.Iterable[str]) -> None:
    """Run what sysusers.d and tmpfiles.d files are for; it changes nothing where that happened before."""
    present = sorted(path for path in paths if os.path.exists(path))
    for directory, argv in (
        ("/etc/sysusers.d/", ["systemd-sysusers"]),
        ("/etc/tmpfiles.d/", ["systemd-tmpfiles", "--create"]),
    ):
        command = [*argv, *(path for path in present if path.startswith(directory))]
        if len(command) > len(argv):
            done = _service.run(command)
            if done.code != 0:
                raise _service.ServiceError(f"`{' '.join(command)}` failed: {done.output}")


@contextlib.contextmanager
def _lock(root: str, timeout: float) -> t.Iterator[None]:
    """One transaction at a time per tree; the kernel lets go when the holder dies."""
    os.makedirs(_LOCKS, mode=0o755, exist_ok=True)
    path = os.path.join(_LOCKS, f"{root.strip('/').replace('/', '-')}.lock")
    deadline = time.monotonic() + timeout
    with open(path, "a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise TransactionError(
                        f"Another transaction works on {root}: {file.read().strip() or 'its process'} holds {path}"
                        f" and did not end within {timeout:g} s. Nothing was changed. Wait for it, then run again."
                    ) from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n")
        file.flush()
        yield


def _ledger_change(live: Tree, ledger: Ledger) -> Change:
    node = Node("file", ledger.dump(), "", 0o600, "root", "root") if ledger.owners else None
    return Change(LEDGER, live.node(LEDGER), node)


def _prepared(plan: Plan) -> bool:
    """Are the units, accounts and directories there that a real run makes before it tests the tree?"""
    for change in plan.system_changes:
        new_unit = change.path.startswith(_UNITS) and change.verb == "added"
        if new_unit or change.path.startswith(("/etc/sysusers.d/", "/etc/tmpfiles.d/")):
            return False
    nodes = [change.after for change in plan.changes if change.after is not None]
    return all(
        (node.user is None or _tree.user_id(node.user) is not None)
        and (node.group is None or _tree.group_id(node.group) is not None)
        for node in nodes
    )


def _what(item: t.Mapping[str, t.Any]) -> str:
    return f" ({item['what']})" if item.get("what") else ""
