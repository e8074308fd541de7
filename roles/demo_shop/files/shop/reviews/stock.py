# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from reviews.models import Review


def fill(stock: dict[str, t.Any]) -> bool:
    """The first reviews, into an empty table only."""
    if Review.objects.exists():
        return False
    for item in stock["reviews"]:
        Review.objects.create(**item)
    return True
