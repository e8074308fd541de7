# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares the repositories of a class, and writes what they have in common."""

from __future__ import annotations

import json
import pathlib
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._errors import DataError
from ..plugin_utils._verify import _similarity, _text

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "repositories": {"type": "dict", "required": True},
    "handed_out": {"type": "list", "elements": "path", "default": []},
    "threshold": {"type": "float", "default": _similarity.THRESHOLD},
    "results": {"type": "path", "required": True},
    "language": {"type": "str", "choices": list(_text.LANGUAGES), "default": "en"},
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        repositories = {str(name): str(path) for name, path in options["repositories"].items()}
        # Documents of stands are beside it, and every one there is taken for one.
        directory = pathlib.Path(options["results"]) / "similarity"
        try:
            if not repositories:
                raise DataError("repositories", "there is none")
            found = _similarity.compare(repositories, options["handed_out"], options["threshold"])
            directory.mkdir(parents=True, exist_ok=True)
            text = json.dumps(found, ensure_ascii=False, indent=2) + "\n"
            # A name may have a half of a character in it, which no file can.
            (directory / "similarity.json").write_text(text, encoding="utf-8", errors="replace")
            page = _similarity.page(found, options["language"])
            (directory / "similarity.html").write_text(page, encoding="utf-8")
        except DataError as error:
            raise AnsibleActionFail(str(error)) from error
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename}: {error.strerror}") from error
        for line in _similarity.rows(found, options["language"]):
            self._display.display(line)
        result.update(
            changed=False,
            families=found["families"],
            small=[one["name"] for one in found["repositories"] if one["state"] == "small"],
            unread=[one["name"] for one in found["repositories"] if one["state"] == "unread"],
            page=str(directory / "similarity.html"),
        )
        return result
