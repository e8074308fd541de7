# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at one stand, from the controller and on its host, and writes what it is worth."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import pathlib
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._errors import DataError
from ..plugin_utils._verify import _engine, _manifest, _report, _rubric, _text, _work
from ..plugin_utils._verify._evidence import Answered, Ask, Facts

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "stand": {"type": "dict", "required": True},
    "rubric": {"type": "str", "default": "course"},
    "address": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "language": {"type": "str", "choices": list(_text.LANGUAGES), "default": "en"},
    "hints": {"type": "str", "choices": list(_text.HINTS), "default": "cause"},
    "results": {"type": "path"},
    "timeout": {"type": "float", "default": 20},
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        name = str(variables.get("inventory_hostname", "stand"))
        address = options["address"] or str(variables.get("ansible_host", name))
        try:
            rubric = _rubric.load(options["rubric"])
            stand = _manifest.parse(options["stand"], name, address)
            given = _engine.Given(options["token"], _work.read(stand.repository) if stand.repository else None)
            host = _OnHost(self, variables, options["timeout"])
            document = _engine.examine(rubric, stand, host, given, options["timeout"])
        except DataError as error:
            raise AnsibleActionFail(str(error)) from error
        document["format"] = 1
        document["stand"] = {"name": stand.name, "host": name, "sites": [site.name for site in stand.sites]}
        document["checked"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        if options["results"]:
            _write(pathlib.Path(options["results"]), name, document)
        result.update(
            changed=False,
            verdict=document["verdict"],
            percent=document["percent"],
            first="\n".join(_text.first_cause(document, options["language"], options["hints"])),
            document=document,
            report={name: options[name] for name in ("results", "language", "hints")},
        )
        for line in _text.summary(document, options["language"], options["hints"]):
            self._display.display(line)
        return result


def _write(directory: pathlib.Path, name: str, document: dict[str, t.Any]) -> None:
    """Put the document beside those of other stands; a reader never sees half of one."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        draft = directory / f".{_report.file_name(name)}.json.new"
        draft.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        draft.rename(directory / f"{_report.file_name(name)}.json")
    except OSError as error:
        raise DataError("results", f"{error.filename} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _as_agreed() -> t.Iterator[None]:
    """The module's words come from the stand's host, where anybody may have written them."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("", f"the host says something else than stand_info would: {type(error).__name__}") from error


class _OnHost:
    """The way to the host is Ansible's connection."""

    def __init__(self, action: ActionModule, variables: dict[str, t.Any], timeout: float) -> None:
        self._action = action
        self._variables = variables
        self._timeout = timeout

    def facts(self) -> Facts | None:
        with _as_agreed():
            return Facts.of(self._call({"facts": True, "requests": []}))

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
                for one in self._call(arguments)["answers"]
            ]  # fmt: skip

    def _call(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        seen = self._action._execute_module(
            module_name="weblab.stacks.stand_info", module_args=arguments, task_vars=self._variables
        )
        if seen.get("failed"):
            raise DataError("", f"the host could not be looked at: {_text.plain(str(seen.get('msg', '')))[:500]}")
        return t.cast("dict[str, t.Any]", seen)
