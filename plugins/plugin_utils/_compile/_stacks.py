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

import functools
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _spec
from ._apache import apache_tree, mpm_numbers
from ._cgi_sites import add_cgi_site, add_fastcgi_site
from ._draft import Draft, Site, StackPlan, Streams
from ._facts import Host
from ._front import site_endpoint, site_probe
from ._locations import streams_of
from ._nginx import NGINX_TREE
from ._perl_sites import add_perl_site
from ._php_sites import add_php_site
from ._plan import check_name, check_unique
from ._program_sites import add_program_site
from ._proxy_sites import add_proxied_site
from ._realtime_sites import add_realtime_site
from ._streams import Warned, expected, role_variable, site_streams, stream_warnings
from ._wsgi_sites import add_wsgi_site

#: What the drawing's ``runs`` says -> what adds such a site to the plan.
_SITES: dict[str, t.Callable[[Draft, Site, str], None]] = {
    "cgi": add_cgi_site,
    "fastcgi": add_fastcgi_site,
    "php": add_php_site,
    "proxied_php": add_proxied_site,
    "perl": add_perl_site,
    "wsgi": add_wsgi_site,
    "program": add_program_site,
    "realtime": add_realtime_site,
}


def stack_plan(
    sites: list[dict[str, t.Any]],
    stack: str,
    drawing: t.Mapping[str, t.Any],
    socket: str = "unix",
    where: str = "",
    state: str = "present",
    others: t.Sequence[t.Any] = (),
) -> StackPlan:
    """Return what ``sites`` mean for the components of ``drawing``.

    :param socket: ``unix`` or ``tcp``, for sites that do not say it themselves.
    :param where: path of the list in the user's data, for errors; the role's own variable when empty.
    :param state: ``absent`` when none of the sites shall be there.
    :param others: all sites of the host, where ``sites`` are not all.
    :raises DataError: with the path of the wrong value.
    """
    where = where or f"{stack}_sites"
    options = _spec.role_options(stack)[f"{stack}_sites"]
    draft = Draft(stack, drawing, others or sites, socket)
    draft.plan["component_state"] = "present" if state == "present" else "unused"
    for index, site in enumerate(_spec.checked(options, sites, where)):
        here = f"{where}[{index}]"
        check_name(site["name"], f"{here}.name")
        if "absent" in (state, site["state"]):
            continue
        endpoint = site_endpoint(site, here)
        draft.add_endpoint(site, "front", endpoint, f"{here}.port", site_probe(site, endpoint))
        site.setdefault("socket", socket)
        before = {name: len(served) for name, served in draft.plan["fronts"].items()}
        _SITES[drawing["runs"]](draft, site, here)
        served = draft.plan["fronts"].items()
        fronts = [(drawing["fronts"][name], part) for name, parts in served for part in parts[before[name] :]]
        draft.plan["streams"] += site_streams(site, drawing["runs"], fronts, here)
    check_unique([(site["name"], f"{where}[{index}].name") for index, site in enumerate(sites)], "the site name")
    return draft.plan


def stack_sites(sites: list[dict[str, t.Any]], stack: str) -> list[dict[str, t.Any]]:
    """Return those of ``sites`` that ``stack`` serves."""
    found = [site for site in sites if isinstance(site, dict) and site.get("stack") == stack]
    return [site for site in found if site.get("state") != "absent"]


class HostPlan(t.TypedDict):
    """What all sites of a host come to: one call of each component, and every socket."""

    php_fpm_pools: list[dict[str, t.Any]]
    uwsgi_instances: list[dict[str, t.Any]]
    uwsgi_vassals: list[dict[str, t.Any]]
    app_services: list[dict[str, t.Any]]
    #: Calls of the front servers' components. One whose sites another one ``takes_over`` has ``prune`` false: it serves
    #: on until then, and is called once more.
    fronts: list[dict[str, t.Any]]
    #: Backends' components that have something to do here, or to remove -> present; or unused, absent: they go.
    components: dict[str, str]
    endpoints: list[dict[str, t.Any]]
    #: What is to be said before the host is touched: where in the sites, and the text.
    warnings: list[Warned]


_BACKENDS = ("php_fpm", "uwsgi", "app_service")
_COMPONENTS = ("nginx", "apache", *_BACKENDS)

#: Who declares what comes from a host's sites; a stack's role that is applied by itself names itself.
OWNER = "weblab_sites"


def host_plan(
    sites: list[dict[str, t.Any]],
    variables: t.Mapping[str, t.Any],
    local_facts: t.Mapping[str, t.Any] | None = None,
    where: str = "weblab_sites",
) -> HostPlan:
    """Check all sites of a host together and return what its components get.

    :param variables: the host's variables; a stack's ``STACK_socket`` and ``STACK_drawing`` are looked up there.
    :param local_facts: ``ansible_facts.ansible_local``, where earlier runs have left their mark.
    :raises DataError: for a wrong value, or two sites that want the same name, port or socket.
    """
    if not isinstance(sites, list):
        raise DataError(where, "a list of sites is needed")
    marks = [fact for fact in (local_facts or {}).values() if isinstance(fact, dict) and fact.get("owner") == OWNER]
    plan: HostPlan = {
        "php_fpm_pools": [],
        "uwsgi_instances": [],
        "uwsgi_vassals": [],
        "app_services": [],
        "fronts": [],
        "components": {},
        "endpoints": [],
        "warnings": [],
    }
    streams: list[Streams] = []
    fronts: dict[str, dict[str, t.Any]] = {}
    known = _spec.stack_names()
    states = _States(variables, known)
    for index, site in enumerate(sites):
        here = f"{where}[{index}]"
        if not isinstance(site, dict):
            raise DataError(here, f"a site is a mapping (name, stack, port, ...), not {site!r}")
        if _state(site.get("state"), f"{here}.state") == "absent":
            if "name" not in site:
                raise DataError(f"{here}.name", "this key is required: it says which site shall be absent")
            check_name(str(site["name"]), f"{here}.name")
            continue
        stack = site.get("stack")
        if stack not in known:
            raise DataError(f"{here}.stack", f"{stack!r} is not one of {', '.join(known)}")
        if stack in states.stacks:
            continue
        settings = _settings(stack, variables)
        part = stack_plan_at(index, site, stack, settings, where, sites)
        states.check(part, settings["drawing"], stack, here)
        for name, served in part["fronts"].items():
            _add_fronts(fronts, settings["drawing"]["fronts"][name], served, here)
        plan["php_fpm_pools"] += part["php_fpm_pools"]
        plan["uwsgi_instances"] += part["uwsgi_instances"]
        plan["uwsgi_vassals"] += part["uwsgi_vassals"]
        plan["app_services"] += part["app_services"]
        plan["endpoints"] += part["endpoints"]
        streams += part["streams"]
    check_unique(
        [(str(site.get("name")), f"{where}[{index}].name") for index, site in enumerate(sites)], "the site name"
    )
    check_unique(
        [(_socket_key(endpoint), endpoint["what"]) for endpoint in plan["endpoints"] if endpoint["listens"]],
        "the address",
    )
    for mark in marks:
        # An instance that lost all of its sites is called once more, to remove them.
        if mark["component"] in ("apache", "nginx"):
            _add_fronts(fronts, mark, [], where)
    for front in states.leaving(local_facts or {}):
        _add_fronts(fronts, front, [], where)
    for front in fronts.values():
        front["state"] = states.of(front["component"], front["name"], front["sites"])
        front["takes_over"] = _taken_over(front, fronts, marks)
        front["streams"] = max(
            streams_of(front["sites"]) + expected(streams, front),
            int(role_variable(variables, front["component"], "streams")),
        )
        _check_room(front, sites, variables, where)
    givers = {tree["root"] for front in fronts.values() for tree in front["takes_over"]}
    for front in fronts.values():
        front["prune"] = _tree(front)["root"] not in givers
    # nginx last: it may stand in front of an Apache, which then has to answer.
    plan["fronts"] = sorted(fronts.values(), key=lambda front: bool(front["component"] == "nginx"))
    marked = {mark["component"] for mark in marks}
    for name, entries in _backends(plan).items():
        state = states.of(name, name, entries)
        if entries or name in marked or state != "present":
            plan["components"][name] = state
    facts = variables.get("ansible_facts") or {}
    if "memtotal_mb" in facts:
        variable = functools.partial(role_variable, variables)
        plan["warnings"] = stream_warnings(streams, plan["fronts"], t.cast("t.Any", plan), facts, variable)
    return plan


class _States:
    """What shall be absent from a host: everything, a stack, a component."""

    def __init__(self, variables: t.Mapping[str, t.Any], stacks: t.Iterable[str]) -> None:
        def absent(name: str) -> bool:
            return _state(variables.get(f"{name}_state"), f"{name}_state") == "absent"

        self._components = {name for name in _COMPONENTS if absent(name)}
        self._everything = absent("weblab")
        #: The stacks none of whose sites shall be there.
        self.stacks = {stack for stack in stacks if self._everything or absent(stack)}
        drawings = [_settings(stack, variables)["drawing"] for stack in sorted(self.stacks)]
        self._fronts = {_front_name(front): front for drawing in drawings for front in drawing["fronts"].values()}
        self._unused = {*self._fronts, *(_BACKENDS if self.stacks else ())}

    def check(self, part: StackPlan, drawing: t.Mapping[str, t.Any], stack: str, here: str) -> None:
        """Refuse a site whose component shall be absent."""
        used = {drawing["fronts"][name]["component"] for name, sites in part["fronts"].items() if sites}
        used |= {name for name, entries in _backends(part).items() if entries}
        for component in sorted(used & self._components):
            problem = f"{stack} needs {component}, and {component}_state is absent; remove one of the two"
            raise DataError(f"{here}.stack", problem)

    def leaving(self, local_facts: t.Mapping[str, t.Any]) -> t.Sequence[t.Mapping[str, t.Any]]:
        """Return the front servers that may have to go although no site names them."""
        bases = [fact for fact in local_facts.values() if isinstance(fact, dict) and "base" in fact]
        found = [{"component": fact["base"], **fact} for fact in bases]
        fronts = [front for front in found if self._everything or front["component"] in self._components]
        fronts += self._fronts.values()
        # Debian's own Apache has no name.
        names = [name for name in ("nginx", "apache") if name in self._components]
        return fronts + [{"component": name, "mpm": "event"} for name in names]

    def of(self, component: str, name: str, entries: t.Sequence[t.Any]) -> str:
        """Return what becomes of a component, or of an instance of it, that has these entries."""
        if component in self._components:
            return "absent"
        return "unused" if not entries and (self._everything or name in self._unused) else "present"


def _backends(plan: t.Any) -> dict[str, list[dict[str, t.Any]]]:
    """Return what each backend's component has in a plan."""
    return {
        "php_fpm": plan["php_fpm_pools"],
        "uwsgi": plan["uwsgi_instances"] + plan["uwsgi_vassals"],
        "app_service": plan["app_services"],
    }


def stack_drawing(stack: str, variables: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """Return the drawing of a stack: the host's, or the role's own."""
    return t.cast("t.Mapping[str, t.Any]", _settings(stack, variables)["drawing"])


def _settings(stack: str, variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    defaults = _spec.role_defaults(stack)
    return {key: variables.get(f"{stack}_{key}", defaults.get(f"{stack}_{key}")) for key in ("drawing", "socket")}


def _state(value: t.Any, where: str) -> str:
    if value not in (None, "present", "absent"):
        raise DataError(where, f"{value!r} is neither present nor absent")
    return str(value or "present")


def _add_fronts(
    fronts: dict[str, dict[str, t.Any]], front: t.Mapping[str, t.Any], sites: list[dict[str, t.Any]], here: str
) -> None:
    """Add ``sites`` to the call of the component and instance that ``front`` names."""
    instance, mpm = front.get("instance", ""), front.get("mpm", "")
    name = _front_name(front)
    call = fronts.setdefault(
        name, {"component": front["component"], "instance": instance, "mpm": mpm, "name": name, "sites": []}
    )
    if sites and mpm != call["mpm"]:
        raise DataError(f"{here}.stack", f"its {name} has the MPM {mpm}, and another stack's has {call['mpm']}")
    call["sites"] += sites


def _taken_over(
    front: t.Mapping[str, t.Any], fronts: t.Mapping[str, t.Mapping[str, t.Any]], marks: list[dict[str, t.Any]]
) -> list[dict[str, t.Any]]:
    """Return the files of other front servers' sites whose port ``front`` wants, as ``config_tree`` takes them."""
    wanted = {site["port"] for site in front["sites"]}
    found = []
    for mark in marks:
        if mark["component"] not in ("apache", "nginx") or _front_name(mark) == front["name"]:
            continue
        stays = {site["name"] for site in fronts[_front_name(mark)]["sites"] if site["port"] not in wanted}
        listens = {name: str(listen) for name, listen in mark["sites"].items() if name not in stays}
        lost = {name: listen for name, listen in listens.items() if int(listen.rpartition(":")[2]) in wanted}
        if lost:
            paths = [f"{kind}/{name}.conf" for name in lost for kind in ("sites-enabled", "sites-available")]
            if mark["component"] == "apache":
                paths += [f"ports-enabled/{listen}.conf" for listen in sorted(set(lost.values()))]
            found.append({**_tree(mark), "paths": paths})
    return found


def _check_room(
    front: t.Mapping[str, t.Any], sites: list[dict[str, t.Any]], variables: t.Mapping[str, t.Any], where: str
) -> None:
    """Refuse more requests that stay open than the host has memory for, where its size is known."""
    facts = variables.get("ansible_facts") or {}
    if front["component"] != "apache" or not front["sites"] or "memtotal_mb" not in facts:
        return
    share, worker_mb = (role_variable(variables, "apache", key) for key in ("memory_share", "worker_mb"))
    try:
        mpm_numbers(Host.from_facts(facts), front["mpm"], float(share), int(worker_mb), front["streams"])
    except DataError as error:
        most = max(front["sites"], key=lambda site: streams_of([site]))
        if streams_of([most]) == 0:
            raise
        index = [site.get("name") for site in sites].index(most["name"])
        problem = f"with the other sites of {front['name']}, {error.problem}"
        raise DataError(f"{where}[{index}].clients", problem) from None


def _tree(front: t.Mapping[str, t.Any]) -> dict[str, str]:
    return NGINX_TREE if front["component"] == "nginx" else apache_tree(front["instance"])


def _front_name(front: t.Mapping[str, t.Any]) -> str:
    return f"{front['component']} {front.get('instance', '')}".strip()


def stack_plan_at(
    index: int,
    site: dict[str, t.Any],
    stack: str,
    settings: t.Mapping[str, t.Any],
    where: str,
    others: t.Sequence[t.Any] = (),
) -> StackPlan:
    """Plan one site whose place in the whole list is ``index``, so that errors name that place."""
    try:
        socket = settings["socket"] or "unix"
        plan = stack_plan([site], stack, settings["drawing"], socket, where, others=others)
    except DataError as error:
        raise type(error)(error.where.replace(f"{where}[0]", f"{where}[{index}]", 1), error.problem) from None
    for endpoint in plan["endpoints"]:
        endpoint["what"] = endpoint["what"].replace(f"{where}[0]", f"{where}[{index}]", 1)
    for entry in plan["streams"]:
        entry["where"] = entry["where"].replace(f"{where}[0]", f"{where}[{index}]", 1)
    return plan


def _socket_key(endpoint: t.Mapping[str, t.Any]) -> str:
    """Name what a socket takes on the host: a path, or a port whatever its address."""
    parsed = _endpoint.parse(endpoint["endpoint"])
    return parsed.unix or f"TCP port {parsed.port}"
