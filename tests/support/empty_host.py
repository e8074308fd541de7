# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand's host for tests of what is seen from outside."""

from __future__ import annotations

import typing as t

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._evidence import Answered, Ask, Facts, Held


class Empty:
    """A host on which nothing runs."""

    def facts(self) -> Facts:
        return Facts({}, (), 0, {})

    def ask(self, asks: t.Sequence[Ask]) -> list[Answered]:
        return [Answered("refused") for _ask in asks]

    def held(self, ports: t.Sequence[int]) -> list[Held]:
        return []
