# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites of an Apache behind nginx, which serves files first, then what it has kept."""

from __future__ import annotations

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from ._draft import TCP_OFFSET, Draft, Site
from ._php_sites import add_php_site

#: What is the Apache's and its program's.
_KEYS = (
    "name root index front_controller aliases deny_php environment max_body_mb health_path"
    " php_values user socket pm worker_mb workers"
).split()

_HERE = "127.0.0.1"

#: From the site's port to its Apache's. The next one above the site's is a program's, should the site have had another
#: stack before: both listen while the site moves.
_BEHIND = 2 * TCP_OFFSET

#: Seconds that the Apache may be silent: no less than it waits for its own backend.
_TIMEOUT = 130


def add_proxied_site(draft: Draft, site: Site, here: str) -> None:
    port = site["port"] + _BEHIND
    endpoint = _endpoint.parse({"host": _HERE, "port": port}, f"{here}.port", "http")
    draft.add_endpoint(site, "backend", endpoint, f"{here}.port", {"path": site["health_path"]})
    behind = {key: site[key] for key in _KEYS if key in site}
    behind.update(front=site["backend"], address=_HERE, port=port, server_names=[])
    if draft.gateway(behind) == "fastcgi" and "user" not in site:
        raise DataError(f"{here}.user", "this key is required: PHP-FPM runs the site's PHP as a user of its own")
    add_php_site(draft, behind, here)
    apache = draft.plan["fronts"][site["backend"]][-1]
    # Not the site's own name: where this Apache had the site to itself, it serves on under that until nginx takes over.
    apache["name"] = f"{site['name']}-{port}"
    apache["proxies"] = [_HERE]
    if "backend_cache" in site:
        apache["cache"] = site["backend_cache"]
    _add_nginx(draft, site, endpoint, behind["aliases"])


def _add_nginx(draft: Draft, site: Site, endpoint: _endpoint.Endpoint, aliases: list[Site]) -> None:
    cache = {key: value for key, value in site["cache"].items() if key != "enabled"}
    locations: list[Site] = [
        {
            "type": "proxy",
            "path": "/",
            "endpoint": endpoint.as_dict(),
            "timeout": _TIMEOUT,
            "cache": site["cache"]["enabled"],
        }
    ]
    static = site["static"]
    if static["suffixes"]:
        files = {"type": "files", **static}
        locations += [{**files, "path": place["path"], "root": place["root"]} for place in aliases]
        locations.append({**files, "path": "/"})
    more = {key: site[key] for key in ("open_files",) if key in site}
    draft.add_front(
        site, ("root", "index"), locations=locations, **more, **({"cache": cache} if site["cache"]["enabled"] else {})
    )
