# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Apache sites: from data to files, modules, packages, addresses and probes."""

from __future__ import annotations

import math
import re
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _sizing, _spec
from ._apache_programs import complete_program, program_files, program_requires, program_users, size_processes
from ._apache_proxied import complete_proxied, proxied_modules
from ._facts import Host
from ._front import add_sites, check_site, site_endpoint, site_listens
from ._locations import check_streams, complete_location, streams_of
from ._plan import Plan, base_marker, check_path, check_text, check_unique, check_user, empty_plan, marker, sysusers

#: What an MPM is made of. mpm-itk is a module of Debian's beside prefork, and takes prefork's numbers.
MPMS = {"prefork": ("prefork",), "worker": ("worker",), "event": ("event",), "itk": ("prefork", "itk")}

#: What every instance loads; the rest follows from the sites.
_BASE_MODULES = (
    "alias",
    "authz_core",
    "authz_host",
    "deflate",
    "dir",
    "env",
    "filter",
    "headers",
    "mime",
    "reqtimeout",
    "setenvif",
    "status",
)

#: Modules that Debian ships with settings (mods-available/NAME.conf), without which they are not to be loaded.
_WITH_CONF = frozenset(
    "actions alias autoindex cache_disk cgid dav_fs deflate dir fcgid http2 info ldap mime mime_magic negotiation proxy"
    " proxy_balancer proxy_ftp proxy_html reqtimeout setenvif ssl status userdir wsgi".split()
)

#: The "Depends:" lines of mods-available/*.load.
_DEPENDS = {
    "authz_host": ["authz_core"],
    "cache_disk": ["cache"],
    "cache_socache": ["cache", "socache_shmcb"],
    "deflate": ["filter"],
    "proxy_balancer": ["proxy", "alias", "slotmem_shm"],
    "proxy_fcgi": ["proxy"],
    "proxy_http": ["proxy"],
    "proxy_http2": ["proxy", "http2"],
    "proxy_scgi": ["proxy"],
    "proxy_uwsgi": ["proxy"],
    "proxy_wstunnel": ["proxy"],
    "ssl": ["setenvif", "mime", "socache_shmcb"],
}

#: Type of a location -> the modules that it needs.
_LOCATION_MODULES = {
    "static": [],
    "proxy": ["proxy_http"],
    "uwsgi": ["proxy_uwsgi"],
    "scgi": ["proxy_scgi"],
    "fastcgi": ["proxy_fcgi"],
    "cgi": [],
    "fcgid": ["fcgid"],
    "wsgi": ["wsgi"],
    "perl": ["perl"],
}

#: Module -> the package that brings it, where that is not Apache's own.
_MODULE_PACKAGES = {"fcgid": "libapache2-mod-fcgid", "wsgi": "libapache2-mod-wsgi-py3", "perl": "libapache2-mod-perl2"}

#: One process has a thread for each of 256 busy clients. Many small ones would share the clients unevenly, and one
#: whose threads are all busy closes the idle connections that it has. A thread that waits takes some ten KiB.
_THREADS_PER_CHILD = 256
#: More clients have more threads: to as many as two files each leave room for within the 8192 of Debian's apache2ctl.
_MOST_THREADS = 3500
#: Threads that are not for requests that stay open.
_VISITORS = 256
#: Memory of a thread with a request that stays open, in KiB (seen: 57 to 65).
_STREAM_KIB = 64
#: What so many threads need of systemd.
_TASKS = """\
[Service]
# A thread for each request that stays open, and after a reload once more for those of old processes. systemd's own
# limit is 15% of what the kernel has: some 2400 on a host of 2 GiB.
TasksMax=infinity
"""
#: Places for processes of the MPM event: those that serve, and those that finish their requests after reloads.
_SERVER_LIMIT = 32

#: nginx's units of time, in seconds.
_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000}


def apache_tree(instance_name: str) -> dict[str, str]:
    """Return where an instance has its configuration, and the unit that reads it, as ``config_tree`` takes them."""
    if not instance_name:
        return {"daemon": "apache", "root": "/etc/apache2", "service": "apache2.service"}
    return {
        "daemon": "apache",
        "root": f"/etc/apache2-{instance_name}",
        "service": f"apache2@{instance_name}.service",
    }


class ApachePlan(Plan):
    """A plan, and the Debian packages that it needs."""

    packages: list[str]


def apache_worker(value: t.Any, name: str) -> str:
    """Spell an endpoint as the URL of a proxy worker, under a pseudo-host of its own when it is a Unix socket.

    Source: https://httpd.apache.org/docs/2.4/mod/mod_proxy.html#workers
    """
    endpoint = _endpoint.parse(value, "endpoint")
    scheme = "fcgi" if endpoint.protocol == "fastcgi" else endpoint.protocol
    return f"unix:{endpoint.unix}|{scheme}://{name}" if endpoint.unix is not None else f"{scheme}://{endpoint.address}"


def apache_handler(value: t.Any, name: str) -> str:
    """Spell an endpoint as ``SetHandler`` takes it."""
    return f"proxy:{apache_worker(value, name)}"


def apache_base(
    facts: t.Mapping[str, t.Any],
    mpm: str = "event",
    instance_name: str = "",
    share: float = 0.5,
    worker_mb: int = 48,
    streams: int = 0,
) -> list[dict[str, t.Any]]:
    """Return the files that an instance has whoever declares sites on it: the main file, the MPM, the modules."""
    numbers = mpm_numbers(Host.from_facts(facts), mpm, share, worker_mb, streams)
    files: list[dict[str, t.Any]] = [{"path": "apache2.conf", "template": "apache2.conf.j2"}]
    files += [entry for module in _with_dependencies(_BASE_MODULES) for entry in module_links(module)]
    files += [
        {"path": f"mods-enabled/mpm_{part}.load", "link": f"../mods-available/mpm_{part}.load"} for part in MPMS[mpm]
    ]
    files += [
        {
            "path": f"mods-enabled/mpm_{MPMS[mpm][0]}.conf",
            "template": f"mods-enabled/mpm_{MPMS[mpm][0]}.conf.j2",
            "vars": {"mpm": numbers},
            # In /etc/apache2 the package has a link to its own numbers there.
            "replace_link": True,
        },
    ]
    if numbers.get("threads", 0) > _THREADS_PER_CHILD:
        directory = f"/etc/systemd/system/{apache_tree(instance_name)['service']}.d"
        files.append({"system": directory, "state": "directory"})
        files.append({"system": f"{directory}/weblab.conf", "content": _TASKS})
    if instance_name:
        # The package's files stay the package's: an upgrade reaches every instance.
        files += [
            {"path": name, "link": f"../apache2/{name}"}
            for name in ("envvars", "magic", "mods-available", "conf-available")
        ]
        files += [
            {
                "system": f"/etc/tmpfiles.d/weblab-apache2-{instance_name}.conf",
                # Apache makes the second by itself, and leaves sockets there.
                "content": f"d /var/log/apache2-{instance_name} 0750 root adm\n"
                f"D /run/apache2-{instance_name} 0755 root root\n",
            },
            {"system": f"/etc/logrotate.d/apache2-{instance_name}", "template": "logrotate.j2"},
            {"system": f"/usr/local/sbin/apache2ctl-{instance_name}", "link": "/usr/sbin/apache2ctl"},
        ]
    else:
        files += [
            {"path": f"mods-enabled/mpm_{other}.{end}", "state": "absent"}
            for other in MPMS
            if other not in MPMS[mpm]
            for end in ("load", "conf")
        ]
        files += [{"path": "sites-enabled/000-default.conf", "state": "absent"}]
    files.append(base_marker("apache", instance_name, mpm=mpm))
    return files


def module_links(module: str) -> list[dict[str, t.Any]]:
    """Return the links in mods-enabled that load ``module`` with its settings."""
    ends = ["load", "conf"] if module in _WITH_CONF or module.startswith("php") else ["load"]
    return [{"path": f"mods-enabled/{module}.{end}", "link": f"../mods-available/{module}.{end}"} for end in ends]


def apache_plan(
    sites: list[dict[str, t.Any]],
    owner: str,
    mpm: str = "event",
    instance_name: str = "",
    modules: t.Sequence[str] = (),
    php_version: str = "8.2",
    where: str = "apache_sites",
    facts: t.Mapping[str, t.Any] | None = None,
    python_version: str = "3.11",
    share: float = 0.5,
    mark: bool = True,
    worker_mb: int = 48,
    streams: int | None = None,
) -> ApachePlan:
    """Return files, modules, packages, listeners, probes and required paths of the sites that ``owner`` declares.

    :param mark: whether the local fact tells these sites; otherwise that of the run before stays.
    :param facts: the host's, for the number of mod_wsgi's processes where no site says it.
    :param streams: requests that may stay open, at all sites together; any number when it is ``None``.
    :raises DataError: with the path of the wrong value, or for a combination that cannot work.
    """
    checked: list[dict[str, t.Any]] = _spec.checked(_spec.role_options("apache")["apache_sites"], sites, where)
    # Without sites there is nothing to run: nothing is installed for it.
    plan: ApachePlan = {**empty_plan(), "packages": ["apache2"] if checked else []}
    add_sites(plan, checked, where, _complete, _requires)
    if streams is not None and streams_of(checked):
        holds = mpm_numbers(Host.from_facts(facts or {}), mpm, share, worker_mb, streams)["streams"]
        remedy = "set apache_streams to what all sites of this Apache need together"
        check_streams(checked, holds, remedy if "event" in MPMS[mpm] else "only the MPM event has more of them", where)
    wanted = list(modules) if checked else []
    ports: dict[str, str] = {}
    locations = [location for site in checked for location in site["locations"]]
    size_processes(locations, facts or {}, share)
    for index, site in enumerate(checked):
        for number, location in enumerate(site["locations"]):
            plan["requires"] += program_requires(location, f"{where}[{index}].locations[{number}]", python_version)
        # Apache takes the first that fits, nginx the longest.
        site["locations"].sort(key=lambda location: len(location["path"]), reverse=True)
        if site.get("user") and mpm != "itk":
            problem = f"only mpm-itk serves each site as a user of its own, and this Apache has the MPM {mpm}"
            raise DataError(f"{where}[{index}].user", problem)
        wanted += _modules_of(site, f"{where}[{index}]", mpm, php_version)
        address = f"{site['address']}:{site['port']}" if site["address"] else str(site["port"])
        ports[address] = f"Listen {address}{' https' if site.get('tls') else ''}\n"
    plan["files"] += [{"path": f"ports-enabled/{address}.conf", "content": line} for address, line in ports.items()]
    extra = [module for module in _with_dependencies(wanted) if module not in _with_dependencies(_BASE_MODULES)]
    plan["files"] += [entry for module in extra for entry in module_links(module)]
    if checked and mpm == "itk":
        plan["packages"].append("libapache2-mpm-itk")
    plan["packages"] += [_MODULE_PACKAGES[module] for module in extra if module in _MODULE_PACKAGES]
    plan["files"] += program_files(locations)
    users = {site["user"]: "/nonexistent" for site in checked if site.get("user")} | program_users(locations)
    plan["files"] += sysusers(users, "-".join(part for part in (owner, "apache", instance_name) if part))
    if f"php{php_version}" in extra:
        plan["packages"].append(f"libapache2-mod-php{php_version}")
    if checked and mark:
        plan["files"].append(marker(owner, "apache", instance_name, mpm=mpm, sites=site_listens(checked)))
    return plan


def _complete(site: dict[str, t.Any], here: str) -> _endpoint.Endpoint:
    check_site(site, here)
    if site.get("root"):
        check_path(site["root"], f"{here}.root")
    for number, alias in enumerate(site["aliases"]):
        check_path(alias["path"], f"{here}.aliases[{number}].path")
        check_path(alias["root"], f"{here}.aliases[{number}].root")
    for number, path in enumerate(site["deny_php"]):
        check_path(path, f"{here}.deny_php[{number}]")
    for key, value in site["environment"].items():
        check_text(f"{key}={value}", f"{here}.environment.{key}")
    complete_proxied(site, here)
    for number, location in enumerate(site["locations"]):
        complete_location(location, f"{here}.locations[{number}]")
        # A name of its own for each backend: workers with equal names would be one to Apache, and their answers mixed.
        location["worker"] = f"{site['name']}-{number}"
        complete_program(location, site, f"{here}.locations[{number}]")
        if location.get("expires"):
            location["expires_seconds"] = _seconds(location["expires"], f"{here}.locations[{number}].expires")
    paths = [(location["path"], f"{here}.locations[{n}].path") for n, location in enumerate(site["locations"])]
    check_unique(paths, "the location")
    php = site.get("php") or {}
    if site.get("user"):
        check_user(site["user"], f"{here}.user")
        # All sites share one OPcache. Without this, one could run from it what it may not read on disk.
        if php.get("handler") == "mod_php":
            php["admin_values"] = {"opcache.validate_permission": True, **php["admin_values"]}
    if php.get("handler") == "php_fpm":
        if not php.get("endpoint"):
            raise DataError(f"{here}.php.endpoint", "php_fpm needs the endpoint of its pool")
        php["endpoint"] = _endpoint.parse(php["endpoint"], f"{here}.php.endpoint", "fastcgi").as_dict()
    return site_endpoint(site, here)


def _seconds(time: str, where: str) -> int:
    """Return the seconds of a time as nginx spells it, such as ``1h`` or ``1d12h``."""
    if not re.match(r"^(\d+[smhdwMy])+$", time):
        raise DataError(where, f"{time!r} is not a time such as 1h, 30m or 1d12h")
    return sum(int(number) * _TIME_UNITS[unit] for number, unit in re.findall(r"(\d+)(.)", time))


def _modules_of(site: t.Mapping[str, t.Any], here: str, mpm: str, php_version: str) -> list[str]:
    modules = []
    handler = (site.get("php") or {}).get("handler")
    if handler == "mod_php":
        if "prefork" not in MPMS[mpm]:
            raise DataError(
                f"{here}.php.handler",
                f"mod_php is not thread-safe and runs on the MPMs prefork and itk only, not on {mpm};"
                " use php_fpm, or an instance with prefork",
            )
        modules.append(f"php{php_version}")
    elif handler == "php_fpm":
        modules.append("proxy_fcgi")
    modules += [module for location in site["locations"] for module in _LOCATION_MODULES[location["type"]]]
    if any(location["type"] == "cgi" for location in site["locations"]):
        # A process with threads is not to be forked; mod_cgid has a daemon without threads for it.
        modules.append("cgi" if "prefork" in MPMS[mpm] else "cgid")
    if any(location.get("expires") for location in site["locations"]):
        modules.append("expires")
    modules += proxied_modules(site)
    if site["http2"]:
        if "prefork" in MPMS[mpm]:
            raise DataError(
                f"{here}.http2",
                f"HTTP/2 needs several requests on one connection at a time, and {mpm} has one process"
                " for it (AH10034); use the MPM event",
            )
        modules.append("http2")
    if site.get("tls"):
        modules.append("ssl")
    return modules


def _with_dependencies(modules: t.Iterable[str]) -> list[str]:
    result: list[str] = []
    for module in modules:
        for needed in [*_with_dependencies(_DEPENDS.get(module, [])), module]:
            if needed not in result:
                result.append(needed)
    return result


def mpm_numbers(host: Host, mpm: str, share: float, worker_mb: int, streams: int = 0) -> dict[str, int]:
    """Return the numbers of an MPM; ``streams`` of them is how many requests may stay open beside visitors.

    :param streams: how many there shall be room for.
    :raises DataError: when the host has not the memory for them.
    """
    # A worker is held by a client's connection, not by the CPU: memory alone is the limit, up to Debian's usual scale.
    if "prefork" in MPMS[mpm]:
        most = min(256, _sizing.size_workers(host.memory_mb, 1000, worker_mb, share).max)
        # After a reload prefork has so many processes, and adds one a second: fewer would let busy clients wait.
        return {
            "max_workers": most,
            "start_servers": min(50, most),
            "min_spare": min(5, most),
            "max_spare": min(10, most),
            "streams": most - min(most // 4, _VISITORS),
        }
    # Up to 1024 threads: as many as may wait for a backend that is busy (its backlog).
    servers = max(2, min(4, _sizing.size_workers(host.memory_mb, 1000, worker_mb, share).max))
    threads = _THREADS_PER_CHILD
    wanted = streams + _VISITORS
    if mpm == "event" and wanted > servers * threads:
        room = int(host.memory_mb * share * 1024) // _STREAM_KIB
        if streams > room:
            problem = f"{streams} threads that are held take {streams * _STREAM_KIB // 1024} MiB"
            raise DataError("apache_streams", f"{problem}, and the share of this Apache is enough for {room}")
        servers = max(servers, math.ceil(wanted / _MOST_THREADS))
        threads = math.ceil(wanted / servers)
    return {
        "threads": threads,
        "streams": servers * threads - _VISITORS,
        "visitors": _VISITORS,
        # An old process keeps its place until its last request has ended; in worker, a new one shares the place.
        "server_limit": max(_SERVER_LIMIT, 8 * servers) if mpm == "event" else servers,
        "max_workers": servers * threads,
        "start_servers": 2,
        "min_spare": threads // 4,
        # A process that ends because there are too many would close the idle connections that it has.
        "max_spare": servers * threads,
    }


def _requires(site: t.Mapping[str, t.Any], here: str) -> list[dict[str, t.Any]]:
    paths = [(site.get("root"), f"{here}.root")]
    paths += [(alias["root"], f"{here}.aliases[{number}].root") for number, alias in enumerate(site["aliases"])]
    paths += [(path, f"{here}.tls.{key}") for key, path in (site.get("tls") or {}).items()]
    paths += [(location.get("root"), f"{here}.locations[{n}].root") for n, location in enumerate(site["locations"])]
    return [{"path": path, "what": what} for path, what in paths if path]
