# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""endpoint_probe asks from the managed host by its module, or from the controller, right here."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._endpoint import EndpointError
from ..module_utils._probe import ARGUMENTS, run_probe


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        if options["from"] == "host":
            asynchronous = self._task.async_val and not self._connection.has_native_async
            result.update(
                self._execute_module(
                    module_name="weblab.stacks.endpoint_probe", task_vars=task_vars or {}, wrap_async=asynchronous
                )
            )
            return result
        if self._task.async_val:
            raise AnsibleActionFail("async needs from: host; give a long timeout instead")
        try:
            found, problem = run_probe(options, self._task.check_mode)
        except EndpointError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(found)
        if problem and self._task.check_mode:
            result["warnings"] = [problem]
        elif problem:
            result.update(failed=True, msg=problem)
        return result
