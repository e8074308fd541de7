# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What stands behind a path of a site, whichever front server it is."""

from __future__ import annotations

import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from ._plan import check_path, check_text

#: Type of a location -> the protocols that it may speak to its endpoint.
SPEAKS = {
    "proxy": ("http", "https"),
    "uwsgi": ("uwsgi",),
    "scgi": ("scgi",),
    "fastcgi": ("fastcgi",),
    "php": ("fastcgi",),
}


def complete_location(location: dict[str, t.Any], here: str) -> None:
    """Check what the locations of all front servers have in common, and make the endpoint a complete one."""
    kind = location["type"]
    check_path(location["path"], f"{here}.path")
    for key in ("root", "script"):
        if location.get(key):
            check_path(location[key], f"{here}.{key}")
    for key, value in location["params"].items():
        check_text(f"{key}={value}", f"{here}.params.{key}")
    if location["streams"] < 0:
        raise DataError(f"{here}.streams", f"{location['streams']} is no number of requests; 0 where none stays open")
    if location["streams"] and kind != "proxy":
        raise DataError(f"{here}.streams", f"requests stay open at locations of type proxy, not {kind}")
    if kind not in SPEAKS:
        return
    if not location.get("endpoint"):
        raise DataError(f"{here}.endpoint", f"a {kind} location needs the endpoint of its backend")
    endpoint = _endpoint.parse(location["endpoint"], f"{here}.endpoint")
    if endpoint.protocol not in SPEAKS[kind]:
        problem = f"a {kind} location speaks {' or '.join(SPEAKS[kind])}, not {endpoint.protocol}"
        raise DataError(f"{here}.endpoint", problem)
    location["endpoint"] = endpoint.as_dict()


def streams_of(sites: t.Iterable[t.Mapping[str, t.Any]]) -> int:
    """Return how many requests may stay open at the locations of these sites, all together."""
    return sum(location.get("streams", 0) for site in sites for location in site.get("locations", ()))


def check_streams(sites: t.Sequence[t.Mapping[str, t.Any]], holds: int, remedy: str, where: str) -> None:
    """Refuse the first location by which the sites have more requests that stay open than their server ``holds``."""
    before = 0
    for index, site in enumerate(sites):
        for number, location in enumerate(site["locations"]):
            streams = location.get("streams", 0)
            if streams and before + streams > holds:
                others = f", {before} at locations before this one" if before else ""
                problem = f"{streams} requests shall stay open here{others}, and this server holds {holds}; {remedy}"
                raise DataError(f"{where}[{index}].locations[{number}].streams", problem)
            before += streams
