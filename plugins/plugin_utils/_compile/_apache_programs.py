# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Locations whose program Apache runs itself: in processes for it (mod_wsgi, mod_fcgid, CGI), or its own (mod_perl)."""

from __future__ import annotations

import posixpath
import re
import typing as t

from ...module_utils._errors import DataError
from .. import _sizing
from ._facts import Host
from ._plan import check_path, check_text, check_user
from ._uwsgi import check_module

Location = t.Dict[str, t.Any]

#: For the whole server, wherever sites use mod_wsgi: the same file for every owner.
_WSGI_CONF = """\
# The sockets between Apache and the process groups keep their names when Apache reloads: a request that came before
# finds the processes that came after.
WSGISocketPrefix ${APACHE_RUN_DIR}/wsgi
WSGISocketRotation Off

# Python runs in process groups, and never in Apache's own processes.
WSGIRestrictEmbedded On
"""

#: Debian's place for both is one for all instances, which would share what each has for itself.
_FCGID_CONF = """\
# The sockets and the table of processes are this instance's own.
FcgidIPCDir ${APACHE_RUN_DIR}/fcgid
FcgidProcessTableFile ${APACHE_RUN_DIR}/fcgid_shm
"""


def complete_program(location: Location, site: t.Mapping[str, t.Any], here: str) -> None:
    """Check a location whose program Apache runs itself."""
    if location["type"] == "wsgi":
        _complete_wsgi(location, site, here)
    elif location["type"] in ("cgi", "perl") and bool(location.get("script")) == bool(location.get("root")):
        problem = f"a {location['type']} location needs either a script or a root, the directory of scripts"
        raise DataError(here, problem)
    elif location["type"] == "fcgid":
        _complete_fcgid(location, here)


def _complete_fcgid(location: Location, here: str) -> None:
    if not location.get("script"):
        raise DataError(f"{here}.script", "a fcgid location needs its program")
    if location.get("interpreter"):
        check_path(location["interpreter"], f"{here}.interpreter")
    location.setdefault("processes", 2)
    for number, word in enumerate(location["arguments"]):
        if not re.match(r"^[^\s\"'\\]+$", word):
            raise DataError(
                f"{here}.arguments[{number}]", f"{word!r} has a blank or a quote, which mod_fcgid cannot pass on"
            )


def _complete_wsgi(location: Location, site: t.Mapping[str, t.Any], here: str) -> None:
    for key in ("application", "user"):
        if not location.get(key):
            raise DataError(f"{here}.{key}", "a wsgi location needs its application and the user that runs it")
    app = location["application"]
    check_user(location["user"], f"{here}.user")
    check_path(app["path"], f"{here}.application.path")
    if app.get("virtualenv"):
        check_path(app["virtualenv"], f"{here}.application.virtualenv")
    check_module(app["module"], f"{here}.application.module")
    for key, value in app["environment"].items():
        check_text(f"{key}={value}", f"{here}.application.environment.{key}")
    for key in ("processes", "threads"):
        if location.get(key) is not None and location[key] < 1:
            raise DataError(f"{here}.{key}", f"{location[key]} is less than one")
    prefix = location["path"].strip("/").replace("/", "-")
    location["group"] = f"{site['name']}-{prefix}" if prefix else site["name"]
    location["loads"] = {
        "environment": {key: ascii(str(value)) for key, value in app["environment"].items()},
        "lines": _import(app["path"], app["module"]),
    }


def _import(path: str, module: str) -> list[str]:
    """Return the Python that leaves the application in the name ``application``, where mod_wsgi looks for it."""
    if module.endswith(".py"):
        return [
            f"__file__ = {posixpath.join(path, module)!r}",
            "exec(compile(open(__file__).read(), __file__, 'exec'))",
        ]
    package, _colon, place = module.partition(":")
    place = place or "application"
    lines = [f"from {package} import {re.split('[.(]', place)[0]}"]
    return lines if place == "application" else [*lines, f"application = {place}"]


def size_processes(locations: t.Iterable[Location], facts: t.Mapping[str, t.Any], share: float) -> None:
    """Fill in the numbers of processes that were left to the size of the host."""
    groups = [location for location in locations if location["type"] == "wsgi"]
    for location in groups:
        if location.get("processes") is None:
            host = Host.from_facts(facts)
            sized = _sizing.size_workers(host.memory_mb, host.cpus, location["worker_mb"], share, len(groups))
            location["processes"] = max(2, sized.max_spare)


def program_users(locations: t.Iterable[Location]) -> dict[str, str]:
    """Return the users that mod_wsgi runs applications as, and their homes."""
    return {place["user"]: place["application"]["path"] for place in locations if place["type"] == "wsgi"}


def program_files(locations: t.Iterable[Location]) -> list[dict[str, t.Any]]:
    """Return the files that locations of mod_wsgi and mod_fcgid need beside their virtual hosts."""
    places = list(locations)
    groups = [location for location in places if location["type"] == "wsgi"]
    files: list[dict[str, t.Any]] = []
    if groups:
        files.append({"path": "conf-enabled/wsgi.conf", "content": _WSGI_CONF})
    if any(location["type"] == "fcgid" for location in places):
        files.append({"path": "conf-enabled/fcgid.conf", "content": _FCGID_CONF})
    return files + [
        {
            "path": f"wsgi/{location['group']}.wsgi",
            "template": "wsgi/script.wsgi.j2",
            "vars": {"location": location},
            # Apache only looks whether it is there; it is read by the application's user, whose secrets it may hold.
            "group": location["user"],
            "mode": "0640",
        }
        for location in groups
    ]


def program_requires(location: Location, here: str, python_version: str) -> list[dict[str, t.Any]]:
    """Return the paths that a location's program needs on the host."""
    if location["type"] in ("cgi", "fastcgi", "fcgid", "perl"):
        return [
            {"path": location[key], "what": f"{here}.{key}"} for key in ("script", "interpreter") if location.get(key)
        ]
    if location["type"] != "wsgi":
        return []
    app = location["application"]
    needed = [{"path": app["path"], "what": f"{here}.application.path"}]
    if app.get("virtualenv"):
        # mod_wsgi is built for one Python, and finds the libraries of no other.
        path = f"{app['virtualenv']}/lib/python{python_version}"
        needed.append({"path": path, "what": f"{here}.application.virtualenv"})
    return needed
