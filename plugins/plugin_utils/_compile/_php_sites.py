# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites that run PHP: in the front server itself, or in a pool of PHP-FPM."""

from __future__ import annotations

import typing as t

from . import _php_fpm
from ._draft import Draft, Site, backend_endpoint

_KEYS = ("root", "index", "front_controller", "aliases", "deny_php", "environment")


def add_php_site(draft: Draft, site: Site, here: str) -> None:
    body = f"{site['max_body_mb']}M"
    values = {"upload_max_filesize": body, "post_max_size": body, **site["php_values"]}
    if draft.drawing["gateway"] == "mod_php":
        draft.add_front(site, _KEYS, php={"handler": "mod_php", "admin_values": values})
        return
    endpoint = backend_endpoint(site, "fastcgi", _php_fpm.default_socket(site["name"]), here)
    draft.add_endpoint(site, "backend", endpoint, f"{here}.socket", {"path": _php_fpm.PING_PATH})
    draft.add_front(site, _KEYS, php={"handler": "php_fpm", "endpoint": endpoint.as_dict()})
    keys = [key for key in ("name", "user", "pm", "worker_mb", "workers") if key in site]
    pool: dict[str, t.Any] = {key: site[key] for key in keys}
    draft.plan["php_fpm_pools"].append({**pool, "listen": endpoint.as_dict(), "admin_values": values})
