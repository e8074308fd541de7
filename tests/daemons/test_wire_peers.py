# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The codecs, byte for byte, against peers that this project did not write.

As clients of PHP-FPM, uWSGI's four sockets, fcgiwrap and python3-websockets; as the server behind nginx and Apache.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import typing as t

import pytest
from wire_server import FastCgiRequest

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _fastcgi, _http, _scgi, _sse, _uwsgi, _websocket
from ansible_collections.weblab.stacks.plugins.module_utils.wire._websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Message,
)

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

PACKAGES = "php-fpm uwsgi-core uwsgi-plugin-python3 fcgiwrap nginx-light apache2 python3-websockets curl"

#: Bytes from standard input to a socket, and from there to standard output.
RELAY = """\
import os, select, socket, sys
address = sys.argv[1]
host, colon, port = address.rpartition(":")
sock = socket.socket(socket.AF_INET if colon else socket.AF_UNIX)
sock.connect((host, int(port)) if colon else address)
sources = [sock, 0]
while sock in sources:
    for source in select.select(sources, [], [])[0]:
        data = os.read(0, 65536) if source == 0 else sock.recv(65536)
        if not data:
            sources.remove(source)
        elif source == 0:
            sock.sendall(data)
        else:
            os.write(1, data)
"""

#: Takes one request, keeps its bytes, gives an answer that was laid ready. The request ends in a mark.
RECORDER = """\
import pathlib, socket, sys
name, mark = sys.argv[1], sys.argv[2].encode()
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"/run/w/{name}.sock")
listener.listen()
pathlib.Path(f"/run/w/{name}.sock").chmod(0o666)
while True:
    sock, _address = listener.accept()
    heard = b""
    while mark not in heard:
        heard += sock.recv(65536)
    sock.sendall(pathlib.Path(f"/run/w/{name}.answer").read_bytes())
    sock.shutdown(socket.SHUT_WR)
    while data := sock.recv(65536):
        heard += data
    pathlib.Path(f"/run/w/{name}.heard").write_bytes(heard)
    sock.close()
"""

WEBSOCKET_SERVER = """\
import asyncio, websockets
async def echo(connection, *path):
    async for message in connection:
        await connection.send(message)
async def main():
    async with websockets.unix_serve(echo, "/run/w/ws.sock", compression=None, ping_interval=None):
        await asyncio.get_running_loop().create_future()
asyncio.run(main())
"""

APPLICATION = """\
import json, uwsgi
def application(environ, start_response):
    if environ["PATH_INFO"] == "/ws":
        uwsgi.websocket_handshake(environ["HTTP_SEC_WEBSOCKET_KEY"], environ.get("HTTP_ORIGIN", ""))
        while True:
            uwsgi.websocket_send(uwsgi.websocket_recv())
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    seen = {name: value for name, value in environ.items() if isinstance(value, str)}
    start_response("201 Created", [("Content-Type", "application/json"), ("X-A", "b")])
    return [json.dumps({"environ": seen, "body": body}).encode()]
"""

PHP = """\
<?php
if ($_SERVER['QUERY_STRING'] === 'big') { echo str_repeat('x', 300000); exit; }
if ($_SERVER['QUERY_STRING'] === 'events') {
    header('Content-Type: text/event-stream');
    header('X-Accel-Buffering: no');
    for ($i = 1; $i <= 3; $i++) {
        echo "id: $i\\r\\nevent: tick\\r\\ndata: $i\\r\\n\\r\\n";
        ob_get_level() && ob_flush();
        flush();
        usleep(50000);
    }
    exit;
}
error_log('said on STDERR');
header('Content-Type: application/json');
http_response_code(201);
echo json_encode(['environ' => $_SERVER, 'body' => file_get_contents('php://input')]);
"""

CGI = """\
#!/bin/sh
printf 'Status: 201 Created\\r\\nContent-Type: text/plain\\r\\n\\r\\n%s %s ' "$REQUEST_METHOD" "$EXTRA"
cat
"""

FPM = """\
[global]
error_log = /run/w/fpm.log
[www]
listen = /run/w/fpm.sock
listen.owner = www-data
user = www-data
group = www-data
pm = static
pm.max_children = 2
"""

VARIABLES = {
    "REQUEST_METHOD": "POST",
    "QUERY_STRING": "a=b&c",
    "EXTRA": "\u0436 = \\ \" '",
    "EMPTY": "",
    "LONG": "l" * 1000,
}

NGINX = """\
user www-data;
events {}
pid /run/w/nginx.pid;
error_log /run/w/nginx.log;
http {
  access_log off;
  server {
    listen unix:/run/w/nginx.sock;
    location /fastcgi { fastcgi_pass unix:/run/w/fastcgi.sock; fastcgi_param CONTENT_LENGTH $content_length; @fastcgi@ }
    location /scgi { scgi_pass unix:/run/w/scgi.sock; scgi_param SCGI 1; @scgi@ }
    location /uwsgi { uwsgi_pass unix:/run/w/uwsgi.sock; uwsgi_param CONTENT_LENGTH $content_length; @uwsgi@ }
    location /events { fastcgi_pass unix:/run/w/fpm.sock; fastcgi_param SCRIPT_FILENAME /srv/a.php;
                       fastcgi_param REQUEST_METHOD GET; fastcgi_param QUERY_STRING events; }
    location /file { root /srv/www; }
  }
}
"""

APACHE_ADDRESS = "127.0.0.1:9951"
APACHE = """\
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_fcgi_module /usr/lib/apache2/modules/mod_proxy_fcgi.so
LoadModule proxy_scgi_module /usr/lib/apache2/modules/mod_proxy_scgi.so
LoadModule proxy_uwsgi_module /usr/lib/apache2/modules/mod_proxy_uwsgi.so
LoadModule env_module /usr/lib/apache2/modules/mod_env.so
PidFile /run/w/apache.pid
ErrorLog /run/w/apache.log
ServerName localhost
User www-data
Group www-data
DocumentRoot /srv/www
Listen @address@
ProxyPass /fastcgi unix:/run/w/fastcgi.sock|fcgi://recorder-fastcgi/ disablereuse=on
ProxyPass /scgi unix:/run/w/scgi.sock|scgi://recorder-scgi/ disablereuse=on
ProxyPass /uwsgi unix:/run/w/uwsgi.sock|uwsgi://recorder-uwsgi/ disablereuse=on
ProxyPass /events unix:/run/w/fpm.sock|fcgi://localhost/srv/a.php disablereuse=on flushpackets=on
SetEnv EXTRA extra
SetEnv LONG @long@
"""

UWSGI = (
    "uwsgi --master --uid www-data --gid www-data --plugin python3 --wsgi-file /srv/app.py --processes 2 "
    "--chmod-socket=666 --uwsgi-socket /run/w/uwsgi-uwsgi.sock --http-socket /run/w/uwsgi-http.sock "
    "--fastcgi-socket /run/w/uwsgi-fastcgi.sock --scgi-socket /run/w/uwsgi-scgi.sock"
)
MARK = "the end of the body"
SERVICES = {
    "w-uwsgi": UWSGI,
    "w-fcgiwrap": "fcgiwrap -s unix:/run/w/fcgiwrap.sock",
    "w-websockets": "python3 /srv/websocket_server.py",
    "w-nginx": "nginx -c /srv/nginx.conf -g 'daemon off;'",
    "w-apache": "apache2 -f /srv/apache.conf -D FOREGROUND",
    **{f"w-recorder-{name}": f"python3 /srv/recorder.py {name} '{MARK}'" for name in ("fastcgi", "scgi", "uwsgi")},
}
SOCKETS = "fpm nginx ws fcgiwrap fastcgi scgi uwsgi uwsgi-uwsgi uwsgi-http uwsgi-fastcgi uwsgi-scgi".split()


class Wire:
    """A connection to a socket on the host: what is written goes there, what comes back is read."""

    def __init__(self, host: Host, name: str) -> None:
        address = APACHE_ADDRESS if name == "apache" else f"/run/w/{name}.sock"
        argv = ["docker", "exec", "-i", host.name, "python3", "/srv/relay.py", address]
        self._relay = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, data: bytes) -> None:
        stdin = t.cast("t.IO[bytes]", self._relay.stdin)
        stdin.write(data)
        stdin.flush()

    def read(self) -> bytes:
        """What has come; b"" at the end."""
        return os.read(t.cast("t.IO[bytes]", self._relay.stdout).fileno(), 1 << 14)

    def close(self) -> None:
        self._relay.kill()
        self._relay.communicate()


@dataclasses.dataclass
class Stand:
    host: Host

    def ask(self, name: str, request: bytes, reader: t.Any) -> t.Any:
        """Send a request, and read the answer to its end."""
        with contextlib.closing(Wire(self.host, name)) as wire:
            wire.send(request)
            while not reader.complete:
                data = wire.read()
                reader.feed(data) if data else reader.feed_eof()
        return reader

    def heard_behind(self, url: str, *options: str, name: str, answer: bytes) -> tuple[bytes, str]:
        """What the front server sent to the recorder, and what curl got from the front server."""
        script = "import base64, sys; open(sys.argv[1], 'wb').write(base64.b64decode(sys.stdin.read()))"
        self.host.run("python3", "-c", script, f"/run/w/{name}.answer", stdin=base64.b64encode(answer).decode())
        got = self.host.run("curl", "-sS", "-i", "-m", "30", *options, url).stdout
        wait = "for i in $(seq 100); do test -s /run/w/$0.heard && break; sleep 0.1; done; base64 /run/w/$0.heard"
        heard = base64.b64decode(self.host.run("sh", "-c", f"{wait}; rm /run/w/$0.heard", name).stdout)
        return heard, got


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("wire", request.param)
    host.shell(f"apt-get install --yes --no-install-recommends {PACKAGES}")
    host.shell("systemctl disable --now apache2 nginx fcgiwrap.socket fcgiwrap 'php*-fpm' 2>/dev/null; true")
    host.shell("install -d -o www-data /run/w; install -d /srv/www; seq 20000 > /srv/www/file")
    nginx = NGINX
    for name in ("fastcgi", "scgi", "uwsgi"):
        params = [f"{name}_param {key} {json.dumps(value, ensure_ascii=False)};" for key, value in VARIABLES.items()]
        nginx = nginx.replace(f"@{name}@", "\n".join(params))
    files = {
        "/srv/relay.py": RELAY,
        "/srv/recorder.py": RECORDER,
        "/srv/websocket_server.py": WEBSOCKET_SERVER,
        "/srv/app.py": APPLICATION,
        "/srv/a.php": PHP,
        "/srv/a.cgi": CGI,
        "/srv/fpm.conf": FPM,
        "/srv/nginx.conf": nginx,
        "/srv/apache.conf": APACHE.replace("@long@", VARIABLES["LONG"]).replace("@address@", APACHE_ADDRESS),
    }
    for path, text in files.items():
        host.run("tee", path, stdin=text)
    host.shell("chmod 755 /srv/a.cgi")
    fpm = host.shell("ls /usr/sbin/php-fpm*").stdout.split()[0]
    for name, command in {**SERVICES, "w-fpm": f"{fpm} --nodaemonize --fpm-config /srv/fpm.conf"}.items():
        host.shell(f"systemd-run --quiet --unit={name} -- {command}")
    listening = " && ".join(f"test -S /run/w/{name}.sock" for name in SOCKETS)
    listening += f" && curl -s -o /dev/null http://{APACHE_ADDRESS}/"
    host.shell(f"for i in $(seq 100); do {listening} && exit; sleep 0.2; done; ls /run/w; exit 1")
    return Stand(host)


# The client's side


BODY = f"\u043f\u0440\u0438\u0432\u0435\u0442, {MARK}".encode()


def _variables(script: str) -> dict[str, str]:
    return {
        **VARIABLES,
        "CONTENT_LENGTH": str(len(BODY)),
        "CONTENT_TYPE": "text/plain",
        "SCRIPT_FILENAME": script,
        "SCRIPT_NAME": "",
        "PATH_INFO": "/p",
        "REQUEST_URI": "/p?a=b&c",
        "SERVER_NAME": "a.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
    }


def _check(reader: _http.ResponseReader, variables: dict[str, str], *, wsgi: bool = False) -> None:
    assert reader.status == 201
    answer = json.loads(reader.body)
    assert answer["body"] == BODY.decode()
    # WSGI has bytes as Latin-1 (PEP 3333).
    expected = {name: value.encode().decode("latin-1") if wsgi else value for name, value in variables.items()}
    assert {name: answer["environ"].get(name) for name in variables} == expected


def test_fpm_reads_our_request_and_we_its_answer(stand: Stand) -> None:
    variables = _variables("/srv/a.php")
    stream = stand.ask("fpm", _fastcgi.encode_request(variables, BODY), _fastcgi.ResponseStream())
    _check(stream.response, variables)
    assert b"said on STDERR" in stream.stderr
    assert (stream.app_status, stream.protocol_status) == (0, _fastcgi.REQUEST_COMPLETE)


def test_fpm_answers_the_management_query(stand: Stand) -> None:
    query = _fastcgi.encode_get_values("FCGI_MAX_CONNS", "FCGI_MPXS_CONNS")
    reader = stand.ask("fpm", query, _fastcgi.ManagementReader())
    assert reader.values["FCGI_MPXS_CONNS"] == "0"


def test_a_large_answer_of_fpm_is_read_up_to_the_bound(stand: Stand) -> None:
    variables = {**_variables("/srv/a.php"), "QUERY_STRING": "big"}
    stream = stand.ask("fpm", _fastcgi.encode_request(variables, BODY), _fastcgi.ResponseStream())
    assert (stream.complete, stream.response.truncated) == (True, True)
    assert stream.response.body == b"x" * _http.MAX_BODY


def test_fcgiwrap_reads_our_request_and_we_its_answer(stand: Stand) -> None:
    stream = stand.ask("fcgiwrap", _fastcgi.encode_request(_variables("/srv/a.cgi"), BODY), _fastcgi.ResponseStream())
    assert stream.response.status == 201
    assert stream.response.body == f"POST {VARIABLES['EXTRA']} ".encode() + BODY
    assert (stream.app_status, stream.protocol_status) == (0, _fastcgi.REQUEST_COMPLETE)


def test_uwsgis_uwsgi_socket_reads_our_request_and_we_its_answer(stand: Stand) -> None:
    variables = _variables("/srv/app.py")
    reader = stand.ask("uwsgi-uwsgi", _uwsgi.encode_request(variables) + BODY, _http.ResponseReader())
    _check(reader, variables, wsgi=True)


def test_uwsgis_scgi_socket_reads_our_request_and_we_its_answer(stand: Stand) -> None:
    variables = _variables("/srv/app.py")
    reader = stand.ask("uwsgi-scgi", _scgi.encode_request(variables, BODY), _http.ResponseReader(cgi=True))
    _check(reader, variables, wsgi=True)


def test_uwsgis_fastcgi_socket_reads_our_request_and_we_its_answer(stand: Stand) -> None:
    variables = _variables("/srv/app.py")
    stream = stand.ask("uwsgi-fastcgi", _fastcgi.encode_request(variables, BODY), _fastcgi.ResponseStream())
    _check(stream.response, variables, wsgi=True)


def test_uwsgis_http_socket_reads_our_request_and_we_its_answer(stand: Stand) -> None:
    request = _http.encode_request("POST", "/p?a=b&c", [("Host", "a.example"), ("X-Long", "l" * 1000)], BODY)
    reader = stand.ask("uwsgi-http", request, _http.ResponseReader())
    expected = {"REQUEST_METHOD": "POST", "QUERY_STRING": "a=b&c", "PATH_INFO": "/p", "HTTP_X_LONG": "l" * 1000}
    _check(reader, {**expected, "HTTP_HOST": "a.example", "CONTENT_LENGTH": str(len(BODY))}, wsgi=True)
    assert reader.headers["x-a"] == "b"


# WebSocket


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x12\x34\x56\x78"


@pytest.mark.parametrize("name", ["ws", "uwsgi-http"])
def test_a_websocket_server_takes_our_frames_and_we_its_own(stand: Stand, name: str) -> None:
    with contextlib.closing(Wire(stand.host, name)) as wire:
        fields = [("Host", "a.example"), ("Origin", "http://a.example")]
        wire.send(_websocket.encode_handshake("/ws", fields, KEY))
        answer = _http.ResponseReader()
        while not answer.complete:
            answer.feed(wire.read())
        assert answer.status == 101
        assert answer.headers["sec-websocket-accept"] == _websocket.accept_for(KEY)
        reader = _websocket.MessageReader(100_000)
        messages = reader.feed(answer.rest)

        def hear(count: int) -> list[Message]:
            while len(messages) < count:
                data = wire.read()
                assert data, f"closed after {messages}"
                messages.extend(reader.feed(data))
            heard, messages[:] = messages[:], []
            return heard

        for text in (b"", b"x", "\u0436".encode() * 100, b"x" * 65535, b"x" * 65536):
            wire.send(_websocket.encode_frame(TEXT, text, MASK))
            (message,) = hear(1)
            assert message.payload == text
        if name == "ws":
            wire.send(_websocket.encode_frame(BINARY, b"\xff" * 70_000, MASK, fin=False))
            wire.send(_websocket.encode_frame(PING, b"are you there?", MASK))
            wire.send(_websocket.encode_frame(0, b"\xfe", MASK))
            heard = hear(2)
            assert sorted(heard) == [Message(BINARY, b"\xff" * 70_000 + b"\xfe"), Message(PONG, b"are you there?")]
            wire.send(_websocket.encode_frame(CLOSE, _websocket.encode_close(1000, "bye"), MASK))
            (close,) = hear(1)
            assert close.opcode == CLOSE
            assert _websocket.decode_close(close.payload)[0] == 1000
            assert wire.read() == b""
            reader.feed_eof()
        else:  # uWSGI answers all in text, a ping without its words, and a close frame without its code
            wire.send(_websocket.encode_frame(PING, b"are you there?", MASK))
            assert hear(1) == [Message(PONG, b"")]
            wire.send(_websocket.encode_frame(CLOSE, _websocket.encode_close(), MASK))
            assert hear(1) == [Message(CLOSE, b"")]


# The server's side


END = _fastcgi.encode_record(_fastcgi.Record(_fastcgi.END_REQUEST, 1, bytes(8)))
DOCUMENT = b"Status: 201 Created\r\nContent-Type: text/plain\r\nX-A: b\r\n\r\nthe answer"
ANSWERS = {
    "fastcgi": _fastcgi.encode_stream(_fastcgi.STDERR, b"oops")
    + _fastcgi.encode_stream(_fastcgi.STDOUT, DOCUMENT)
    + END,
    "scgi": DOCUMENT,
    "uwsgi": b"HTTP/1.1 201 Created" + DOCUMENT[len("Status: 201 Created") :],
}


def _decode(name: str, data: bytes) -> tuple[dict[str, str], bytes]:
    if name == "scgi":
        return _scgi.decode_request(data)
    if name == "uwsgi":
        modifier1, size, modifier2 = _uwsgi.HEADER.unpack_from(data)
        assert (modifier1, modifier2) == (0, 0)
        return _uwsgi.decode_variables(data[4 : 4 + size]), data[4 + size :]
    request = FastCgiRequest()
    request.feed(data)
    assert (request.complete, request.role) == (True, _fastcgi.RESPONDER)
    return request.params, request.body


@pytest.mark.parametrize("name", ANSWERS)
def test_nginx_says_what_it_is_configured_to_say(stand: Stand, name: str) -> None:
    options = ["--unix-socket", "/run/w/nginx.sock", "--data-binary", BODY.decode(), "--header", "X-Own: header"]
    heard, got = stand.heard_behind(f"http://a.example/{name}", *options, name=name, answer=ANSWERS[name])
    variables, body = _decode(name, heard)
    assert body == BODY
    expected = {**VARIABLES, "CONTENT_LENGTH": str(len(BODY)), "HTTP_X_OWN": "header"}
    assert {key: variables.get(key) for key in expected} == expected
    assert " 201 " in got
    assert got.endswith("the answer")
    assert "x-a: b" in got.lower()


@pytest.mark.parametrize("name", ANSWERS)
def test_apache_says_what_it_is_configured_to_say(stand: Stand, name: str) -> None:
    options = ["--data-binary", BODY.decode(), "--header", "X-Own: header"]
    heard, got = stand.heard_behind(
        f"http://{APACHE_ADDRESS}/{name}/p?a=b&c", *options, name=name, answer=ANSWERS[name]
    )
    variables, body = _decode(name, heard)
    assert body == BODY
    expected = {key: VARIABLES[key] for key in ("REQUEST_METHOD", "QUERY_STRING", "LONG")}
    expected |= {"EXTRA": "extra", "CONTENT_LENGTH": str(len(BODY)), "HTTP_X_OWN": "header"}
    assert {key: variables.get(key) for key in expected} == expected
    assert " 201 " in got
    assert got.endswith("the answer")
    assert "x-a: b" in got.lower()


def test_nginx_sends_a_file_that_we_read_as_curl_does(stand: Stand) -> None:
    request = _http.encode_request("GET", "/file", [("Host", "a"), ("Connection", "close")])
    reader = stand.ask("nginx", request, _http.ResponseReader(max_body=1 << 20))
    theirs = stand.host.run("curl", "-sS", "--unix-socket", "/run/w/nginx.sock", "http://a/file").stdout
    assert bytes(reader.body) == theirs.encode()
    assert reader.headers["content-length"] == str(len(theirs))


@pytest.mark.parametrize("front", ["nginx", "apache"])
def test_events_that_a_front_server_puts_in_chunks_are_read(stand: Stand, front: str) -> None:
    response, events = _http.ResponseReader(), _sse.EventReader()
    seen = []
    with contextlib.closing(Wire(stand.host, front)) as wire:
        wire.send(_http.encode_request("GET", "/events?events", [("Host", "a"), ("Connection", "close")]))
        while not response.complete:
            response.feed(wire.read())
            seen += events.feed(response.take_body())
    assert response.headers["transfer-encoding"] == "chunked"
    assert seen == [_sse.Event("tick", str(number), str(number)) for number in (1, 2, 3)]
