# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What streams, waits, and lives on IPv6 or abstract sockets: nginx before applications of other people's libraries."""

from __future__ import annotations

import json
import typing as t

import pytest
from probe_stand import Stand, make_stand, run_module

if t.TYPE_CHECKING:
    from conftest import NewHost

PACKAGES = (
    "php-fpm uwsgi-core uwsgi-plugin-python3 nginx-light apache2 curl mariadb-server-core "
    "python3-websockets python3-aiohttp"
)

WEBSOCKET = """\
import asyncio, websockets
async def echo(socket, path=None):
    await socket.send("welcome")
    async for message in socket:
        await socket.send(message)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 9941, subprotocols=["chat"]):
        await asyncio.Future()
asyncio.run(main())
"""

STREAMS = """\
import asyncio
from aiohttp import web
async def events(request):
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for number in range(int(request.query.get("count", 1000))):
        await answer.write(f"id: {number}\\nevent: tick\\ndata: {{\\"number\\": {number}}}\\n\\n".encode())
        await asyncio.sleep(0.3)
    return answer
async def poll(request):
    await asyncio.sleep(float(request.query["seconds"]))
    return web.Response(status=204)
application = web.Application()
application.add_routes([web.get("/events", events), web.get("/poll", poll)])
web.run_app(application, host="127.0.0.1", port=9942)
"""

APPLICATION = """\
import json, time
def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/uwsgi-"):
        return events(start_response)
    return variables(environ, start_response)
def events(start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    for number in range(5):
        yield f"data: {number}\\n\\n".encode()
        time.sleep(0.3)
def variables(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json"), ("X-Served-By", "uwsgi")])
    size = int(environ.get("CONTENT_LENGTH") or 0)
    said = {name: value for name, value in environ.items() if isinstance(value, str)}
    return [json.dumps({**said, "body": environ["wsgi.input"].read(size).decode()}).encode()]
"""

NGINX = """\
events {}
pid /run/p/nginx.pid;
error_log /srv/nginx.log;
http {
  access_log off;
  ssl_certificate /srv/p.pem;
  ssl_certificate_key /srv/p.key;
  server {
    listen 127.0.0.1:9921;
    listen [::1]:9921;
    listen 127.0.0.1:9922 ssl;
    listen unix:/run/p/front.sock;
    proxy_http_version 1.1;
    location /ws {
      proxy_pass http://127.0.0.1:9941;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }
    location /no-upgrade { proxy_pass http://127.0.0.1:9941; }
    location /streamed/ { proxy_pass http://127.0.0.1:9942/; proxy_buffering off; }
    # From HTTP/1.1, nginx passes on each chunk in spite of the buffering; from 1.0 it does not, nor from a gateway.
    location /buffered/ { proxy_pass http://127.0.0.1:9942/; proxy_buffering on; proxy_http_version 1.0; }
    location /short/ { proxy_pass http://127.0.0.1:9942/; proxy_read_timeout 1s; }
    location /fastcgi-kept { fastcgi_pass [::1]:9901; fastcgi_param SCRIPT_FILENAME /srv/events.php;
                             fastcgi_param REQUEST_METHOD GET; }
    location /fastcgi-passed { fastcgi_pass [::1]:9901; fastcgi_param SCRIPT_FILENAME /srv/events.php;
                               fastcgi_param REQUEST_METHOD GET; fastcgi_buffering off; }
    location /uwsgi-kept { uwsgi_pass [::1]:9911; include /etc/nginx/uwsgi_params; }
    location /uwsgi-passed { uwsgi_pass [::1]:9911; include /etc/nginx/uwsgi_params; uwsgi_buffering off; }
    location /page { default_type text/html; return 200 "<p>no events</p>"; }
    location /scgi {
      scgi_pass 127.0.0.1:9917;
      scgi_param REQUEST_METHOD $request_method;
      scgi_param PATH_INFO $uri;
      scgi_param QUERY_STRING $query_string;
      scgi_param CONTENT_LENGTH $content_length;
    }
  }
}
"""

APACHE = """\
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule proxy_fcgi_module /usr/lib/apache2/modules/mod_proxy_fcgi.so
PidFile /run/p/apache.pid
ErrorLog /srv/apache.log
ServerName localhost
User www-data
Group www-data
Listen 127.0.0.1:9931
ProxyPass "/ws" "http://127.0.0.1:9941/" upgrade=websocket
# One URL is one worker, and keeps the options of its first line.
ProxyPass "/no-upgrade" "http://localhost:9941/"
ProxyPass "/short" "http://127.0.0.1:9942/poll" timeout=1
ProxyPass "/fastcgi-kept" "fcgi://[::1]:9901/srv/events.php"
ProxyPass "/fastcgi-passed" "fcgi://[::1]:9901/srv/events-too.php" flushpackets=on
"""

#: A script writes to PHP's buffer, and flush() sends it on.
EVENTS = """\
<?php
header("Content-Type: text/event-stream");
for ($number = 0; $number < 5; $number++) {
    echo "data: $number\\n\\n";
    while (ob_get_level()) ob_end_flush();
    flush();
    usleep(300000);
}
"""

FPM = """\
[global]
error_log = /srv/fpm.log
[six]
user = www-data
group = www-data
listen = [::1]:9901
pm = static
pm.max_children = 2
ping.path = /fpm-ping
"""

APP = "uwsgi --master --uid www-data --gid www-data --plugin python3 --wsgi-file /srv/app.py --processes 2"
SERVICES = {
    "p-nginx": "nginx -c /srv/nginx.conf -g 'daemon off;'",
    "p-apache": "apache2 -f /srv/apache.conf -D FOREGROUND",
    "p-fpm": "php-fpm --nodaemonize --fpm-config /srv/fpm.conf",
    "p-six": f"{APP} --socket [::1]:9911 --http-socket [::1]:9912",
    "p-scgi": f"{APP} --scgi-socket 127.0.0.1:9917 --scgi-socket /run/p/scgi.sock --chmod-socket=666",
    "p-abstract": f"{APP} --socket @weblab-uwsgi",
    "p-gone": f"{APP} --http-socket /run/p/gone.sock",
    "p-websocket": "python3 /srv/websocket.py",
    "p-streams": "python3 /srv/streams.py",
}
FILES = {
    "/srv/app.py": APPLICATION,
    "/srv/websocket.py": WEBSOCKET,
    "/srv/streams.py": STREAMS,
    "/srv/nginx.conf": NGINX,
    "/srv/apache.conf": APACHE,
    "/srv/events.php": EVENTS,
    "/srv/events-too.php": EVENTS,
    "/srv/fpm.conf": FPM,
}
FRONT = "127.0.0.1:9921"
APACHE_FRONT = "127.0.0.1:9931"


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    stand = make_stand(new_module_host, request.param, PACKAGES, FILES, SERVICES)
    ports = [
        "127.0.0.1:9917",
        "127.0.0.1:9921",
        "127.0.0.1:9931",
        "127.0.0.1:9941",
        "127.0.0.1:9942",
        "[::1]:9901",
        "[::1]:9911",
    ]
    bare = [*(f"tcp://{port}" for port in ports), "unix:///run/p/scgi.sock", "unix:///run/p/gone.sock"]
    bad = [record for record in stand.probe_all(*bare, timeout=30) if record["cause"]]
    assert not bad, bad
    return stand


# WebSocket


@pytest.mark.parametrize(
    "endpoint", [f"ws://{FRONT}", "ws://[::1]:9921", "ws+unix:///run/p/front.sock", "wss://127.0.0.1:9922"]
)
def test_a_websocket_through_nginx(stand: Stand, endpoint: str) -> None:
    check = {"endpoint": endpoint, "path": "/ws", "subprotocols": ["chat"], "expect": {"echo": "hello"}}
    if endpoint.startswith("wss"):
        check["ca_path"] = "/srv/p.pem"
    record = stand.probe(check)
    assert (record["state"], record["status"], record["body"]) == ("ok", 101, "welcome"), record
    assert record["headers"]["sec-websocket-protocol"] == "chat"


def test_a_websocket_through_apache(stand: Stand) -> None:
    good, bad = stand.probe_all(
        {"endpoint": f"ws://{APACHE_FRONT}", "path": "/ws", "subprotocols": ["chat"], "expect": {"echo": "hello"}},
        {"endpoint": f"ws://{APACHE_FRONT}", "path": "/no-upgrade", "subprotocols": ["chat"]},
        wait=False,
    )
    assert (good["state"], good["body"]) == ("ok", "welcome"), good
    assert (bad["state"], bad["cause"]) == ("degraded", "expectation"), bad
    assert "upgrade=websocket" in bad["hint"]


def test_a_proxy_that_does_not_pass_on_the_upgrade_is_named(stand: Stand) -> None:
    curl = stand.ask(
        "curl --silent --output /dev/null --write-out '%{http_code}' --header 'Connection: Upgrade' "
        "--header 'Upgrade: websocket' --header 'Sec-WebSocket-Version: 13' "
        f"--header 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==' http://{FRONT}/no-upgrade"
    )
    check = {"endpoint": f"ws://{FRONT}", "path": "/no-upgrade", "subprotocols": ["chat"]}
    record = stand.probe(check, wait=False)
    assert (record["state"], record["cause"], record["status"]) == ("degraded", "expectation", int(curl))
    assert "proxy_set_header Upgrade" in record["hint"]


# Server-sent events


def test_events_come_one_by_one_unless_the_proxy_keeps_them(stand: Stand) -> None:
    # curl sees the same: through one location the first event is there at once, through the other after the last.
    stamp = "import sys, time; start = time.monotonic(); sys.stdin.readline(); print(time.monotonic() - start)"
    script = f"python3 -c '{stamp}' < <(curl --silent --no-buffer http://{FRONT}/%s/events?count=5)"
    streamed, buffered = (
        float(stand.host.run("bash", "-c", script % location).stdout) for location in ("streamed", "buffered")
    )
    assert buffered > streamed + 1
    expect = {"events": 4, "interval": 0.15, "json": {"number": 0}}
    good, bad = stand.probe_all(
        {"endpoint": f"sse://{FRONT}", "path": "/streamed/events?count=5", "expect": expect},
        {"endpoint": f"sse://{FRONT}", "path": "/buffered/events?count=5", "expect": expect},
        timeout=10,
        wait=False,
    )
    assert (good["state"], good["events"]["count"], len(good["events"]["gaps_ms"])) == ("ok", 4, 3)
    assert (bad["state"], bad["cause"]) == ("degraded", "expectation")
    assert "proxy_buffering off" in bad["hint"]


@pytest.mark.parametrize(
    ("front", "gateway", "option"),
    [
        (FRONT, "fastcgi", "fastcgi_, scgi_ or uwsgi_buffering off"),
        (FRONT, "uwsgi", "fastcgi_, scgi_ or uwsgi_buffering off"),
        (APACHE_FRONT, "fastcgi", "flushpackets=on"),
    ],
)
def test_events_of_a_gateway_come_one_by_one_with_the_option_of_the_hint(
    stand: Stand, front: str, gateway: str, option: str
) -> None:
    expect = {"events": 4, "interval": 0.15, "body": "0"}
    kept, passed = stand.probe_all(
        {"endpoint": f"sse://{front}", "path": f"/{gateway}-kept", "expect": expect},
        {"endpoint": f"sse://{front}", "path": f"/{gateway}-passed", "expect": expect},
        timeout=10,
        wait=False,
    )
    assert passed["state"] == "ok", passed
    assert (kept["state"], kept["cause"]) == ("degraded", "expectation"), kept
    assert option in kept["hint"]


def test_a_stream_with_too_few_events(stand: Stand) -> None:
    record = stand.probe(
        {"endpoint": f"sse://{FRONT}", "path": "/streamed/events", "expect": {"events": 50}}, timeout=3, wait=False
    )
    assert (record["cause"], record["phase"]) == ("timeout", "receive")
    assert "of 50 events came" in record["message"]


def test_a_page_is_no_stream(stand: Stand) -> None:
    record = stand.probe({"endpoint": f"sse://{FRONT}", "path": "/page"}, wait=False)
    assert (record["cause"], record["speaks"]) == ("wrong_protocol", "http")
    assert "the answer is text/html, not text/event-stream" in record["message"]
    assert "Content-Type: text/event-stream" in record["hint"]


def test_events_over_tls(stand: Stand) -> None:
    spec = {"endpoint": "sse://127.0.0.1:9922", "path": "/streamed/events", "ca_path": "/srv/p.pem"}
    assert stand.probe({**spec, "tls": True})["state"] == "ok"
    record = stand.probe(spec)
    assert (record["cause"], record["speaks"]) == ("wrong_protocol", "https")
    assert "set tls to true" in record["hint"]


# Long polling


def test_a_request_is_held_or_answered(stand: Stand) -> None:
    held, answered = stand.probe_all(
        {"endpoint": f"long_polling://{FRONT}", "path": "/streamed/poll?seconds=20", "hold": 1},
        {"endpoint": f"long_polling://{FRONT}", "path": "/streamed/poll?seconds=1", "expect": {"time": {"min": 0.9}}},
    )
    assert (held["state"], held["status"]) == ("ok", None)
    assert held["held_ms"] >= 1000
    assert (answered["state"], answered["status"]) == ("ok", 204)
    assert answered["held_ms"] >= 900


def test_a_proxy_that_does_not_wait_so_long_is_named(stand: Stand) -> None:
    for front, path, option in (
        (FRONT, "/short/poll?seconds=20", "proxy_read_timeout"),
        (APACHE_FRONT, "/short?seconds=20", "ProxyTimeout"),
    ):
        curl = stand.ask(f"curl --silent --output /dev/null --write-out '%{{http_code}}' 'http://{front}{path}'")
        record = stand.probe({"endpoint": f"long_polling://{front}", "path": path, "hold": 5}, timeout=10, wait=False)
        assert (record["state"], record["cause"], record["status"]) == ("degraded", "application_error", int(curl))
        assert option in record["hint"], (front, record)


# SCGI


@pytest.mark.parametrize("endpoint", ["scgi://127.0.0.1:9917", "scgi+unix:///run/p/scgi.sock"])
def test_an_scgi_application_hears_from_the_probe_what_it_hears_from_nginx(stand: Stand, endpoint: str) -> None:
    theirs = json.loads(stand.ask(f"curl --silent --data x=1 'http://{FRONT}/scgi?a=b'"))
    names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_LENGTH", "body")
    expect = {"json": {name: theirs[name] for name in names}, "header": {"X-Served-By": "uwsgi"}, "status": [200]}
    record = stand.probe({"endpoint": endpoint, "path": "/scgi?a=b", "content": "x=1", "expect": expect})
    assert record["state"] == "ok", record
    assert theirs["body"] == "x=1"


# Addresses


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("fastcgi://[::1]:9901", "/fpm-ping"),
        ("uwsgi://[::1]:9911", "/"),
        ("http://[::1]:9912", "/"),
        ("http://[::1]:9921", "/page"),
        ("http+unix:///run/p/front.sock", "/page"),
    ],
)
def test_ipv6_and_unix(stand: Stand, endpoint: str, path: str) -> None:
    record = stand.probe({"endpoint": endpoint, "path": path, "expect": {"status": [200]}})
    assert record["state"] == "ok", record
    options = "x src" if record["kind"] == "unix" else "tn src"
    line = stand.ask(f"ss -Hl{options} '{record['address']}'").split()
    place = line.index("LISTEN")
    assert record["queue"]["limit"] == int(line[place + 2])


def test_an_abstract_socket(stand: Stand) -> None:
    record = stand.probe({"endpoint": "uwsgi+unix://@weblab-uwsgi", "expect": {"json": {"PATH_INFO": "/"}}})
    line = stand.ask("ss -Hxlp | grep -F @weblab-uwsgi").split()
    assert (record["state"], record["kind"], record["socket"]) == ("ok", "unix", None), record
    assert record["queue"]["limit"] == int(line[3])
    assert record["peer"]["pid"] == int(stand.ask("systemctl show -P MainPID p-abstract"))


# Who listens, and who does not any more


def test_who_listens_is_who_is_expected(stand: Stand) -> None:
    # uWSGI drops its rights before it makes the socket listen.
    pid = int(stand.ask("systemctl show -P MainPID p-scgi"))
    endpoint = "scgi+unix:///run/p/scgi.sock"
    record = stand.probe({"endpoint": endpoint, "expect": {"peer": "www-data"}})
    assert (record["state"], record["peer"]["pid"], record["peer"]["user"]) == ("ok", pid, "www-data")
    assert record["peer"]["uid"] == int(stand.ask(f"stat --format=%u /proc/{pid}"))
    record = stand.probe({"endpoint": endpoint, "expect": {"peer": "root"}}, wait=False)
    assert (record["state"], record["cause"]) == ("degraded", "expectation")
    assert f"www-data (uid 33, process {pid}) does" in record["message"]


def test_waits_until_a_daemon_is_gone(stand: Stand) -> None:
    check = {"endpoint": "http+unix:///run/p/gone.sock", "state": "absent"}
    record = stand.probe(check, timeout=1)
    assert (record["state"], record["cause"]) == ("degraded", "expectation")
    assert f"process {stand.ask('systemctl show -P MainPID p-gone')}" in record["message"]
    stand.ask("(sleep 1; systemctl kill --signal=KILL p-gone) >/dev/null 2>&1 &")
    record = stand.probe(check, timeout=20)
    assert (record["state"], record["cause"]) == ("ok", None)
    assert record["attempts"] > 1


def test_mariadb_greets(stand: Stand) -> None:
    stand.ask(
        "id mysql >/dev/null 2>&1 || useradd --system mysql; install -d -o mysql /srv/db; "
        "systemd-run --quiet --unit=p-mariadb -- mariadbd --no-defaults --user=mysql --datadir=/srv/db "
        "--socket=/srv/db/db.sock --skip-networking --skip-grant-tables"
    )
    assert stand.probe("unix:///srv/db/db.sock", timeout=30)["state"] == "ok"
    version = stand.ask("mariadbd --no-defaults --version").split()[2]
    record = stand.probe("fastcgi+unix:///srv/db/db.sock")
    assert (record["cause"], record["speaks"]) == ("wrong_protocol", None)
    assert "greets with" in record["message"]
    assert version.partition("-")[0] in record["message"]


# The module


def test_the_controller_asks_without_the_managed_host(stand: Stand) -> None:
    address = stand.ask("hostname --all-ip-addresses").split()[0]
    stand.ask("systemd-run --quiet --unit=p-outside -- python3 -m http.server --directory /srv/www 9999")
    good = f"http://{address}:9999"
    options = {"connection": "community.docker.docker", "from": "controller"}
    code, out = run_module("no-such-container", **options, endpoints=[good], timeout=20)
    assert code == 0, out
    assert '"state": "ok"' in out
    code, out = run_module("no-such-container", **options, endpoints=[good, "http://127.0.0.1:1"], timeout=1)
    assert code == 2
    assert "127.0.0.1:1 refuses the connection" in out
    assert '"state": "ok"' in out  # the evidence of the good one is there too
    code, out = run_module("no-such-container", "--check", **options, endpoints=["http://127.0.0.1:1"], timeout=1)
    assert code == 0, out
    assert "127.0.0.1:1 refuses the connection" in out


def test_both_sides_give_the_same_shape(stand: Stand) -> None:
    address = stand.ask("hostname --all-ip-addresses").split()[0]
    stand.ask("systemd-run --quiet --unit=p-outside-2 -- python3 -m http.server --directory /srv/www 9998")
    shapes = []
    for side in ("host", "controller"):
        endpoints = [f"http://{address}:9998"]
        code, out = run_module(stand.host.name, **{"from": side}, endpoints=endpoints, timeout=20)
        assert code == 0, out
        result = json.loads(out.partition("=>")[2])
        shapes.append((set(result) - {"discovered_interpreter", "invocation"}, set(result["endpoints"][0])))
    assert shapes[0] == shapes[1]
