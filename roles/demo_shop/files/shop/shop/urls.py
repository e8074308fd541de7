# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same addresses in both drawings.

A service is mounted where its part lies in the monolith, and uWSGI puts the mount point into SCRIPT_NAME:
reverse() gives /catalog/... in both.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls)]
if settings.PART == "all":
    urlpatterns += [
        path("catalog/", include("catalog.urls")),
        path("reviews/", include("reviews.urls")),
        path("", include("pages.urls")),
    ]
else:
    urlpatterns += [path("", include(f"{name}.urls")) for name in settings.PARTS[settings.PART]]
