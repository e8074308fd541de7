# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages that visitors come to. They know the catalog and the reviews only through calls."""

from __future__ import annotations

import typing as t

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from shop.calls import PartDownError, call

from pages.models import Page


class ReviewForm(forms.Form):
    name = forms.CharField(max_length=80)
    stars = forms.IntegerField(min_value=1, max_value=5)
    text = forms.CharField(max_length=2000)


def _ask(down: list[PartDownError], part: str, function: str, default: t.Any, **arguments: t.Any) -> t.Any:
    """The answer of a part, or `default` and a word to the visitor: the rest of the shop stays open."""
    try:
        return call(part, function, **arguments)
    except PartDownError as error:
        down.append(error)
        return default


def home(request: HttpRequest) -> HttpResponse:
    down: list[PartDownError] = []
    books = _ask(down, "catalog", "books", [])
    ratings = _ask(down, "reviews", "ratings", {})
    for book in books:
        book["rating"] = ratings.get(book["slug"])
    context = {"books": books, "down": down, "pages": Page.objects.all()}
    return render(request, "home.html", context)


def book(request: HttpRequest, slug: str) -> HttpResponse:
    down: list[PartDownError] = []
    found = _ask(down, "catalog", "book", None, slug=slug)
    if down:
        return render(request, "down.html", {"down": down}, status=503)
    if found is None:
        raise Http404
    wrong: list[str] = []
    form = ReviewForm(request.POST or None)
    if request.method == "POST":
        if form.is_valid():
            wrong = _ask(down, "reviews", "add", [], book=slug, **form.cleaned_data)
            if not wrong and not down:
                messages.success(request, settings.TEXTS["thanks"])
                return HttpResponseRedirect(reverse("pages:book", args=[slug]))
        else:
            wrong = sorted(form.errors)
    reviews = _ask(down, "reviews", "reviews", [], book=slug) if not down else []
    context = {"book": found, "reviews": reviews, "form": form, "wrong": wrong, "down": down, "stars": range(5, 0, -1)}
    return render(request, "book.html", context, status=422 if wrong else 200)


def page(request: HttpRequest, slug: str) -> HttpResponse:
    return render(request, "page.html", {"page": get_object_or_404(Page, slug=slug)})
