# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from catalog import api


def index(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()[:100]
    return render(request, "catalog.html", {"query": query, "books": api.books(query)})


def book(request: HttpRequest, slug: str) -> HttpResponse:
    found = api.book(slug)
    if found is None:
        raise Http404
    return render(request, "catalog_book.html", {"book": found})
