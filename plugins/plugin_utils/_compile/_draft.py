# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""A stack's plan while its sites are added to it: what all kinds of sites share."""

from __future__ import annotations

import typing as t

from ...module_utils import _endpoint

#: A backend over TCP listens this far above its site's port, unless the site names an endpoint.
TCP_OFFSET = 1000

#: The keys of a site that every front server knows.
_FRONT_KEYS = ("name", "port", "address", "server_names", "tls", "max_body_mb", "health_path", "extra")

Site = t.Dict[str, t.Any]


class Streams(t.TypedDict):
    """Requests of one site that are expected to stay open."""

    site: str
    where: str
    path: str
    clients: int
    #: How many requests the site's service answers at a time, and of what; nothing where there is none or nobody knows.
    service: tuple[int, str] | None
    #: The sites of front servers that it is made of, with the servers.
    fronts: list[tuple[t.Mapping[str, t.Any], Site]]


class StackPlan(t.TypedDict):
    """What a stack's sites come to: variables of the component roles, and every socket of the drawing."""

    #: Front server of the drawing, by its name there -> its sites.
    fronts: dict[str, list[Site]]
    php_fpm_pools: list[dict[str, t.Any]]
    uwsgi_instances: list[dict[str, t.Any]]
    uwsgi_vassals: list[dict[str, t.Any]]
    app_services: list[dict[str, t.Any]]
    endpoints: list[dict[str, t.Any]]
    #: Requests that are expected to stay open.
    streams: list[Streams]
    #: ``unused`` when none of the sites shall be there: a component goes when nobody else uses it.
    component_state: str


class Draft:
    """The plan of one stack."""

    def __init__(
        self, stack: str, drawing: t.Mapping[str, t.Any], sites: t.Sequence[t.Any] = (), socket: str = "unix"
    ) -> None:
        self.drawing = drawing
        #: All sites that are planned together, as the user wrote them, and the socket of those that do not say it.
        self.sites = sites
        self.socket = socket
        self.stack = stack
        self.plan: StackPlan = {
            "fronts": {name: [] for name in drawing["fronts"]},
            "php_fpm_pools": [],
            "uwsgi_instances": [],
            "uwsgi_vassals": [],
            "app_services": [],
            "endpoints": [],
            "streams": [],
            "component_state": "present",
        }

    def front(self, site: Site) -> t.Mapping[str, t.Any]:
        """Return the front server of ``site``: its component, and what the drawing says of it."""
        return t.cast("t.Mapping[str, t.Any]", self.drawing["fronts"][self._front_name(site)])

    def gateway(self, site: Site) -> str:
        """Return how the front server of ``site`` reaches the program: its own way, or that of the drawing."""
        return str(self.front(site).get("gateway") or self.drawing["gateway"])

    def add_front(self, site: Site, keys: t.Iterable[str] = (), **more: t.Any) -> None:
        """Add ``site`` to its front server, with what every front server knows, ``keys`` of its own, and ``more``."""
        known = {key: site[key] for key in (*_FRONT_KEYS, *keys) if key in site}
        self.plan["fronts"][self._front_name(site)].append({**known, **more})

    def add_endpoint(
        self,
        site: Site,
        role: str,
        endpoint: _endpoint.Endpoint,
        what: str,
        probe: dict[str, t.Any],
        mount: str = "/",
    ) -> None:
        """Add a socket of the drawing.

        :param role: ``front``, ``backend`` or ``internal``.
        :param what: path in the user's data of what says where it is.
        :param mount: the part of the site that is behind it.
        """
        # Sites of one front server may share a port and differ by name; everything else is taken once.
        listens = role != "front" or not site.get("server_names")
        self.plan["endpoints"].append(
            {
                "stack": self.stack,
                "site": site["name"],
                "role": role,
                "front": self._front_name(site),
                "endpoint": endpoint.as_dict(),
                "mount": mount,
                "what": what,
                "listens": listens,
                "probe": {"endpoint": endpoint.as_dict(), "name": f"{site['name']} {role}", **probe},
            }
        )

    def _front_name(self, site: Site) -> str:
        """Return the site's choice, or the first of the drawing."""
        return str(site.get("front") or next(iter(self.drawing["fronts"])))


def backend(
    site: Site,
    name: str,
    protocol: str,
    unix: t.Callable[[str], str],
    here: str,
    number: int = 0,
    socket: t.Any = None,
) -> tuple[str, _endpoint.Endpoint]:
    """Return what a backend is called and where it listens: ``unix`` and ``tcp`` stand for its usual place.

    Over TCP its port is part of its name: a site that changes its socket has both backends, until its front has moved.

    :param unix: what a backend of a name has as Unix socket.
    :param number: of the backend among those of its site.
    :param socket: the backend's own choice, where it has one beside the site's.
    """
    choice = socket or site["socket"]
    if choice == "unix":
        choice = unix(name)
    elif choice == "tcp":
        choice = {"host": "127.0.0.1", "port": site["port"] + TCP_OFFSET + number}
    endpoint = _endpoint.parse(choice, f"{here}.socket", protocol)
    return f"{name}-{endpoint.port}" if endpoint.port else name, endpoint
