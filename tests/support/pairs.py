# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every pair of a front server and a gateway, with a program behind it that says what came, all on one host."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
ECHO = pathlib.Path(__file__).with_name("echo")
#: What the client calls the host: nothing that a server could have by itself.
HOST = "echo.example"
CERTIFICATE, KEY = "/etc/ssl/echo.pem", "/etc/ssl/echo.key"
SIZES = {"empty": 0, "one byte": 1, "64 KiB": 64 << 10, "100 MiB": 100 << 20}

Site = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A site, and where its program is: its mounts are what SCRIPT_NAME says."""

    #: Front server, gateway, server; the table of differences speaks of them by this.
    name: str
    #: ``cgi``, ``php``, ``wsgi`` or ``http``: which variables a program of the kind has.
    kind: str
    mounts: tuple[str, ...]
    port: int
    site: Site


def _pairs() -> t.Iterator[Pair]:
    port = iter(range(8400, 8700, 3))

    def pair(name: str, kind: str, mounts: tuple[str, ...], **site: t.Any) -> Pair:
        number = next(port)
        common = {"name": re.sub("[ +]", "-", name), "port": number, "max_body_mb": 100}
        return Pair(name, kind, mounts, number, {**common, **site})

    def programs(name: str, **site: t.Any) -> Pair:
        scripts = [{"path": "/", "script": "/srv/echo/root.pl"}, {"path": "/echo", "script": "/srv/echo/echo.pl"}]
        return pair(name, "cgi", ("", "/echo"), scripts=scripts, **site)

    def php(name: str, **site: t.Any) -> Pair:
        below = {"aliases": [{"path": "/below", "root": "/srv/echo/public"}], "health_path": "/echo.php"}
        return pair(
            name, "php", ("/echo.php", "/below/echo.php"), root="/srv/echo/public", user="echo", **below, **site
        )

    app = {"path": "/srv/echo", "module": "echo_wsgi:application"}

    def wsgi(name: str, **site: t.Any) -> Pair:
        return pair(name, "wsgi", ("",), user="echo", application=app, **site)

    yield programs("prefork cgi mod_cgi", stack="cgi", front="prefork")
    yield programs("event cgi mod_cgid", stack="cgi", front="event")
    yield programs("nginx fastcgi fcgiwrap", stack="cgi", front="nginx", user="echo")
    yield programs("nginx fastcgi unix", stack="fastcgi", front="nginx", user="echo")
    yield programs("nginx fastcgi tcp", stack="fastcgi", front="nginx", user="echo", socket="tcp")
    yield programs("event fastcgi unix", stack="fastcgi", front="apache", user="echo")
    yield programs("event fastcgi tcp", stack="fastcgi", front="apache", user="echo", socket="tcp")
    yield programs("event fcgid mod_fcgid", stack="fastcgi", front="fcgid")
    yield programs("prefork perl mod_perl", stack="apache_mod_perl")
    yield php("prefork php mod_php", stack="apache_prefork_mod_php")
    yield php("itk php mod_php", stack="apache_itk_mod_php")
    for socket in ("unix", "tcp"):
        yield php(f"worker php fpm-{socket}", stack="apache_worker_php_fpm", socket=socket)
        yield php(f"event php fpm-{socket}", stack="apache_event_php_fpm", socket=socket)
        yield php(f"nginx php fpm-{socket}", stack="nginx_php_fpm", socket=socket)
    kept = {"cache": {"enabled": False}, "static": {"suffixes": []}}
    yield php("nginx+event php fpm", stack="reverse_proxy", backend="event", **kept)
    yield php("nginx+prefork php mod_php", stack="reverse_proxy", backend="prefork", **kept)
    for socket in ("unix", "tcp"):
        yield wsgi(f"nginx uwsgi monolith-{socket}", stack="nginx_uwsgi_monolith", socket=socket, processes=2)
        yield wsgi(f"event uwsgi uwsgi-{socket}", stack="apache_uwsgi", socket=socket, processes=2)
    services = [
        {"name": name, "mount": mount, "user": "echo", "processes": 2, "application": app}
        for name, mount in (("web", "/"), ("echo", "/echo"))
    ]
    cut = {"stack": "nginx_uwsgi_microservices", "services": services}
    yield pair("nginx uwsgi services", "wsgi", ("", "/echo"), **cut)
    yield wsgi("event wsgi mod_wsgi", stack="apache_mod_wsgi", processes=2)
    yield wsgi("nginx scgi uwsgi", stack="scgi", processes=2)
    yield wsgi("event scgi uwsgi", stack="scgi", front="apache", processes=2)
    yield wsgi("nginx scgi aioscgi", stack="scgi", server="aioscgi")
    yield wsgi("event scgi aioscgi", stack="scgi", front="apache", server="aioscgi")
    program: Site = {"stack": "nginx_app", "packages": ["gunicorn"], "directory": "/srv/echo", "user": "echo"}
    gunicorn = ["/usr/bin/gunicorn", "echo_wsgi:application"]
    yield pair("nginx http gunicorn-unix", "http", ("",), **program, activation="systemd", command=gunicorn)
    tcp = [*gunicorn, "--bind={host}:{port}"]
    yield pair("nginx http gunicorn-tcp", "http", ("",), **program, socket="tcp", command=tcp)

    # What no stack has: the other protocols of uWSGI's, and prefixes.
    for front, name in (("nginx", "nginx"), ("apache", "event")):
        for protocol, kind in (("http", "proxy"), ("fastcgi", "fastcgi")):
            locations = [
                {"path": mount, "type": kind, "endpoint": _socket(mount, protocol)} for mount in ("/", "/echo")
            ]
            told = "http" if protocol == "http" else "wsgi"
            yield pair(f"{name} {protocol} uwsgi", told, ("", "/echo"), component=front, locations=locations)

    def below(name: str, **location: t.Any) -> Pair:
        front = "nginx" if name.startswith("nginx ") else "apache"
        locations = [{"path": "/echo", **location}]
        return pair(name, "wsgi", ("/echo",), component=front, locations=locations, health_path="/echo")

    yield below("nginx scgi uwsgi-below", type="scgi", endpoint=_socket("/echo", "scgi"))
    yield below("event scgi uwsgi-below", type="scgi", endpoint=_socket("/echo", "scgi"))
    yield below("event uwsgi uwsgi-below", type="uwsgi", endpoint=_socket("/echo", "uwsgi"))
    yield below("event wsgi mod_wsgi-below", type="wsgi", user="echo", processes=2, application=app)


def _instance(mount: str) -> str:
    return "all" + mount.rstrip("/").replace("/", "-")


def _socket(mount: str, protocol: str) -> str:
    return f"{protocol}+unix:///run/uwsgi/{_instance(mount)}/www-data/{protocol}.sock"


PAIRS = {pair.name: pair for pair in _pairs()}
#: File on the host -> program.
FILES = {
    "/srv/echo/root.pl": "echo.pl",
    "/srv/echo/echo.pl": "echo.pl",
    "/srv/echo/public/echo.php": "echo.php",
    "/srv/echo/echo_wsgi.py": "echo_wsgi.py",
}


def playbook(*, tls: bool) -> tuple[list[dict[str, t.Any]], dict[str, t.Any]]:
    """Return the plays that put up all pairs, and the host's variables."""
    more = {"tls": {"certificate": CERTIFICATE, "key": KEY}, "server_names": [HOST]} if tls else {}
    sites = [{**pair.site, **more} for pair in PAIRS.values()]
    components: dict[str, list[Site]] = {"nginx": [], "apache": []}
    for site in sites:
        if "component" in site:
            components[site.pop("component")].append(site)
    instance = {"user": "echo", "path": "/srv/echo", "module": "echo_wsgi:application", "processes": 2}
    instances = [
        {
            **instance,
            "name": _instance(mount),
            "mount": mount,
            "listen": [{"protocol": protocol} for protocol in ("uwsgi", "scgi", "fastcgi", "http")],
        }
        for mount in ("/", "/echo")
    ]

    def role(name: str, **variables: t.Any) -> dict[str, t.Any]:
        include = {"ansible.builtin.include_role": {"name": f"weblab.stacks.{name}"}}
        return {"name": f"Pairs | {name}", **include, "vars": variables}

    tasks = [
        role("uwsgi", uwsgi_instances=instances),
        role("nginx", nginx_sites=components["nginx"]),
        role("apache", apache_instance="event", apache_sites=components["apache"]),
    ]
    plays: list[dict[str, t.Any]] = [
        {"ansible.builtin.import_playbook": str(ROOT / "playbooks/site.yml")},
        {"hosts": "all", "gather_facts": True, "gather_subset": ["hardware"], "tasks": tasks},
    ]
    variables = {
        "weblab_sites": [site for site in sites if "stack" in site],
        "weblab_applications": [{"role": "weblab.stacks.aioscgi"}],
    }
    return plays, variables
