# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""From sites and a stack's drawing to the configuration of each component.

Pure: the input is not changed, its order is kept, nothing is read from a host.
Every socket is one Endpoint here; the front server's directive, the backend's
listen key and the probe are spelled from it later.
"""

from __future__ import annotations

import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _spec
from . import _php_fpm, _uwsgi
from ._front import site_endpoint, site_probe
from ._plan import check_name, check_unique

#: A backend over TCP listens this far above its site's port, unless the site names an endpoint.
TCP_OFFSET = 1000

_SITE_KEYS = ("name", "port", "address", "server_names", "tls", "max_body_mb", "health_path", "extra")


class StackPlan(t.TypedDict):
    """What a stack's sites come to: variables of the component roles, and every socket of the drawing."""

    apache_sites: list[dict[str, t.Any]]
    nginx_sites: list[dict[str, t.Any]]
    php_fpm_pools: list[dict[str, t.Any]]
    uwsgi_instances: list[dict[str, t.Any]]
    uwsgi_vassals: list[dict[str, t.Any]]
    endpoints: list[dict[str, t.Any]]


def stack_plan(
    sites: list[dict[str, t.Any]], stack: str, drawing: t.Mapping[str, t.Any], socket: str = "unix", where: str = ""
) -> StackPlan:
    """Return what ``sites`` mean for the components of ``drawing``.

    :param socket: ``unix`` or ``tcp``, for sites that do not say it themselves.
    :param where: path of the list in the user's data, for errors; the role's own variable when empty.
    :raises DataError: with the path of the wrong value.
    """
    where = where or f"{stack}_sites"
    options = _spec.role_options(stack)[f"{stack}_sites"]
    plan: StackPlan = {
        "apache_sites": [],
        "nginx_sites": [],
        "php_fpm_pools": [],
        "uwsgi_instances": [],
        "uwsgi_vassals": [],
        "endpoints": [],
    }
    for index, site in enumerate(_spec.checked(options, sites, where)):
        here = f"{where}[{index}]"
        check_name(site["name"], f"{here}.name")
        endpoint = site_endpoint(site, here)
        _add_endpoint(plan, stack, site, "front", endpoint, f"{here}.port", site_probe(site, endpoint))
        site.setdefault("socket", socket)
        gateway = drawing["gateway"]
        if gateway in ("mod_php", "fastcgi"):
            _php_site(plan, stack, site, drawing, here)
        else:
            _wsgi_site(plan, stack, site, drawing, here)
    check_unique([(site["name"], f"{where}[{index}].name") for index, site in enumerate(sites)], "the site name")
    return plan


def host_plan(
    sites: list[dict[str, t.Any]],
    variables: t.Mapping[str, t.Any],
    local_facts: t.Mapping[str, t.Any] | None = None,
    where: str = "weblab_sites",
) -> dict[str, t.Any]:
    """Check all sites of a host together and return its stacks and sockets.

    :param variables: the host's variables; a stack's ``STACK_socket`` and ``STACK_drawing`` are looked up there.
    :param local_facts: ``ansible_facts.ansible_local``, where the stacks of earlier runs have left their mark.
    :returns: ``stacks`` (to be run: first those that lost all sites, then those with sites) and ``endpoints``.
    :raises DataError: for a wrong value, or two sites that want the same name, port or socket.
    """
    if not isinstance(sites, list):
        raise DataError(where, "a list of sites is needed")
    stacks: list[str] = []
    plans: list[StackPlan] = []
    known = _spec.stack_names()
    for index, site in enumerate(sites):
        here = f"{where}[{index}]"
        if not isinstance(site, dict):
            raise DataError(here, f"a site is a mapping (name, stack, port, ...), not {site!r}")
        stack = site.get("stack")
        if stack not in known:
            raise DataError(f"{here}.stack", f"{stack!r} is not one of {', '.join(known)}")
        defaults = _spec.role_defaults(stack)
        settings = {
            key: variables.get(f"{stack}_{key}", defaults.get(f"{stack}_{key}")) for key in ("drawing", "socket")
        }
        plan = stack_plan_at(index, site, stack, settings, where)
        plans.append(plan)
        if stack not in stacks:
            stacks.append(stack)
    endpoints = [endpoint for plan in plans for endpoint in plan["endpoints"]]
    check_unique(
        [(str(site.get("name")), f"{where}[{index}].name") for index, site in enumerate(sites)], "the site name"
    )
    check_unique(
        [(_socket_key(endpoint), endpoint["what"]) for endpoint in endpoints if endpoint["listens"]], "the address"
    )
    owners = {fact.get("owner") for key, fact in (local_facts or {}).items() if key.startswith("weblab_")}
    gone = [stack for stack in known if stack in owners and stack not in stacks]
    return {"stacks": gone + stacks, "endpoints": endpoints}


def stack_plan_at(
    index: int, site: dict[str, t.Any], stack: str, settings: t.Mapping[str, t.Any], where: str
) -> StackPlan:
    """Plan one site whose place in the whole list is ``index``, so that errors name that place."""
    try:
        plan = stack_plan([site], stack, settings["drawing"], settings["socket"] or "unix", where)
    except DataError as error:
        raise type(error)(error.where.replace(f"{where}[0]", f"{where}[{index}]", 1), error.problem) from None
    for endpoint in plan["endpoints"]:
        endpoint["what"] = endpoint["what"].replace(f"{where}[0]", f"{where}[{index}]", 1)
    return plan


def _socket_key(endpoint: t.Mapping[str, t.Any]) -> str:
    """Name what a socket takes on the host: a path, or a port whatever its address."""
    parsed = _endpoint.parse(endpoint["endpoint"])
    return parsed.unix or f"TCP port {parsed.port}"


def _add_endpoint(
    plan: StackPlan,
    stack: str,
    site: t.Mapping[str, t.Any],
    role: str,
    endpoint: _endpoint.Endpoint,
    what: str,
    probe: dict[str, t.Any],
) -> None:
    # Sites of one front server may share a port and differ by name; everything else is taken once.
    listens = role != "front" or not site.get("server_names")
    plan["endpoints"].append(
        {
            "stack": stack,
            "site": site["name"],
            "role": role,
            "endpoint": endpoint.as_dict(),
            "what": what,
            "listens": listens,
            "probe": {"endpoint": endpoint.as_dict(), "name": f"{site['name']} {role}", **probe},
        }
    )


def _backend(
    site: t.Mapping[str, t.Any], protocol: str, unix: str, here: str, number: int = 0, socket: t.Any = None
) -> _endpoint.Endpoint:
    """Return the backend's endpoint: ``unix`` and ``tcp`` stand for its usual place."""
    choice = socket or site["socket"]
    if choice == "unix":
        return _endpoint.parse(unix, f"{here}.socket", protocol)
    if choice == "tcp":
        port = site["port"] + TCP_OFFSET + number
        return _endpoint.parse({"host": "127.0.0.1", "port": port}, f"{here}.socket", protocol)
    return _endpoint.parse(choice, f"{here}.socket", protocol)


def _front(site: t.Mapping[str, t.Any], keys: t.Iterable[str]) -> dict[str, t.Any]:
    return {key: site[key] for key in (*_SITE_KEYS, *keys) if key in site}


def _php_site(plan: StackPlan, stack: str, site: dict[str, t.Any], drawing: t.Mapping[str, t.Any], here: str) -> None:
    body = f"{site['max_body_mb']}M"
    values = {"upload_max_filesize": body, "post_max_size": body, **site["php_values"]}
    front = _front(site, ("root", "index", "front_controller", "aliases", "deny_php", "environment"))
    if drawing["gateway"] == "mod_php":
        front["php"] = {"handler": "mod_php", "admin_values": values}
    else:
        endpoint = _backend(site, "fastcgi", _php_fpm.default_socket(site["name"]), here)
        _add_endpoint(plan, stack, site, "backend", endpoint, f"{here}.socket", {"path": _php_fpm.PING_PATH})
        front["php"] = {"handler": "php_fpm", "endpoint": endpoint.as_dict()}
        keys = [key for key in ("name", "user", "pm", "worker_mb", "workers") if key in site]
        pool: dict[str, t.Any] = {key: site[key] for key in keys}
        plan["php_fpm_pools"].append({**pool, "listen": endpoint.as_dict(), "admin_values": values})
    plan["apache_sites"].append(front)


def _wsgi_site(plan: StackPlan, stack: str, site: dict[str, t.Any], drawing: t.Mapping[str, t.Any], here: str) -> None:
    emperor = drawing["backend"]["supervisor"] == "emperor"
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
        endpoint = _backend(site, "uwsgi", _uwsgi.default_socket(name), place, number, service.get("socket"))
        _add_endpoint(plan, stack, site, "backend", endpoint, f"{place}.socket", {"path": service["mount"]})
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
            _call(plan, stack, site, apps, service, callee, f"{place}.calls[{number}]")
    plan["nginx_sites"].append({**_front(site, ()), "locations": locations})
    plan["uwsgi_vassals" if emperor else "uwsgi_instances"].extend(apps.values())


def _call(
    plan: StackPlan,
    stack: str,
    site: t.Mapping[str, t.Any],
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
    _add_endpoint(plan, stack, site, "internal", endpoint, what, {"path": app["mount"]})
