# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""One daemon's whole configuration in one transaction: plan, stage, validate, swap, apply, prove - or roll back."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import os
import pwd
import time
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils import _command, _endpoint
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import (
    _listen,
    _lock,
    _marker,
    _namespace,
    _service,
    _tree,
    _workplace,
)
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Daemon, Facts
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._mask import Mask
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import (
    LEDGER,
    SYSTEM_DIRECTORIES,
    Change,
    Ledger,
    Node,
    Plan,
    PlanError,
    Standing,
    declare,
    diff,
    make_plan,
)
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._undo import UNITS, Undo
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._units import Decision, Units
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._workplace import Journal, Workplace

_ATTEMPTS = 3
#: Seconds between two looks at the addresses that somebody gives away, and how long it may take: visitors wait.
_POLL, _HANDOVER = 0.01, 10.0
#: Seconds after which most endpoints have answered.
_SOON = 3.0
#: What a probe's record says about the endpoint itself; the rest of it may quote what the daemon sent.
_OWN_WORDS = frozenset({"endpoint", "address", "protocol", "state", "phase", "cause"})
_SYSUSERS = "/etc/sysusers.d/"
_CACHES = "/var/cache/"
#: Directories that no package brings, and that are of use only for what is in them.
_FOR_FILES = ("/etc/ansible/facts.d", "/etc/ansible", "/etc/sysusers.d")
#: How the comment of an account begins that goes with the last sysusers.d(5) file that names it.
_OURS = "weblab.stacks"
#: What userdel(8) says of an account whose processes have not ended yet.
_IN_USE = 8
_FULL = (errno.ENOSPC, errno.EDQUOT)


class TransactionError(Exception):
    """The transaction failed; the message is for the user, the result says how far it came."""


class StuckError(TransactionError):
    """It failed, and so did the way back."""


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
    prune: bool = True
    #: Paths that go, whoever declared them: another tree takes over what they serve.
    released: t.Sequence[str] = ()
    #: ``absent``: the owners go, and nobody else may be there. ``unused``: ``base`` stays while somebody else is.
    state: str = "present"
    base: str = ""


@dataclasses.dataclass
class Result:
    """What the task returns, filled while the transaction goes on."""

    changed: bool = False
    actions: dict[str, str] = dataclasses.field(default_factory=dict)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)
    restarts: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)
    validated: dict[str, str] = dataclasses.field(default_factory=lambda: {"command": "", "way": "none", "output": ""})
    swap: str = "none"
    probe: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    rolled_back: bool = False
    healed: bool = False
    files: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    diff: list[dict[str, str]] = dataclasses.field(default_factory=list)
    unpruned: list[str] = dataclasses.field(default_factory=list)
    owners: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


class Transaction:
    """Runs once; ``result`` is complete on success and says how far it came on failure."""

    def __init__(self, request: Request, daemon: Daemon) -> None:
        self.result = Result()
        #: Main processes that may hold the addresses, since they let go of them in the same step.
        self.givers: t.Collection[int] = ()
        #: Called before it rolls back: who has taken over an address gives it back first.
        self.first_back: t.Callable[[Exception], None] = lambda _error: None
        self._request = request
        self._daemon = daemon
        self._root = os.path.realpath(request.root)
        self._live = Tree(self._root)
        self._declared = declare(request.owners, request.root)
        self._left: list[Workplace] = []
        self._journals: list[Journal] = []
        self._ledger = Ledger()
        self._mask = Mask((), ())

    def run(self) -> None:
        for _phase in self.phases():
            pass

    def phases(self) -> t.Iterator[str]:
        """Pause before anything that serves is touched (``ready``), with the new tree in place (``decided``), when the
        daemon was ``told``, and when it is proven to run with it (``applied``).

        Whatever is raised into a pause rolls back.
        """
        try:
            if self._request.check:
                self._look_back()
                yield from self._once()
                return
            with _lock.exclusive(self._root, _slug(self._root), self._request.timeout):
                self._look_back()
                self._clear_left()
                for _attempt in range(_ATTEMPTS):
                    with contextlib.suppress(_MovedError):
                        yield from self._once()
                        for work in self._left:
                            work.remove()
                        return
        except _lock.LockedError as error:
            raise TransactionError(str(error)) from None
        except OSError as error:
            self.result.changed = False
            raise TransactionError(f"{explain(error, self._root)}\nNothing was changed.") from error
        finally:
            self.result.warnings += [_interruption(name, restart) for name, restart in self.result.restarts.items()]
        self.result.changed = False
        raise TransactionError(
            f"Somebody else keeps writing into {self._root} while its new configuration is being prepared"
            f" ({_ATTEMPTS} attempts). Nothing was changed. Stop the other writer and run again."
        )

    # -- what a killed run left ---------------------------------------------------------------

    def _look_back(self) -> None:
        found = _workplace.left(*os.path.split(self._root))
        # Who holds the lock is alone; a look at the tree may meet a run that is under way.
        self._left = [work for work in found if work.abandoned or not self._request.check]
        self._journals = [work.read_journal() for work in self._left]

    def _clear_left(self) -> None:
        """Everything but the journals goes now: they are of use until this run has succeeded."""
        for work in _workplace.left(_marker.DIRECTORY, _slug(self._root)):
            if work.abandoned:
                work.remove()
        if not self._left:
            return
        for work in self._left:
            work.clear()
        directories = {os.path.join(self._root, path) for path, stamp in self._live.fingerprint().items() if not stamp}
        directories.update((self._root, os.path.dirname(self._root), *SYSTEM_DIRECTORIES))
        for journal in self._journals:
            directories.update(os.path.dirname(path) for path in journal.ledger.paths)
        for directory in sorted(directories):
            _tree.remove_temporary(directory)
        if any(journal.created for journal in self._journals):
            _tree.remove_empty(self._root)

    # -- the steps ----------------------------------------------------------------------------

    def _once(self) -> t.Iterator[str]:
        plan = self._plan()
        if plan.changes:
            self._preconditions(plan)
            if self._request.check:
                self._validate_only(plan)
            else:
                yield from self._commit(plan)
        else:
            yield from self._unchanged(plan)

    def _plan(self) -> Plan:
        text = self._live.read(LEDGER) if self._live.exists(LEDGER) else None
        recorded = ledger = Ledger.parse(text, os.path.join(self._root, LEDGER))
        for journal in self._journals:
            ledger = ledger.union(journal.ledger)
        self._ledger = ledger
        live = self._live
        request = self._request
        plan = make_plan(
            self._declared, self._leaving(ledger), ledger, live.node, live.below, self._root,
            prune=request.prune, released=request.released,
        )  # fmt: skip
        self.result.unpruned = list(plan.unpruned)
        self.result.owners = sorted(plan.ledger.owners)
        kept = plan.ledger
        if kept.owners and not recorded.owners:
            # A run that was killed may have begun already: its journal knows how the units stood.
            made = {"."} if not os.path.lexists(self._root) else set()
            kept = dataclasses.replace(kept, made=kept.made | made, units=ledger.units or self._standing())
        plan = dataclasses.replace(plan, ledger=kept, ledger_changed=kept != recorded)
        self._mask = self._make_mask(plan)
        self.result.changed = bool(plan.changes) or plan.ledger_changed
        self.result.diff = [diff(change, self._root) for change in plan.changes]
        self.result.files = {"added": [], "changed": [], "removed": []}
        for change in plan.changes:
            self.result.files[change.verb].append(change.full(self._root))
        return plan

    def _leaving(self, ledger: Ledger) -> t.Collection[str]:
        """The owners that this call is about.

        :raises PlanError: when the tree is to go and others have something in it.
        """
        request = self._request
        others = sorted(set(ledger.owners) - set(request.owners))
        if request.state == "absent" and others:
            theirs = ", ".join(f"{owner} ({min(ledger.owners[owner])} and more)" for owner in others)
            raise PlanError(
                f"{self._root} cannot go: it is still used by {theirs}. Remove what these have there first, each with"
                " the role or task that put it there. Nothing was changed."
            )
        if request.state == "unused" and others:
            return [owner for owner in request.owners if owner != request.base]
        return request.owners

    def _standing(self) -> dict[str, Standing]:
        """How the units of a tree stand that nobody has declared anything in."""
        units = _service.show(self._daemon.units(self._live))
        return {name: Standing(unit.enabled, unit.up) for name, unit in units.items() if unit.known}

    def _make_mask(self, plan: Plan) -> Mask:
        hidden = {path for path in plan.ledger.secret if path not in self._declared}
        nodes = [change.before for change in plan.changes if change.secret and change.before is not None]
        nodes += [item.node for item in self._declared.values() if item.secret and item.node is not None]
        secret = [*(self._live.read(path) for path in hidden), *(_text(node) for node in nodes)]
        return Mask(secret, self._public())

    def _public(self) -> t.Iterator[str]:
        """What everybody who reads the result knows anyway."""
        request = self._request
        yield from (self._root, str(request.probe), str(request.listen), str(request.requires), self._daemon.service)
        for declaration in self._declared.values():
            yield declaration.path
            if declaration.node is not None and not declaration.secret:
                yield _text(declaration.node)

    def _unchanged(self, plan: Plan) -> t.Iterator[str]:
        """The files are right. Is the running daemon, too?"""
        if self._request.check:
            if not self._daemon.installed():
                return
        else:
            if plan.ledger_changed:
                _tree.apply(self._root, [_ledger_change(self._live, plan.ledger)])
            if self._left:
                self._finish(plan)
                self._remove_accounts(0)
            if not plan.ledger.owners:
                _marker.write(self._root, {})
        if not plan.ledger.owners and not self._ledger.owners and not self._ledger.units:
            # Nobody has anything here: how the daemon runs is nobody's business, either.
            return
        units = self._units(plan)
        decisions = units.decisions((), self._old_units(), {}, self._before(plan))
        if not any(decision.needed for decision in decisions.values()):
            self._report(decisions)
            if self._left and not self._request.check:
                self._remember(units)
            return
        self.result.changed = self.result.healed = True
        self._report(decisions)
        if self._request.check:
            return
        yield "ready"
        try:
            self._finish(plan)
            yield from self._act(units, decisions)
            self._probe(units)
        except (_service.ServiceError, TransactionError, OSError) as error:
            raise TransactionError(
                f"The files in {self._root} are as declared and were not touched, but the running daemon is not as they"
                f" say, and it could not be brought there.\n{self._words(error)}\n"
                "Mend what these words name, and run again."
            ) from error
        self._remember(units)

    def _finish(self, plan: Plan) -> None:
        """A run that was killed may have written files and not used them."""
        _create_accounts_and_directories(plan.ledger.paths)
        if self._left or any(path.startswith(UNITS) for path in plan.ledger.paths):
            _service.systemctl("daemon-reload")

    def _preconditions(self, plan: Plan) -> None:
        """Refuse what cannot work, before anything is touched."""
        if self._request.probe:
            from ansible_collections.weblab.stacks.plugins.module_utils._probe._parse import parse_check

            for index, spec in enumerate(self._request.probe):
                parse_check(spec, f"probe[{index}]")
        problems = [
            f"{item['path']}{_what(item)} does not exist on this host; create it first, or correct the variable"
            for item in self._request.requires
            if not os.path.exists(item["path"])
        ]
        problems += self._taken(self.givers)
        if plan.ledger.owners and not self._daemon.installed() and not self._request.check:
            problems.append(f"{self._daemon.program} is not installed on this host; install its package first")
        if not problems:
            return
        if not self._request.check:
            self.result.changed = False
            raise TransactionError("\n".join([*problems, "Nothing was changed."]))
        self.result.warnings += problems

    def _taken(self, givers: t.Collection[int]) -> list[str]:
        """Say which addresses are held by others than these main processes and the daemon itself."""
        if not self._request.listen:
            return []
        units = _service.show(self._daemon.units(self._live))
        own = {unit.pid for unit in units.values() if unit.pid}
        held = frozenset().union(*(unit.listen for unit in units.values()))
        wanted = [item for item in self._request.listen if _endpoint.parse(item["endpoint"]).address not in held]
        return _listen.conflicts(wanted, own.union(givers))

    def _act(self, units: Units, decisions: t.Mapping[str, Decision]) -> t.Iterator[str]:
        yield "decided"
        self._wait_for_addresses(units)
        # Somebody waits for what is released.
        units.tell(decisions, at_once=bool(self._request.released))
        try:
            yield "told"
        finally:
            # Also before it goes back: who is told again while it still reads may not notice.
            units.prove(decisions)

    def _wait_for_addresses(self, units: Units) -> None:
        """Those who let go of an address need a moment, and who finds it taken may end."""
        end = time.monotonic() + min(units.remaining(), _HANDOVER)
        while self.givers and (problems := self._taken(())):
            if time.monotonic() > end:
                raise TransactionError("\n".join(problems))
            time.sleep(_POLL)

    def _validate_only(self, plan: Plan) -> None:
        if not self._daemon.installed():
            return
        with _workplace.temporary(_marker.DIRECTORY, _slug(self._root)) as work:
            prepared = _prepared(plan)
            self._stage(plan if prepared else _without_strangers(plan), work)
            if prepared and os.path.isdir(self._root) and _namespace.available():
                self._validate(plan, work)
            try:
                units = self._units(plan, Tree(work.tree))
                self._report(units.decisions(*self._change(plan), self._before(plan)))
            except _service.ServiceError as error:
                self.result.warnings.append(str(error))

    def _commit(self, plan: Plan) -> t.Iterator[str]:
        work = Workplace.make(*os.path.split(self._root))
        undo = Undo()
        units = self._units(plan)
        decisions: dict[str, Decision] = {}
        try:
            change = self._change(plan)
            self._write_journal(plan, work, change[1])
            # Units, accounts and directories first: the tree may belong to accounts that they create.
            undo.system([change for change in plan.system_changes if change.after is not None])
            self._prepare_system(plan)
            yield from self._replace_tree(plan, work, undo, lambda: units.look(change[1]))
            decisions = units.decisions(*change, self._before(plan))
            self._report(decisions)
            yield from self._act(units, decisions)
            yield "applied"
            undo.system([change for change in plan.system_changes if change.after is None])
            self._probe(units)
            _remove_directories(plan)
            if self._left or any(change.path.startswith(_SYSUSERS) for change in plan.system_changes):
                self._remove_accounts(units.remaining())
            self._remember(units)
        except _MovedError:
            undo.run()
            raise
        except Exception as error:
            # Whatever it was, a half-made change is worse: the old tree comes back.
            self.first_back(error)
            self._roll_back(undo, units, decisions, self._words(error))
        finally:
            work.remove()

    def _write_journal(self, plan: Plan, work: Workplace, units: t.Iterable[str]) -> None:
        ledger = self._ledger.union(plan.ledger).system()
        work.write_journal(Journal(ledger, tuple(units), not os.path.lexists(self._root)))

    def _prepare_system(self, plan: Plan) -> None:
        if self._left:
            self._finish(plan)
        else:
            _create_accounts_and_directories(plan.ledger.paths)

    def _words(self, error: Exception) -> str:
        """What a failure says to the user."""
        if isinstance(error, OSError):
            return explain(error, self._root)
        if isinstance(error, _service.ServiceError):
            return self._mask.text(str(error))
        if isinstance(error, (TransactionError, _tree.TreeError)):
            return str(error)
        return self._mask.text(f"{type(error).__name__}: {error}")

    def _replace_tree(self, plan: Plan, work: Workplace, undo: Undo, look: t.Callable[[], None]) -> t.Iterator[str]:
        """:param look: called right before the new tree becomes visible."""
        if not plan.tree_changes and not plan.ledger_changed:
            if self._daemon.tests_units:
                self._validate(plan, None)
            yield "ready"
            return
        new = not os.path.lexists(self._root)
        if new:
            os.makedirs(self._root, mode=0o755)
            undo.add(lambda: _tree.remove_empty(self._root))
        seen = self._live.fingerprint()
        self._stage(plan, work)
        in_namespace = _namespace.available()
        if in_namespace:
            self._validate(plan, work)
        _tree.sync(work.path)
        yield "ready"
        if self._live.fingerprint() != seen:
            raise _MovedError
        look()
        if new:
            os.rename(work.tree, self._root)
            self.result.swap = "create"
            undo.add(lambda: os.rename(self._root, work.tree))
        elif not plan.ledger.owners and "." in self._ledger.made and Tree(work.tree).empty():
            # The first owner made the tree, the last one let go of its last file, and nobody else has one.
            _tree.remove(work.tree)
            os.rename(self._root, work.tree)
            self.result.swap = "remove"
            undo.add(lambda: os.rename(work.tree, self._root))
        elif _tree.exchange(work.tree, self._root):
            self.result.swap = "exchange"
            undo.add(lambda: self._touch_watched(plan))
            undo.add(lambda: _tree.exchange(work.tree, self._root))
        else:
            self._replace_stepwise(plan, undo)
        _tree.sync_directory(os.path.dirname(self._root))
        if not in_namespace and not self._daemon.needs_namespace:
            # The weaker way: the tree is live already, but no daemon has been told to read it.
            self._validate(plan, None)

    def _replace_stepwise(self, plan: Plan, undo: Undo) -> None:
        self.result.swap = "stepwise"
        self.result.warnings.append(
            f"The file system cannot exchange {self._root} for another directory (it is a mount point, or comes from a"
            " lower layer of an overlay): its files were replaced one by one. Had this run been killed meanwhile, there"
            " would have been old and new files side by side until the next run."
        )
        undo.add(lambda: self._touch_watched(plan))
        # First the ledger of both: a run that is killed here leaves no file without an owner.
        undo.files(self._root, [_ledger_change(self._live, self._ledger.union(plan.ledger))])
        undo.files(self._root, plan.tree_changes)
        undo.files(self._root, [_ledger_change(self._live, plan.ledger)])

    def _touch_watched(self, plan: Plan) -> None:
        # A daemon that watches a file has seen the new one, and takes only a younger one for the old one's return.
        for change in plan.tree_changes:
            if change.verb == "changed" and self._daemon.watches(change.path):
                _tree.touch(os.path.join(self._root, change.path))

    def _stage(self, plan: Plan, work: Workplace) -> None:
        _tree.stage(self._root, work.tree)
        _tree.apply(work.tree, [*plan.tree_changes, _ledger_change(self._live, plan.ledger)])

    def _validate(self, plan: Plan, work: Workplace | None) -> None:
        """Run the daemon's own test; ``work`` is None when the new tree is at its final path already."""
        before = self._before(plan)
        read = self._daemon.installed() and any(standing.active for standing in (before or {}).values())
        if before is not None and not read:
            # What comes back is as good or bad as it was, and nobody is going to read it.
            return
        commands = self._daemon.commands(
            Tree(work.tree if work else self._root), [change.path for change in plan.changes]
        )
        if not commands:
            return
        outputs = []
        validated = self.result.validated = {
            "command": " && ".join(map(str, commands)),
            "way": "namespace" if work else "swapped",
            "output": "",
        }
        for command in commands:
            if work:
                done = _namespace.run(work.tree, self._root, command, self._request.timeout, work.private)
            else:
                done = _command.run(command.argv, self._request.timeout, command.env, command.stdin)
            output = self._mask.text(self._daemon.summary(done.output))
            outputs.append(output)
            validated["output"] = "\n".join(outputs)
            if done.code != 0:
                raise TransactionError(f"`{command}` refuses the new configuration of {self._root}:\n{output}")
            self.result.warnings += map(self._mask.text, self._daemon.warnings(done.output))

    def _probe(self, units: Units) -> None:
        if not self._request.probe:
            return
        from ansible_collections.weblab.stacks.plugins.module_utils._probe import describe, probe_all

        specs = list(self._request.probe)
        records = probe_all(specs, min(max(units.remaining(), 1.0), _SOON), True)
        # For a process that has ended meanwhile, nobody has to wait any longer.
        if not all(record.ok for record in records) and not units.ended() and units.remaining():
            records = probe_all(specs, max(units.remaining(), 1.0), True)
        self.result.probe = [
            {key: value if key in _OWN_WORDS else self._mask.value(value) for key, value in record.as_dict().items()}
            for record in records
        ]
        bad = [record for record in records if not record.ok]
        if bad:
            words = "\n".join([describe(bad), *units.words()])
            raise TransactionError(
                f"With the new configuration these endpoints do not answer:\n{self._mask.text(words)}"
            )

    def _roll_back(self, undo: Undo, units: Units, decisions: t.Mapping[str, Decision], problem: str) -> t.NoReturn:
        touched = undo.any
        try:
            units.stop_new(decisions)
            units.look(decisions)
            undo.run()
            units.put_back(decisions)
        except (_service.ServiceError, _tree.TreeError, OSError) as error:
            raise StuckError(
                f"{problem}\nRolling back failed as well: {self._words(error)}\n"
                f"Look at {self._root} and at the service by hand."
            ) from error
        self.result.rolled_back = touched
        self.result.owners = sorted(self._ledger.owners)
        self.result.changed = False
        if decisions:
            self._remember(units)
        serves = " and serves" if any(before.unit.up for before in units.before.values()) else ""
        state = f"The old configuration was restored{serves}." if touched else "Nothing was changed."
        raise TransactionError(f"{problem}\n{state} Correct what the words above name, and run again.")

    def _remember(self, units: Units) -> None:
        try:
            _marker.write(self._root, units.loaded() if self.result.owners else {})
        except OSError as error:
            self.result.warnings.append(
                f"{explain(error, _marker.DIRECTORY)}. What the daemon has loaded could not be noted there; the next"
                " run may reload it without need."
            )

    # -- small things -------------------------------------------------------------------------

    def _units(self, plan: Plan, tree: Tree | None = None) -> Units:
        system = [path for path in plan.ledger.paths if path.startswith("/")]
        listen: dict[str, list[_endpoint.Endpoint]] = {}
        for item in self._request.listen:
            if item.get("unit"):
                listen.setdefault(item["unit"], []).append(_endpoint.parse(item["endpoint"], "listen"))
        units = Units(self._daemon, self._root, tree or self._live, system, self._request.timeout, listen)
        self.result.restarts = units.restarts
        return units

    def _change(self, plan: Plan) -> tuple[list[str], dict[str, bool], dict[str, Facts]]:
        """What changes, and the units and their facts before: asked while the old tree is still the live one."""
        old_units = self._daemon.units(self._live)
        facts = {name: self._daemon.facts(name, self._live) for name in old_units}
        return [change.path for change in plan.changes], {**self._old_units(), **old_units}, facts

    def _old_units(self) -> dict[str, bool]:
        """Units that a killed run should have stopped."""
        return {name: False for journal in self._journals for name in journal.units}

    def _before(self, plan: Plan) -> t.Mapping[str, Standing] | None:
        """How the units stood before the tree had an owner, when it has none any more."""
        return None if plan.ledger.owners else self._ledger.units

    def _remove_accounts(self, patience: float) -> None:
        """Remove the accounts that a sysusers.d(5) file made for this collection and that none names any more."""
        named = _named_accounts()
        for account in pwd.getpwall():
            if not account.pw_gecos.startswith(_OURS) or account.pw_name in named:
                continue
            end = time.monotonic() + patience
            while (done := _command.run(["userdel", account.pw_name])).code == _IN_USE and time.monotonic() < end:
                time.sleep(0.1)
            if done.code != 0:
                self.result.warnings.append(
                    f"The account {account.pw_name} is used by nothing of this collection any more, and stays:"
                    f" {done.output}. Remove it with `userdel {account.pw_name}`."
                )

    def _report(self, decisions: t.Mapping[str, Decision]) -> None:
        self.result.actions = {name: decision.action for name, decision in decisions.items()}
        self.result.reasons = {
            name: self._mask.text(decision.reason) for name, decision in decisions.items() if decision.reason
        }


def explain(error: OSError, root: str) -> str:
    """What is wrong, where, and what to do."""
    where = error.filename2 or error.filename or root
    what = f"{where}: {error.strerror or error}"
    if error.errno in _FULL:
        return f"{what}. The file system is full: free space or inodes there (`df -h {root}; df -i {root}`)"
    if error.errno == errno.EROFS:
        return f"{what}. Mount it read-write (`findmnt --target {root}` shows it, `dmesg` may say why it is not)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{what}. Run as root (`become: true`); `lsattr -d {root}` shows whether it is made immutable"
    if error.errno == errno.EIO:
        return f"{what}. The disk fails, look at `dmesg`"
    return what


def _create_accounts_and_directories(paths: t.Iterable[str]) -> None:
    """Run what sysusers.d and tmpfiles.d files are for; it changes nothing where that happened before."""
    present = sorted(path for path in paths if os.path.exists(path))
    for directory, argv in (
        (_SYSUSERS, ["systemd-sysusers"]),
        ("/etc/tmpfiles.d/", ["systemd-tmpfiles", "--create"]),
    ):
        command = [*argv, *(path for path in present if path.startswith(directory))]
        if len(command) > len(argv):
            done = _command.run(command)
            if done.code != 0:
                raise _service.ServiceError(f"`{' '.join(command)}` failed: {done.output}")


def _remove_directories(plan: Plan) -> None:
    """Remove the directories below /run and /var/cache that tmpfiles.d(5) files made and do not name any more."""
    gone: dict[str, bool] = {}
    named: set[str] = set()
    for change in plan.system_changes:
        if change.path.startswith("/etc/tmpfiles.d/"):
            gone.update(_volatile_directories(change.before))
            # Also in another file than before.
            named.update(_volatile_directories(change.after))
    for path, whole in sorted(gone.items(), reverse=True):
        if path in named:
            continue
        if whole:
            _tree.remove(path)
            continue
        # One that is not empty is somebody's still, and the next boot removes it anyway.
        with contextlib.suppress(OSError):
            os.rmdir(path)
    for path in _FOR_FILES if any(change.after is None for change in plan.system_changes) else ():
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _volatile_directories(node: Node | None) -> dict[str, bool]:
    """Directory -> does it go with what is in it? A cache does, and what a ``D`` line empties."""
    found = {}
    for line in _text(node).splitlines() if node is not None else ():
        kind, _blank, rest = line.partition(" ")
        path = rest.split(" ")[0].rstrip("/")
        if kind in ("d", "D") and path.startswith(("/run/", _CACHES)):
            found[path] = kind == "D" or path.startswith(_CACHES)
    return found


def _named_accounts() -> set[str]:
    """The users that sysusers.d(5) files of this host name."""
    names: set[str] = set()
    for directory in ("/etc", "/run", "/usr/lib"):
        for path in glob.glob(f"{directory}/sysusers.d/*.conf"):
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
                names |= {words[1] for words in map(str.split, file) if len(words) > 1 and words[0].startswith("u")}
    return names


def _ledger_change(live: Tree, ledger: Ledger) -> Change:
    node = Node("file", ledger.dump(), "", 0o600, "root", "root") if ledger.owners else None
    return Change(LEDGER, live.node(LEDGER), node)


def _prepared(plan: Plan) -> bool:
    """Are the units, accounts and directories there that a real run makes before it tests the tree?"""
    for change in plan.system_changes:
        new_unit = change.path.startswith(UNITS) and change.verb == "added"
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


def _without_strangers(plan: Plan) -> Plan:
    """The plan for a look at it on a host where its accounts are not made yet."""
    changes = []
    for change in plan.changes:
        node = change.after
        if node is not None:
            user = node.user if node.user is None or _tree.user_id(node.user) is not None else None
            group = node.group if node.group is None or _tree.group_id(node.group) is not None else None
            node = dataclasses.replace(node, user=user, group=group)
        changes.append(dataclasses.replace(change, after=node))
    return dataclasses.replace(plan, changes=tuple(changes))


def _interruption(unit: str, restart: t.Mapping[str, t.Any]) -> str:
    """Say honestly what a restart cost."""
    if restart["closed_ms"] is None:
        cost = "This kernel does not tell for how long its addresses were closed."
    else:
        cost = f"Its addresses were closed for {restart['closed_ms']} ms"
        cost += f", and {restart['waiting']} connections that waited there were lost." if restart["waiting"] else "."
    return f"{unit} needed a restart: {restart['reason']}. {cost}"


def _slug(root: str) -> str:
    return root.strip("/").replace("/", "-")


def _text(node: Node) -> str:
    return node.content.decode("utf-8", "replace")
