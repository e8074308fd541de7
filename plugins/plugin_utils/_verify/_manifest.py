# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""The manifest: what the author of a stand says that it serves, as typed values."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ...module_utils import _endpoint, _uwsgi_info
from ...module_utils._errors import DataError
from .._spec import checked, role_options
from ._source import Source, SourceError

#: served_by -> the protocol of the backend; those without one are a part of the front server.
PROTOCOLS = {"php_fpm": "fastcgi", "fastcgi": "fastcgi", "scgi": "scgi", "uwsgi": "uwsgi", "http": "http"}
#: What the address of a socket may begin with; uWSGI writes it without.
_SOCKET = re.compile(r"^(tcp://|unix:(//)?(?=[/@]))")


@dataclasses.dataclass(frozen=True)
class Site:
    """One site of a stand."""

    name: str
    port: int
    served_by: str
    tls: bool = False
    path: str = "/"
    front: str = "nginx"
    host: str | None = None
    backend: _endpoint.Endpoint | None = None
    script: str | None = None
    nonce: str | None = None
    process: str | None = None
    token: str | None = None
    says: str | None = None
    websocket: str | None = None
    events: str | None = None
    #: The path of the status page: PHP-FPM's, or Apache's where the page is made by a part of it.
    status: str | None = None
    #: Where uWSGI's stats server listens.
    stats: _endpoint.Endpoint | None = None
    mpm: str | None = None

    @property
    def named(self) -> str:
        """The Host field of a request for it (RFC 9110, 7.2)."""
        return f"{self.host or 'localhost'}:{self.port}"

    def endpoint(self, address: str) -> str:
        """Where it answers, for the probe."""
        host = f"[{address}]" if ":" in address else address
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclasses.dataclass(frozen=True)
class Stand:
    """Everything that is to be checked at once."""

    name: str
    #: Where the controller finds it.
    address: str
    sites: tuple[Site, ...]
    names: tuple[str, ...] = ()
    starts: str = "systemd"
    repository: str | None = None
    #: A command of the host that sets the stand up again.
    again: str | None = None


def read(source: Source, name: str, address: str) -> Stand:
    """The stand of a file, which its author may also give to Ansible as ``-e @stand.yml``. Nothing in it is templated.

    What it says of a repository is not followed: it would be a path of whoever looks at the stand.

    :raises SourceError: with the line of what is wrong.
    """
    if not isinstance(source.data, dict) or "verify_stand" not in source.data:
        raise SourceError(source.name, "begins with `verify_stand:`, and this does not")
    try:
        return dataclasses.replace(parse(source.data["verify_stand"], name, address), repository=None)
    except DataError as error:
        path = [int(word) if word.isdigit() else word for word in re.findall(r"[^.\[\]]+", error.where)]
        raise source.mistake(path, error.problem) from error


def parse(data: t.Any, name: str, address: str) -> Stand:
    """The stand that the manifest describes.

    :param name: of the host in the inventory.
    :param address: of the host, as the controller reaches it.
    :raises DataError: with the path of what is wrong.
    """
    where = "verify_stand"
    given = checked(role_options("verify")[where], data, where)
    if not given["sites"]:
        raise DataError(f"{where}.sites", "there is nothing to check: a site at least")
    sites: list[Site] = []
    for index, site in enumerate(given["sites"]):
        here = f"{where}.sites[{index}]"
        for key in ("path", "nonce", "process", "token", "websocket", "events"):
            if key in site and not site[key].startswith("/"):
                raise DataError(f"{here}.{key}", f"{site[key]!r} does not begin with a slash")
        if "status" in site:
            site.update(_status(site, f"{here}.status"))
        if "mpm" in site and site["front"] != "apache":
            raise DataError(f"{here}.mpm", f"{site['front']} has none; it is Apache's")
        if "nonce" in site and "{nonce}" not in site["nonce"]:
            raise DataError(f"{here}.nonce", f"{site['nonce']!r} has no {{nonce}} in it")
        if "backend" in site:
            protocol = PROTOCOLS.get(site["served_by"])
            if protocol is None:
                raise DataError(f"{here}.backend", f"{site['served_by']} is a part of the front server")
            site["backend"] = _endpoint.parse(site["backend"], f"{here}.backend", protocol)
        for other in sites:
            if other.name == site["name"]:
                raise DataError(f"{here}.name", f"{site['name']!r} is that of another site")
            if (other.port, other.host) == (site["port"], site.get("host")):
                raise DataError(f"{here}.port", f"{site['port']!r} is that of another site")
        sites.append(Site(**site))
    return Stand(
        given.get("name") or name,
        address,
        tuple(sites),
        tuple(given["names"]),
        given["starts"],
        given.get("repository"),
        given.get("again"),
    )


def _status(site: t.Mapping[str, t.Any], where: str) -> dict[str, t.Any]:
    """Who counts the site's visits: a page of PHP-FPM or of Apache, or uWSGI's stats server."""
    text, served_by = site["status"], site["served_by"]
    if served_by == "php_fpm" and "backend" not in site:
        raise DataError(where, "PHP-FPM's is asked of the backend, and there is none here")
    if served_by in PROTOCOLS and served_by != "php_fpm":
        return {"status": None, "stats": _uwsgi_info.address(_SOCKET.sub("", text), where)}
    if served_by != "php_fpm" and site["front"] != "apache":
        raise DataError(where, f"{site['front']} has none; of a part of the front server, it is Apache's")
    if not text.startswith("/"):
        raise DataError(where, f"{text!r} does not begin with a slash")
    return {"status": text}
