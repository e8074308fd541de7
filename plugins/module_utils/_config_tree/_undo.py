# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What a transaction has done to files, and the way back."""

from __future__ import annotations

import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _service, _tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import Change

UNITS = "/etc/systemd/system/"


class Undo:
    """What has been done to files, and how to take it back, newest first."""

    def __init__(self) -> None:
        self._steps: list[t.Callable[[], t.Any]] = []
        self._units = False

    @property
    def any(self) -> bool:
        return bool(self._steps)

    def add(self, step: t.Callable[[], t.Any]) -> None:
        self._steps.append(step)

    def files(self, base: str, changes: t.Sequence[Change]) -> None:
        _tree.apply(base, changes, lambda change: self.add(lambda: _tree.apply(base, [change.reversed()])))

    def system(self, changes: t.Sequence[Change]) -> None:
        """Apply changes outside of the tree; systemd reads its units anew, now and on the way back."""
        units = any(change.path.startswith(UNITS) for change in changes)
        self._units |= units
        self.files("/", changes)
        if units:
            _service.systemctl("daemon-reload")

    def run(self) -> None:
        """Take back as much as can be, also where one step fails.

        :raises: what the first step that failed did.
        """
        failed: list[Exception] = []
        touched = self.any
        steps = [*reversed(self._steps), *([_daemon_reload] if self._units and touched else [])]
        self._steps = []
        for step in steps:
            try:
                step()
            except (OSError, _tree.TreeError, _service.ServiceError) as error:
                failed.append(error)
        if failed:
            raise failed[0]


def _daemon_reload() -> None:
    _service.systemctl("daemon-reload")
