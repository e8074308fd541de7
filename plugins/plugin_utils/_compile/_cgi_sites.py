# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites that run programs: a process for every request (CGI), or processes that stay (FastCGI)."""

from __future__ import annotations

import posixpath
import re
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from . import _app_service
from ._draft import Draft, Site, backend
from ._plan import check_path, check_unique

_KEYS = ("root", "index")
#: Apache starts programs as its own user, without suEXEC.
_APACHE_USER = "www-data"
_FCGIWRAP = "/usr/sbin/fcgiwrap"
_MULTIWATCH = "/usr/bin/multiwatch"


def add_cgi_site(draft: Draft, site: Site, here: str) -> None:
    _check_scripts(site, here)
    for number, entry in enumerate(site["scripts"]):
        if ("script" in entry) == ("root" in entry):
            problem = "give either script, one program for everything below the path, or root, a directory of programs"
            raise DataError(f"{here}.scripts[{number}]", problem)
    if draft.front(site)["component"] == "apache":
        _refuse_user(site, here)
        locations = [{"type": "cgi", "timeout": site["timeout"], **entry} for entry in site["scripts"]]
        draft.add_front(site, _KEYS, locations=_static(site) + locations, environment=site["environment"])
        return
    # nginx starts no programs: fcgiwrap does, and a socket in the file system decides who may ask it to.
    endpoint = _endpoint.parse(_socket(site["name"]), here)
    draft.add_endpoint(site, "backend", endpoint, f"{here}.name", {})
    draft.add_front(site, _KEYS, locations=_static(site) + [_fastcgi(site, e, endpoint) for e in site["scripts"]])
    command = [_FCGIWRAP, "-f", "-c", str(site["processes"])]
    if all("script" in entry for entry in site["scripts"]):
        command += [word for entry in site["scripts"] for word in ("-p", entry["script"])]
    draft.plan["app_services"].append(_service(site, site["name"], command, endpoint, ["fcgiwrap"], here))


def add_fastcgi_site(draft: Draft, site: Site, here: str) -> None:
    _check_scripts(site, here)
    if draft.front(site).get("manager") == "fcgid":
        _refuse_user(site, here)
        kept = {"type": "fcgid", "timeout": site["timeout"], "processes": site["processes"]}
        locations = [{**kept, **entry} for entry in site["scripts"]]
        draft.add_front(site, _KEYS, locations=_static(site) + locations, environment=site["environment"])
        return
    names = [_program(site, entry["script"]) for entry in site["scripts"]]
    check_unique([(name, f"{here}.scripts[{n}].script") for n, name in enumerate(names)], "the program")
    if draft.front(site)["component"] == "nginx":
        _refuse_variables(site, here)
    locations = []
    for number, (name, entry) in enumerate(zip(names, site["scripts"])):
        name, endpoint = backend(site, name, "fastcgi", _socket, here, number)
        if number and site["socket"] not in ("unix", "tcp"):
            raise DataError(f"{here}.socket", "one endpoint serves one program, and this site has several: unix or tcp")
        draft.add_endpoint(site, "backend", endpoint, f"{here}.scripts[{number}]", {}, entry["path"])
        # What the program finds at its start is gone with the first request, whose variables take its place.
        locations.append({**_fastcgi(site, entry, endpoint), "params": site["environment"]})
        command = [entry.get("interpreter", entry["script"]), *entry["arguments"]]
        packages = []
        if site["processes"] > 1:
            command = [_MULTIWATCH, f"--forks={site['processes']}", "--", *command]
            packages = ["multiwatch"]
        draft.plan["app_services"].append(_service(site, name, command, endpoint, packages, here))
    draft.add_front(site, _KEYS, locations=_static(site) + locations)


def _socket(name: str) -> str:
    return f"fastcgi+unix:///run/app/{name}/www-data/fastcgi.sock"


def _service(
    site: Site, name: str, command: list[str], endpoint: _endpoint.Endpoint, packages: list[str], here: str
) -> dict[str, t.Any]:
    """Return a service whose socket systemd opens and hands over as descriptor 0, as FastCGI says it."""
    service = {
        "name": name,
        "user": site.get("user", _APACHE_USER),
        "command": command,
        "endpoint": endpoint.as_dict(),
        "protocol": "fastcgi",
        "activation": "stdin",
        "environment": site["environment"],
        "packages": packages,
    }
    _app_service.check_service(service, here)
    return service


def _static(site: Site) -> list[dict[str, t.Any]]:
    return [{"type": "static", **entry} for entry in site["static"]]


def _fastcgi(site: Site, entry: t.Mapping[str, t.Any], endpoint: _endpoint.Endpoint) -> dict[str, t.Any]:
    place = {key: entry[key] for key in ("path", "script", "root") if key in entry}
    return {"type": "fastcgi", **place, "endpoint": endpoint.as_dict(), "timeout": site["timeout"]}


def _program(site: Site, script: str) -> str:
    """Name a program's service: after its site where that has one program, else after its file as well."""
    if len(site["scripts"]) == 1:
        return str(site["name"])
    stem = posixpath.basename(script).partition(".")[0].lower()
    return f"{site['name']}-{re.sub(r'[^a-z0-9]+', '-', stem).strip('-')}"


def _check_scripts(site: Site, here: str) -> None:
    if not site["scripts"]:
        raise DataError(f"{here}.scripts", "at least one program is needed")
    served = [(site.get("root"), "root")]
    served += [(entry["root"], f"static[{number}].root") for number, entry in enumerate(site["static"])]
    paths = [
        (entry["path"], f"{here}.{key}[{n}].path") for key in ("static", "scripts") for n, entry in enumerate(site[key])
    ]
    check_unique([(check_path(path, where), where) for path, where in paths], "the path")
    for number, entry in enumerate(site["scripts"]):
        for key in ("script", "root", "interpreter"):
            if key in entry:
                check_path(entry[key], f"{here}.scripts[{number}].{key}")
        key = "script" if "script" in entry else "root"
        for directory, what in served:
            if directory and f"{entry.get(key, '')}/".startswith(f"{directory.rstrip('/')}/"):
                problem = (
                    f"it lies below {what} ({directory}), where everybody could read its source; keep it elsewhere"
                )
                raise DataError(f"{here}.scripts[{number}].{key}", problem)


def _refuse_user(site: Site, here: str) -> None:
    if site.get("user", _APACHE_USER) != _APACHE_USER:
        problem = (
            f"Apache starts programs as its own user, {_APACHE_USER}; leave the user out, or choose the front nginx"
        )
        raise DataError(f"{here}.user", problem)


def _refuse_variables(site: Site, here: str) -> None:
    for key, value in site["environment"].items():
        if "$" in str(value):
            raise DataError(
                f"{here}.environment.{key}", "nginx takes $ for the name of a variable, and has no way to write it"
            )
