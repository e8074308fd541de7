# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites that run PHP: in the front server itself, or in a pool of PHP-FPM."""

from __future__ import annotations

import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from . import _php_fpm
from ._draft import Draft, Site, backend
from ._plan import check_unique

_KEYS = ("root", "index", "front_controller", "aliases", "deny_php", "environment")

#: Seconds that a pool may be silent; its own limit of a request is the same.
_TIMEOUT = 120


def add_php_site(draft: Draft, site: Site, here: str) -> None:
    body = f"{site['max_body_mb']}M"
    values = {"upload_max_filesize": body, "post_max_size": body, **site["php_values"]}
    site["aliases"] = _aliases(site, here)
    if draft.gateway(site) == "mod_php":
        # Elsewhere than under mpm-itk, mod_php runs as Apache's own user, whatever user the site names.
        keys = (*_KEYS, "user") if draft.front(site)["mpm"] == "itk" else _KEYS
        draft.add_front(site, keys, php={"handler": "mod_php", "admin_values": values})
        return
    name, endpoint = backend(site, site["name"], "fastcgi", _php_fpm.default_socket, here)
    draft.add_endpoint(site, "backend", endpoint, f"{here}.socket", {"path": _php_fpm.PING_PATH})
    if draft.front(site)["component"] == "nginx":
        draft.add_front(site, ("root", "index", "deny_php"), locations=_nginx_locations(site, endpoint, here))
    else:
        draft.add_front(site, _KEYS, php={"handler": "php_fpm", "endpoint": endpoint.as_dict(), "timeout": _TIMEOUT})
    pool: Site = {key: site[key] for key in ("user", "pm", "worker_mb", "workers") if key in site}
    draft.plan["php_fpm_pools"].append({**pool, "name": name, "listen": endpoint.as_dict(), "admin_values": values})


def _aliases(site: Site, here: str) -> list[dict[str, str]]:
    """Return the aliases without slashes at their ends, and of two that fit the longer one first."""
    found = []
    for number, alias in enumerate(site["aliases"]):
        path = alias["path"].rstrip("/")
        if not path:
            raise DataError(f"{here}.aliases[{number}].path", "the whole site's directory is its root, not an alias")
        found.append(({"path": path, "root": alias["root"].rstrip("/")}, f"{here}.aliases[{number}].path"))
    check_unique([(alias["path"], where) for alias, where in found], "the alias")
    return sorted((alias for alias, _where in found), key=lambda alias: len(alias["path"]), reverse=True)


def _nginx_locations(site: Site, endpoint: _endpoint.Endpoint, here: str) -> list[dict[str, t.Any]]:
    """Return what nginx needs for the same site: where scripts run, and files beside them."""
    for key, value in site["environment"].items():
        if "$" in str(value):
            problem = f"nginx takes the $ in {value!r} for a variable; do without it"
            raise DataError(f"{here}.environment.{key}", problem)
    script = {
        "type": "php",
        "endpoint": endpoint.as_dict(),
        "params": site["environment"],
        "timeout": _TIMEOUT,
    }
    controller = {key: site[key] for key in ("front_controller",) if key in site}
    return [
        *({**script, **alias} for alias in site["aliases"]),
        {**script, "path": "/", **controller},
        {"type": "static", "path": "/", **controller},
    ]
