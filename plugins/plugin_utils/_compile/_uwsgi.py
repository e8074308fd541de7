# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""uWSGI instances and vassals: from data to files, addresses and probes."""

from __future__ import annotations

import re
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _sizing, _spec
from ._facts import Host
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

_SOCKET_OPTIONS = {"uwsgi": "socket", "http": "http-socket", "fastcgi": "fastcgi-socket", "scgi": "scgi-socket"}
_MODULE = re.compile(r"^[\w.]+(:[\w.]+(\(\))?)?$|^[\w./-]+\.py$")


def default_socket(name: str, group: str = "www-data", protocol: str = "uwsgi") -> str:
    """Where an application listens that names no endpoint: the directory says who may connect."""
    return f"{protocol}+unix:///run/uwsgi/{name}/{group}/{protocol}.sock"


def stats_socket(name: str) -> str:
    """Where an application tells what its workers do."""
    return f"/run/uwsgi/{name}/stats.sock"


def check_module(module: str, where: str) -> None:
    """Refuse what names no WSGI application."""
    if not _MODULE.match(module):
        raise DataError(where, f"{module!r} is neither package.module:callable nor a file NAME.py")


def check_application(app: t.Mapping[str, t.Any], endpoint: _endpoint.Endpoint, here: str) -> None:
    """Refuse what :func:`uwsgi_plan` would refuse of a site's application, by its path in the site ``here``."""
    option = _spec.role_options("uwsgi")["uwsgi_instances"]
    _check(_spec.checked({"type": "dict", "options": option["options"]}, app, here), here, f"{here}.application")
    _check_place(endpoint, f"{here}.socket")


def uwsgi_plan(
    applications: t.Mapping[str, list[dict[str, t.Any]]],
    facts: t.Mapping[str, t.Any],
    owner: str,
    share: float = 0.5,
) -> Plan:
    """Return files, listeners, probes and required paths of the ``instances`` and ``vassals`` of ``owner``.

    :raises DataError: with the path of the wrong value.
    """
    options = _spec.role_options("uwsgi")
    plan = empty_plan()
    users: dict[str, str] = {}
    names: list[tuple[str, str]] = []
    addresses: list[tuple[str, str]] = []
    count = max(1, sum(map(len, applications.values())))
    for kind in ("instances", "vassals"):
        where = f"uwsgi_{kind}"
        for index, app in enumerate(_spec.checked(options[where], applications.get(kind, []), where)):
            here = f"{where}[{index}]"
            sockets = _complete(app, here, Host.from_facts(facts), share, count)
            names.append((app["name"], f"{here}.name"))
            addresses += [(endpoint.address, what) for endpoint, what in sockets]
            users[app["user"]] = app["path"]
            plan["files"] += [*_files(app, kind), *tmpfiles(f"uwsgi-{app['name']}", _directories(app))]
            plan["listen"] += [listener(endpoint, what) for endpoint, what in sockets]
            plan["requires"].append({"path": app["path"], "what": f"{here}.path"})
            plan["probe"] += [
                {"name": f"{kind[:-1]} {app['name']}", **_probe(endpoint, app["mount"])} for endpoint, _what in sockets
            ]
    check_unique(names, "the application name")
    check_unique(addresses, "the address")
    if names:
        plan["files"] += tmpfiles(f"{owner}-uwsgi", ["d /run/uwsgi 0755 root root"])
        plan["files"] += [*sysusers(users, f"{owner}-uwsgi"), marker(owner, "uwsgi")]
    return plan


def _probe(endpoint: _endpoint.Endpoint, path: str) -> dict[str, t.Any]:
    probe = {"endpoint": endpoint.as_dict(), "path": path}
    # By itself, a FastCGI probe asks for a script, as PHP-FPM wants it.
    return {**probe, "params": {"SCRIPT_NAME": "", "PATH_INFO": path}} if endpoint.protocol == "fastcgi" else probe


def _complete(
    app: dict[str, t.Any], here: str, host: Host, share: float, count: int
) -> list[tuple[_endpoint.Endpoint, str]]:
    """Check ``app``, fill in what depends on the host, and return its endpoints with their paths in the data."""
    _check(app, here, here)
    if not app.get("processes"):
        app["processes"] = max(
            2, _sizing.size_workers(host.memory_mb, host.cpus, app["worker_mb"], share, count).max_spare
        )
    app["run"] = f"/run/uwsgi/{app['name']}"
    app["stats"] = stats_socket(app["name"])
    app["sockets"] = []
    result = []
    for number, socket in enumerate(app["listen"]):
        what = f"{here}.listen[{number}]"
        endpoint = _endpoint.parse(
            socket.get("endpoint") or default_socket(app["name"], socket["group"], socket["protocol"]),
            f"{what}.endpoint",
        )
        if endpoint.protocol not in _SOCKET_OPTIONS:
            raise DataError(
                f"{what}.endpoint", f"uWSGI listens with {' or '.join(_SOCKET_OPTIONS)} here, not {endpoint.protocol}"
            )
        _check_place(endpoint, f"{what}.endpoint")
        group = f"the group {socket['group']}" if endpoint.is_unix else "whoever reaches the address"
        app["sockets"].append(
            {
                "option": _SOCKET_OPTIONS[endpoint.protocol],
                "endpoint": endpoint.as_dict(),
                "group": socket["group"],
                "comment": f"{endpoint.protocol} for {group}",
            }
        )
        result.append((endpoint, f"{what}.endpoint"))
    return result


def _check(app: t.Mapping[str, t.Any], here: str, program: str) -> None:
    """Refuse wrong values of ``app``.

    :param here: path of its keys in the user's data; ``program`` is that of those which say what it runs.
    """
    check_name(app["name"], f"{here}.name")
    check_user(app["user"], f"{here}.user")
    check_path(app["path"], f"{program}.path")
    check_path(app["mount"], f"{here}.mount")
    if app["mount"] != "/" and app["mount"].endswith("/"):
        raise DataError(f"{here}.mount", f"{app['mount']!r} ends with a slash; a prefix is written like /catalog")
    check_module(app["module"], f"{program}.module")
    if not 4096 <= app["buffer_size"] <= 65535:
        raise DataError(
            f"{here}.buffer_size", f"{app['buffer_size']} is not from 4096 to 65535 (a uwsgi packet's size)"
        )
    for key, value in app["environment"].items():
        if "$(" in check_text(f"{key}={value}", f"{program}.environment.{key}"):
            raise DataError(f"{program}.environment.{key}", "uWSGI would replace $(...) by a variable of its own")
    if app["gevent"] < 0:
        raise DataError(f"{here}.gevent", f"{app['gevent']} is no number of greenlets; 0 for none")
    if app["gevent"] and app["threads"] > 1:
        raise DataError(f"{here}.threads", "a process has either threads or greenlets (gevent)")
    # Not given, or 0: their number follows the host.
    if app.get("processes") and app["processes"] < 2:
        raise DataError(f"{here}.processes", "a chain reload needs two processes or more, so that one serves meanwhile")


def _check_place(endpoint: _endpoint.Endpoint, where: str) -> None:
    if endpoint.unix is not None:
        check_run_path(endpoint.unix, where)


def _directories(app: t.Mapping[str, t.Any]) -> list[str]:
    """Return tmpfiles.d(5) lines: a set-group-id directory for each group gives its sockets that group."""
    lines = [f"d {app['run']} 0711 {app['user']} {app['user']}"]
    for socket in app["sockets"]:
        path = socket["endpoint"].get("unix", "")
        if path.startswith(f"{app['run']}/") and path.count("/") == 5:
            lines.append(f"d {path.rpartition('/')[0]} 2750 {app['user']} {socket['group']}")
    return lines


def _files(app: dict[str, t.Any], kind: str) -> list[dict[str, t.Any]]:
    ini = {"template": "application.ini.j2", "vars": {"app": app}}
    if kind == "vassals":
        # In tyrant mode the file's owner is the user that the Emperor starts the vassal as.
        hidden = {"secret": True, "mode": "0600"} if app["secret"] else {}
        return [{"path": f"vassals/{app['name']}.ini", "owner": app["user"], "group": app["user"], **hidden, **ini}]
    # systemd starts it as its user, who reads it.
    hidden = {"secret": True, "mode": "0640", "group": app["user"]} if app["secret"] else {}
    return [
        {"path": f"instances/{app['name']}.ini", **hidden, **ini},
        {
            "system": f"/etc/systemd/system/uwsgi@{app['name']}.service",
            "template": "instance.service.j2",
            "vars": {"app": app},
        },
    ]
