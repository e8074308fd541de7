# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shop as a WSGI application, with the lab's "who served me" page beside it."""

from __future__ import annotations

import os
import sys
import typing as t

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
_django = get_wsgi_application()

sys.path.append(os.environ.get("SHOP_WHOAMI", "/srv/weblab/whoami"))
try:
    from whoami import application as _whoami  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    _whoami = None


def application(environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> t.Iterable[bytes]:
    # Before Django: who answers can be asked even when the database is down. The parts have it below their own
    # prefix, which is the mount point of a service and a part of the path in the monolith.
    if _whoami and environ.get("PATH_INFO", "").rstrip("/") in ("/whoami", "/catalog/whoami", "/reviews/whoami"):
        return t.cast("t.Iterable[bytes]", _whoami(environ, start_response))
    return t.cast("t.Iterable[bytes]", _django(environ, start_response))
