# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites that run a WSGI application: in one uWSGI, or in a vassal for every service."""

from __future__ import annotations

import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from . import _uwsgi
from ._draft import Draft, Site, backend_endpoint
from ._plan import check_unique


def add_wsgi_site(draft: Draft, site: Site, here: str) -> None:
    emperor = draft.drawing["backend"]["supervisor"] == "emperor"
    if emperor:
        services = site["services"]
        if not services:
            raise DataError(f"{here}.services", "at least one service is needed")
    else:
        services = [{**site, "mount": "/", "calls": []}]
    places = [f"{here}.services[{number}]" if emperor else here for number in range(len(services))]
    check_unique([(service["name"], f"{place}.name") for service, place in zip(services, places)], "the service name")
    check_unique([(service["mount"], f"{place}.mount") for service, place in zip(services, places)], "the prefix")
    apps: dict[str, dict[str, t.Any]] = {}
    locations = [{"type": "static", **entry} for entry in site["static"]]
    for number, (service, place) in enumerate(zip(services, places)):
        name = f"{site['name']}-{service['name']}" if emperor else site["name"]
        endpoint = backend_endpoint(site, "uwsgi", _uwsgi.default_socket(name), place, number, service.get("socket"))
        draft.add_endpoint(site, "backend", endpoint, f"{place}.socket", {"path": service["mount"]})
        locations.append(
            {"path": service["mount"], "type": "uwsgi", "endpoint": endpoint.as_dict(), "timeout": service["harakiri"]}
        )
        app = {key: service[key] for key in ("user", "processes", "threads", "harakiri", "worker_mb") if key in service}
        apps[service["name"]] = {
            **app,
            **service["application"],
            "environment": dict(service["application"].get("environment", {})),
            "name": name,
            "mount": service["mount"],
            "listen": [{"endpoint": endpoint.as_dict()}],
        }
    for service, place in zip(services, places):
        for number, callee in enumerate(service["calls"]):
            _call(draft, site, apps, service, callee, f"{place}.calls[{number}]")
    draft.add_front(site, locations=locations)
    draft.plan["uwsgi_vassals" if emperor else "uwsgi_instances"].extend(apps.values())


def _call(
    draft: Draft,
    site: Site,
    apps: dict[str, dict[str, t.Any]],
    service: t.Mapping[str, t.Any],
    callee: str,
    what: str,
) -> None:
    """Let ``service`` call ``callee``.

    The callee gets a second socket, which only the caller's group may open; its path is in the caller's environment.
    """
    if callee not in apps or callee == service["name"]:
        others = ", ".join(sorted(set(apps) - {service["name"]})) or "none"
        raise DataError(what, f"{callee!r} is not another service of this site ({others})")
    app = apps[callee]
    endpoint = _endpoint.parse(_uwsgi.default_socket(app["name"], service["user"], "http"), what)
    app["listen"].append({"endpoint": endpoint.as_dict(), "group": service["user"]})
    apps[service["name"]]["environment"][f"{callee.upper().replace('-', '_')}_SOCKET"] = str(endpoint.unix)
    draft.add_endpoint(site, "internal", endpoint, what, {"path": app["mount"]})
