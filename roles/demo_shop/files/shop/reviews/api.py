# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the reviews offer to the other parts: plain values in, plain values out."""

from __future__ import annotations

import typing as t

from django.core.exceptions import ValidationError
from django.db.models import Avg, Count

from reviews.models import Review

OFFERED = ("ratings", "reviews", "add")


def _plain(review: Review) -> dict[str, t.Any]:
    return {
        "book": review.book,
        "name": review.name,
        "stars": review.stars,
        "text": review.text,
        "created": review.created.strftime("%Y-%m-%d"),
    }


def ratings() -> dict[str, dict[str, t.Any]]:
    found = Review.objects.order_by().values("book").annotate(average=Avg("stars"), count=Count("pk"))
    return {item["book"]: {"average": round(item["average"], 1), "count": item["count"]} for item in found}


def reviews(book: str = "", limit: int = 50) -> list[dict[str, t.Any]]:
    found = Review.objects.all()
    if book:
        found = found.filter(book=book)
    return [_plain(review) for review in found[:limit]]


def add(book: str, name: str, stars: int, text: str) -> list[str]:
    """Adds a review; the names of the fields that are wrong, or nothing."""
    review = Review(book=book, name=name, stars=stars, text=text)
    try:
        review.full_clean()
    except ValidationError as error:
        return sorted(error.message_dict)
    review.save()
    return []
