# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe against the daemons themselves: PHP-FPM, uWSGI, nginx and Apache, each alive, wrong, busy and dead."""

from __future__ import annotations

import json
import typing as t

import pytest
from probe_stand import Stand, make_stand, run_module

if t.TYPE_CHECKING:
    from conftest import NewHost

# cgi-fcgi is a FastCGI client that this project did not write.
PACKAGES = (
    "php-fpm uwsgi-core uwsgi-plugin-python3 nginx-light apache2 libfcgi-bin fcgiwrap "
    "python3-websockets python3-aiohttp dropbear-bin"
)

APPLICATION = """\
import time
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise RuntimeError("on purpose")
    if path.startswith("/sleep"):
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("400 Bad Request" if path == "/400" else "200 OK", [("Content-Type", "text/plain")])
    return [f"{path} {environ.get('EXTRA', '')}".encode()]
"""

#: A WebSocket that sends everything back, by a library.
WEBSOCKET = """\
import asyncio, websockets
async def echo(socket, path=None):
    async for message in socket:
        await socket.send(message)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 9941):
        await asyncio.Future()
asyncio.run(main())
"""

#: A WebSocket on one port and a stream of events on another, by a framework.
STREAMS = """import asyncio, sys
from aiohttp import web
async def socket(request):
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in answer:
        await answer.send_str(message.data)
    return answer
async def events(request):
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    while True:
        await answer.write(b"data: tick\\n\\n")
        await asyncio.sleep(0.2)
application = web.Application()
application.add_routes([web.get("/", {"9942": socket, "9943": events}[sys.argv[1]])])
web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]))
"""

FPM = """\
[global]
error_log = /srv/fpm.log
[open]
listen = /run/p/open.sock
pm.max_children = 2
ping.path = /fpm-ping
[closed]
listen = /run/p/closed.sock
listen.owner = www-data
listen.group = www-data
listen.mode = 0660
pm.max_children = 2
[tcp]
listen = 127.0.0.1:9901
pm.max_children = 2
ping.path = /fpm-ping
[choosy]
listen = 127.0.0.1:9902
listen.allowed_clients = 192.0.2.1
pm.max_children = 2
[one]
listen = /run/p/one.sock
pm.max_children = 1
ping.path = /fpm-ping
"""
POOL = "user = www-data\ngroup = www-data\npm = static\ncatch_workers_output = yes\n"

NGINX = """\
user www-data;
events {}
pid /run/p/nginx.pid;
error_log /srv/nginx.log;
http {
  access_log off;
  ssl_certificate /srv/p.pem;
  ssl_certificate_key /srv/p.key;
  server {
    listen 127.0.0.1:9921;
    location / { return 200 nginx; }
    location = /down { proxy_pass http://unix:/run/p/nobody.sock; }
    location = /fpm { fastcgi_pass unix:/run/p/closed.sock; fastcgi_param SCRIPT_FILENAME /srv/a.php;
                      fastcgi_param REQUEST_METHOD GET; }
  }
  server { listen 127.0.0.1:9922 ssl; location / { return 200 nginx; } }
}
"""

APACHE = """\
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
PidFile /run/p/apache.pid
ErrorLog /srv/apache.log
ServerName localhost
User www-data
Group www-data
DocumentRoot /srv/www
Listen 127.0.0.1:9931
Listen 127.0.0.1:9932
<VirtualHost 127.0.0.1:9932>
SSLEngine on
SSLCertificateFile /srv/p.pem
SSLCertificateKeyFile /srv/p.key
</VirtualHost>
"""

UWSGI = "uwsgi --master --uid www-data --gid www-data"
APP = f"{UWSGI} --plugin python3 --wsgi-file /srv/app.py"
SERVICES = {
    "p-nginx": "nginx -c /srv/nginx.conf -g 'daemon off;'",
    "p-apache": "apache2 -f /srv/apache.conf -D FOREGROUND",
    "p-uwsgi": f"{APP} --processes 2 --socket /run/p/uwsgi.sock --chmod-socket=660",
    "p-uwsgi-tcp": f"{APP} --processes 2 --socket 127.0.0.1:9911",
    "p-uwsgi-http": f"{APP} --processes 1 --http-socket 127.0.0.1:9912",
    "p-uwsgi-large": f"{APP} --processes 1 --socket 127.0.0.1:9913 --buffer-size 65535",
    "p-uwsgi-bare": f"{UWSGI} --processes 1 --socket 127.0.0.1:9914",
    "p-uwsgi-noapp": f"{UWSGI} --processes 1 --plugin python3 --socket 127.0.0.1:9915",
    "p-uwsgi-fastcgi": f"{APP} --processes 1 --fastcgi-socket 127.0.0.1:9916",
    "p-uwsgi-scgi": f"{APP} --processes 1 --scgi-socket 127.0.0.1:9917",
    "p-uwsgi-abstract": f"{APP} --processes 1 --socket @weblab",
    "p-fcgiwrap": "fcgiwrap -s unix:/run/p/fcgiwrap.sock",
    "p-fcgiwrap-tcp": "fcgiwrap -s tcp:127.0.0.1:9918",
    "p-websocket": "python3 /srv/websocket.py",
    "p-websocket-2": "python3 /srv/streams.py 9942",
    "p-events": "python3 /srv/streams.py 9943",
    "p-ssh": "dropbear -F -E -R -p 127.0.0.1:9951",
    "p-fpm": "php-fpm --nodaemonize --fpm-config /srv/fpm.conf",
    "p-uwsgi-one": f"{APP} --processes 1 --listen 2 --socket /run/p/one-uwsgi.sock",
}

#: Peer, its address as an URL has it, and the protocol that its configuration above says.
PEERS = [
    ("PHP-FPM, unix", "+unix:///run/p/open.sock", "fastcgi"),
    ("PHP-FPM, tcp", "://127.0.0.1:9901", "fastcgi"),
    ("uWSGI, unix", "+unix:///run/p/uwsgi.sock", "uwsgi"),
    ("uWSGI, tcp", "://127.0.0.1:9911", "uwsgi"),
    ("uWSGI, large buffer", "://127.0.0.1:9913", "uwsgi"),
    ("uWSGI, http-socket", "://127.0.0.1:9912", "http"),
    ("nginx", "://127.0.0.1:9921", "http"),
    ("nginx, TLS", "://127.0.0.1:9922", "https"),
    ("Apache", "://127.0.0.1:9931", "http"),
    ("Apache, TLS", "://127.0.0.1:9932", "https"),
    ("uWSGI, fastcgi-socket", "://127.0.0.1:9916", "fastcgi"),
    ("uWSGI, scgi-socket", "://127.0.0.1:9917", "scgi"),
    ("uWSGI, abstract", "+unix://@weblab", "uwsgi"),
    ("fcgiwrap, unix", "+unix:///run/p/fcgiwrap.sock", "fastcgi"),
    ("fcgiwrap, tcp", "://127.0.0.1:9918", "fastcgi"),
    ("websockets", "://127.0.0.1:9941", "ws"),
    ("aiohttp, WebSocket", "://127.0.0.1:9942", "ws"),
    ("aiohttp, events", "://127.0.0.1:9943", "sse"),
]

FILES = {
    "/srv/app.py": APPLICATION,
    "/srv/websocket.py": WEBSOCKET,
    "/srv/streams.py": STREAMS,
    "/srv/a.php": "<?php error_log('noticed'); echo json_encode(['sapi' => PHP_SAPI] + $_SERVER);",
    "/srv/sleep.php": "<?php usleep(1000000 * (float) $_SERVER['QUERY_STRING']); echo 'slept';",
    "/srv/die.php": "<?php posix_kill(posix_getpid(), 9);",
    "/srv/a.txt": "text",
    "/srv/www/index.html": "apache",
    "/srv/nginx.conf": NGINX,
    "/srv/apache.conf": APACHE,
    "/srv/fpm.conf": FPM.replace("]\nlisten =", f"]\n{POOL}listen ="),
}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    stand = make_stand(new_module_host, request.param, PACKAGES, FILES, SERVICES)
    bare = [f"tcp{address}" if "unix" not in address else address[1:] for _name, address, _protocol in PEERS]
    bad = [record for record in stand.probe_all(*bare, timeout=30) if record["cause"]]
    assert not bad, bad
    return stand


# What answers, and what is answered where another protocol is meant


@pytest.mark.parametrize("spoken", ["http", "https", "ws", "wss", "sse", "fastcgi", "scgi", "uwsgi"])
def test_each_daemon_is_ok_in_its_protocol_and_named_in_others(stand: Stand, spoken: str) -> None:
    specs: list[dict[str, t.Any]] = []
    for name, address, _protocol in PEERS:
        specs.append({"endpoint": f"{spoken}{address}", "validate_certs": False})
        if spoken == "fastcgi" and "fastcgi-socket" in name:
            # uWSGI does not answer the management query, and its applications look for PATH_INFO.
            specs[-1].update(path="/", params={"SCRIPT_NAME": "", "PATH_INFO": "/"})
    found = {}
    expected = {}
    # A uWSGI of one process keeps it for 4 s with each half of a request that it cannot read (socket-timeout).
    for (name, _address, protocol), record in zip(PEERS, stand.probe_all(*specs, timeout=30)):
        found[name] = (record["state"], record["cause"], record["speaks"])
        right = protocol == spoken
        expected[name] = ("ok", None, None) if right else ("down", "wrong_protocol", protocol)
    assert found == expected


@pytest.mark.parametrize("spoken", ["http", "https", "ws", "wss", "sse", "fastcgi", "scgi", "uwsgi"])
def test_who_greets_is_told_not_guessed(stand: Stand, spoken: str) -> None:
    theirs = stand.ask("timeout 2 bash -c 'head -n 1 < /dev/tcp/127.0.0.1/9951'").strip()
    record = stand.probe(f"{spoken}://127.0.0.1:9951")
    assert (record["state"], record["cause"], record["speaks"]) == ("down", "wrong_protocol", None)
    assert theirs.startswith("SSH-2.0-dropbear")
    assert f"greets with {theirs!r}" in record["message"]


# PHP-FPM


def test_fpm_answers_its_ping_as_another_client_hears_it(stand: Stand) -> None:
    theirs = stand.ask(
        "SCRIPT_NAME=/fpm-ping SCRIPT_FILENAME=/fpm-ping REQUEST_METHOD=GET cgi-fcgi -bind -connect /run/p/open.sock"
    ).replace("\r", "")
    head, _blank, body = theirs.partition("\n\n")
    record = stand.probe({"endpoint": "fastcgi+unix:///run/p/open.sock", "path": "/fpm-ping"})
    assert (record["state"], record["status"]) == ("ok", 200)
    assert record["body"] == body == "pong"
    assert {f"{name}: {value}" for name, value in record["headers"].items()} == {
        f"{name.lower()}: {value}" for name, _colon, value in (line.partition(": ") for line in head.splitlines())
    }


def test_fpm_runs_a_script(stand: Stand) -> None:
    spec = {"endpoint": "fastcgi://127.0.0.1:9901", "script_filename": "/srv/a.php", "path": "/x?y=z"}
    expect = {"json": {"sapi": "fpm-fcgi", "EXTRA": "1", "REQUEST_URI": "/x?y=z", "HTTP_HOST": "blog.example"}}
    record = stand.probe({**spec, "params": {"EXTRA": "1"}, "host": "blog.example", "expect": expect})
    assert record["state"] == "ok", record
    assert "noticed" in record["stderr"]


def test_fpm_has_a_peer_a_mode_and_a_queue_as_ss_sees_them(stand: Stand) -> None:
    record = stand.probe("fastcgi+unix:///run/p/closed.sock")
    line = stand.ask("ss -Hxlp src /run/p/closed.sock").split()
    assert record["peer"]["pid"] == int(stand.ask("systemctl show -P MainPID p-fpm"))
    assert f"pid={record['peer']['pid']}," in line[-1]
    assert record["queue"] == {"length": int(line[2]), "limit": int(line[3])}
    assert record["socket"] == {"owner": "www-data", "group": "www-data", "mode": "0660"}


@pytest.mark.parametrize(
    ("request_", "state", "cause", "words"),
    [
        ({"path": "/none-ping"}, "degraded", "application_error", "set ping.path = /none-ping"),
        ({"script_filename": "/srv/none.php"}, "degraded", "application_error", "does not find /srv/none.php"),
        ({"script_filename": "/root/x.php"}, "degraded", "application_error", "let the pool's user read the file"),
        ({"script_filename": "/srv/a.txt"}, "degraded", "denied", "security.limit_extensions"),
        ({"script_filename": "/srv/die.php"}, "down", "closed", "the worker died"),
    ],
)
def test_fpm_refuses_and_the_hint_names_its_option(
    stand: Stand, request_: dict[str, str], state: str, cause: str, words: str
) -> None:
    record = stand.probe({"endpoint": "fastcgi+unix:///run/p/open.sock", **request_}, wait=False)
    assert (record["state"], record["cause"]) == (state, cause)
    assert words in record["hint"]


def test_fpm_drops_a_client_that_is_not_allowed(stand: Stand) -> None:
    record = stand.probe("fastcgi://127.0.0.1:9902", wait=False)
    assert (record["state"], record["cause"]) == ("down", "closed")
    assert "listen.allowed_clients" in record["hint"]


def test_a_socket_that_is_closed_to_who_asks(stand: Stand) -> None:
    url = "fastcgi+unix:///run/p/closed.sock"
    assert stand.probe(url, user="www-data")["state"] == "ok"
    record = stand.probe(url, user="nobody", wait=False)
    assert (record["state"], record["cause"], record["phase"]) == ("down", "permission_denied", "connect")
    assert "nobody (groups: nogroup) may not connect" in record["message"]
    assert "/run/p/closed.sock is www-data:www-data 0660" in record["message"]
    assert "add nobody to the group www-data" in record["hint"]


def test_a_directory_that_is_closed_to_who_asks(stand: Stand) -> None:
    stand.ask("install -d -m 0700 /run/p/private")
    record = stand.probe("unix:///run/p/private/a.sock", user="nobody", wait=False)
    assert record["cause"] == "permission_denied"
    assert "/run/p/private is root:root 0700" in record["message"]


def test_a_full_pool_is_busy_and_answers_when_it_has_a_worker(stand: Stand) -> None:
    url = "fastcgi+unix:///run/p/one.sock"
    stand.busy(url, 4)
    record = stand.probe(url, timeout=1)
    assert (record["state"], record["cause"], record["phase"]) == ("busy", "busy", "receive")
    assert "pm.max_children" in record["hint"]
    assert record["queue"]["length"] == 1
    record = stand.probe({"endpoint": url, "path": "/fpm-ping"}, timeout=15)
    assert (record["state"], record["attempts"]) == ("ok", 1)  # it kept its place in the queue


def test_a_killed_pool_leaves_a_stale_socket(stand: Stand) -> None:
    stand.ask(
        "sed 's,/run/p/,/run/p/k-,; s,127.0.0.1:990,127.0.0.1:980,; s,fpm.log,k.log,' /srv/fpm.conf > /srv/k.conf"
    )
    stand.ask("systemd-run --quiet --unit=p-killed -- $(ls /usr/sbin/php-fpm* | head -1) -F -y /srv/k.conf")
    url = "fastcgi+unix:///run/p/k-open.sock"
    assert stand.probe(url)["state"] == "ok"
    stand.ask("systemctl kill --signal=KILL p-killed; while systemctl is-active -q p-killed; do sleep 0.1; done")
    record = stand.probe(url, wait=False)
    assert (record["state"], record["cause"]) == ("down", "stale_socket")
    stand.ask("rm /run/p/k-open.sock")
    record = stand.probe(url, wait=False)
    assert (record["state"], record["cause"]) == ("down", "no_such_socket")


# uWSGI


def test_uwsgi_runs_the_application(stand: Stand) -> None:
    spec = {"endpoint": "uwsgi+unix:///run/p/uwsgi.sock", "path": "/a%20b?c", "params": {"EXTRA": "1"}}
    record = stand.probe({**spec, "expect": {"status": [200], "body": "/a b 1"}}, user="www-data")
    assert record["state"] == "ok", record


def test_uwsgi_with_a_400_of_the_application_still_speaks_uwsgi(stand: Stand) -> None:
    record = stand.probe({"endpoint": "uwsgi://127.0.0.1:9911", "path": "/400"})
    assert (record["state"], record["status"], record["speaks"]) == ("ok", 400, None)


@pytest.mark.parametrize(
    ("url", "path", "cause", "words"),
    [
        ("uwsgi://127.0.0.1:9911", "/raise", "closed", "raised an exception before it answered"),
        ("uwsgi://127.0.0.1:9914", "/", "closed", "set plugins = python3"),
        ("uwsgi://127.0.0.1:9911", "/" + "x" * 5000, "closed", "larger than buffer-size"),
        ("uwsgi://127.0.0.1:9915", "/", "application_error", "the application failed"),
    ],
)
def test_uwsgi_closes_or_fails(stand: Stand, url: str, path: str, cause: str, words: str) -> None:
    record = stand.probe({"endpoint": url, "path": path}, wait=False)
    assert record["cause"] == cause
    assert words in record["hint"]


def test_uwsgi_with_all_workers_busy_is_busy_until_its_queue_is_full(stand: Stand) -> None:
    url = "uwsgi+unix:///run/p/one-uwsgi.sock"
    stand.busy(url, 5, times=2)  # one is served, one waits
    record = stand.probe(url, timeout=0.5)
    assert (record["state"], record["cause"]) == ("busy", "busy")
    stand.busy(url, 0.5, times=4)
    record = stand.probe(url, wait=False)
    assert (record["state"], record["cause"], record["phase"]) == ("busy", "backlog_full", "connect")
    assert record["queue"]["length"] > record["queue"]["limit"] == 2
    assert stand.probe(url, timeout=30)["state"] == "ok"


# Front servers


def test_a_front_server_without_its_backend(stand: Stand) -> None:
    record = stand.probe({"endpoint": "http://127.0.0.1:9921", "path": "/down"}, wait=False)
    assert (record["state"], record["cause"], record["status"]) == ("degraded", "application_error", 502)
    assert "probe the socket behind it" in record["hint"]


def test_the_probe_and_the_front_server_see_the_same_script(stand: Stand) -> None:
    curl = json.loads(stand.ask("curl --silent http://127.0.0.1:9921/fpm"))
    expect = {"json": {key: curl[key] for key in ("sapi", "SCRIPT_FILENAME")}}
    spec = {"endpoint": "fastcgi+unix:///run/p/open.sock", "script_filename": "/srv/a.php", "expect": expect}
    assert stand.probe(spec)["state"] == "ok"


def test_https_is_checked_by_the_given_authority(stand: Stand) -> None:
    good = {"endpoint": "https://127.0.0.1:9922", "ca_path": "/srv/p.pem", "expect": {"body": "nginx"}}
    records = stand.probe_all(good, "https://127.0.0.1:9932", wait=False)
    assert [record["cause"] for record in records] == [None, "tls_failed"]


# The module


def test_the_module_succeeds_fails_and_warns_in_check_mode(stand: Stand) -> None:
    good = {"endpoint": {"protocol": "fastcgi", "unix": "/run/p/open.sock"}, "path": "/fpm-ping", "name": "pool"}
    bad = {"endpoint": "fastcgi+unix:///run/p/none.sock", "name": "blog"}
    code, out = run_module(stand.host.name, endpoints=[good, "tcp://127.0.0.1:9921"])
    assert code == 0, out
    code, out = run_module(stand.host.name, endpoints=[good, bad], timeout=1)
    assert code == 2
    assert "blog (fastcgi+unix:///run/p/none.sock) is down: there is no socket /run/p/none.sock" in out
    assert "pong" in out  # the evidence of the good one is there too
    code, out = run_module(stand.host.name, "--check", endpoints=[good, bad], timeout=1)
    assert code == 0, out
    assert "there is no socket /run/p/none.sock" in out
    code, out = run_module(stand.host.name, endpoints=["fastcgi:/run/none"])
    assert code == 2
    assert "endpoints[0]" in out
