# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Requests that stay open on stacks whose workers answer one at a time: at how many clients such a site stops.

All numbers are those that the components get: each compiles its part of the plan once more, and is read.
"""

from __future__ import annotations

import collections
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _spec
from ._apache import apache_plan, mpm_numbers
from ._draft import Site, Streams
from ._facts import Host
from ._php_fpm import php_fpm_plan
from ._plan import check_path
from ._uwsgi import uwsgi_plan

#: What the drawing ``runs`` -> the key of the site that says how many requests its own service answers at a time.
_SERVICES = {"cgi": "processes", "fastcgi": "processes", "wsgi": "threads"}


class Limit(t.NamedTuple):
    """``number`` requests that stay open take all of something, and ``who`` waits then."""

    number: int
    what: str
    who: str


class Warned(t.TypedDict):
    where: str
    text: str


def site_streams(
    site: Site, runs: str, fronts: t.Iterable[tuple[t.Mapping[str, t.Any], Site]], here: str
) -> list[Streams]:
    """Check what a site says of requests that stay open, and return it.

    :param fronts: what the site became, with the front servers.
    """
    key = _SERVICES.get(runs, "")
    found: list[Streams] = []
    for number, entry in enumerate(site.get("streams", ())):
        where = f"{here}.streams[{number}]"
        check_path(entry["path"], f"{where}.path")
        if entry["clients"] < 1:
            raise DataError(f"{where}.clients", f"{entry['clients']} clients are none; at least 1")
        service = (site[key], key) if site.get(key) else None
        found.append(
            {
                "site": site["name"],
                "where": where,
                "path": entry["path"],
                "clients": entry["clients"],
                "service": service,
                "fronts": list(fronts),
            }
        )
    return found


def stream_warnings(
    streams: t.Sequence[Streams],
    calls: t.Sequence[t.Mapping[str, t.Any]],
    backends: t.Mapping[str, list[dict[str, t.Any]]],
    facts: t.Mapping[str, t.Any],
    variable: t.Callable[[str, str], t.Any],
) -> list[Warned]:
    """Return a warning for each path whose open requests would stop a site.

    :param calls: of the front servers' components, with all sites of the host.
    :param backends: the variables of the backends' components.
    :param variable: a role's variable, by role and name.
    """
    if not streams:
        return []
    host = Host.from_facts(facts)
    workers = _workers(backends, facts, variable)
    all_limits: list[list[Limit]] = []
    expected_at: collections.Counter[str] = collections.Counter()
    for entry in streams:
        limits: list[Limit] = []
        for front, site in entry["fronts"]:
            if front["component"] == "apache":
                [call] = [call for call in calls if _same(call, front)]
                limits.append(_apache_limit(call, host, variable))
                site = _compiled(site, call, facts, variable)
            limits += _location_limits(site, entry, workers)
        all_limits.append(limits)
        # Sites may have an Apache, and paths a pool, in common.
        for what in {limit.what for limit in limits}:
            expected_at[what] += entry["clients"]
    return [
        {"where": entry["where"], "text": _text(entry, limits, expected_at)}
        for entry, limits in zip(streams, all_limits)
    ]


def expected(streams: t.Iterable[Streams], front: t.Mapping[str, t.Any]) -> int:
    """Return how many requests are expected to stay open at a front server."""
    return sum(entry["clients"] for entry in streams if any(_same(front, place) for place, _site in entry["fronts"]))


def _same(one: t.Mapping[str, t.Any], other: t.Mapping[str, t.Any]) -> bool:
    return (one["component"], one.get("instance", "")) == (other["component"], other.get("instance", ""))


def _text(entry: Streams, limits: list[Limit], expected_at: t.Mapping[str, int]) -> str:
    remedy = "The stack realtime holds open requests without a worker for each."
    beginning = f"requests to {entry['path']} stay open, and {entry['clients']} at a time are expected"
    if not limits:
        return f"{beginning}; how many the program of {entry['site']} holds is not known here. {remedy}"
    least = min(limits, key=lambda limit: (expected_at[limit.what] < limit.number, limit.number))
    if expected_at[least.what] > entry["clients"]:
        beginning += f", {expected_at[least.what]} with others"
    stops = "it stops" if expected_at[least.what] >= least.number else "it would stop"
    return f"{beginning}: {stops} at {least.number}, which hold all {least.what}. Then {least.who} waits. {remedy}"


def _apache_limit(call: t.Mapping[str, t.Any], host: Host, variable: t.Callable[[str, str], t.Any]) -> Limit:
    share, worker_mb = float(variable("apache", "memory_share")), int(variable("apache", "worker_mb"))
    number = mpm_numbers(host, call["mpm"], share, worker_mb, call["streams"])["max_workers"]
    kind = "processes" if call["mpm"] in ("prefork", "itk") else "threads"
    return Limit(number, f"{kind} of {call['name']} (MaxRequestWorkers)", f"every site of {call['name']}")


def _compiled(
    site: Site, call: t.Mapping[str, t.Any], facts: t.Mapping[str, t.Any], variable: t.Callable[[str, str], t.Any]
) -> Site:
    """Return a site as Apache's component completes it, among all sites of the call."""
    share = float(variable("apache", "memory_share"))
    plan = apache_plan(call["sites"], "", call["mpm"], call["instance"], facts=facts, share=share, mark=False)
    sites = [entry["vars"]["site"] for entry in plan["files"] if "site" in entry.get("vars", ())]
    return t.cast("Site", next(entry for entry in sites if entry["name"] == site["name"]))


def _workers(
    backends: t.Mapping[str, list[dict[str, t.Any]]],
    facts: t.Mapping[str, t.Any],
    variable: t.Callable[[str, str], t.Any],
) -> dict[str, Limit]:
    """Return where pools and applications listen -> how many requests they answer at a time."""
    found: dict[str, Limit] = {}
    share = float(variable("php_fpm", "memory_share"))
    for file in php_fpm_plan(backends["php_fpm_pools"], facts, "", share)["files"]:
        if "pool" in file.get("vars", ()):
            pool = file["vars"]["pool"]
            what = f"workers of the PHP-FPM pool {pool['name']} (max_children)"
            found[_address(pool["listen"])] = Limit(
                pool["workers"]["max"], what, f"all that the pool {pool['name']} runs"
            )
    applications = {kind: backends[f"uwsgi_{kind}"] for kind in ("instances", "vassals")}
    for file in uwsgi_plan(applications, facts, "", float(variable("uwsgi", "memory_share")))["files"]:
        if "app" in file.get("vars", ()):
            app = file["vars"]["app"]
            each = app.get("gevent") or app["threads"]
            what = f"workers of the uWSGI {app['name']} ({app['processes']} processes x {each})"
            for socket in app["sockets"]:
                found[_address(socket["endpoint"])] = Limit(
                    app["processes"] * each, what, f"all that the uWSGI {app['name']} runs"
                )
    return found


def _location_limits(site: Site, entry: Streams, workers: t.Mapping[str, Limit]) -> list[Limit]:
    """Return what limits the requests that get to a path of a front server's site."""
    php = site.get("php") or {}
    if php.get("endpoint"):
        return [workers[_address(php["endpoint"])]]
    dynamic = [place for place in site.get("locations", ()) if place["type"] not in ("static", "files")]
    reached = [place for place in dynamic if entry["path"].startswith(place.get("path", "/"))]
    if not reached:
        return []
    location = max(reached, key=lambda place: len(place.get("path", "/")))
    who = f"all of {entry['site']}"
    if location["type"] == "wsgi":
        number = location["processes"] * location["threads"]
        what = f"workers of mod_wsgi ({location['processes']} processes x {location['threads']})"
        return [Limit(number, what, who)]
    if location["type"] == "fcgid":
        return [Limit(location["processes"], "processes of mod_fcgid (processes)", who)]
    if location.get("endpoint"):
        address = _address(location["endpoint"])
        if address in workers:
            return [workers[address]]
        if entry["service"]:
            number, kind = entry["service"]
            return [Limit(number, f"{kind} of its service", who)]
    return []


def _address(endpoint: t.Any) -> str:
    return _endpoint.parse(endpoint).address


def role_variable(variables: t.Mapping[str, t.Any], role: str, name: str) -> t.Any:
    """Return a variable of a role from the host's variables, or the role's default."""
    return variables.get(f"{role}_{name}", _spec.role_defaults(role)[f"{role}_{name}"])
