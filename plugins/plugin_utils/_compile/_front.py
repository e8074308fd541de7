# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What the sites of all front servers have in common."""

from __future__ import annotations

import re
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from ._plan import Plan, check_name, check_path, check_unique, listener

Site = t.Dict[str, t.Any]


def add_sites(
    plan: Plan,
    sites: list[Site],
    where: str,
    complete: t.Callable[[Site, str], _endpoint.Endpoint],
    requires: t.Callable[[Site, str], list[dict[str, t.Any]]],
) -> None:
    """Add to ``plan`` each site's file, its link, its address, its probe and the paths that it needs.

    :param complete: checks a site, fills in what follows from the rest, and returns where it listens.
    """
    for index, site in enumerate(sites):
        here = f"{where}[{index}]"
        endpoint = complete(site, here)
        file = f"{site['name']}.conf"
        plan["files"] += [
            {"path": f"sites-available/{file}", "template": "sites-available/site.conf.j2", "vars": {"site": site}},
            {"path": f"sites-enabled/{file}", "link": f"../sites-available/{file}"},
        ]
        plan["listen"].append(listener(endpoint, f"{here}.port"))
        plan["probe"].append(site_probe(site, endpoint))
        plan["requires"] += requires(site, here)
    check_unique([(site["name"], f"{where}[{index}].name") for index, site in enumerate(sites)], "the site name")
    check_server_names(sites, where)


def site_listens(sites: list[Site]) -> dict[str, str]:
    """Return where each site listens, by its name: a port, or an address and a port."""
    return {
        site["name"]: f"{site['address']}:{site['port']}" if site["address"] else str(site["port"]) for site in sites
    }


def site_endpoint(site: t.Mapping[str, t.Any], here: str) -> _endpoint.Endpoint:
    """Return the endpoint that a front server's site listens on."""
    host = site.get("address") or "0.0.0.0"
    protocol = "https" if site.get("tls") else "http"
    return _endpoint.parse({"host": host, "port": site["port"]}, f"{here}.port", protocol)


def site_probe(site: t.Mapping[str, t.Any], endpoint: _endpoint.Endpoint) -> dict[str, t.Any]:
    """Return the probe that a site answers, by its first name, on an address of the host itself."""
    address = _endpoint.parse(
        {"host": {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(endpoint.host), endpoint.host), "port": endpoint.port},
        "",
        endpoint.protocol,
    )
    probe = {"name": f"site {site['name']}", "endpoint": address.as_dict(), "path": site["health_path"]}
    if site.get("server_names"):
        probe["host"] = site["server_names"][0]
    return probe


def check_server_names(sites: list[dict[str, t.Any]], where: str) -> None:
    """Refuse two sites that would answer for the same name on the same port."""
    names = []
    for index, site in enumerate(sites):
        for name in site["server_names"] or ["every host name"]:
            names.append((f"port {site['port']} of {name}", f"{where}[{index}].port"))
    check_unique(names, "the front of")


def check_site(site: dict[str, t.Any], here: str) -> None:
    """Check what all front servers' sites have in common."""
    check_name(site["name"], f"{here}.name")
    check_path(site["health_path"].partition("?")[0], f"{here}.health_path")
    for number, name in enumerate(site["server_names"]):
        if not re.match(r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", name):
            raise DataError(f"{here}.server_names[{number}]", f"{name!r} is not a host name")
    for key in ("certificate", "key"):
        if site.get("tls"):
            check_path(site["tls"][key], f"{here}.tls.{key}")
