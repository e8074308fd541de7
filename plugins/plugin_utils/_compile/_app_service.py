# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Programs as services of systemd: from data to units, environments, addresses and probes."""

from __future__ import annotations

import re
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _spec
from ._plan import (
    Plan,
    check_name,
    check_path,
    check_run_path,
    check_text,
    check_unique,
    check_user,
    empty_plan,
    listener,
    marker,
    sysusers,
    tmpfiles,
)

_PROTOCOLS = ("http", "fastcgi", "scgi", "unix", "tcp")
_UNITS = "/etc/systemd/system"
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_SIGNAL = re.compile(r"^[A-Z][A-Z0-9]*$")
_FILE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
_PLACEHOLDER = re.compile(r"\{(socket|host|port|bind)\}")
#: Words that systemd.service(5) takes as they are, without quotes.
_PLAIN = re.compile(r"^[A-Za-z0-9_@%+=:,./$-]+$")


def default_socket(name: str, group: str = "www-data", protocol: str = "http") -> str:
    """Where a service listens that names no endpoint: the directory says who may connect."""
    return f"{protocol}+unix:///run/app/{name}/{group}/{protocol}.sock"


def app_service_plan(services: list[dict[str, t.Any]], owner: str, where: str = "app_service_services") -> Plan:
    """Return files, listeners, probes and required paths of the services that ``owner`` declares.

    :raises DataError: with the path of the wrong value.
    """
    plan = empty_plan()
    users: dict[str, str] = {}
    names: list[tuple[str, str]] = []
    addresses: list[tuple[str, str]] = []
    option = _spec.role_options("app_service")["app_service_services"]
    for index, app in enumerate(_spec.checked(option, services, where)):
        here = f"{where}[{index}]"
        endpoint = _complete(app, here)
        names.append((app["name"], f"{here}.name"))
        addresses.append((endpoint.address, f"{here}.endpoint"))
        users[app["user"]] = app.get("directory", "/")
        plan["files"] += [*_files(app), *tmpfiles(f"app-{app['name']}", _directories(app, endpoint))]
        plan["listen"].append({**listener(endpoint, f"{here}.endpoint"), "unit": f"app@{app['name']}.service"})
        plan["probe"].append(
            {"name": f"service {app['name']}", "endpoint": endpoint.as_dict(), **_request(app, endpoint)}
        )
        plan["requires"].append({"path": app["command"][0], "what": f"{here}.command[0]"})
        if "directory" in app:
            plan["requires"].append({"path": app["directory"], "what": f"{here}.directory"})
    check_unique(names, "the service name")
    check_unique(addresses, "the address")
    if names:
        plan["files"] += tmpfiles(f"{owner}-app", ["d /run/app 0755 root root"])
        plan["files"] += [*sysusers(users, f"{owner}-app"), marker(owner, "app_service")]
    return plan


def check_service(service: t.Mapping[str, t.Any], here: str) -> None:
    """Refuse a service that :func:`app_service_plan` would refuse, by the path of what it was made from."""
    option = _spec.role_options("app_service")["app_service_services"]
    _complete(_spec.checked({"type": "dict", "options": option["options"]}, service, here), here)


def _complete(app: dict[str, t.Any], here: str) -> _endpoint.Endpoint:
    """Check ``app``, fill in what the templates need, and return its endpoint."""
    check_name(app["name"], f"{here}.name")
    check_user(app["user"], f"{here}.user")
    check_path(app.get("probe_path", "/").partition("?")[0], f"{here}.probe_path")
    if "directory" in app:
        _check_unit_path(app["directory"], f"{here}.directory")
    if not _SIGNAL.match(app.get("reload_signal", "HUP")):
        raise DataError(f"{here}.reload_signal", f"{app['reload_signal']!r} is not a signal, such as HUP or USR2")
    for key, value in app["environment"].items():
        if not _VARIABLE.match(str(key)):
            raise DataError(f"{here}.environment.{key}", "a variable's name has letters, digits and _ only")
        check_text(str(value), f"{here}.environment.{key}")
    for key in ("files", "secret_files"):
        for name, content in app[key].items():
            where = f"{here}.{key}.{name}"
            if not _FILE.match(name):
                raise DataError(where, "a file's name has letters, digits and _ . - only, and no directory")
            if not isinstance(content, str):
                raise DataError(where, f"the content of a file is text, not {type(content).__name__}")
    for name in app["files"]:
        if name in app["secret_files"]:
            raise DataError(f"{here}.secret_files.{name}", "a file of this name is among files already")
    endpoint = _endpoint.parse(
        app.get("endpoint") or default_socket(app["name"], app["group"], app["protocol"]), f"{here}.endpoint"
    )
    if endpoint.protocol not in _PROTOCOLS:
        raise DataError(f"{here}.endpoint", f"a service speaks {', '.join(_PROTOCOLS)}, not {endpoint.protocol}")
    if endpoint.unix is not None:
        check_run_path(endpoint.unix, f"{here}.endpoint")
        _check_unit_path(endpoint.unix, f"{here}.endpoint")
    app["address"] = endpoint.address
    app["unix"] = endpoint.unix
    app["listens"] = _places(endpoint) if app["activation"] == "none" else {}
    app["exec_start"] = " ".join(_words(app, endpoint, here))
    return endpoint


def _request(app: t.Mapping[str, t.Any], endpoint: _endpoint.Endpoint) -> dict[str, str]:
    """Return what the probe asks for: by a bare connect nothing; FastCGI has its own question, which runs no script."""
    if endpoint.protocol in ("unix", "tcp") or (endpoint.protocol == "fastcgi" and "probe_path" not in app):
        return {}
    return {"path": app.get("probe_path", "/")}


def _check_unit_path(path: str, where: str) -> None:
    check_path(path, where)
    if "%" in path:
        raise DataError(where, f"{path!r} has a % in it, which systemd would replace")


def _places(endpoint: _endpoint.Endpoint) -> dict[str, str]:
    """What tells a program where to listen, as variables of its environment."""
    if endpoint.unix is not None:
        return {"SOCKET": endpoint.unix}
    return {"HOST": str(endpoint.host), "PORT": str(endpoint.port)}


def _words(app: t.Mapping[str, t.Any], endpoint: _endpoint.Endpoint, here: str) -> list[str]:
    """Return the command for ExecStart=, its placeholders filled in."""
    if not app["command"]:
        raise DataError(f"{here}.command", "the program is missing")
    check_path(app["command"][0], f"{here}.command[0]")
    places = {key.lower(): value for key, value in _places(endpoint).items()}
    places["bind"] = f"unix:{endpoint.unix}" if endpoint.is_unix else endpoint.address
    words = []
    for number, word in enumerate(app["command"]):
        what = f"{here}.command[{number}]"

        def place(match: re.Match[str], what: str = what) -> str:
            if match[1] not in places:
                known = ", ".join(f"{{{name}}}" for name in places)
                raise DataError(what, f"there is no {match[0]} where it listens ({endpoint.url}), but {known}")
            return places[match[1]]

        words.append(_quoted(_PLACEHOLDER.sub(place, check_text(word, what))))
    return words


def _quoted(word: str) -> str:
    """Spell a word so that systemd neither splits nor expands it."""
    word = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN.match(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _directories(app: t.Mapping[str, t.Any], endpoint: _endpoint.Endpoint) -> list[str]:
    """Return tmpfiles.d(5) lines: the set-group-id directory gives the socket its group."""
    run = f"/run/app/{app['name']}"
    directory = (endpoint.unix or "").rpartition("/")[0]
    if directory != f"{run}/{app['group']}":
        return []
    return [f"d {run} 0755 root root", f"d {directory} 2750 {app['user']} {app['group']}"]


def _files(app: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    name, extra = app["name"], {"vars": {"app": app}}
    unit = f"{_UNITS}/app@{name}"
    files: list[dict[str, t.Any]] = [
        {"system": f"{unit}.service", "template": "app.service.j2", **extra},
        {"path": f"{name}.service", "link": f"{unit}.service"},
        {"path": f"{name}.env", "template": "app.env.j2", "secret": True, **extra},
    ]
    if app["files"] or app["secret_files"]:
        files.append({"path": name, "state": "directory", "mode": "0750", "owner": "root", "group": app["user"]})
    for key, more in (("files", {}), ("secret_files", {"secret": True})):
        for file, content in app[key].items():
            files.append({"path": f"{name}/{file}", "content": content, "mode": "0640", "group": app["user"], **more})
    if app["activation"] == "none":
        # Not only left out: the program opens the socket itself from now on.
        return [
            *files,
            {"system": f"{unit}.socket", "state": "absent"},
            {"path": f"{name}.socket", "state": "absent"},
        ]
    return [
        *files,
        {"system": f"{unit}.socket", "template": "app.socket.j2", **extra},
        {"path": f"{name}.socket", "link": f"{unit}.socket"},
    ]
