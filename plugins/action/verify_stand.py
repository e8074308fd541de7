# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at one stand, from the controller and on its host, and writes what it is worth."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import pathlib
import resource
import secrets
import tempfile
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ..module_utils._errors import DataError
from ..plugin_utils._verify import (
    _assignment,
    _changes,
    _engine,
    _manifest,
    _repository,
    _results,
    _rubric,
    _text,
    _work,
)
from ..plugin_utils._verify._evidence import Answered, Ask, Facts, Held
from ..plugin_utils._verify._source import Source, SourceError

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "stand": {"type": "dict"},
    "manifest": {"type": "path"},
    "repository": {"type": "path"},
    "rubric": {"type": "str", "default": "course"},
    "address": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "ports": {"type": "list", "elements": "int", "default": []},
    "seed": {"type": "str", "no_log": True},
    "key": {"type": "path", "no_log": False},
    "changes": {"type": "list", "elements": "str", "choices": list(_changes.CHANGES), "default": []},
    "language": {"type": "str", "choices": list(_text.LANGUAGES), "default": "en"},
    "hints": {"type": "str", "choices": list(_text.HINTS), "default": "cause"},
    "results": {"type": "path"},
    "resume": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 20},
    "problem": {"type": "str"},
    "step": {"type": "str", "choices": ["look", "plan", "bring_up"], "default": "look"},
    "container": {"type": "str"},
    "deadline": {"type": "int", "default": 900},
}
#: In the repository, where nothing else says what the stand is.
MANIFEST = "stand.yml"
#: The only way to where a repository is run.
DOCKER = "community.docker.docker"
#: Bytes that a host's answer may cost the controller: many times what stand_info says of a large host.
MAX_MEMORY = 512 * 1024 * 1024


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(
            argument_spec=ARGUMENTS,
            mutually_exclusive=[("stand", "manifest")],
            required_one_of=[("stand", "manifest", "repository")],
        )
        variables = task_vars or {}
        name = str(variables.get("inventory_hostname", "stand"))
        everybody = [str(host) for host in variables.get("ansible_play_hosts_all", [name])]
        self._alone = len(everybody) < 2
        self._shown = False
        try:
            results = _results.Results(pathlib.Path(options["results"]), options["key"]) if options["results"] else None
            document = results.of_this_run(name) if results and options["resume"] else None
            if options["step"] != "look" and not options["problem"]:
                self._only_in(options["container"])
            if options["step"] == "plan":
                needed = document is None and not self._task.check_mode and self._again(name, options) is not None
                return {**result, "changed": False, "bring_up": needed}
            if options["step"] == "bring_up" and not options["problem"]:
                self._bring_up(name, options, variables)
                return {**result, "changed": True}
            if document is None:
                document = self._document(name, options, variables)
                if results:
                    results.write(name, document)
        except DataError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(
            changed=False,
            verdict=document["verdict"],
            percent=document["percent"],
            first="\n".join(_text.first_cause(document, options["language"], options["hints"])),
            document=document,
        )
        if self._alone:
            # What was shown while it was seen is not said again.
            say = _text.ending if self._shown else _text.summary
            lines = say(document, options["language"], options["hints"])
        else:
            done = results.done(everybody) if results else 0
            lines = [_text.progress(document, options["language"], options["hints"], done, len(everybody))]
        for line in lines:
            self._display.display(line)
        return result

    def _document(self, name: str, options: t.Mapping[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """What came of looking at the stand; also where it could not be looked at."""
        rubric = _rubric.load(options["rubric"])
        if options["problem"] and options["step"] == "bring_up":
            return _results.unseen(rubric, name, "not_brought_up", options["problem"])
        if options["problem"]:
            return _results.unseen(rubric, name, "no_result", options["problem"])
        address = options["address"] or str(variables.get("ansible_host", name))
        stand = _manifest.parse(options["stand"], name, address) if options["stand"] is not None else None
        # Also those who are not looked at now: somebody may have copied from them.
        given = _given(name, variables.get("groups", {}).get("all", ()), options)
        repository = options["repository"] or (stand.repository if stand else None)
        try:
            work = _work.read(repository) if repository else None
            if stand is None:
                stand = _manifest.read(_written(options["manifest"], repository, work), name, address)
            host = _OnHost(self, variables, options["timeout"])
            document = _engine.examine(
                rubric,
                stand,
                host,
                dataclasses.replace(given, work=work),
                options["timeout"],
                () if self._task.check_mode else options["changes"],
                host,
                self._say(options["language"]),
                self._show(options["language"], options["hints"]) if self._alone else None,
            )
        except DataError as error:
            return _results.unseen(rubric, name, "manifest_wrong", str(error))
        except _engine.Unreachable as error:
            return _results.unseen(rubric, name, "stand_unreachable", str(error))
        return _results.stamped(document, stand.name, name, [site.name for site in stand.sites])

    def _only_in(self, container: str) -> None:
        """Refuse any other way to a host.

        :raises AnsibleActionFail: the connection does not lead to the container.
        """
        # Variables of the command line win over the role's: ansible_connection=local would run it here.
        way = self._connection
        if way.transport != DOCKER or way.get_option("remote_addr") != container:
            raise AnsibleActionFail(
                f"it would not run in the container {container}: set no ansible_connection, ansible_host "
                "or ansible_docker_host on the command line"
            )

    def _again(self, name: str, options: t.Mapping[str, t.Any]) -> tuple[str, str] | None:
        """The repository, and the command that sets it up; nothing where looking at the stand will say what is wrong.

        :raises AnsibleActionFail: the manifest is right, and does not say how.
        """
        stand = _manifest.parse(options["stand"], name, name) if options["stand"] is not None else None
        repository = options["repository"] or (stand.repository if stand else None)
        if not repository:
            raise AnsibleActionFail("there is no repository to bring up: set verify_repository")
        try:
            work = _work.read(repository)
            if stand is None:
                stand = _manifest.read(_written(options["manifest"], repository, work), name, name)
        except DataError:
            return None
        if stand.again is None:
            raise AnsibleActionFail(
                "the manifest names no command `again` that sets the stand up; for example "
                "`cd /vagrant && ansible-playbook -c local -i localhost, site.yml`"
            )
        return repository, stand.again

    def _bring_up(self, name: str, options: t.Mapping[str, t.Any], variables: dict[str, t.Any]) -> None:
        """Send the repository to its host, and run its command there.

        :raises AnsibleActionFail: it did not end well; the text says why.
        """
        planned = self._again(name, options)
        if planned is None:
            raise AnsibleActionFail("the manifest has changed meanwhile, and is wrong now")
        repository, again = planned
        host = _OnHost(self, variables, options["timeout"])
        try:
            with tempfile.NamedTemporaryFile(prefix="weblab-verify-") as archive:
                _repository.pack(repository, archive)
                archive.flush()
                self._transfer_file(archive.name, _repository.ARCHIVE)
            code, output = host.run(_repository.unpack())
            if code:
                raise AnsibleActionFail(f"the repository cannot be unpacked on its host: {output[-300:]}")
            code, output = host.run(_repository.bounded(again, options["deadline"]))
        except (_engine.NotReached, AnsibleConnectionFailure) as error:
            raise AnsibleActionFail(f"its host cannot be reached: {_words(error)}") from error
        if code:
            raise AnsibleActionFail(_repository.why(again, code, output, options["deadline"]))

    def _say(self, language: str) -> t.Callable[[str, int], None]:
        def say(step: str, number: int) -> None:
            if self._alone:
                self._display.display(_text.step(language, step, number))

        return say

    def _show(self, language: str, hints: str) -> t.Callable[[dict[str, t.Any]], None]:
        def show(criterion: dict[str, t.Any]) -> None:
            self._shown = True
            for line in _text.checked(criterion, language, hints):
                self._display.display(line)

        return show


def _given(name: str, everybody: t.Sequence[str], options: t.Mapping[str, t.Any]) -> _engine.Given:
    """What the student's task sheet says, and the tokens of the others."""
    seed = options["seed"]
    if seed is None:
        return _engine.Given(options["token"], ports=tuple(options["ports"]))
    sheets = {host: _assignment.sheet(seed, host) for host in {name, *everybody}}
    others = {sheet.token: host for host, sheet in sheets.items() if host != name}
    return _engine.Given(
        options["token"] or sheets[name].token, ports=tuple(options["ports"]) or sheets[name].ports, others=others
    )


def _written(manifest: str | None, repository: str | None, work: t.Mapping[str, str] | None) -> Source:
    if manifest:
        return Source.read(manifest)
    if work is None or MANIFEST not in work:
        raise SourceError(f"{repository}/{MANIFEST}", "the manifest is not there")
    return Source(MANIFEST, work[MANIFEST])


@contextlib.contextmanager
def _as_agreed() -> t.Iterator[None]:
    """The module's words come from the stand's host, where anybody may have written them."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _engine.NotReached(f"it says something else than stand_info would: {type(error).__name__}") from error


@contextlib.contextmanager
def _bounded_memory() -> t.Iterator[None]:
    """A host may answer without end, and Ansible keeps every byte. The process is this task's own: it gets no more.

    What counts is memory that is written to (getrlimit(2), RLIMIT_DATA): programs that this one starts have the same
    limit, and some reserve addresses by the gigabyte.
    """
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    except OSError:  # not on Linux
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = pages * resource.getpagesize() + MAX_MEMORY
    known = [limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


class _OnHost:
    """The way to the host is Ansible's connection."""

    def __init__(self, action: ActionModule, variables: dict[str, t.Any], timeout: float) -> None:
        self._action = action
        self._variables = variables
        self._timeout = timeout
        #: Timers that start again what was stopped.
        self._guards: list[str] = []

    def facts(self) -> Facts:
        with _as_agreed():
            return Facts.of(self._look({"facts": True, "requests": []}))

    def ask(self, asks: t.Sequence[Ask]) -> list[Answered]:
        arguments = {"facts": False, "requests": [ask.spec() for ask in asks], "timeout": self._timeout}
        with _as_agreed():
            return [
                Answered(
                    "" if one["status"] is not None else str(one["cause"] or "closed"),
                    str(one["message"]), one["status"],
                    {str(key).lower(): str(value) for key, value in one["headers"].items()},
                    base64.b64decode(one["body"]), bool(one["truncated"]),
                )
                for one in self._look(arguments)["answers"]
            ]  # fmt: skip

    def held(self, ports: t.Sequence[int]) -> list[Held]:
        with _as_agreed():
            seen = self._look({"facts": False, "requests": [], "connections": list(ports)})["connections"]
            return [Held.of(one) for one in seen]

    def stop(self, unit: str) -> list[str]:
        seen = self._do("stop", {"argv": ["systemctl", "show", "--property=TriggeredBy", "--value", "--", unit]})
        # The socket first, or a visitor would start the service again.
        names = [*seen["stdout"].split(), unit]
        guard = f"weblab-verify-{secrets.token_hex(4)}"
        later = ["systemd-run", "--quiet", "--collect", f"--unit={guard}", f"--on-active={_changes.PATIENCE * 2:.0f}"]
        self._do("stop", {"argv": [*later, *_command("start", names)]})
        self._guards.append(f"{guard}.timer")
        self._do("stop", {"argv": _command("stop", names)})
        return names

    def start(self, units: t.Sequence[str]) -> None:
        for container in (True, False):
            names = [unit for unit in units if bool(_changes.CONTAINER.fullmatch(unit)) == container]
            if names:
                self._do("start", {"argv": _command("start", names)})
        if self._guards:
            self._do("start", {"argv": ["systemctl", "stop", "--", *self._guards]})
            self._guards.clear()

    def run(self, command: str) -> tuple[int, str]:
        environment = "ANSIBLE_NOCOLOR=1 ANSIBLE_FORCE_COLOR=0 ANSIBLE_STDOUT_CALLBACK=default LC_ALL=C.UTF-8"
        seen = self._module(
            "ansible.builtin.command", {"_raw_params": f"export {environment}; {command}", "_uses_shell": True}
        )
        return int(seen.get("rc", 1)), str(seen.get("stdout", ""))

    def reboot(self) -> None:
        task = self._action._task.copy()
        task.action = "ansible.builtin.reboot"
        # The boot's number is that of the machine below, where the host is a container; its first process is its own.
        task.args = {
            "boot_time_command": "cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 /proc/1/stat",
            "test_command": "timeout 120 systemctl is-system-running --wait || true",
        }
        action = self._action._shared_loader_obj.action_loader.get(
            task.action, task=task, connection=self._action._connection, play_context=self._action._play_context,
            loader=self._action._loader, templar=self._action._templar,
            shared_loader_obj=self._action._shared_loader_obj,
        )  # fmt: skip
        try:
            seen = action.run(task_vars=self._variables)
        except AnsibleConnectionFailure as error:
            raise _changes.ChangeError(f"reboot: {_words(error)}") from error
        if seen.get("failed"):
            raise _changes.ChangeError(f"reboot: {_words(seen.get('msg', ''))}")

    def _look(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        seen = self._module("weblab.stacks.stand_info", arguments)
        if seen.get("failed"):
            raise _engine.NotReached(_words(seen.get("msg", "")))
        return seen

    def _do(self, what: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        try:
            seen = self._module("ansible.builtin.command", arguments)
        except _engine.NotReached as error:
            raise _changes.ChangeError(f"{what}: {error}") from error
        if seen.get("failed") or seen.get("rc"):
            raise _changes.ChangeError(f"{what}: {_words(seen.get('stderr') or seen.get('msg', ''))}")
        return {"stdout": str(seen.get("stdout", ""))}

    def _module(self, name: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        try:
            with _bounded_memory():
                seen = self._action._execute_module(module_name=name, module_args=arguments, task_vars=self._variables)
        except AnsibleConnectionFailure as error:
            raise _engine.NotReached(_words(error)) from error
        except MemoryError as error:
            raise _engine.NotReached(f"its answer has more than {MAX_MEMORY >> 20} MiB") from error
        if seen.get("unreachable"):
            raise _engine.NotReached(_words(seen.get("msg", "")))
        return t.cast("dict[str, t.Any]", seen)


def _command(verb: str, units: t.Sequence[str]) -> list[str]:
    """Start or stop units of systemd, or containers of Docker."""
    containers = [match[1] for unit in units if (match := _changes.CONTAINER.fullmatch(unit))]
    return ["docker", verb, *containers] if containers else ["systemctl", verb, "--", *units]


def _words(said: object) -> str:
    return _text.plain(str(said).strip())[:300]
