# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of config_tree: every template is rendered here, and the host gets one call."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import generate_ansible_template_vars, trust_as_template

from ..plugin_utils._compile import _stacks

#: Ansible loads actions before it makes a process for each task. What is imported here, the filters of all later tasks
#: have; else each of their processes compiles it anew.
_AT_HAND = _stacks
_OVERRIDES = {"trim_blocks": True, "lstrip_blocks": True, "newline_sequence": "\n"}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        owners = arguments.get("owners")
        if not isinstance(owners, t.Mapping):
            raise AnsibleActionFail("owners is a mapping from an owner to its list of entries")
        arguments["owners"] = {
            owner: [
                self._rendered(entry, f"owners.{owner}[{index}]", variables)
                for index, entry in enumerate(entries or [])
            ]
            for owner, entries in owners.items()
        }
        for option in ("requires", "listen", "probe", "validate", "reload", "takes_over"):
            if arguments.get(option) is None:
                arguments.pop(option, None)
        result.update(
            self._execute_module(module_name="weblab.stacks.config_tree", module_args=arguments, task_vars=variables)
        )
        # The arguments hold the content of every file.
        result.pop("invocation", None)
        return result

    def _rendered(self, entry: t.Any, where: str, variables: dict[str, t.Any]) -> t.Any:
        if not isinstance(entry, t.Mapping):
            return entry
        rendered = {key: value for key, value in entry.items() if value is not None}
        extra = rendered.pop("vars", {})
        source = rendered.pop("template", None)
        if source is None:
            if extra:
                raise AnsibleActionFail(f"{where}: vars are for a template, and there is none")
            return rendered
        if "content" in rendered:
            raise AnsibleActionFail(f"{where}: give either template or content")
        place = rendered.get("path") or rendered.get("system")
        try:
            rendered["content"] = self._template(source, str(place), {**variables, **extra})
        except AnsibleError as error:
            raise AnsibleActionFail(
                f"The template {source} for {place} ({where}) cannot be rendered: {error}"
            ) from error
        return rendered

    def _template(self, source: str, destination: str, variables: dict[str, t.Any]) -> str:
        path = self._find_needle("templates", source)
        search = [*variables.get("ansible_search_path", []), self._loader.get_basedir(), os.path.dirname(path)]
        # The user's own ansible_managed wins, as in ansible.builtin.template.
        variables = {**generate_ansible_template_vars(source, path, destination), **variables}
        templar = self._templar.copy_with_new_env(
            searchpath=[place for directory in search for place in (os.path.join(directory, "templates"), directory)],
            available_variables=variables,
        )
        text = templar.template(
            trust_as_template(self._loader.get_text_file_contents(path)), escape_backslashes=False, overrides=_OVERRIDES
        )
        return "" if text is None else str(text)
