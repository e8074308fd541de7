# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The sites of a host as a stand to be verified: what its author would write into ``stand.yml``, from the drawings."""

from __future__ import annotations

import ipaddress
import posixpath
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from . import _php_fpm, _uwsgi
from ._stacks import OWNER, host_plan, stack_drawing

#: What a drawing ``runs`` -> who makes the page where the site has no backend: a part of Apache.
_PARTS = {"cgi": "cgi", "fastcgi": "mod_fcgid", "perl": "mod_perl", "php": "mod_php", "wsgi": "mod_wsgi"}
_PHP = ("php", "proxied_php")

Pages = t.Mapping[str, t.Mapping[str, t.Any]]


def stand_manifest(
    sites: list[dict[str, t.Any]], variables: t.Mapping[str, t.Any], pages: Pages | None = None, where: str = OWNER
) -> dict[str, t.Any]:
    """Return ``verify_stand`` for the sites of a host, without those that listen for the host itself only.

    :param variables: the host's, as :func:`host_plan` takes them.
    :param pages: name of a site -> what cannot be known of its application, in the words of ``verify_stand.sites[]``:
        which page says the number of its process (``process``), which repeats a text (``nonce``), and whatever else
        shall be looked at.
    :raises DataError: for wrong sites, or pages of a site that is not there.
    """
    more = pages or {}
    plan = host_plan(sites, variables, where=where)
    stats = {
        _endpoint.parse(socket["endpoint"]).url: _uwsgi.stats_socket(app["name"])
        for app in plan["uwsgi_instances"] + plan["uwsgi_vassals"]
        for socket in app["listen"]
    }
    planned: dict[str, list[dict[str, t.Any]]] = {}
    for endpoint in plan["endpoints"]:
        planned.setdefault(endpoint["site"], []).append(endpoint)
    for name in more:
        if name not in planned:
            raise DataError(f"weblab_stand.{name}", f"no site of {where} has this name")
    by_name = {site["name"]: site for site in sites if site.get("name") in planned}
    found = []
    for name, endpoints in planned.items():
        if _local(endpoints[0]):
            continue
        # A second front of another site's server has no backend of its own.
        behind = planned[by_name[name].get("server_of", name)][1:]
        one = _site(by_name[name], [endpoints[0], *behind], variables, more.get(name, {}))
        if one.get("backend") in stats:
            one["status"] = f"unix:{stats[one['backend']]}"
        found.append({**one, **more.get(name, {})})
    return {"sites": found}


def _local(endpoint: t.Mapping[str, t.Any]) -> bool:
    host = str(_endpoint.parse(endpoint["endpoint"]).host)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _front(endpoint: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    return t.cast("t.Mapping[str, t.Any]", stack_drawing(endpoint["stack"], variables)["fronts"][endpoint["front"]])


def _site(
    site: t.Mapping[str, t.Any],
    endpoints: t.Sequence[t.Mapping[str, t.Any]],
    variables: t.Mapping[str, t.Any],
    more: t.Mapping[str, t.Any],
) -> dict[str, t.Any]:
    """Return what the drawing says of a site. The first of its endpoints is its front server's."""
    front, *others = endpoints
    listens = _endpoint.parse(front["endpoint"])
    drawing, drawn = stack_drawing(front["stack"], variables), _front(front, variables)
    runs = str(drawing["runs"])
    found: dict[str, t.Any] = {"name": site["name"], "port": listens.port, "front": drawn["component"]}
    # An MPM is known by connections that stay, and CGI sites of those with a process for each keep none.
    if "mpm" in drawn and not (runs == "cgi" and drawn["mpm"] in ("prefork", "itk")):
        found["mpm"] = drawn["mpm"]
    if listens.tls:
        found["tls"] = True
    if site.get("server_names"):
        found["host"] = site["server_names"][0]
    # The page that a text or a process is asked of says which of several backends is meant.
    page = str(more.get("nonce") or more.get("process") or more.get("path") or "/").partition("?")[0]
    backend = _behind([one for one in others if one["role"] == "backend"], page)
    if backend is None:
        return {**found, "served_by": _PARTS[runs]}
    if runs == "cgi":
        # fcgiwrap: its programs are CGI, whatever it speaks itself.
        return {**found, "served_by": "cgi"}
    found["backend"] = backend.url
    if runs in _PHP and backend.protocol == "fastcgi":
        return {**found, "served_by": "php_fpm", "script": _script(site, page), "status": _php_fpm.STATUS_PATH}
    return {**found, "served_by": backend.protocol}


def _behind(endpoints: t.Sequence[t.Mapping[str, t.Any]], page: str) -> _endpoint.Endpoint | None:
    """Return the backend that makes ``page``: that of the longest mount, and the last of a chain."""
    found = [one for one in endpoints if f"{page}/".startswith(f"{one['mount'].rstrip('/')}/")]
    best = max(enumerate(found), key=lambda one: (len(one[1]["mount"]), one[0]), default=None)
    return _endpoint.parse(best[1]["endpoint"]) if best else None


def _script(site: t.Mapping[str, t.Any], page: str) -> str:
    """Return the PHP file that makes ``page``, as the front server would name it."""
    fits = [one for one in site.get("aliases", []) if f"{page}/".startswith(f"{one['path'].rstrip('/')}/")]
    alias = max(fits, key=lambda one: len(one["path"]), default=None)
    root = alias["root"] if alias else site["root"]
    rest = page[len(alias["path"].rstrip("/")) :] if alias else page
    if not rest.endswith(".php"):
        index = next((name for name in site.get("index", []) if name.endswith(".php")), "index.php")
        rest = site["front_controller"] if "front_controller" in site and not alias else posixpath.join(rest, index)
    return posixpath.join(root, rest.lstrip("/"))
