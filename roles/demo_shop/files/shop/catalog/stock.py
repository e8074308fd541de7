# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from catalog.models import Author, Book


def fill(stock: dict[str, t.Any]) -> bool:
    """The opening stock, into an empty catalog only: what the shopkeeper changed stays."""
    if Book.objects.exists():
        return False
    for item in stock["books"]:
        author, _created = Author.objects.get_or_create(name=item["author"])
        Book.objects.create(**{**item, "author": author})
    return True
