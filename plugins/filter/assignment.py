# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Task sheets of an assignment."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import DataError


def task_sheet(student: t.Any, seed: t.Any, sites: t.Any = 3) -> dict[str, t.Any]:
    # Not at the top: Ansible imports all filters of a collection for every task.
    from ..plugin_utils._verify import _assignment

    try:
        made = dataclasses.asdict(_assignment.sheet(str(seed), str(student), int(sites)))
    except (DataError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None
    return {**made, "ports": list(made["ports"])}


class FilterModule:
    """What a student is given."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"task_sheet": task_sheet}
