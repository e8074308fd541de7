# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites that run a WSGI application: in one uWSGI, in a vassal for every service, in mod_wsgi, or in another server."""

from __future__ import annotations

import functools
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from . import _app_service, _uwsgi
from ._draft import Draft, Site, backend
from ._plan import check_unique

#: Where the role aioscgi has put that server.
AIOSCGI = "/opt/weblab/aioscgi"


def add_wsgi_site(draft: Draft, site: Site, here: str) -> None:
    if draft.gateway(site) == "mod_wsgi":
        _add_mod_wsgi(draft, site)
        return
    server = draft.drawing.get("backend") or draft.drawing["backends"][site["server"]]
    if server["component"] == "app_service":
        _add_aioscgi(draft, site, here)
        return
    gateway = draft.gateway(site)
    emperor = server["supervisor"] == "emperor"
    services, places = _services(site, here, cut=emperor)
    check_unique([(service["name"], f"{place}.name") for service, place in zip(services, places)], "the service name")
    check_unique([(service["mount"], f"{place}.mount") for service, place in zip(services, places)], "the prefix")
    apps: dict[str, dict[str, t.Any]] = {}
    locations = _static(site)
    for number, (service, place) in enumerate(zip(services, places)):
        name = f"{site['name']}-{service['name']}" if emperor else site["name"]
        if gateway != "uwsgi":
            name = f"{name}-{gateway}"
        unix = functools.partial(_uwsgi.default_socket, protocol=gateway)
        name, endpoint = backend(site, name, gateway, unix, place, number, service.get("socket"))
        draft.add_endpoint(site, "backend", endpoint, f"{place}.socket", {"path": service["mount"]}, service["mount"])
        locations.append(
            {"path": service["mount"], "type": gateway, "endpoint": endpoint.as_dict(), "timeout": service["harakiri"]}
        )
        app: Site = {
            key: service[key] for key in ("user", "processes", "threads", "harakiri", "worker_mb") if key in service
        }
        apps[service["name"]] = {
            **app,
            **service["application"],
            "environment": dict(service["application"].get("environment", {})),
            "name": name,
            "mount": service["mount"],
            "listen": [{"endpoint": endpoint.as_dict()}],
        }
        _uwsgi.check_application(apps[service["name"]], endpoint, place)
    for service, place in zip(services, places):
        for number, callee in enumerate(service["calls"]):
            _call(draft, site, apps, service, callee, f"{place}.calls[{number}]")
    draft.add_front(site, locations=locations)
    draft.plan["uwsgi_vassals" if emperor else "uwsgi_instances"].extend(apps.values())


def _services(site: Site, here: str, *, cut: bool) -> tuple[list[Site], list[str]]:
    """Return the services of a site with their paths in the user's data; one that is not cut is one service itself."""
    if cut and site["services"]:
        return site["services"], [f"{here}.services[{number}]" for number in range(len(site["services"]))]
    for key in ("application", "user"):
        if not site.get(key):
            raise DataError(f"{here}.{key}", "this key is required where there are no services")
    return [{**site, "name": "web", "mount": "/", "calls": []}], [here]


def _static(site: Site) -> list[dict[str, t.Any]]:
    return [{"type": "static", **entry} for entry in site["static"]]


def _add_mod_wsgi(draft: Draft, site: Site) -> None:
    keys = ("application", "user", "processes", "threads", "worker_mb")
    location: dict[str, t.Any] = {key: site[key] for key in keys if key in site}
    location.update(path="/", type="wsgi", timeout=site["harakiri"])
    draft.add_front(site, locations=[*_static(site), location])


def _add_aioscgi(draft: Draft, site: Site, here: str) -> None:
    """Add a service of aioscgi, one process with threads, whose socket systemd opens."""
    if site.get("processes"):
        raise DataError(f"{here}.processes", "aioscgi has one process; give the number of its threads")
    gateway = draft.gateway(site)
    unix = functools.partial(_app_service.default_socket, protocol=gateway)
    name, endpoint = backend(site, f"{site['name']}-{gateway}", gateway, unix, here)
    draft.add_endpoint(site, "backend", endpoint, f"{here}.socket", {"path": "/"})
    app = site["application"]
    _uwsgi.check_module(app["module"], f"{here}.application.module")
    environment = {**app["environment"], "WSGI_APPLICATION": app["module"], "WSGI_THREADS": str(site["threads"])}
    if app.get("virtualenv"):
        environment["WSGI_VIRTUALENV"] = app["virtualenv"]
    draft.plan["app_services"].append(
        {
            "name": name,
            "user": site["user"],
            "command": ["/usr/bin/python3", f"{AIOSCGI}/serve.py"],
            "directory": app["path"],
            "endpoint": endpoint.as_dict(),
            "activation": "systemd",
            "environment": environment,
        }
    )
    location = {"path": "/", "type": gateway, "endpoint": endpoint.as_dict(), "timeout": site["harakiri"]}
    draft.add_front(site, locations=[*_static(site), location])


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
