# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes every report of the documents that verify_stand has written."""

from __future__ import annotations

import pathlib
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._errors import DataError
from ..plugin_utils._verify import _report, _results, _text

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "results": {"type": "path", "required": True},
    "begin": {"type": "bool", "default": False},
    "language": {"type": "str", "choices": list(_text.LANGUAGES), "default": "en"},
    "hints": {"type": "str", "choices": list(_text.HINTS), "default": "cause"},
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        language, hints = options["language"], options["hints"]
        directory = pathlib.Path(options["results"])
        results = _results.Results(directory)
        result.update(changed=False, stands=[])
        try:
            if options["begin"]:
                results.begin()
                return result
            documents = results.all()
            if not documents:
                raise DataError("results", f"{directory} has no results; verify_stand writes them")
            for document in documents:
                name = _report.file_name(document["stand"]["host"])
                (directory / f"{name}.html").write_text(_report.page(document, language, hints), encoding="utf-8")
                (directory / f"{name}.xml").write_text(_report.junit(document, language), encoding="utf-8")
                (directory / f"{name}.txt").write_text(_report.chat(document, language, hints), encoding="utf-8")
            # With a mark of UTF-8 at the beginning, without which spreadsheets guess.
            (directory / "class.csv").write_text(_report.table(documents, language), encoding="utf-8-sig", newline="")
            (directory / "class.html").write_text(_report.overview(documents, language), encoding="utf-8")
        except DataError as error:
            raise AnsibleActionFail(str(error)) from error
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename}: {error.strerror}") from error
        for line in _report.rows(documents, language):
            self._display.display(line)
        result.update(
            stands=[
                {"name": one["stand"]["name"], "verdict": one["verdict"], "percent": one["percent"]}
                for one in documents
            ],
        )
        return result
