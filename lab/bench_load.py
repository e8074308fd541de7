# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every stack with its defaults, under 256 connections: wrk inside the host asks a hello page of its language.

All stacks are on one host, and are asked one at a time, in an order that is shuffled anew in each turn. Beside each
are its own limits, measured in the same turn: a small file from its front server (wrk again), and its backend, asked
through its socket in its own protocol without a front server (a loop in a process for each CPU, with this project's
codecs; a connection for each request, as most fronts do it). The rows "Debian:" are the same page in packages as they
are installed, on another host beside it.

errors: connections refused, reset or closed without an answer. late: connections without an answer for 2 s. idle:
what one new request takes while 500 clients keep idle connections. A stack fails with an error, an answer that is not
2xx, a late answer where the backend itself could have kept up, or with less than the given floor, on a machine that
reaches it with Debian's packages or with the bare backend.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import random
import re
import statistics
import typing as t

import lab_docker
from measured import RELEASE, ROOT, inside, machine, python, serve, shell

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _fastcgi, _http, _scgi, _uwsgi

STATE = ROOT / ".lab"
HOST, PLAIN = "weblab-bench-load", "weblab-bench-load-plain"
PHP = {"bookworm": "8.2", "trixie": "8.4"}[RELEASE]
CONNECTIONS, IDLE = 256, 500
TURNS, SECONDS, LIMIT_SECONDS = 2, 5, 2
MARK = b"Hello, world"
HELLO = "/srv/hello"

#: The same page in every language.
FILES = {
    "static/hello.html": "Hello, world\n",
    "static/hello.php": "Hello, world\n<?php // No output of its own: the page is dynamic all the same.\n",
    "hello.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world\\n"]
""",
    "hello.cgi": '#!/usr/bin/perl\nprint "Content-Type: text/plain\\r\\n\\r\\nHello, world\\n";\n',
    "hello.fcgi": """#!/usr/bin/perl
use FCGI;
my $request = FCGI::Request();
while ($request->Accept() >= 0) { print "Content-Type: text/plain\\r\\n\\r\\nHello, world\\n"; }
""",
    "hello.js": """
require("http").createServer((request, response) => {
  response.setHeader("Content-Type", "text/plain");
  response.end("Hello, world\\n");
}).listen(process.env.SOCKET);
""",
    "config.ru": 'run ->(environment) { [200, {"content-type" => "text/plain"}, ["Hello, world\\n"]] }\n',
    "tomcat/webapps/ROOT/hello.jsp": '<%@ page session="false" contentType="text/plain" %>Hello, world\n',
}
_TOMCAT = (
    "-Xmx48m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xss512k -Dcatalina.home=/usr/share/tomcat10"
    f" -Dcatalina.base={HELLO}/tomcat -Dapp.host={{host}} -Dapp.port={{port}}"
    " --class-path=/usr/share/tomcat10/bin/bootstrap.jar:/usr/share/tomcat10/bin/tomcat-juli.jar"
    " org.apache.catalina.startup.Bootstrap start"
).split()

_PHP = {"root": f"{HELLO}/static", "health_path": "/hello.php"}
_STATIC = {"static": [{"path": "/static/", "root": f"{HELLO}/static"}]}
_WSGI = {"application": {"path": HELLO, "module": "hello:application"}, **_STATIC}
_CGI = {"scripts": [{"path": "/", "script": f"{HELLO}/hello.cgi"}], **_STATIC}
_FASTCGI = {"scripts": [{"path": "/", "script": f"{HELLO}/hello.fcgi"}], **_STATIC}
_APP = {"stack": "nginx_app", "directory": HELLO, **_STATIC}

#: Name of a site -> what it is, beyond a name, a port and a user; nothing that has a default is given.
SITES: dict[str, dict[str, t.Any]] = {
    "prefork-mod-php": {"stack": "apache_prefork_mod_php", **_PHP},
    "itk-mod-php": {"stack": "apache_itk_mod_php", **_PHP},
    "worker-fpm": {"stack": "apache_worker_php_fpm", **_PHP},
    "event-fpm": {"stack": "apache_event_php_fpm", **_PHP},
    "event-fpm-tcp": {"stack": "apache_event_php_fpm", "socket": "tcp", **_PHP},
    "nginx-fpm": {"stack": "nginx_php_fpm", **_PHP},
    "nginx-fpm-tcp": {"stack": "nginx_php_fpm", "socket": "tcp", **_PHP},
    "proxy-event-fpm": {"stack": "reverse_proxy", **_PHP},
    "nginx-uwsgi": {"stack": "nginx_uwsgi_monolith", **_WSGI},
    "nginx-uwsgi-tcp": {"stack": "nginx_uwsgi_monolith", "socket": "tcp", **_WSGI},
    "nginx-emperor": {
        "stack": "nginx_uwsgi_microservices",
        "services": [{"name": "web", "user": "nginx-emperor", "application": _WSGI["application"]}],
        **_STATIC,
    },
    "apache-uwsgi": {"stack": "apache_uwsgi", **_WSGI},
    "apache-mod-wsgi": {"stack": "apache_mod_wsgi", **_WSGI},
    "apache-mod-perl": {"stack": "apache_mod_perl", **_CGI},
    "prefork-cgi": {"stack": "cgi", "front": "prefork", **_CGI},
    "event-cgid": {"stack": "cgi", "front": "event", **_CGI},
    "nginx-fcgiwrap": {"stack": "cgi", "front": "nginx", **_CGI},
    "nginx-fastcgi": {"stack": "fastcgi", "front": "nginx", **_FASTCGI},
    "apache-fastcgi": {"stack": "fastcgi", "front": "apache", **_FASTCGI},
    "apache-fcgid": {"stack": "fastcgi", "front": "fcgid", **_FASTCGI},
    "nginx-scgi": {"stack": "scgi", **_WSGI},
    "apache-aioscgi": {"stack": "scgi", "front": "apache", "server": "aioscgi", **_WSGI},
    "nginx-node": {**_APP, "packages": ["nodejs"], "command": ["/usr/bin/node", "hello.js"]},
    "nginx-gunicorn": {
        **_APP, "packages": ["gunicorn"], "activation": "systemd",
        "command": ["/usr/bin/gunicorn", "--workers", "2", "hello:application"],
    },
    "nginx-tomcat": {
        **_APP, "packages": ["tomcat10-common", "tomcat10-examples"], "socket": "tcp", "directory": f"{HELLO}/tomcat",
        "health_path": "/hello.jsp", "command": ["/usr/bin/java", *_TOMCAT],
    },
    "nginx-puma": {
        **_APP, "packages": ["puma", "ruby-rack"], "activation": "systemd",
        "command": ["/usr/bin/puma", "--bind-to-activated-sockets", "only", "--threads", "1:4", "--environment",
                    "production", "config.ru"],
    },
}  # fmt: skip

#: Requests per second that these had elsewhere, on two cores, with errors: not to be less on a machine that is as fast.
FLOORS = {
    "prefork-mod-php": 9500, "event-fpm": 3500, "event-fpm-tcp": 3500, "nginx-fpm": 7400, "nginx-fpm-tcp": 5700,
    "nginx-uwsgi": 15800, "nginx-uwsgi-tcp": 9200,
}  # fmt: skip

_NGINX_PEER = """server {
    listen %d;
    root /var/www/html;
    location ~ \\.php$ { include snippets/fastcgi-php.conf; fastcgi_pass %s; }
}
"""
_UWSGI_PEER = "server {\n    listen %d;\n    location / { include uwsgi_params; uwsgi_pass %s; }\n}\n"
#: What one reads in how-tos: the packages, and no setting beyond what joins them.
PLAIN_SETUP = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends wrk apache2 libapache2-mod-php php-fpm nginx uwsgi uwsgi-plugin-python3
cd /etc/php/{PHP}/fpm/pool.d
sed 's/^\\[www\\]/[tcp]/; s/^listen = .*/listen = 127.0.0.1:9000/' www.conf >tcp.conf
rm -f /etc/nginx/sites-enabled/default
cat >/etc/nginx/conf.d/peers.conf <<'END'
{_NGINX_PEER % (8101, f"unix:/run/php/php{PHP}-fpm.sock")}
{_NGINX_PEER % (8102, "127.0.0.1:9000")}
{_UWSGI_PEER % (8103, "unix:/run/uwsgi/app/hello/socket")}
{_UWSGI_PEER % (8104, "127.0.0.1:3031")}
END
cat >/etc/uwsgi/apps-enabled/hello.ini <<'END'
[uwsgi]
plugins = python3
chdir = {HELLO}
module = hello:application
socket = /run/uwsgi/app/hello/socket
socket = 127.0.0.1:3031
END
cp {HELLO}/static/hello.php /var/www/html/
systemctl restart php{PHP}-fpm nginx uwsgi
"""
_PREFORK = (
    f"a2disconf -q php{PHP}-fpm; a2dismod -q mpm_event; a2enmod -q mpm_prefork php{PHP}; systemctl restart apache2"
)
_EVENT = (
    f"a2dismod -q php{PHP} mpm_prefork; a2enmod -q mpm_event proxy_fcgi setenvif; a2enconf -q php{PHP}-fpm;"
    " systemctl restart apache2"
)
#: Row -> what makes it ready, its address, and the stacks that it is to be compared with.
PEERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "Debian: prefork-mod-php": (_PREFORK, "80/hello.php", ("prefork-mod-php", "itk-mod-php")),
    "Debian: event-fpm": (_EVENT, "80/hello.php", ("event-fpm", "event-fpm-tcp", "worker-fpm", "proxy-event-fpm")),
    "Debian: nginx-fpm": (":", "8101/hello.php", ("nginx-fpm",)),
    "Debian: nginx-fpm-tcp": (":", "8102/hello.php", ("nginx-fpm-tcp",)),
    "Debian: nginx-uwsgi": (":", "8103/", ("nginx-uwsgi", "nginx-emperor", "apache-uwsgi", "nginx-scgi")),
    "Debian: nginx-uwsgi-tcp": (":", "8104/", ("nginx-uwsgi-tcp",)),
}


def port(name: str) -> int:
    return 8201 + list(SITES).index(name)


def front(name: str) -> str:
    site = SITES[name]
    words = f"{site['stack']} {site.get('front', '')}"
    for found in ("prefork", "itk", "worker", "nginx"):
        if found in words:
            return found
    if "mod_perl" in words:
        return "prefork"
    return "nginx" if site["stack"] in ("reverse_proxy", "scgi") and site.get("front") != "apache" else "event"


def dynamic(name: str) -> str:
    return str(SITES[name].get("health_path", "/"))


def static(name: str) -> str:
    return "/hello.html" if "root" in SITES[name] else "/static/hello.html"


# --- the hosts ----------------------------------------------------------------------------------


def put_files(host: str) -> None:
    inside(host, "mkdir", "-p", f"{HELLO}/static")
    lab_docker.must(["docker", "cp", "-q", str(ROOT / "roles/demo_apps/files/apps/tomcat"), f"{host}:{HELLO}/"])
    for name, text in FILES.items():
        inside(host, "tee", f"{HELLO}/{name}", stdin=text.lstrip("\n"))
    shell(host, f"chmod -R a+rX {HELLO}; chmod a+x {HELLO}/hello.cgi {HELLO}/hello.fcgi")


def prepare(work: pathlib.Path) -> None:
    """Put up both hosts. What is there already is brought up to date."""
    for host in (HOST, PLAIN):
        lab_docker.up(STATE, host, RELEASE, [], warm=True)
        put_files(host)
    shell(HOST, "apt-get update -q; apt-get install -y -q --no-install-recommends wrk libfcgi-perl curl", timeout=300)
    sites = [{"name": name, "port": port(name), "user": name, **site} for name, site in SITES.items()]
    for site in sites:
        if "services" in site or site["stack"] in ("apache_prefork_mod_php", "apache_mod_perl"):
            del site["user"]
        if site["stack"] in ("cgi", "fastcgi") and site["front"] in ("prefork", "event", "fcgid"):
            del site["user"]
    applications = [{"role": "weblab.stacks.aioscgi"}]
    serve(HOST, work, {"weblab_sites": sites, "weblab_applications": applications}, "site", "verify")
    shell(PLAIN, PLAIN_SETUP, timeout=300)


def backends(work: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Protocol and address of each site's backend, for those that have one with a socket."""
    entries = json.loads((work / "lab.json").read_text(encoding="utf-8"))
    return {
        entry["site"]: (endpoint["protocol"], endpoint["address"])
        for entry in entries
        for endpoint in entry["endpoints"]
        if endpoint["role"] == "backend"
    }


# --- one measurement each -----------------------------------------------------------------------


def wrk(host: str, address: str, seconds: int, logs: str = "") -> dict[str, t.Any]:
    """Let wrk ask, and count the statuses of the front's own log."""
    if logs:
        shell(host, f"truncate -s 0 {logs}")
    threads = str(os.cpu_count() or 1)
    url = f"http://127.0.0.1:{address}"
    said = inside(host, "wrk", "-t", threads, "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--latency", url)

    def number(pattern: str) -> float:
        found = re.search(pattern, said)
        return float(found[1]) if found else 0

    latency = re.search(r"\b99%\s+([\d.]+)(us|ms|s|m)\b", said)
    scale = {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}
    failed = 0.0
    if logs:
        failed = float(shell(host, f"cat {logs} | awk '$9 ~ /^5/ {{ n++ }} END {{ print n + 0 }}'"))
    return {
        "requests": number(r"Requests/sec:\s+([\d.]+)"),
        "p99": float(latency[1]) * scale[latency[2]] if latency else None,
        "errors": sum(number(rf"Socket errors:.*\b{kind} (\d+)") for kind in ("connect", "read", "write")),
        "late": number(r"Socket errors:.*timeout (\d+)"),
        "not_2xx": number(r"Non-2xx or 3xx responses: (\d+)"),
        "5xx": failed,
    }


def log_of(name: str) -> str:
    where = "nginx" if front(name) == "nginx" else f"apache2-{front(name)}"
    return f"/var/log/{where}/{name}.access.log"


def on_host(task: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return python(HOST, "load_on_host.py", {"mark": base64.b64encode(MARK).decode(), **task})


def spelled(name: str, protocol: str) -> bytes:
    path = dynamic(name)
    if protocol == "http":
        return _http.encode_request("GET", path, [("Host", "localhost"), ("Connection", "close")])
    variables = {
        "REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_URI": path, "QUERY_STRING": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1",
        "SCRIPT_NAME": path if path.endswith(".php") else "", "PATH_INFO": "" if path.endswith(".php") else path,
    }  # fmt: skip
    if protocol == "fastcgi":
        script = "static/hello.php" if path.endswith(".php") else "hello.cgi"
        return _fastcgi.encode_request({**variables, "SCRIPT_FILENAME": f"{HELLO}/{script}"})
    encode = _scgi.encode_request if protocol == "scgi" else _uwsgi.encode_request
    return encode(variables)


# --- the experiment -----------------------------------------------------------------------------


def measure(work: pathlib.Path, chosen: t.Collection[str], seed: int) -> list[dict[str, t.Any]]:
    order = random.Random(seed)
    sockets = backends(work)
    stacks: dict[str, list[dict[str, t.Any]]] = {name: [] for name in chosen}
    stacks.update({name: [] for name, (_ready, _address, of) in PEERS.items() if set(of) & set(chosen)})
    files: dict[str, list[float]] = {front(name): [] for name in chosen}
    direct: dict[str, list[float]] = {name: [] for name in chosen if name in sockets}
    idle: dict[str, dict[str, t.Any]] = {}
    for turn in range(TURNS):
        jobs = [("stack", name) for name in stacks] + [("file", name) for name in files]
        jobs += [("backend", name) for name in direct] + ([("idle", name) for name in chosen] if not turn else [])
        order.shuffle(jobs)
        for kind, name in jobs:
            lab_docker.say(f"  turn {turn + 1}: {kind} {name}")
            if kind == "stack" and name in PEERS:
                shell(PLAIN, PEERS[name][0])
                stacks[name].append(wrk(PLAIN, PEERS[name][1], SECONDS))
            elif kind == "stack":
                stacks[name].append(wrk(HOST, f"{port(name)}{dynamic(name)}", SECONDS, log_of(name)))
            elif kind == "file":
                of = next(site for site in chosen if front(site) == name)
                files[name].append(wrk(HOST, f"{port(of)}{static(of)}", LIMIT_SECONDS)["requests"])
            elif kind == "backend":
                protocol, address = sockets[name]
                request = base64.b64encode(spelled(name, protocol)).decode()
                task = {"what": "backend", "address": address, "request": request, "connections": CONNECTIONS}
                direct[name].append(on_host({**task, "seconds": LIMIT_SECONDS})["answers"] / LIMIT_SECONDS)
            else:
                task = {"what": "idle", "port": port(name), "static": static(name), "dynamic": dynamic(name)}
                idle[name] = on_host({**task, "connections": IDLE})
    found = [row(name, runs, files, direct, idle, stacks) for name, runs in stacks.items()]
    return [{**one, "machine": [*machine(), f"seed {seed}"]} for one in found]


def row(
    name: str,
    runs: list[dict[str, t.Any]],
    files: t.Mapping[str, list[float]],
    direct: t.Mapping[str, list[float]],
    idle: t.Mapping[str, dict[str, t.Any]],
    stacks: t.Mapping[str, list[dict[str, t.Any]]],
) -> dict[str, t.Any]:
    """What was found for a stack, and whether that is enough."""
    speeds = [run["requests"] for run in runs]
    speed = statistics.fmean(speeds)
    total = {key: round(sum(run[key] for run in runs)) for key in ("errors", "late", "not_2xx", "5xx")}
    file = statistics.fmean(files[front(name)]) if name in SITES else None
    own = statistics.fmean(direct[name]) if name in direct else None
    peer = next((other for other, (_ready, _address, of) in PEERS.items() if name in of), None)
    peer_speed = statistics.fmean(run["requests"] for run in stacks[peer]) if peer else None
    floor = FLOORS.get(name)
    faults = [f"{total[key]} {key}" for key in ("errors", "not_2xx") if total[key]]
    # With so many waiting, a slow program alone lets each wait for longer.
    if total["late"] and CONNECTIONS / max(speed, 1) < 1:
        faults.append(f"{total['late']} late")
    # Where neither the bare backend nor Debian's packages reach the floor, the machine is slower than the floor's.
    if floor and speed < floor and max(own or 0, peer_speed or 0) >= floor:
        faults.append(f"below {floor}")
    waited = idle.get(name, {"seconds": None, "open": None})
    slow = waited["seconds"]
    return {
        "stack": name,
        "per_s": round(speed),
        "spread": round(max(speeds) - min(speeds)),
        "floor": floor,
        "over_debian": round(speed / peer_speed, 2) if peer_speed else None,
        "file_s": round(file) if file else None,
        "backend_s": round(own) if own else None,
        "p99_ms": round(max((run["p99"] or 0) for run in runs)),
        **total,
        "idle_open": waited["open"],
        "idle_s": None if name in PEERS else round(slow, 2) if slow is not None else "none",
        "verdict": "" if name in PEERS else ", ".join(faults) or "ok",
        "runs": runs,
    }


def rows() -> list[dict[str, t.Any]]:
    work = STATE / "bench-load"
    work.mkdir(parents=True, exist_ok=True)
    seed = random.randrange(10000)
    lab_docker.down([HOST, PLAIN])
    try:
        lab_docker.say("Putting up every stack, and Debian's packages as they are")
        prepare(work)
        lab_docker.say(f"Measuring on {', '.join([*machine(), f'seed {seed}'])}")
        return measure(work, list(SITES), seed)
    finally:
        lab_docker.down([HOST, PLAIN])
