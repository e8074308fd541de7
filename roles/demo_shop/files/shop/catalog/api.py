# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the catalog offers to the other parts: plain values in, plain values out."""

from __future__ import annotations

import typing as t

from django.db.models import Q

from catalog.models import Book

OFFERED = ("books", "book")


def _plain(book: Book) -> dict[str, t.Any]:
    return {
        "slug": book.slug,
        "title": book.title,
        "author": book.author.name,
        "year": book.year,
        "pages": book.pages,
        "price": str(book.price),
        "in_stock": book.in_stock,
        "hue": book.hue,
        "summary": book.summary,
    }


def books(query: str = "") -> list[dict[str, t.Any]]:
    found = Book.objects.select_related("author")
    if query:
        found = found.filter(Q(title__icontains=query) | Q(author__name__icontains=query))
    return [_plain(book) for book in found]


def book(slug: str) -> dict[str, t.Any] | None:
    found = Book.objects.select_related("author").filter(slug=slug).first()
    return _plain(found) if found else None
