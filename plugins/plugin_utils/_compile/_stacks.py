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
from ._draft import Draft, Site, StackPlan
from ._front import site_endpoint, site_probe
from ._php_sites import add_php_site
from ._plan import check_name, check_unique
from ._wsgi_sites import add_wsgi_site

#: What the drawing's ``runs`` says -> what adds such a site to the plan.
_SITES: dict[str, t.Callable[[Draft, Site, str], None]] = {
    "php": add_php_site,
    "wsgi": add_wsgi_site,
}


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
    draft = Draft(stack, drawing)
    for index, site in enumerate(_spec.checked(options, sites, where)):
        here = f"{where}[{index}]"
        check_name(site["name"], f"{here}.name")
        endpoint = site_endpoint(site, here)
        draft.add_endpoint(site, "front", endpoint, f"{here}.port", site_probe(site, endpoint))
        site.setdefault("socket", socket)
        _SITES[drawing["runs"]](draft, site, here)
    check_unique([(site["name"], f"{where}[{index}].name") for index, site in enumerate(sites)], "the site name")
    return draft.plan


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
