# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""nginx sites: from data to files, addresses and probes."""

from __future__ import annotations

import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _spec
from ._front import add_sites, check_site, site_endpoint, site_ports
from ._locations import complete_location
from ._plan import Plan, check_path, check_text, check_unique, empty_plan, marker

#: Where nginx has its configuration, and the unit that reads it, as ``config_tree`` takes them.
NGINX_TREE = {"daemon": "nginx", "root": "/etc/nginx", "service": "nginx.service"}


def nginx_pass(value: t.Any, target: str = "") -> str:
    """Spell an endpoint as ``proxy_pass``, ``fastcgi_pass``, ``uwsgi_pass`` and ``scgi_pass`` take it.

    Source: https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_pass and its siblings.
    """
    endpoint = _endpoint.parse(value, "endpoint")
    if endpoint.protocol in ("http", "https", "ws", "wss", "sse"):
        scheme = "https" if endpoint.tls else "http"
        if endpoint.unix is not None:
            return f"{scheme}://unix:{endpoint.unix}{':' if target else ''}{target}"
        return f"{scheme}://{endpoint.address}{target}"
    return f"unix:{endpoint.unix}" if endpoint.unix is not None else endpoint.address


def nginx_plan(sites: list[dict[str, t.Any]], owner: str, where: str = "nginx_sites") -> Plan:
    """Return files, listeners, probes and required paths of the sites that ``owner`` declares.

    :raises DataError: with the path of the wrong value.
    """
    checked: list[dict[str, t.Any]] = _spec.checked(_spec.role_options("nginx")["nginx_sites"], sites, where)
    plan = empty_plan()
    add_sites(plan, checked, where, _complete, _requires)
    if checked:
        plan["files"].append(marker(owner, "nginx", sites=site_ports(checked)))
    return plan


def _complete(site: dict[str, t.Any], here: str) -> _endpoint.Endpoint:
    check_site(site, here)
    endpoint = site_endpoint(site, here)
    site["listen"] = [endpoint.address] if site["address"] else [str(site["port"]), f"[::]:{site['port']}"]
    if site.get("root"):
        check_path(site["root"], f"{here}.root")
    for key, value in site["headers"].items():
        check_text(f"{key}: {value}", f"{here}.headers.{key}")
    for number, location in enumerate(site["locations"]):
        _complete_location(location, site, f"{here}.locations[{number}]")
        location["upstream"] = f"{site['name']}-{number}"
    for number, path in enumerate(site["deny_php"]):
        check_path(path, f"{here}.deny_php[{number}]")
    paths = [
        (f"{'of PHP ' if location['type'] == 'php' else ''}{location['path']}", f"{here}.locations[{number}].path")
        for number, location in enumerate(site["locations"])
    ]
    check_unique(paths, "the location")
    return endpoint


def _complete_location(location: dict[str, t.Any], site: t.Mapping[str, t.Any], here: str) -> None:
    kind = location["type"]
    if kind in ("static", "php") and not location.get("root") and not site.get("root"):
        raise DataError(here, f"a {kind} location needs a root, its own or the site's")
    complete_location(location, here)


def _requires(site: t.Mapping[str, t.Any], here: str) -> list[dict[str, t.Any]]:
    paths = [(site.get("root"), f"{here}.root")]
    paths += [(location.get("root"), f"{here}.locations[{n}].root") for n, location in enumerate(site["locations"])]
    paths += [(path, f"{here}.tls.{key}") for key, path in (site.get("tls") or {}).items()]
    return [{"path": path, "what": what} for path, what in paths if path]
