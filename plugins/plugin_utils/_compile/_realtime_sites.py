# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites whose requests stay open: a server that holds many behind the front, and a broker behind its processes."""

from __future__ import annotations

import functools
import math
import re
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _spec
from . import _app_service, _uwsgi
from ._draft import Draft, Site, backend
from ._plan import check_name, check_path, check_unique

_SERVER = "/usr/bin/gunicorn"
_SERVER_PACKAGES = [
    "gunicorn",
    "python3-uvicorn",
    "python3-uvloop",
    "python3-httptools",
    "python3-websockets",
]
_WORKER = "asgi_worker.py"
_BROKER = "/usr/bin/redis-server"
#: The processes share their clients unevenly (seen: 2 to 1), and each has 65,536 files (LimitNOFILE of app_service).
_MOST_CLIENTS = 65000
#: Connections that may wait for the server: all clients come again at once when it has ended.
_BACKLOG = 4096
#: Seconds that requests have to end when the server reloads; streams are told to, and end at once.
_GRACE = 10
#: The largest share of a process over the mean of all, and greenlets beside those of the clients.
_UNEVEN, _VISITORS = 1.6, 64
#: The Unix socket of each kind of server. Both speak HTTP, which carries WebSockets through both front servers.
_UNIX: dict[str, t.Callable[[str], str]] = {
    "asgi": _app_service.default_socket,
    "uwsgi": functools.partial(_uwsgi.default_socket, protocol="http"),
}
#: Seconds after which a process that says nothing is taken for one that hangs.
_HANGS = 120
_REDIS = """\
# Redis, for the processes of {site}. It has all that it knows on disk, too.
port 0
unixsocket {socket}
unixsocketperm 770
supervised systemd
dir {directory}
appendonly yes
save ""
maxmemory {memory}mb
# Full, it takes no more, and says so. What is to be forgotten, the application says itself.
maxmemory-policy noeviction
"""
#: For other hosts. Who comes by the Unix socket needs the password as well.
_REDIS_TCP = """\
bind {host}
port {port}
requirepass {password}
"""
#: What neither a URL nor Redis's configuration takes for something else, and nobody guesses.
_PASSWORD = re.compile(r"[A-Za-z0-9._~-]{16,128}")
_BROKER_URL = re.compile(r"(rediss?://[^\s/]+|unix://[^\s]*/)[^\s]*")


def add_realtime_site(draft: Draft, site: Site, here: str) -> None:
    if site["clients"] < 1:
        raise DataError(f"{here}.clients", f"{site['clients']} clients are none; at least 1")
    if site["clients"] > _MOST_CLIENTS:
        problem = f"one process of the server may come to hold them all, and has files for {_MOST_CLIENTS}"
        raise DataError(f"{here}.clients", f"{problem}; give the others a site on another host")
    if site.get("server_of"):
        endpoint = _server_of(draft, site["server_of"], f"{here}.server_of")
    else:
        endpoint = _add_server(draft, site, here)
    paths = [(entry["path"], f"{here}.static[{number}].path") for number, entry in enumerate(site["static"])]
    check_unique([(check_path(site["path"], f"{here}.path"), f"{here}.path"), *paths], "the path")
    passed_on = {"path": site["path"], "type": "proxy", "timeout": site["timeout"], "streams": site["clients"]}
    locations = [{"type": "static", **entry} for entry in site["static"]]
    draft.add_front(site, locations=[*locations, {**passed_on, "endpoint": endpoint.as_dict()}])


def _server_of(draft: Draft, name: str, where: str) -> _endpoint.Endpoint:
    """Return where the server of another site listens."""
    check_name(name, where)
    sites = [site for site in draft.sites if isinstance(site, dict) and site.get("name") == name]
    stacks = (None, draft.stack)
    sites = [site for site in sites if site.get("stack") in stacks and site.get("state") != "absent"]
    if not sites:
        raise DataError(where, f"there is no site {name} of the stack {draft.stack}")
    if sites[0].get("server_of"):
        raise DataError(where, f"{name} has no server of its own, but that of {sites[0]['server_of']}; name that one")
    options = _spec.role_options(draft.stack)[f"{draft.stack}_sites"]
    try:
        (other,) = _spec.checked(options, sites[:1], where)
    except DataError as error:
        raise DataError(where, f"{name} is not right itself ({error.problem})") from None
    other.setdefault("socket", draft.socket)
    return backend(other, name, "http", _UNIX[other["server"]], where)[1]


def _add_server(draft: Draft, site: Site, here: str) -> _endpoint.Endpoint:
    """Add the site's server and its broker, and return where it listens."""
    for key in ("application", "user"):
        if not site.get(key):
            raise DataError(f"{here}.{key}", "this key is required, unless server_of names another site's server")
    if site["processes"] < 1:
        raise DataError(f"{here}.processes", f"{site['processes']} processes serve nobody; at least 1")
    check_path(site["application"]["path"], f"{here}.application.path")
    name, endpoint = backend(site, site["name"], "http", _UNIX[site["server"]], here)
    draft.add_endpoint(site, "backend", endpoint, f"{here}.socket", {"path": site["health_path"]})
    environment = dict(site["application"]["environment"])
    if site.get("broker_url"):
        environment["REDIS_URL"] = _broker_url(site, here)
    elif site["broker"]:
        environment["REDIS_URL"] = _add_broker(draft, site, here)
    elif site.get("broker_listen"):
        raise DataError(f"{here}.broker_listen", "there is no broker of its own that could listen (broker)")
    add = _add_uwsgi if site["server"] == "uwsgi" else _add_asgi
    add(draft, site, name, endpoint, environment, here)
    return endpoint


def _add_asgi(
    draft: Draft, site: Site, name: str, endpoint: _endpoint.Endpoint, environment: dict[str, t.Any], here: str
) -> None:
    """Add an event-loop server: a coroutine for each request."""
    service = {
        "name": name,
        "user": site["user"],
        "command": _command(site, name),
        "packages": [*_SERVER_PACKAGES, *site["application"]["packages"]],
        "directory": site["application"]["path"],
        "endpoint": endpoint.as_dict(),
        "activation": "systemd",
        "backlog": _BACKLOG,
        "type": "notify",
        "environment": environment,
        "files": {_WORKER: _spec.role_file("realtime", _WORKER)},
        "reload_signal": "HUP",
        "timeout": 2 * _GRACE,
        "probe_path": site["health_path"],
    }
    _app_service.check_service(service, here)
    draft.plan["app_services"].append(service)


def _add_uwsgi(
    draft: Draft, site: Site, name: str, endpoint: _endpoint.Endpoint, environment: dict[str, t.Any], here: str
) -> None:
    """Add a uWSGI with gevent: a greenlet for each request."""
    app = {
        **{key: site["application"][key] for key in ("path", "module", "packages")},
        "name": name,
        "user": site["user"],
        "processes": site["processes"],
        # They share the clients, unevenly; and visitors come besides.
        "gevent": math.ceil(_UNEVEN * site["clients"] / site["processes"]) + _VISITORS,
        "environment": environment,
        # The broker's password may be in it.
        "secret": True,
        "listen": [{"endpoint": endpoint.as_dict()}],
    }
    _uwsgi.check_application(app, endpoint, here)
    draft.plan["uwsgi_instances"].append(app)


def _command(site: t.Mapping[str, t.Any], name: str) -> list[str]:
    """Return how gunicorn starts. Where it listens, it learns from systemd (sd_listen_fds(3))."""
    return [
        _SERVER,
        f"--name={site['name']}",
        f"--workers={site['processes']}",
        # It listens once more on the socket that it gets, with its own number.
        f"--backlog={_BACKLOG}",
        f"--worker-class={_WORKER.partition('.')[0]}.Worker",
        f"--pythonpath=/etc/app-service/{name}",
        f"--graceful-timeout={_GRACE}",
        # A process reports every half of this. One that is slow for a while has thousands of clients, and all would
        # come again. Only one that hangs is ended.
        f"--timeout={_HANGS}",
        # Every connection that comes or goes would be a line.
        "--log-level=warning",
        # Only the front server can connect, and it says who the client is.
        "--forwarded-allow-ips=*",
        site["application"]["module"],
    ]


def _broker_url(site: Site, here: str) -> str:
    """Return the URL of somebody else's broker, which is not said in errors: it may have a password."""
    if not _BROKER_URL.fullmatch(site["broker_url"]):
        raise DataError(f"{here}.broker_url", "this is no URL such as redis://:PASSWORD@HOST:6379/0")
    if site.get("broker_listen"):
        raise DataError(f"{here}.broker_listen", "the broker is another one, that of broker_url; remove one of the two")
    return str(site["broker_url"])


def _add_broker(draft: Draft, site: Site, here: str) -> str:
    """Add the site's own Redis, and return its URL."""
    name = f"{site['name']}-broker"
    # Its directory belongs to the group of the site's user: nobody else reaches it.
    endpoint = _endpoint.parse(f"unix:///run/app/{name}/{site['user']}/redis.sock", f"{here}.broker")
    draft.add_endpoint(site, "internal", endpoint, f"{here}.broker", {})
    values = {"site": site["name"], "socket": endpoint.unix, "directory": f"/var/lib/app/{name}"}
    configuration = _REDIS.format(memory=site["broker_mb"], **values)
    service = {
        "name": name,
        "user": name,
        "group": site["user"],
        "command": [_BROKER, f"/etc/app-service/{name}/redis.conf"],
        "packages": ["redis-server"],
        "endpoint": endpoint.as_dict(),
        "type": "notify",
        "data": True,
    }
    url = endpoint.url
    if site.get("broker_listen"):
        configuration += f"include /etc/app-service/{name}/tcp.conf\n"
        service["secret_files"] = {"tcp.conf": _listen(draft, site, f"{here}.broker_listen")}
        url = f"unix://:{site['broker_listen']['password']}@{endpoint.unix}"
    service["files"] = {"redis.conf": configuration}
    _app_service.check_service(service, here)
    draft.plan["app_services"].append(service)
    return url


def _listen(draft: Draft, site: Site, here: str) -> str:
    """Return what makes the broker listen for other hosts."""
    wanted = site["broker_listen"]
    if not _PASSWORD.fullmatch(wanted["password"]):
        raise DataError(f"{here}.password", "a password here has 16 to 128 letters, digits and . _ ~ -")
    place = {"host": wanted["address"], "port": wanted["port"]}
    tcp = _endpoint.parse(place, f"{here}.port", "tcp")
    draft.add_endpoint(site, "internal", tcp, f"{here}.port", {})
    return _REDIS_TCP.format(**place, password=wanted["password"])
