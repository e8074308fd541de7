# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand that somebody configured by hand in /etc, right in everything; and the ways in which such stands are wrong.

Plain packages of Debian: nginx, gunicorn, uWSGI, PHP-FPM. A broken stand is data: edits of files, commands, and the
checks that must name it.
"""

from __future__ import annotations

import dataclasses
import typing as t

PACKAGES = "nginx-light php-fpm gunicorn uwsgi-core uwsgi-plugin-python3 python3-websockets"

NGINX_HEAD = """\
log_format short '$status';
map $http_upgrade $connection_upgrade {
    default upgrade;
    "" "";
}
"""
SHOP = """\
server {
    listen 8081 default_server;
    location / {
        proxy_pass http://unix:/run/shop/gunicorn.sock;
        proxy_set_header Host $http_host;
    }
    location /talk {
        proxy_pass http://127.0.0.1:3100;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
    }
}
"""
API = """\
server {
    listen 8082 default_server;
    location / {
        include uwsgi_params;
        uwsgi_pass 127.0.0.1:3031;
    }
}
"""
BLOG = """\
server {
    listen 8083 default_server;
    root /srv/blog;
    index index.php;
    location / { try_files $uri $uri/ =404; }
    location ~ \\.php$ {
        include fastcgi.conf;
        fastcgi_pass unix:/run/php/blog.sock;
    }
}
"""
POOL = """\
[blog]
user = blog
group = blog
listen = /run/php/blog.sock
listen.owner = www-data
listen.group = www-data
listen.mode = 0660
pm = static
pm.max_children = 2
pm.status_path = /pool
"""
SHOP_UNIT = """\
[Unit]
Description=The shop
[Service]
User=shop
Group=www-data
RuntimeDirectory=shop
WorkingDirectory=/srv/shop
ExecStart=/usr/bin/gunicorn --workers 2 --umask 007 --bind unix:/run/shop/gunicorn.sock app:application
[Install]
WantedBy=multi-user.target
"""
TALK_UNIT = """\
[Unit]
Description=The shop's talk
[Service]
User=shop
ExecStart=/usr/bin/python3 /srv/talk/talk.py
[Install]
WantedBy=multi-user.target
"""
API_UNIT = """\
[Unit]
Description=The API
[Service]
User=api
WorkingDirectory=/srv/api
ExecStart=/usr/bin/uwsgi-core --plugin python3 --socket 127.0.0.1:3031 --stats 127.0.0.1:9191 \
    --master --processes 2 --wsgi app:application
KillSignal=SIGQUIT
[Install]
WantedBy=multi-user.target
"""
#: A search that repeats what it was asked for, the number of the process, and nothing else.
APPLICATION = """\
import html, os, urllib.parse

def application(environ, start_response):
    path = environ["PATH_INFO"]
    query = urllib.parse.parse_qs(environ["QUERY_STRING"]).get("q", [""])[0]
    status, body = "200 OK", "<title>NAME</title><h1>NAME</h1><p>" + html.escape(query) + "</p>"
    if path == "/pid":
        body = str(os.getpid())
    elif path != "/":
        status, body = "404 Not Found", "<title>NAME</title><p>nothing here</p>"
    start_response(status, [("Content-Type", "text/html; charset=utf-8")])
    return [body.encode()]
"""
TALK = """\
import asyncio
import websockets

async def echo(connection, path=None):
    async for message in connection:
        await connection.send(message)

async def main():
    async with websockets.serve(echo, "127.0.0.1", 3100):
        await asyncio.Future()

asyncio.run(main())
"""
BLOG_PHP = """\
<?php
if (isset($_GET['pid'])) { echo getmypid(); exit; }
echo '<title>blog</title><h1>blog</h1><p>', htmlspecialchars($_GET['s'] ?? ''), '</p>';
"""
FILES = {
    "/etc/nginx/conf.d/short.conf": NGINX_HEAD,
    "/etc/nginx/sites-enabled/shop": SHOP,
    "/etc/nginx/sites-enabled/api": API,
    "/etc/nginx/sites-enabled/blog": BLOG,
    "/etc/php/X.Y/fpm/pool.d/blog.conf": POOL,
    "/etc/systemd/system/shop.service": SHOP_UNIT,
    "/etc/systemd/system/api.service": API_UNIT,
    "/etc/systemd/system/talk.service": TALK_UNIT,
    "/srv/talk/talk.py": TALK,
    "/srv/shop/app.py": APPLICATION.replace("NAME", "shop"),
    "/srv/api/app.py": APPLICATION.replace("NAME", "api"),
    "/srv/blog/index.php": BLOG_PHP,
}
#: The front of a path -> what has to start anew when such a file changes.
UNITS = {
    "/etc/nginx": "nginx",
    "/etc/php": "phpX.Y-fpm",
    "/etc/systemd/system/shop": "shop",
    "/etc/systemd/system/api": "api",
    "/etc/systemd/system/talk": "talk",
    "/srv/talk": "talk",
    "/srv/shop": "shop",
    "/srv/api": "api",
    "/srv/blog": "phpX.Y-fpm",
}
MANIFEST: dict[str, t.Any] = {
    "starts": "vagrant",
    "names": ["shop.example"],
    "sites": [
        {"name": "shop", "port": 8081, "served_by": "http", "backend": "http+unix:///run/shop/gunicorn.sock"}
        | {"nonce": "/?q={nonce}", "process": "/pid", "websocket": "/talk"},
        {"name": "api", "port": 8082, "served_by": "uwsgi", "backend": "uwsgi://127.0.0.1:3031"}
        | {"nonce": "/?q={nonce}", "process": "/pid", "status": "127.0.0.1:9191"},
        {"name": "blog", "port": 8083, "served_by": "php_fpm", "backend": "fastcgi+unix:///run/php/blog.sock"}
        | {"script": "/srv/blog/index.php", "nonce": "/?s={nonce}", "process": "/?pid=1"}
        | {"status": "/pool"},
    ],
}
REPOSITORY = {
    "README.md": "# Dynamic web\n\n"
    "Three stacks behind nginx, each on a port of its own: a shop (gunicorn), an API (uWSGI), a blog (PHP-FPM).\n"
    "Everything is installed by Ansible from Debian's packages.\n\n    vagrant up\n\n"
    "Checked with `curl localhost:8081` for each port, output below.\n",
    "Vagrantfile": 'Vagrant.configure("2") do |config|\n'
    "  [8081, 8082, 8083].each { |port| }\n"
    + "".join(f'  config.vm.network "forwarded_port", guest: {port}, host: {port}\n' for port in (8081, 8082, 8083))
    + '  config.vm.provision "ansible" do |ansible|\n    ansible.playbook = "site.yml"\n  end\nend\n',
    "site.yml": "- hosts: all\n  become: true\n  vars:\n    shop_password: '{{ vault_shop_password }}'\n  tasks: []\n",
}


@dataclasses.dataclass(frozen=True)
class Broken:
    """A mistake, and the checks that must name it, and no other."""

    #: Criterion -> cause.
    named: t.Mapping[str, str]
    #: Path, what is there, what is there instead.
    edits: tuple[tuple[str, str, str], ...] = ()
    #: Commands on the host, and those that undo them.
    do: str = ""
    undo: str = ""
    #: Edits of the repository: path, what is there, what is there instead.
    work: tuple[tuple[str, str, str], ...] = ()
    #: Over the manifest's first site, or over the manifest.
    site: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    manifest: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)


NGINX_SHOP, SHOP_PY = "/etc/nginx/sites-enabled/shop", "/srv/shop/app.py"
SHOP_SERVICE, API_SERVICE = "/etc/systemd/system/shop.service", "/etc/systemd/system/api.service"
POOL_FILE, BLOG_SITE = "/etc/php/X.Y/fpm/pool.d/blog.conf", "/etc/nginx/sites-enabled/blog"
_BODY = '<title>shop</title><h1>shop</h1><p>" + html.escape(query) + "</p>"'


def _shop_says(html: str) -> tuple[tuple[str, str, str], ...]:
    """The shop's page has this as well."""
    return ((SHOP_PY, _BODY, f'<title>shop</title>{html}<p>" + html.escape(query) + "</p>"'),)


#: A second uWSGI with the API's program.
_OTHER_API = (
    # SIGTERM makes a master of uWSGI start again.
    "systemd-run --quiet --unit other --property User=api --property KillSignal=SIGQUIT"
    " --property Restart=always --property RestartSec=1"
    " --working-directory /srv/api"
    " /usr/bin/uwsgi-core --plugin python3 --socket 127.0.0.1:3032 --stats 127.0.0.1:9192 --master"
    " --wsgi app:application;"
    " timeout 30 sh -c 'until ss -Hlnt | grep -q :9192; do sleep 0.1; done' || { journalctl -u other >&2; false; }"
)
#: A unit that has failed keeps its name, and several stands have one of this name.
_STOP_OTHER = "systemctl stop other; systemctl reset-failed other 2>/dev/null; true"

BROKEN: dict[str, Broken] = {
    # HOMEWORK, 1: only by one name
    "only by one name (server_name)": Broken(
        {"answers": "only_by_some_names"},
        edits=((NGINX_SHOP, "listen 8081 default_server;", "listen 8081;\n    server_name shop.example;"),),
        do="printf 'server { listen 8081 default_server; return 444; }' > /etc/nginx/sites-enabled/none;"
        " systemctl restart nginx",
        undo="rm /etc/nginx/sites-enabled/none",
    ),
    "only by one name (ALLOWED_HOSTS)": Broken(
        {"answers": "only_by_some_names"},
        edits=(
            (
                SHOP_PY,
                'if path == "/pid"',
                'if not environ["HTTP_HOST"].startswith("localhost"):\n'
                '        status, body = "400 Bad Request", "<h1>Bad Request (400)</h1>"\n    elif path == "/pid"',
            ),
        ),
    ),
    "only on the loopback": Broken(
        {"answers": "no_answer_refused"},
        edits=((NGINX_SHOP, "listen 8081 default_server", "listen 127.0.0.1:8081 default_server"),),
    ),
    # 2: development servers, as root
    "flask's development server": Broken(
        {"no_development_server": "development_server"},
        edits=(
            (
                SHOP_SERVICE,
                "ExecStart=/usr/bin/gunicorn --workers 2 --umask 007 --bind unix:/run/shop/gunicorn.sock"
                " app:application",
                'ExecStart=/usr/bin/python3 -c "from wsgiref.simple_server import make_server as m;'
                " from app import application as a;"
                " m('127.0.0.1', 3000, a).serve_forever()\"",
            ),
            (NGINX_SHOP, "http://unix:/run/shop/gunicorn.sock", "http://127.0.0.1:3000"),
        ),
        site={"backend": "http://127.0.0.1:3000"},
    ),
    "application as root": Broken({"users": "works_as_root"}, edits=((SHOP_SERVICE, "User=shop", "User=root"),)),
    "uWSGI as root": Broken({"users": "works_as_root"}, edits=((API_SERVICE, "User=api", "User=root"),)),
    # 3: past the front server
    "uWSGI open to the outside": Broken(
        {"backends_closed": "backend_open"}, edits=((API_SERVICE, "127.0.0.1:3031", "0.0.0.0:3031"),)
    ),
    "PHP-FPM on 9000 open to the outside": Broken(
        {"backends_closed": "backend_open"},
        edits=(
            (POOL_FILE, "listen = /run/php/blog.sock", "listen = 0.0.0.0:9000"),
            (BLOG_SITE, "unix:/run/php/blog.sock", "127.0.0.1:9000"),
        ),
        manifest={"backend of blog": "fastcgi://127.0.0.1:9000"},
    ),
    "a database open to the outside": Broken(
        {"backends_closed": "backend_open"},
        do="systemd-run --quiet --unit db --property User=nobody python3 -c"
        ' \'import socket, time; s = socket.create_server(("", 3306));'
        " time.sleep(600)'; timeout 30 sh -c 'until ss -Hlnt | grep -q :3306; do sleep 0.1; done'",
        undo="systemctl stop db",
    ),
    "no front server": Broken(
        {"front_server": "another_front", "joined": "backend_not_in_configuration", "websocket": "no_websocket"},
        edits=(
            (SHOP_SERVICE, "unix:/run/shop/gunicorn.sock", "0.0.0.0:8081"),
            (NGINX_SHOP, "listen 8081", "listen 127.0.0.1:8089"),
        ),
        do="systemctl restart shop; timeout 30 sh -c 'until ss -Hlnt | grep -q :8081; do sleep 0.1; done'",
        site={"backend": "http://127.0.0.1:8081"},
    ),
    # 4: gone after a reboot
    "not started at boot": Broken(
        {"starts_at_boot": "not_enabled"}, do="systemctl disable --quiet api", undo="systemctl enable --quiet api"
    ),
    "started by hand": Broken(
        {"starts_at_boot": "not_a_service"},
        do="systemctl stop api; systemd-run --quiet --scope --uid api --working-directory /srv/api"
        " sh -c '/usr/bin/uwsgi-core --plugin python3 --socket 127.0.0.1:3031 --stats 127.0.0.1:9191"
        " --master --processes 2 --wsgi app:application --pidfile /tmp/api.pid >/dev/null 2>&1 &';"
        " timeout 30 sh -c 'until ss -Hlnt | grep -q :3031; do sleep 0.1; done'",
        undo="kill -QUIT $(cat /tmp/api.pid);"
        " timeout 30 sh -c 'while ss -Hlnt | grep -q :3031; do sleep 0.1; done'; systemctl start api",
    ),
    # 5: installers, debug pages
    "WordPress's installer": Broken(
        {"no_installer": "installer"}, edits=_shop_says("<a href='/wp-admin/install.php'>install</a>")
    ),
    "Django's debug page": Broken(
        {"no_debug_page": "debug_page"},
        edits=(
            (
                SHOP_PY,
                "<p>nothing here</p>",
                "<p>You're seeing this error because you have <code>DEBUG = True</code></p>",
            ),
        ),
    ),
    "PHP's errors on the page": Broken(
        {"no_debug_page": "debug_page"},
        edits=(
            ("/srv/blog/index.php", "<h1>blog</h1>", "<h1>blog</h1><b>Warning</b>:  x in /srv/a.php on line <b>4</b>"),
        ),
    ),
    "the page of a fresh nginx": Broken(
        {"no_default_page": "default_page"},
        edits=((SHOP_PY, "<title>shop</title><h1>shop", "<title>Welcome to nginx!</title><h1>shop"),),
    ),
    # 6: upgrade for all
    "upgrade for all requests": Broken(
        {"upgrade_by_map": "upgrade_for_all"},
        edits=(
            (
                NGINX_SHOP,
                "proxy_set_header Host $http_host;",
                'proxy_set_header Host $http_host;\n        proxy_set_header Connection "upgrade";',
            ),
        ),
    ),
    # 7: secrets, the database's administrator
    "a password in the repository": Broken(
        {"no_secrets": "secret_in_repository"}, work=(("site.yml", "'{{ vault_shop_password }}'", "hunter22"),)
    ),
    "a private key in the repository": Broken(
        {"no_secrets": "secret_in_repository"},
        work=((".vagrant/private_key", "", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"),),
    ),
    "root of the database": Broken(
        {"no_database_root": "database_root"}, work=((".env.example", "", "DB_USERNAME=root\nDB_PASSWORD=\n"),)
    ),
    # 8: a static or copied page
    "a static page": Broken(
        {"computed": "nonce_not_repeated", "handler": "other_page_direct", "process_model": "no_process_number"},
        edits=(
            (
                NGINX_SHOP,
                "proxy_pass http://unix:/run/shop/gunicorn.sock;",
                "default_type text/html; return 200 '<h1>shop</h1>';",
            ),
            (
                "/etc/nginx/conf.d/short.conf",
                "log_format",
                "upstream shop { server unix:/run/shop/gunicorn.sock; }\nlog_format",
            ),
        ),
    ),
    "no nonce in the manifest": Broken({"computed": "no_nonce_in_manifest"}, site={"nonce": None}),
    # 9: PHP as a text, sockets for all
    "PHP as a text": Broken(
        {"no_source": "source_served", "computed": "", "handler": "", "process_model": "", "joined": ""},
        edits=(
            (
                BLOG_SITE,
                "include fastcgi.conf;\n        fastcgi_pass unix:/run/php/blog.sock;",
                "default_type text/plain;",
            ),
        ),
    ),
    "a socket for everybody (PHP-FPM)": Broken(
        {"socket_modes": "socket_open_to_all"}, edits=((POOL_FILE, "listen.mode = 0660", "listen.mode = 0666"),)
    ),
    "a socket for everybody (gunicorn)": Broken(
        {"socket_modes": "socket_open_to_all"}, edits=((SHOP_SERVICE, "--umask 007", "--umask 000"),)
    ),
    # thirty more
    "502": Broken(
        {"answers": "bad_status"},
        do="systemctl stop api",
        undo="systemctl start api",
    ),
    "nobody listens": Broken(
        {"answers": "no_answer_refused", "front_server": "nobody_listens"},
        edits=((NGINX_SHOP, "listen 8081", "listen 8089"),),
    ),
    "a site too few": Broken({"three_sites": "too_few_sites"}, manifest={"without": "api"}),
    "another backend than the manifest says": Broken(
        {
            "handler": "direct_without_nonce",
            "joined": "backend_not_in_configuration",
            "process_model": "other_process_answers",
        },
        site={"backend": "http://127.0.0.1:3300"},
        do=r"""mkdir -p /srv/other
printf 'def application(e, s):\n    s("200 OK", [])\n    return [b"other"]\n' > /srv/other/app.py
systemd-run --quiet --unit other --property User=nobody --working-directory /srv/other \
    /usr/bin/uwsgi-core --plugin python3 --http-socket 127.0.0.1:3300 --wsgi app:application
timeout 30 sh -c 'until ss -Hlnt | grep -q :3300; do sleep 0.1; done'""",
        undo=_STOP_OTHER,
    ),
    "the repository's files are served": Broken(
        {"no_secret_files": "secret_file"},
        do="mkdir -p /srv/blog/.git; echo 'ref: refs/heads/main' > /srv/blog/.git/HEAD",
        undo="rm -r /srv/blog/.git",
    ),
    "settings are served": Broken(
        {"no_secret_files": "secret_file"}, do="echo DB_PASSWORD=x > /srv/blog/.env", undo="rm /srv/blog/.env"
    ),
    "no repository": Broken({"repository": "no_repository"}, manifest={"repository": None}),
    "no README": Broken({"readme": "no_readme", "readme_tells_checks": "no_readme"}, work=(("README.md", "*", ""),)),
    "a README of one line": Broken(
        {"readme": "short_readme"}, work=(("README.md", "*", "`vagrant up`, checked with curl"),)
    ),
    "a README that does not say how to start": Broken(
        {"readme": "readme_without_start"}, work=(("README.md", "vagrant up", "see above"),)
    ),
    "not told how it was checked": Broken(
        {"readme_tells_checks": "checks_not_described"},
        work=(("README.md", "Checked with `curl localhost:8081` for each port, output below.", ""),),
    ),
    "no Vagrantfile": Broken({"vagrantfile": "no_vagrantfile"}, work=(("Vagrantfile", "*", ""),)),
    "a Vagrantfile that sets nothing up": Broken(
        {"vagrantfile": "vagrantfile_without_provision"}, work=(("Vagrantfile", ".provision", ".comment"),)
    ),
    "a port that is not forwarded": Broken(
        {"ports_forwarded": "port_not_forwarded"},
        work=(("Vagrantfile", "guest: 8082, host: 8082", "guest: 80, host: 80"),),
    ),
    "Upgrade is not passed on": Broken(
        {"websocket": "no_websocket"},
        edits=((NGINX_SHOP, "proxy_set_header Upgrade $http_upgrade;", ""),),
    ),
    "WebSocket leads to nobody": Broken(
        {"websocket": "no_websocket"}, do="systemctl stop talk", undo="systemctl start talk"
    ),
    "no status page": Broken({"counted": "no_status_page"}, edits=((POOL_FILE, "pm.status_path = /pool", ""),)),
    "another pool makes the page": Broken(
        {"counted": "not_counted", "joined": "backend_not_in_configuration"},
        edits=(
            (BLOG_SITE, "/run/php/blog.sock", "/run/php/other.sock"),
            (POOL_FILE, "[blog]\n", POOL.replace("[blog]", "[other]").replace("blog.sock", "other.sock") + "[blog]\n"),
        ),
    ),
    "uWSGI without a stats server": Broken(
        {"counted": "no_statistics"}, edits=((API_SERVICE, "--stats 127.0.0.1:9191", ""),)
    ),
    "another uWSGI makes the page": Broken(
        {
            "counted": "not_counted",
            "joined": "backend_not_in_configuration",
            "process_model": "other_process_answers",
        },
        edits=(("/etc/nginx/sites-enabled/api", "127.0.0.1:3031", "127.0.0.1:3032"),),
        do=_OTHER_API,
        undo=_STOP_OTHER,
    ),
    "the statistics of another uWSGI": Broken(
        {"counted": "statistics_of_another"},
        do=_OTHER_API,
        undo=_STOP_OTHER,
        manifest={"status of api": "tcp://127.0.0.1:9192"},
    ),
    "no play": Broken({"ansible": "no_playbook"}, work=(("site.yml", "*", ""),)),
}
