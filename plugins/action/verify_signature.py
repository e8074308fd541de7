# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Are the documents of a directory what the teacher has signed?"""

from __future__ import annotations

import pathlib
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._errors import DataError
from ..plugin_utils._verify import _signature, _text

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "path": {"type": "path", "required": True},
    "public_key": {"type": "path", "required": True},
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        path = pathlib.Path(options["path"])
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise AnsibleActionFail(f"path: {path} is no document, and no directory with documents")
        try:
            found = {file.name: _signature.check(file, options["public_key"]) for file in files}
        except (DataError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error
        for name, state in found.items():
            self._display.display(f"{_text.plain(name)}: {state}")
        bad = [_text.plain(name) for name, state in found.items() if state != "good"]
        result.update(changed=False, signatures=found)
        if bad:
            result.update(failed=True, msg=f"not what was signed with this key: {', '.join(bad)}")
        return result
