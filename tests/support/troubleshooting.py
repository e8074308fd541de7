# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of docs/troubleshooting.md as data, and for each how to break a host in that way."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing as t

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
COLUMNS = ["case", "visitor", "log", "probe", "fix"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to fail, and what it looks like."""

    case: str
    #: What curl prints as status: 000 when there is no answer.
    visitor: str
    #: Whose log, and what is to be found there: "nothing", or lines in backquotes of which one has to be.
    logs: tuple[tuple[str, str], ...]
    state: str
    cause: str
    hint: str
    fix: str


def rows(text: str | None = None) -> list[Row]:
    """The rows of all tables that have these columns, in their order."""
    found = []
    inside = False
    for line in (PAGE.read_text(encoding="utf-8") if text is None else text).splitlines():
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if [cell.lower() for cell in cells] == COLUMNS:
            inside = True
        elif not cells:
            inside = False
        elif inside and not set(cells[0]) <= set("-: "):
            found.append(_row(cells))
    return found


def damages(found: t.Iterable[Row]) -> list[list[Row]]:
    """The rows, those together that one damage makes happen."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in found:
        groups.setdefault(CASES[row.case].damage, []).append(row)
    return list(groups.values())


def unnamed(row: Row) -> set[str]:
    """What the test does to mend it, and the row does not say: the command, or good words of one of the files."""
    case = CASES[row.case]
    if case.undo:
        return {case.undo} - {words for words in [case.undo] if words in row.fix}
    missing = [
        {line.strip(" ;") for line in good.splitlines() if line.strip() and line.strip(" ;") not in row.fix}
        for good, _bad in case.edits.values()
    ]
    return min(missing, key=len)


def pattern(shown: str) -> re.Pattern[str]:
    """What a line of a log looks like: one of the quoted, where ``...`` stands for anything."""
    lines = re.findall(r"`([^`]+)`", shown)
    return re.compile("|".join("[^\n]*".join(re.escape(part) for part in line.split("...")) for line in lines))


def _row(cells: list[str]) -> Row:
    case, visitor, log, probe, fix = cells
    found = re.fullmatch(r"(?:front: )?(\w+), `(\w+)`: (.+)", probe)
    if found is None:
        raise ValueError(f"{case}: the cell is no state, `cause`: hint: {probe}")
    logs = re.findall(r"(\S+) (nothing|`[^`]+`(?: or `[^`]+`)*)", log)
    return Row(case, visitor, tuple(logs), found[1], found[2], found[3], fix)


NGINX = """\
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events { worker_connections 64; }
http {
  include mime.types;
  access_log off;
  ssl_certificate /srv/good.pem;
  ssl_certificate_key /srv/good.key;
  server {
    listen 127.0.0.1:8081;
    root /srv/www;
    location ~ [.]php$ {
      fastcgi_pass unix:/run/php/blog.sock;
      fastcgi_read_timeout 60s;
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      include fastcgi_params;
    }
    location = /tcp.php {
      fastcgi_pass 127.0.0.1:9001;
      fastcgi_param SCRIPT_FILENAME /srv/www/blog.php;
      include fastcgi_params;
    }
    location /shop {
      uwsgi_pass unix:/run/uwsgi/shop.sock;
      uwsgi_read_timeout 60s;
      include uwsgi_params;
    }
    location /tcp {
      uwsgi_pass 127.0.0.1:9002;
      uwsgi_connect_timeout 2s;
      include uwsgi_params;
    }
    location /http {
      proxy_pass http://127.0.0.1:8000;
      proxy_read_timeout 60s;
    }
    location /live {
      proxy_pass http://127.0.0.1:8004;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }
    location /events {
      proxy_pass http://127.0.0.1:8000;
      proxy_buffering off;
    }
    location /wait {
      proxy_pass http://127.0.0.1:8000;
      proxy_read_timeout 50s;
    }
    location /scgi {
      scgi_pass 127.0.0.1:9003;
      include scgi_params;
    }
    location /cgi/ {
      fastcgi_pass unix:/run/fcgiwrap.socket;
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      include fastcgi_params;
    }
    location /catalog {
      uwsgi_pass unix:/run/catalog/uwsgi.sock;
      include uwsgi_params;
    }
    location /app { proxy_pass http://unix:/run/app/app.sock; }
    location /files/ { allow all; }
  }
  server { listen 127.0.0.1:8083; location / { return 200 plain; } }
  server { listen 127.0.0.1:8443 ssl; location / { return 200 tls; } }
}
"""

APACHE = """\
WSGISocketPrefix /run/wsgi/socket
Listen 127.0.0.1:8082
ServerName localhost
<VirtualHost 127.0.0.1:8082>
  DocumentRoot /srv/www
  <Directory /srv/www>
    Require all granted
  </Directory>
  ProxyTimeout 60
  <FilesMatch "[.]php$">
    SetHandler "proxy:unix:/run/php/blog.sock|fcgi://blog"
  </FilesMatch>
  ProxyPass /tcp.php fcgi://127.0.0.1:9001/srv/www/blog.php
  ProxyPass /shop unix:/run/uwsgi/shop.sock|uwsgi://shop
  ProxyPass /tcp uwsgi://127.0.0.1:9002
  ProxyPass /scgi scgi://127.0.0.1:9003
  ProxyPass /catalog unix:/run/catalog/uwsgi.sock|uwsgi://catalog
  ProxyPass /app unix:/run/app/app.sock|http://app
  ScriptAlias /cgi/ /srv/www/cgi/
  WSGIDaemonProcess wsgi user=shop group=shop home=/srv/shop request-timeout=60 python-path=/srv/shop/lib
  WSGIScriptAlias /wsgi /srv/shop/shop.py process-group=wsgi application-group=%{GLOBAL}
  <Directory /srv/shop>
    Require all granted
  </Directory>
  ProxyPass /live http://127.0.0.1:8004/live upgrade=websocket
  ProxyPass /wait http://127.0.0.1:8000/wait
  ProxyPass /http http://127.0.0.1:8000
</VirtualHost>
"""

PREFORK = """\
Listen 127.0.0.1:8084
ServerName localhost
DocumentRoot /srv/www
<Directory /srv/www>
  Require all granted
</Directory>
"""

MPM = """\
StartServers 1
ServerLimit 2
ThreadsPerChild 4
MinSpareThreads 1
MaxSpareThreads 8
MaxRequestWorkers 8
"""

FPM = """\
[blog]
user = www-data
group = www-data
listen = /run/php/blog.sock
listen.owner = root
listen.group = www-data
listen.mode = 0660
pm = dynamic
pm.max_children = 5
listen.backlog = 511
pm.start_servers = 1
pm.min_spare_servers = 1
pm.max_spare_servers = 1
request_terminate_timeout = 60s
security.limit_extensions = .php
[tcp]
user = www-data
group = www-data
listen = 127.0.0.1:9001
listen.allowed_clients = 127.0.0.1
pm = static
pm.max_children = 1
"""

UWSGI = """\
[uwsgi]
strict = true
master = true
plugins = python3
need-app = true
pythonpath = /srv/shop/lib
wsgi-file = /srv/shop/shop.py
socket = /run/uwsgi/shop.sock
chmod-socket = 660
socket = 127.0.0.1:9002
http-socket = 127.0.0.1:8000
scgi-socket = 127.0.0.1:9003
processes = 8
listen = 100
buffer-size = 32768
harakiri = 60
vacuum = true
die-on-term = true
"""

UNIT = """\
[Service]
Type=notify
User=shop
Group=www-data
RuntimeDirectory=uwsgi
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
ExecStart=/usr/bin/uwsgi --ini /etc/uwsgi/shop.ini
KillMode=mixed
TimeoutStopSec=3
"""

EMPEROR = """\
[Service]
Type=notify
ExecStart=/usr/bin/uwsgi --emperor /etc/uwsgi/vassals --emperor-tyrant
KillSignal=SIGINT
TimeoutStopSec=5
"""

CATALOG = """\
[uwsgi]
strict = true
master = true
plugins = python3
need-app = true
pythonpath = /srv/shop/lib
wsgi-file = /srv/shop/shop.py
socket = /run/catalog/uwsgi.sock
chmod-socket = 660
processes = 2
vacuum = true
"""

APP = """\
[Service]
Type=notify
User=shop
Group=www-data
RuntimeDirectory=app
RuntimeDirectoryPreserve=yes
ExecStart=/usr/bin/gunicorn --bind unix:/run/app/app.sock --chdir /srv/shop --pythonpath /srv/shop/lib shop:application
"""

HELLO_CGI = """\
#!/bin/sh
echo "Content-Type: text/plain"
echo
printf hello
"""

SHOP_PY = """\
import time
import prices
def application(environ, start_response):
    time.sleep({"sleep": 6, "slow": 25}.get(environ["QUERY_STRING"], 0))
    path = environ.get("PATH_INFO")
    if path == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events()
    if path == "/wait":
        time.sleep(5)
    answer(start_response)
    return [b"shop"]
def answer(respond):
    respond("200 OK", [("Content-Type", "text/plain")])
def events():
    for number in range(4):
        yield f"data: {number}\\n\\n".encode()
        time.sleep(0.5)
"""
LIVE_PY = """\
import asyncio
import websockets
async def echo(socket):
    async for text in socket:
        await socket.send(text)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 8004):
        await asyncio.Future()
asyncio.run(main())
"""
BLOG_PHP = """\
<?php
$_SERVER['QUERY_STRING'] == 'sleep' and sleep(6);
echo 'blog';
"""

#: name -> the file of a host on which all is well, its content, and the unit that reads it.
FILES = {
    "nginx": ("/etc/nginx/nginx.conf", NGINX, "nginx"),
    "apache": ("/etc/apache2/sites-enabled/shop.conf", APACHE, "apache2"),
    "mpm": ("/etc/apache2/mods-enabled/mpm_event.conf", MPM, "apache2"),
    "prefork": ("/etc/apache2-prefork/sites-enabled/blog.conf", PREFORK, "apache2@prefork"),
    "fpm": ("/etc/php/X.Y/fpm/pool.d/blog.conf", FPM, "phpX.Y-fpm"),
    "uwsgi": ("/etc/uwsgi/shop.ini", UWSGI, "shop"),
    "unit": ("/etc/systemd/system/shop.service", UNIT, "shop"),
    "shop.py": ("/srv/shop/shop.py", SHOP_PY, "shop app"),
    "emperor": ("/etc/systemd/system/emperor.service", EMPEROR, "emperor"),
    "vassal": ("/etc/uwsgi/vassals/catalog.ini", CATALOG, "emperor"),
    "app": ("/etc/systemd/system/app.service", APP, "app"),
    "hello.cgi": ("/srv/www/cgi/hello.cgi", HELLO_CGI, "fcgiwrap"),
    "blog.php": ("/srv/www/blog.php", BLOG_PHP, "phpX.Y-fpm"),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """How to break the host. Undoing it is the fix, and its words stand in the row."""

    url: str
    #: What the probe asks: an endpoint or a check.
    probe: t.Any
    #: File -> the good words, and the bad ones in their place.
    edits: t.Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    #: Commands that break and mend where no file is wrong.
    do: str = ""
    undo: str = ""
    #: What goes on meanwhile, when it is broken and when it is mended.
    load: str = ""
    #: Seconds that the probe gives the broken one: enough for a host that has much to do, or less than the application
    #: takes.
    patience: float = 20
    #: What the visitor then sees.
    status: str = "200"
    body: str = "shop"
    curl: str = ""

    #: What the probe asks when it is mended, if that is another socket or answers later.
    then: t.Any = None
    #: Cases with the same word here do not disturb each other: one host is broken in all these ways at once.
    at_once: str = ""

    @property
    def damage(self) -> tuple[str, ...]:
        """Cases with the same damage are seen on the same host."""
        return (self.at_once,) if self.at_once else (repr(self.edits), self.do, self.load)


NGINX_URL, APACHE_URL, PREFORK_URL = "http://127.0.0.1:8081", "http://127.0.0.1:8082", "http://127.0.0.1:8084"
BLOG = {"endpoint": "fastcgi+unix:///run/php/blog.sock", "script_filename": "/srv/www/blog.php"}
BLOG_TCP = {**BLOG, "endpoint": "fastcgi://127.0.0.1:9001"}
SHOP = {"endpoint": "uwsgi+unix:///run/uwsgi/shop.sock", "path": "/shop"}
SHOP_TCP = {**SHOP, "endpoint": "uwsgi://127.0.0.1:9002"}
SHOP_SCGI = {"endpoint": "scgi://127.0.0.1:9003", "path": "/scgi"}
CATALOG_UWSGI = {"endpoint": "uwsgi+unix:///run/catalog/uwsgi.sock", "path": "/catalog"}
APP_HTTP = {"endpoint": "http+unix:///run/app/app.sock", "path": "/app"}
HELLO = {"endpoint": "fastcgi+unix:///run/fcgiwrap.socket", "script_filename": "/srv/www/cgi/hello.cgi"}
SCRIPT = "/srv/www/cgi/hello.cgi"
EXACTLY_HELLO = {"expect": {"status": [200], "regex": "^hello$"}}
DIES = {"shop.py": ("answer(start_response)", "import os; os.kill(os.getpid(), 9)")}
RAISES = {"shop.py": ("answer(start_response)", "raise ValueError('on purpose')")}
OWNED = "chown {0}: /etc/uwsgi/vassals/catalog.ini; systemctl restart emperor"
SHOP_HTTP = {**SHOP, "endpoint": "http://127.0.0.1:8000"}
KILL = "systemctl kill --signal KILL {0}; while systemctl is-active --quiet {0}; do sleep 0.1; done"
LARGE = "/shop?" + "x" * 5000


def slow(path: str, times: int, front: str = NGINX_URL) -> str:
    """So many visitors who are served slowly, one after the other, and nobody waits for them."""
    visit = f"curl --silent --max-time 30 {front}{path} > /dev/null 2>&1 & sleep 0.4"
    return f"for i in $(seq {times}); do {visit}; done; sleep 2"


def impatient(option: str) -> dict[str, tuple[str, str]]:
    """The front servers wait for two seconds only."""
    return {"nginx": (f"{option} 60s;", f"{option} 2s;"), "apache": ("ProxyTimeout 60", "ProxyTimeout 2")}


def both(title: str, path: str, impatience: str = "", **options: t.Any) -> dict[str, Case]:
    """The same behind each front server."""
    edits = {**options.pop("edits", {}), **(impatient(impatience) if impatience else {})}
    if impatience:
        options["patience"] = 3
    return {
        f"{front}, {title}": Case(f"{url}{path}", edits=edits, **options)
        for front, url in (("nginx", NGINX_URL), ("Apache", APACHE_URL))
    }


def php(title: str, path: str = "/blog.php", **options: t.Any) -> dict[str, Case]:
    return both(f"PHP-FPM: {title}", path, **{"probe": BLOG, "body": "blog", **options})


def uwsgi(title: str, path: str = "/shop", **options: t.Any) -> dict[str, Case]:
    return both(f"uWSGI: {title}", path, **{"probe": SHOP, **options})


def service(title: str, **options: t.Any) -> dict[str, Case]:
    return both(f"HTTP service: {title}", "/app", probe=APP_HTTP, **options)


def emperor(title: str, **options: t.Any) -> dict[str, Case]:
    return both(f"Emperor: {title}", "/catalog", probe=CATALOG_UWSGI, **options)


def cgi(url: str, probe: t.Any = None, **options: t.Any) -> Case:
    path = "/cgi/hello.cgi"
    return Case(f"{url}{path}", probe or {"endpoint": url, "path": path, **EXACTLY_HELLO}, body="hello", **options)


def scripts(title: str, **options: t.Any) -> dict[str, Case]:
    return {
        f"nginx, CGI: {title}": cgi(NGINX_URL, {**HELLO, **EXACTLY_HELLO}, **options),
        f"Apache, CGI: {title}": cgi(APACHE_URL, **options),
    }


def wsgi(**options: t.Any) -> Case:
    return Case(f"{APACHE_URL}/wsgi", {"endpoint": APACHE_URL, "path": "/wsgi"}, **options)


def mod_php(**options: t.Any) -> Case:
    check = {"endpoint": PREFORK_URL, "path": "/blog.php", "expect": {"regex": "^blog$"}}
    return Case(f"{PREFORK_URL}/blog.php", check, body="blog", **options)


def wrong(
    title: str, path: str, endpoint: str, file: str, good: str, bad: str, **more: tuple[str, str]
) -> dict[str, Case]:
    """One side speaks another protocol."""
    front, url = ("nginx", NGINX_URL) if file == "nginx" else ("Apache", APACHE_URL)
    check = {
        "endpoint": endpoint,
        "path": path,
        **({"script_filename": f"/srv/www{path}"} if "fastcgi" in endpoint else {}),
    }
    right, body = (BLOG, "blog") if path.endswith(".php") else (SHOP if path == "/shop" else SHOP_HTTP, "shop")
    return {f"{front}, {title}": Case(f"{url}{path}", check, {file: (good, bad), **more}, body=body, then=right)}


CASES: dict[str, Case] = {
    # The front server cannot connect.
    **php("stopped", at_once="stopped", do="systemctl stop phpX.Y-fpm", undo="systemctl start phpX.Y-fpm"),
    **php(
        "no directory",
        at_once="no directory",
        then=BLOG,
        probe={**BLOG, "endpoint": "fastcgi+unix:///run/blog/fpm.sock"},
        edits=dict.fromkeys(("fpm", "nginx", "apache"), ("/run/php/blog.sock", "/run/blog/fpm.sock")),
    ),
    **php("not allowed", at_once="not allowed", edits={"fpm": ("listen.group = www-data", "listen.group = root")}),
    **php("killed", at_once="killed", do=KILL.format("phpX.Y-fpm"), undo="systemctl start phpX.Y-fpm"),
    **php(
        "nobody on the port",
        "/tcp.php",
        at_once="nobody on the port",
        probe=BLOG_TCP,
        edits={"fpm": ("listen = 127.0.0.1:9001", "listen = 127.0.0.1:9009")},
    ),
    **uwsgi("stopped", at_once="stopped", do="systemctl stop shop", undo="systemctl start shop"),
    **uwsgi("not loaded", at_once="not loaded", edits={"uwsgi": ("pythonpath = /srv/shop/lib", "")}),
    **uwsgi("not allowed", at_once="not allowed", edits={"uwsgi": ("chmod-socket = 660", "chmod-socket = 600")}),
    **uwsgi(
        "closed directory",
        at_once="closed directory",
        edits={"unit": ("RuntimeDirectoryMode=0755", "RuntimeDirectoryMode=0700")},
    ),
    **uwsgi("killed", at_once="killed", do=KILL.format("shop"), undo="systemctl start shop"),
    **uwsgi(
        "nobody on the port",
        "/tcp",
        at_once="nobody on the port",
        probe=SHOP_TCP,
        edits={"uwsgi": ("socket = 127.0.0.1:9002", "socket = 127.0.0.1:9009")},
    ),
    **both(
        "HTTP: nobody on the port",
        "/http",
        at_once="nobody on the port",
        probe=SHOP_HTTP,
        edits={"uwsgi": ("http-socket = 127.0.0.1:8000", "http-socket = 127.0.0.1:8009")},
    ),
    **php(
        "address taken", at_once="address taken", edits={"fpm": ("listen = 127.0.0.1:9001", "listen = 127.0.0.1:8083")}
    ),
    **uwsgi(
        "address taken",
        at_once="address taken",
        edits={"uwsgi": ("socket = 127.0.0.1:9002", "socket = 127.0.0.1:8083")},
    ),
    # All workers are busy.
    **php(
        "busy",
        impatience="fastcgi_read_timeout",
        load=slow("/slow.php", 1),
        edits={"fpm": ("pm.max_children = 5", "pm.max_children = 1")},
    ),
    **php(
        "full queue",
        impatience="fastcgi_read_timeout",
        load=slow("/slow.php", 4),
        curl="--max-time 5",
        edits={"fpm": ("pm.max_children = 5\nlisten.backlog = 511", "pm.max_children = 1\nlisten.backlog = 1")},
    ),
    **uwsgi(
        "busy",
        impatience="uwsgi_read_timeout",
        load=slow("/shop?slow", 1),
        edits={"uwsgi": ("processes = 8", "processes = 1")},
    ),
    **uwsgi(
        "full queue",
        impatience="uwsgi_read_timeout",
        load=slow("/shop?slow", 6),
        curl="--max-time 5",
        edits={"uwsgi": ("processes = 8\nlisten = 100", "processes = 1\nlisten = 2")},
    ),
    "nginx, uWSGI: full queue of a port": Case(
        f"{NGINX_URL}/tcp",
        SHOP_TCP,
        {"uwsgi": ("processes = 8\nlisten = 100", "processes = 1\nlisten = 2")},
        load=slow("/tcp?slow", 6),
        patience=3,
    ),
    "Apache: no worker": Case(
        f"{APACHE_URL}/files/a",
        {"endpoint": APACHE_URL, "path": "/files/a"},
        {"mpm": ("MaxRequestWorkers 8", "MaxRequestWorkers 4")},
        load=slow("/shop?slow", 4, APACHE_URL),
        patience=3,
        body="file",
        curl="--max-time 3",
    ),
    "nginx: no connection": Case(
        f"{NGINX_URL}/blog.php",
        {"endpoint": NGINX_URL, "path": "/blog.php"},
        {"nginx": ("worker_connections 64", "worker_connections 5")},
        body="blog",
    ),
    # No answer in time.
    **php(
        "slow script",
        "/blog.php?sleep",
        at_once="slow",
        impatience="fastcgi_read_timeout",
        probe={**BLOG, "path": "/blog.php?sleep"},
        then=BLOG,
    ),
    **uwsgi(
        "slow application",
        "/shop?sleep",
        at_once="slow",
        impatience="uwsgi_read_timeout",
        probe={**SHOP, "path": "/shop?sleep"},
        then=SHOP,
    ),
    # The connection ends without an answer.
    **php(
        "time limit",
        "/blog.php?sleep",
        at_once="limit",
        probe={**BLOG, "path": "/blog.php?sleep"},
        then=BLOG,
        edits={"fpm": ("request_terminate_timeout = 60s", "request_terminate_timeout = 1s")},
    ),
    **php(
        "worker dies", at_once="worker dies", edits={"blog.php": ("echo 'blog';", "posix_kill(posix_getpid(), 11);")}
    ),
    **php(
        "client not allowed",
        "/tcp.php",
        probe=BLOG_TCP,
        edits={"fpm": ("listen.allowed_clients = 127.0.0.1", "listen.allowed_clients = 192.0.2.1")},
    ),
    **uwsgi(
        "harakiri",
        "/shop?sleep",
        at_once="limit",
        probe={**SHOP, "path": "/shop?sleep"},
        then=SHOP,
        edits={"uwsgi": ("harakiri = 60", "harakiri = 1")},
    ),
    **uwsgi("worker dies", at_once="worker dies", edits=DIES),
    **uwsgi("exception", at_once="exception", edits=RAISES),
    **uwsgi(
        "no plugin",
        edits={
            "uwsgi": (
                "plugins = python3\nneed-app = true\npythonpath = /srv/shop/lib\nwsgi-file = /srv/shop/shop.py",
                "",
            )
        },
    ),
    **uwsgi(
        "large request",
        LARGE,
        probe={**SHOP, "path": LARGE},
        edits={"uwsgi": ("buffer-size = 32768", "buffer-size = 4096")},
    ),
    # Two protocols.
    **wrong(
        "FastCGI to uWSGI",
        "/blog.php",
        "fastcgi+unix:///run/uwsgi/shop.sock",
        "nginx",
        "fastcgi_pass unix:/run/php/blog.sock",
        "fastcgi_pass unix:/run/uwsgi/shop.sock",
    ),
    **wrong(
        "FastCGI to nginx",
        "/blog.php",
        "fastcgi://127.0.0.1:8083",
        "nginx",
        "fastcgi_pass unix:/run/php/blog.sock",
        "fastcgi_pass 127.0.0.1:8083",
    ),
    **wrong(
        "uwsgi to PHP-FPM",
        "/shop",
        "uwsgi+unix:///run/php/blog.sock",
        "nginx",
        "uwsgi_pass unix:/run/uwsgi/shop.sock",
        "uwsgi_pass unix:/run/php/blog.sock",
    ),
    **wrong(
        "HTTP to uWSGI",
        "/http",
        "http+unix:///run/uwsgi/shop.sock",
        "nginx",
        "proxy_pass http://127.0.0.1:8000",
        "proxy_pass http://unix:/run/uwsgi/shop.sock:",
        uwsgi=("buffer-size = 32768", "buffer-size = 4096"),
    ),
    **wrong(
        "HTTP to uWSGI with a large buffer",
        "/http",
        "http+unix:///run/uwsgi/shop.sock",
        "nginx",
        "proxy_pass http://127.0.0.1:8000;\n      proxy_read_timeout 60s",
        "proxy_pass http://unix:/run/uwsgi/shop.sock:;\n      proxy_read_timeout 2s",
    ),
    **wrong(
        "uwsgi to HTTP",
        "/shop",
        "uwsgi://127.0.0.1:8000",
        "nginx",
        "uwsgi_pass unix:/run/uwsgi/shop.sock;\n      uwsgi_read_timeout 60s",
        "uwsgi_pass 127.0.0.1:8000;\n      uwsgi_read_timeout 2s",
    ),
    **wrong(
        "HTTP to PHP-FPM",
        "/http",
        "http+unix:///run/php/blog.sock",
        "nginx",
        "proxy_pass http://127.0.0.1:8000",
        "proxy_pass http://unix:/run/php/blog.sock:",
    ),
    **wrong(
        "HTTP to TLS",
        "/http",
        "http://127.0.0.1:8443",
        "nginx",
        "proxy_pass http://127.0.0.1:8000",
        "proxy_pass http://127.0.0.1:8443",
    ),
    **wrong(
        "TLS to HTTP",
        "/http",
        "https://127.0.0.1:8083",
        "nginx",
        "proxy_pass http://127.0.0.1:8000",
        "proxy_pass https://127.0.0.1:8083",
    ),
    **wrong(
        "FastCGI to uWSGI",
        "/blog.php",
        "fastcgi+unix:///run/uwsgi/shop.sock",
        "apache",
        "proxy:unix:/run/php/blog.sock|fcgi://blog",
        "proxy:unix:/run/uwsgi/shop.sock|fcgi://blog",
    ),
    **wrong(
        "FastCGI to nginx",
        "/blog.php",
        "fastcgi://127.0.0.1:8083",
        "apache",
        "proxy:unix:/run/php/blog.sock|fcgi://blog",
        "proxy:fcgi://127.0.0.1:8083",
    ),
    **wrong(
        "uwsgi to PHP-FPM",
        "/shop",
        "uwsgi+unix:///run/php/blog.sock",
        "apache",
        "unix:/run/uwsgi/shop.sock|uwsgi://shop",
        "unix:/run/php/blog.sock|uwsgi://shop",
    ),
    **wrong(
        "HTTP to uWSGI",
        "/shop",
        "http+unix:///run/uwsgi/shop.sock",
        "apache",
        "unix:/run/uwsgi/shop.sock|uwsgi://shop",
        "unix:/run/uwsgi/shop.sock|http://shop",
        uwsgi=("buffer-size = 32768", "buffer-size = 4096"),
    ),
    **wrong(
        "HTTP to PHP-FPM",
        "/blog.php",
        "http+unix:///run/php/blog.sock",
        "apache",
        "proxy:unix:/run/php/blog.sock|fcgi://blog",
        "proxy:unix:/run/php/blog.sock|http://blog",
    ),
    **both(
        "SCGI: nobody on the port",
        "/scgi",
        at_once="nobody on the port",
        probe=SHOP_SCGI,
        edits={"uwsgi": ("scgi-socket = 127.0.0.1:9003", "scgi-socket = 127.0.0.1:9009")},
    ),
    **{
        f"{front}, SCGI to uWSGI": Case(
            f"{url}/scgi",
            {**SHOP_SCGI, "endpoint": "scgi+unix:///run/uwsgi/shop.sock"},
            {file: (good, bad), "uwsgi": ("buffer-size = 32768", "buffer-size = 4096")},
            then=SHOP_SCGI,
            at_once="SCGI to uWSGI",
        )
        for front, url, file, good, bad in (
            ("nginx", NGINX_URL, "nginx", "scgi_pass 127.0.0.1:9003", "scgi_pass unix:/run/uwsgi/shop.sock"),
            ("Apache", APACHE_URL, "apache", "scgi://127.0.0.1:9003", "unix:/run/uwsgi/shop.sock|scgi://shop"),
        )
    },
    **{
        f"{front}, SCGI to HTTP": Case(
            f"{url}/scgi",
            {**SHOP_SCGI, "endpoint": "scgi://127.0.0.1:8000"},
            {file: (f"{words}127.0.0.1:9003", f"{words}127.0.0.1:8000")},
            then=SHOP_SCGI,
            at_once="other side",
        )
        for front, url, file, words in (
            ("nginx", NGINX_URL, "nginx", "scgi_pass "),
            ("Apache", APACHE_URL, "apache", "scgi://"),
        )
    },
    "nginx, uwsgi to SCGI": Case(
        f"{NGINX_URL}/tcp",
        {**SHOP, "endpoint": "uwsgi://127.0.0.1:9003"},
        {"nginx": ("uwsgi_pass 127.0.0.1:9002", "uwsgi_pass 127.0.0.1:9003")},
        then=SHOP_TCP,
        at_once="other side",
    ),
    **{
        f"{front}, HTTP to SCGI": Case(
            f"{url}/http",
            {**SHOP, "endpoint": "http://127.0.0.1:9003"},
            {file: (f"{words} http://127.0.0.1:8000", f"{words} http://127.0.0.1:9003")},
            then=SHOP_HTTP,
            at_once="other side",
        )
        for front, url, file, words in (
            ("nginx", NGINX_URL, "nginx", "/http {\n      proxy_pass"),
            ("Apache", APACHE_URL, "apache", "ProxyPass /http"),
        )
    },
    # The application answers, and it is an error.
    **php(
        "script not found",
        "/gone.php",
        probe={**BLOG, "script_filename": "/srv/www/gone.php"},
        do="mv /srv/www/gone.php /srv",
        undo="mv /srv/gone.php /srv/www",
    ),
    "nginx, PHP-FPM: wrong SCRIPT_FILENAME": Case(
        f"{NGINX_URL}/blog.php",
        {"endpoint": NGINX_URL, "path": "/blog.php", "expect": {"status": [200]}},
        {
            "nginx": (
                "fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name",
                "fastcgi_param SCRIPT_FILENAME /srv/blog$fastcgi_script_name",
            )
        },
        body="blog",
    ),
    **php("extension", edits={"fpm": ("security.limit_extensions = .php", "security.limit_extensions = .php8")}),
    **php("fatal error", at_once="fatal error", edits={"blog.php": ("echo 'blog';", "nosuch();")}),
    "nginx, PHP-FPM: blank": Case(
        f"{NGINX_URL}/blog.php",
        {"endpoint": NGINX_URL, "path": "/blog.php", "expect": {"regex": "^blog$"}},
        {"nginx": ("include fastcgi_params;", "")},
        body="blog",
    ),
    "Apache, PHP-FPM: source": Case(
        f"{APACHE_URL}/blog.php",
        {"endpoint": APACHE_URL, "path": "/blog.php", "expect": {"regex": "^blog$"}},
        do="a2dismod --quiet proxy_fcgi; systemctl restart apache2",
        undo="a2enmod proxy_fcgi; systemctl restart apache2",
        body="blog",
        at_once="source",
    ),
    **uwsgi(
        "no application",
        edits={"uwsgi": ("need-app = true\npythonpath = /srv/shop/lib\nwsgi-file = /srv/shop/shop.py", "")},
    ),
    # The front server itself.
    "Apache, uWSGI: no module": Case(
        f"{APACHE_URL}/shop",
        {"endpoint": APACHE_URL, "path": "/shop"},
        do="a2dismod --quiet proxy_uwsgi; systemctl restart apache2",
        undo="a2enmod proxy_uwsgi; systemctl restart apache2",
    ),
    "nginx: denied": Case(
        f"{NGINX_URL}/files/a",
        {"endpoint": NGINX_URL, "path": "/files/a", "expect": {"status": [200]}},
        {"nginx": ("allow all;", "deny all;")},
        body="file",
        at_once="denied",
    ),
    "Apache: denied": Case(
        f"{APACHE_URL}/files/a",
        {"endpoint": APACHE_URL, "path": "/files/a", "expect": {"status": [200]}},
        {"apache": ("Require all granted", "Require all denied")},
        body="file",
        at_once="denied",
    ),
    "nginx: not readable": Case(
        f"{NGINX_URL}/files/a",
        {"endpoint": NGINX_URL, "path": "/files/a", "expect": {"status": [200]}},
        do="chmod 0700 /srv/www/files",
        undo="chmod 0755 /srv/www/files",
        body="file",
    ),
    "Apache: not readable": Case(
        f"{APACHE_URL}/files/a",
        {"endpoint": APACHE_URL, "path": "/files/a", "expect": {"status": [200]}},
        do="chmod 0700 /srv/www/files",
        undo="chmod 0755 /srv/www/files",
        body="file",
    ),
    "nginx, HTTP: unknown name": Case(
        f"{NGINX_URL}/http",
        {**SHOP, "endpoint": "http://backend.invalid:8000"},
        then=SHOP_HTTP,
        edits={"nginx": ("http://127.0.0.1:8000", "http://backend.invalid:8000")},
    ),
    "Apache, HTTP: unknown name": Case(
        f"{APACHE_URL}/http",
        {**SHOP, "endpoint": "http://backend.invalid:8000"},
        then=SHOP_HTTP,
        edits={"apache": ("http://127.0.0.1:8000", "http://backend.invalid:8000")},
    ),
    "nginx: certificate": Case(
        "https://localhost:8443/",
        {"endpoint": "https://127.0.0.1:8443", "ca_path": "/srv/good.pem"},
        {
            "nginx": (
                "ssl_certificate /srv/good.pem;\n  ssl_certificate_key /srv/good.key;",
                "ssl_certificate /srv/bad.pem;\n  ssl_certificate_key /srv/bad.key;",
            )
        },
        curl="--cacert /srv/good.pem",
        body="tls",
    ),
    "nginx: address taken": Case(
        f"{NGINX_URL}/files/a",
        {"endpoint": NGINX_URL, "path": "/files/a"},
        {"nginx": ("listen 127.0.0.1:8083;", "listen 127.0.0.1:8082;")},
        body="file",
    ),
    "Apache: address taken": Case(
        f"{APACHE_URL}/files/a",
        {"endpoint": APACHE_URL, "path": "/files/a"},
        {"apache": ("Listen 127.0.0.1:8082", "Listen 127.0.0.1:8081")},
        body="file",
    ),
    "nginx: syntax": Case(
        f"{NGINX_URL}/files/a",
        {"endpoint": NGINX_URL, "path": "/files/a"},
        {"nginx": ("allow all;", "alow all;")},
        body="file",
    ),
    "Apache: syntax": Case(
        f"{APACHE_URL}/files/a",
        {"endpoint": APACHE_URL, "path": "/files/a"},
        {"apache": ("Require all granted", "Requier all granted")},
        body="file",
    ),
    # Streams.
    **{
        f"{front}, WebSocket: no upgrade": Case(
            f"{url}/live",
            {"endpoint": url.replace("http", "ws"), "path": "/live", "expect": {"echo": "hello"}},
            {file: (good, "")},
            curl="--http1.1 --max-time 3 -H 'Connection: Upgrade' -H 'Upgrade: websocket' "
            "-H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='",
            status="101",
            body="",
            at_once="no upgrade",
        )
        for front, url, file, good in (
            ("nginx", NGINX_URL, "nginx", "proxy_set_header Upgrade $http_upgrade;"),
            ("Apache", APACHE_URL, "apache", " upgrade=websocket"),
        )
    },
    "nginx, events: in one lump": Case(
        f"{NGINX_URL}/events",
        {"endpoint": NGINX_URL.replace("http", "sse"), "path": "/events", "expect": {"events": 4, "interval": 0.3}},
        {"nginx": ("proxy_buffering off;", "")},
        body="data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3",
    ),
    "nginx, long polling: too patient": Case(
        f"{NGINX_URL}/wait",
        {"endpoint": NGINX_URL.replace("http", "long_polling"), "path": "/wait"},
        {"nginx": ("proxy_read_timeout 50s;", "proxy_read_timeout 2s;")},
        then={"endpoint": NGINX_URL.replace("http", "long_polling"), "path": "/wait", "hold": 1},
        at_once="long polling",
    ),
    "Apache, long polling: too patient": Case(
        f"{APACHE_URL}/wait",
        {"endpoint": APACHE_URL.replace("http", "long_polling"), "path": "/wait"},
        {"apache": ("ProxyTimeout 60", "ProxyTimeout 2")},
        then={"endpoint": APACHE_URL.replace("http", "long_polling"), "path": "/wait", "hold": 1},
        at_once="long polling",
    ),
    # The other ways to a program.
    **service("stopped", at_once="stopped", do="systemctl stop app", undo="systemctl start app"),
    **service("killed", at_once="killed", do=KILL.format("app"), undo="systemctl start app"),
    **service("not loaded", at_once="not loaded", edits={"app": (" --pythonpath /srv/shop/lib", "")}),
    **service("no program", at_once="misspelt", edits={"app": ("/usr/bin/gunicorn", "/usr/bin/gunicron")}),
    **service("worker dies", at_once="worker dies", edits=DIES),
    **service("exception", at_once="exception", edits=RAISES),
    **emperor("stopped", at_once="stopped", do="systemctl stop emperor", undo="systemctl start emperor"),
    **emperor("not loaded", at_once="not loaded", edits={"vassal": ("pythonpath = /srv/shop/lib", "")}),
    **emperor("unknown option", at_once="misspelt", edits={"vassal": ("processes = 2", "proceses = 2")}),
    **emperor("the file is root's", at_once="not allowed", do=OWNED.format("root"), undo=OWNED.format("shop")),
    **emperor("the file is another's", at_once="closed directory", do=OWNED.format("games"), undo=OWNED.format("shop")),
    "nginx, CGI: stopped": cgi(
        NGINX_URL,
        HELLO,
        at_once="stopped",
        do="systemctl stop fcgiwrap.socket",
        undo="systemctl start fcgiwrap.socket",
    ),
    **scripts("not executable", at_once="not allowed", do=f"chmod 0644 {SCRIPT}", undo=f"chmod 0755 {SCRIPT}"),
    **scripts("no interpreter", at_once="misspelt", edits={"hello.cgi": ("#!/bin/sh", "#!/bin/hs")}),
    **scripts("dies", at_once="worker dies", edits={"hello.cgi": ('echo "Content-Type: text/plain"', "exec ech")}),
    **scripts("no header", at_once="exception", edits={"hello.cgi": ('echo "Content-Type: text/plain"\necho\n', "")}),
    **scripts("no empty line", at_once="fatal error", edits={"hello.cgi": ("echo\n", "")}),
    "Apache, CGI: source": cgi(
        APACHE_URL,
        at_once="source",
        do="a2dismod --quiet cgid; systemctl restart apache2",
        undo="a2enmod cgid; systemctl restart apache2",
    ),
    "Apache, mod_wsgi: not loaded": wsgi(at_once="not loaded", edits={"apache": (" python-path=/srv/shop/lib", "")}),
    "Apache, mod_wsgi: worker dies": wsgi(at_once="worker dies", edits=DIES),
    "Apache, mod_wsgi: exception": wsgi(at_once="exception", edits=RAISES),
    "Apache, mod_wsgi: closed directory": wsgi(
        at_once="closed directory", edits={"apache": ("WSGISocketPrefix /run/wsgi/", "WSGISocketPrefix /run/closed/")}
    ),
    "Apache, mod_wsgi: no directory": wsgi(
        at_once="no directory", edits={"apache": (" home=/srv/shop", "")}, patience=3, curl="--max-time 3"
    ),
    "Apache, mod_php: source": mod_php(
        at_once="source",
        do="a2dismod-prefork --quiet phpX.Y; systemctl restart apache2@prefork",
        undo="a2enmod-prefork phpX.Y; systemctl restart apache2@prefork",
    ),
    "Apache, mod_php: fatal error": mod_php(at_once="fatal error", edits={"blog.php": ("echo 'blog';", "nosuch();")}),
    "Apache, mod_php: worker dies": mod_php(
        at_once="worker dies", edits={"blog.php": ("echo 'blog';", "posix_kill(posix_getpid(), 11);")}
    ),
    "Apache, mod_php: two MPMs": mod_php(
        at_once="address taken",
        do="ln -s ../mods-available/mpm_event.load /etc/apache2-prefork/mods-enabled; "
        "systemctl restart apache2@prefork",
        undo="rm /etc/apache2-prefork/mods-enabled/mpm_event.load; systemctl restart apache2@prefork",
    ),
    "Apache, mod_php: threads": mod_php(
        at_once="nobody on the port",
        do="a2dismod-prefork --quiet --force mpm_prefork; a2enmod-prefork --quiet mpm_event; "
        "ln -sf ../mods-available/phpX.Y.load /etc/apache2-prefork/mods-enabled; systemctl restart apache2@prefork",
        undo="a2dismod-prefork --force mpm_event; a2enmod-prefork mpm_prefork phpX.Y; "
        "systemctl restart apache2@prefork",
    ),
}
