# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""nginx sites: from data to files, addresses and probes."""

from __future__ import annotations

import ipaddress
import math
import re
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _spec
from ._facts import Host
from ._front import add_sites, check_site, site_endpoint, site_listens
from ._locations import SPEAKS, check_streams, complete_location
from ._plan import Plan, check_path, check_text, check_unique, empty_plan, marker, tmpfiles

#: Where nginx has its configuration, and the unit that reads it, as ``config_tree`` takes them.
NGINX_TREE = {"daemon": "nginx", "root": "/etc/nginx", "service": "nginx.service"}

#: Connections that a worker gets for streams, files beside them, and connections of visitors: no more in all than the
#: 20,000 files that a process may have in some containers. More streams have more workers.
_MOST_CONNECTIONS = 16384
_FILES = 3072
_VISITORS = 1024
#: Where several workers share the connections, one of them may have so many times its part (seen: 1.5).
_UNEVEN = 1.6

#: Locations of these types may have the path of another one beside them.
_OF = {"php": "of PHP ", "files": "of files "}

#: Ends of names that no front server sends as text.
_SOURCE = r"^(php\d?|pht|phtml|phar|phps|inc|py|pl|rb|cgi|sh|sql|env|ini|conf|log|bak|old|orig|save|sw[op])$"


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


def nginx_base(facts: t.Mapping[str, t.Any], streams: int, connections: int) -> list[dict[str, t.Any]]:
    """Return the files that nginx has whoever declares sites on it.

    :param streams: requests that may stay open, at all sites together.
    :param connections: what a worker process has at least.
    """
    if streams < 0:
        raise DataError("nginx_streams", f"{streams} is no number of requests; 0 where none stays open")
    # One to the client and one to the backend; a worker may get more than its share, up to all of them.
    most = max(connections, min(2 * streams + _VISITORS, _MOST_CONNECTIONS))
    workers = math.ceil(_UNEVEN * 2 * streams / _MOST_CONNECTIONS)
    numbers = {
        "streams": streams,
        "connections": most,
        # A visitor's connection has a file beside it that is sent, a stream's has none.
        "files": max(2 * connections, most + _FILES),
        "workers": max(workers, Host.from_facts(facts).cpus) if workers > 1 else "auto",
    }
    return [
        {"path": "nginx.conf", "template": "nginx.conf.j2", "vars": {"numbers": numbers}},
        # Debian's example site would answer on port 80.
        {"path": "sites-enabled/default", "state": "absent"},
    ]


def nginx_plan(
    sites: list[dict[str, t.Any]],
    owner: str,
    where: str = "nginx_sites",
    mark: bool = True,
    streams: int | None = None,
) -> Plan:
    """Return files, listeners, probes and required paths of the sites that ``owner`` declares.

    :param streams: requests that may stay open, at all sites together; any number when it is ``None``.
    :param mark: whether the local fact tells these sites; otherwise that of the run before stays.
    :raises DataError: with the path of the wrong value.
    """
    checked: list[dict[str, t.Any]] = _spec.checked(_spec.role_options("nginx")["nginx_sites"], sites, where)
    plan = empty_plan()
    add_sites(plan, checked, where, _complete, _requires)
    if streams is not None:
        check_streams(checked, streams, "set nginx_streams to what all sites of this nginx need together", where)
    # nginx makes a cache's directory, but not again when it is gone, as after a reboot where /var/cache is in memory.
    for site in checked:
        if site.get("cache"):
            plan["files"] += tmpfiles(f"nginx-{site['name']}", [f"d {site['cache']['path']} 0700 www-data root"])
    if checked and mark:
        plan["files"].append(marker(owner, "nginx", sites=site_listens(checked)))
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
        (f"{_OF.get(location['type'], '')}{location['path']}", f"{here}.locations[{number}].path")
        for number, location in enumerate(site["locations"])
    ]
    check_unique(paths, "the location")
    _complete_cache(site, here)
    _complete_files(site, here)
    return endpoint


def _complete_cache(site: dict[str, t.Any], here: str) -> None:
    """Check the cache and the open files, and fill in what follows from the site."""
    for key, value in (site.get("open_files") or {}).items():
        if key in ("inactive", "valid"):
            _check_time(value, f"{here}.open_files.{key}")
    cache = site.get("cache")
    cached = [(n, location) for n, location in enumerate(site["locations"]) if location["cache"]]
    for number, location in cached:
        if location["type"] not in SPEAKS:
            raise DataError(
                f"{here}.locations[{number}].cache", "files are on disk already; only a backend's answers are kept"
            )
        if cache is None:
            problem = "the site has no cache to keep answers in; give it one, cache: {} will do"
            raise DataError(f"{here}.locations[{number}].cache", problem)
    if cache is None:
        return
    gateways = {_gateway(location) for _number, location in cached}
    if len(gateways) != 1:
        problem = f"one kind of backend fills a cache, and these locations have {', '.join(sorted(gateways)) or 'none'}"
        raise DataError(f"{here}.cache", f"{problem}; set cache: true for those of one type")
    cache["gateway"] = gateways.pop()
    cache["path"] = check_path(cache.get("path") or f"/var/cache/nginx-{site['name']}", f"{here}.cache.path")
    _check_time(cache["inactive"], f"{here}.cache.inactive")
    for key in ("keys_mb", "max_mb"):
        if cache[key] < 1:
            raise DataError(f"{here}.cache.{key}", f"{cache[key]} MiB is nothing; at least 1")
    cache["times"] = _times(cache["valid"], f"{here}.cache.valid")
    check_text(cache["key"], f"{here}.cache.key")
    for number, name in enumerate(cache["cookies"]):
        if not re.match(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", name):
            raise DataError(f"{here}.cache.cookies[{number}]", f"{name!r} is not the beginning of a cookie's name")
    if not cache["purge_from"]:
        raise DataError(f"{here}.cache.purge_from", "name at least one address that may purge, such as 127.0.0.1")
    for number, address in enumerate(cache["purge_from"]):
        try:
            ipaddress.ip_network(address)
        except ValueError as error:
            raise DataError(f"{here}.cache.purge_from[{number}]", f"{error}") from None


def _times(valid: t.Mapping[t.Any, t.Any], here: str) -> dict[str, str]:
    """Return each time with the statuses that it is for."""
    times: dict[str, str] = {}
    for status, time in valid.items():
        if not re.match(r"^([1-5]\d\d|any)$", str(status)):
            raise DataError(f"{here}.{status}", "a status from 100 to 599, or any, is needed")
        _check_time(str(time), f"{here}.{status}")
        times[str(time)] = f"{times[str(time)]} {status}" if str(time) in times else str(status)
    return times


def _complete_files(site: dict[str, t.Any], here: str) -> None:
    """Let the location ``/`` answer for files that do not exist: nginx needs it under a name, to hand on to."""
    files = [(n, location) for n, location in enumerate(site["locations"]) if location["type"] == "files"]
    for number, location in files:
        if not location["suffixes"]:
            raise DataError(f"{here}.locations[{number}].suffixes", "at least one is needed, such as css")
        for place, suffix in enumerate(location["suffixes"]):
            if not re.match(r"^[A-Za-z0-9]+$", suffix):
                problem = f"{suffix!r} is not the end of a file name without its dot, such as css"
                raise DataError(f"{here}.locations[{number}].suffixes[{place}]", problem)
            if re.match(_SOURCE, suffix, re.IGNORECASE):
                problem = f"files that end in .{suffix} are programs or secrets, and would be sent as text"
                raise DataError(f"{here}.locations[{number}].suffixes[{place}]", problem)
    if not files:
        return
    others = [location for location in site["locations"] if location["type"] != "files"]
    rest = next((location for location in others if (location["type"], location["path"]) == ("proxy", "/")), None)
    if rest is None:
        raise DataError(f"{here}.locations[{files[0][0]}]", "files need a location / of type proxy behind them")
    if rest.get("target"):
        raise DataError(
            f"{here}.locations", "behind files, the location / cannot have a target: paths go on as they are"
        )
    rest["path"] = "@backend"
    # Of expressions, nginx takes the first that fits.
    first = sorted((location for _number, location in files), key=lambda location: -len(location["path"]))
    site["locations"] = [*first, *others, {"type": "rest", "path": "/"}]


def _gateway(location: t.Mapping[str, t.Any]) -> str:
    return "fastcgi" if location["type"] == "php" else str(location["type"])


def _check_time(value: str, here: str) -> None:
    if not re.match(r"^\d+(ms|[smhdwMy])?$", value):
        raise DataError(here, f"{value!r} is not a time such as 30s, 10m, 1h, 1d")


def _complete_location(location: dict[str, t.Any], site: t.Mapping[str, t.Any], here: str) -> None:
    kind = location["type"]
    if kind in ("static", "files", "php") and not location.get("root") and not site.get("root"):
        raise DataError(here, f"a {kind} location needs a root, its own or the site's")
    complete_location(location, here)


def _requires(site: t.Mapping[str, t.Any], here: str) -> list[dict[str, t.Any]]:
    paths = [(site.get("root"), f"{here}.root")]
    for number, location in enumerate(site["locations"]):
        paths += [(location.get(key), f"{here}.locations[{number}].{key}") for key in ("root", "script")]
    paths += [(path, f"{here}.tls.{key}") for key, path in (site.get("tls") or {}).items()]
    return [{"path": path, "what": what} for path, what in paths if path]
