# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from pages.models import Page


def fill(stock: dict[str, t.Any]) -> bool:
    """The first pages, into an empty table only."""
    if Page.objects.exists():
        return False
    for position, item in enumerate(stock["pages"]):
        Page.objects.create(position=position, **item)
    return True
