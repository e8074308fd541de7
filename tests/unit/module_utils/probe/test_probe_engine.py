# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine with real sockets: servers in threads on 127.0.0.1 and on Unix sockets in a temporary directory."""

from __future__ import annotations

import contextlib
import http.server
import os
import pwd
import resource
import socket
import ssl
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import EndpointError
from ansible_collections.weblab.stacks.plugins.module_utils._probe import Record, ask_all, describe, probe_all
from ansible_collections.weblab.stacks.plugins.module_utils._probe._parse import parse_check
from ansible_collections.weblab.stacks.plugins.module_utils.wire import _fastcgi

if t.TYPE_CHECKING:
    from .conftest import Serve

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong"
CLOSED = "127.0.0.1:1"  # tcpmux: nobody has it


def probe(spec: t.Any, timeout: float = 5.0, wait: bool = True) -> Record:
    (record,) = probe_all([spec], timeout, wait)
    return record


def say(data: bytes, *, hear: int = 1) -> t.Any:
    def answer(connection: socket.socket, _number: int) -> None:
        heard = 0
        while heard < hear:
            heard += len(connection.recv(65536))
        connection.sendall(data)

    return answer


def hold(connection: socket.socket, _number: int) -> None:
    while connection.recv(65536):
        pass


@contextlib.contextmanager
def web_server(context: ssl.SSLContext | None = None) -> t.Iterator[int]:
    """The standard library's HTTP server: an implementation that is not this project's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"{self.path} {self.headers['Host']}".encode()
            self.send_response(200 if self.path != "/gone" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_OPTIONS = do_GET

        def log_message(self, *_arguments: t.Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


# What answers


def test_http_is_spoken_with_a_server_of_the_standard_library() -> None:
    with web_server() as port:
        record = probe({"endpoint": f"http://127.0.0.1:{port}", "path": "/a?b=c", "host": "blog.example.org"})
    assert (record.state, record.phase, record.cause, record.attempts) == ("ok", "done", None, 1)
    assert (record.status, record.body) == (200, "/a?b=c blog.example.org")
    assert record.headers["content-length"] == "23"
    assert set(record.latency_ms) == {"resolve", "connect", "send", "receive"}


@pytest.mark.parametrize("options", [{"ca_path": True}, {"validate_certs": False}])
def test_https_is_spoken_with_a_server_of_the_standard_library(certificate: Path, options: dict[str, t.Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if "ca_path" in options:
        options = {"ca_path": str(certificate)}
    with web_server(context) as port:
        record = probe({"endpoint": f"https://127.0.0.1:{port}", **options})
    assert (record.state, record.status, record.body) == ("ok", 200, "/ localhost")
    assert "tls" in record.latency_ms


def test_a_certificate_is_checked(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with web_server(context) as port:
        unknown = probe(f"https://127.0.0.1:{port}", 0.5)
        other = probe({"endpoint": f"https://127.0.0.1:{port}", "ca_path": str(certificate), "host": "b.example"}, 0.5)
    for record in (unknown, other):
        assert (record.state, record.cause, record.phase) == ("down", "tls_failed", "tls")
        assert "ca_path" in record.hint
    assert "b.example" in other.message


def test_a_large_answer_over_tls_is_read_without_waiting_for_the_socket(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def answer(connection: socket.socket) -> None:
        with connection, context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1000)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 16000\r\n\r\n" + b"x" * 16000)
            time.sleep(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: answer(listener.accept()[0]), daemon=True).start()
        record = probe({"endpoint": f"https://127.0.0.1:{listener.getsockname()[1]}", "validate_certs": False}, 0.9)
    assert record.ok


def test_a_unix_socket_shows_who_listens_and_who_may(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    url = serve(say(OK), path)
    path.chmod(0o660)
    record = probe(f"http{url}")
    assert (record.state, record.kind, record.address) == ("ok", "unix", str(path))
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert record.peer == {"pid": os.getpid(), "uid": os.geteuid(), "gid": os.getegid(), "user": user}
    assert record.socket
    assert record.socket["mode"] == "0660"


@pytest.mark.parametrize("protocol", ["tcp", "unix"])
def test_a_bare_endpoint_is_only_connected_to(serve: Serve, tmp_path: Path, protocol: str) -> None:
    heard = []

    def answer(connection: socket.socket, _number: int) -> None:
        heard.append(connection.recv(10))

    url = serve(answer, tmp_path / "a.sock" if protocol == "unix" else None)
    record = probe(f"{protocol}://{url.partition('://')[2]}")
    assert (record.state, record.status, record.body, record.headers) == ("ok", None, None, {})
    time.sleep(0.1)
    assert heard == [b""]


def test_fastcgi_sends_a_complete_request_and_keeps_stderr(serve: Serve, tmp_path: Path) -> None:
    params = {}

    def answer(connection: socket.socket, _number: int) -> None:
        reader = _fastcgi.RecordReader()
        records: list[_fastcgi.Record] = []
        while not records or records[-1].type != _fastcgi.STDIN:
            records += reader.feed(connection.recv(100))
        content = b"".join(record.content for record in records if record.type == _fastcgi.PARAMS)
        params.update(_fastcgi.decode_pairs(content))
        connection.sendall(
            _fastcgi.encode_stream(_fastcgi.STDERR, b"PHP Notice")
            + _fastcgi.encode_stream(_fastcgi.STDOUT, b"Status: 201 Created\r\nX-A: b\r\n\r\nhello")
            + _fastcgi.encode_record(_fastcgi.Record(_fastcgi.END_REQUEST, 1, bytes(8)))
        )

    url = serve(answer, tmp_path / "a.sock")
    spec = {
        "endpoint": f"fastcgi{url}",
        "script_filename": "/srv/blog/index.php",
        "path": "/p?q=1",
        "params": {"A": "1"},
    }
    record = probe(spec)
    assert (record.state, record.status, record.body, record.stderr) == ("ok", 201, "hello", "PHP Notice")
    assert params["SCRIPT_FILENAME"] == "/srv/blog/index.php"
    assert params["SCRIPT_NAME"] == "/index.php"
    assert params["DOCUMENT_ROOT"] == "/srv/blog"
    assert (params["REQUEST_URI"], params["QUERY_STRING"], params["A"]) == ("/p?q=1", "q=1", "1")


# What waits


def test_waits_until_the_server_comes(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "late.sock"
    threading.Timer(0.4, lambda: serve(say(OK), path)).start()
    started = time.monotonic()
    record = probe(f"http+unix://{path}")
    assert record.ok
    assert record.attempts > 1
    assert 0.4 <= time.monotonic() - started < 2


def test_waits_until_the_answer_is_the_expected_one(serve: Serve) -> None:
    def answer(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(OK if number >= 3 else b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    record = probe({"endpoint": f"http{serve(answer)}", "expect": {"status": [200], "body": "pong"}})
    assert (record.state, record.attempts) == ("ok", 3)


def test_without_wait_there_is_one_attempt() -> None:
    started = time.monotonic()
    record = probe(f"http://{CLOSED}", wait=False)
    assert (record.cause, record.attempts) == ("refused", 1)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("timeout", [0.3, 1.2])
def test_never_overshoots_the_deadline(serve: Serve, tmp_path: Path, timeout: float, wait: bool) -> None:
    specs = [f"http{serve(hold)}", f"http://{CLOSED}", f"fastcgi+unix://{tmp_path}/none", f"https{serve(hold)}"]
    started = time.monotonic()
    records = probe_all(specs, timeout, wait)
    assert time.monotonic() - started < timeout + 0.15
    assert [record.cause for record in records] == ["timeout", "refused", "no_such_socket", "timeout"]
    assert records[0].phase == "receive"
    assert records[3].phase == "tls"


def test_all_are_probed_at_once_and_come_back_in_order(serve: Serve) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        connection.recv(1000)
        time.sleep(0.3)
        connection.sendall(OK)

    url = serve(answer)
    started = time.monotonic()
    records = probe_all([{"endpoint": f"http{url}", "name": str(number)} for number in range(30)], 5)
    assert time.monotonic() - started < 1.5
    assert [record.name for record in records] == [str(number) for number in range(30)]
    assert all(record.ok for record in records)


def test_a_slow_answer_is_waited_for(serve: Serve) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        connection.recv(1000)
        time.sleep(2.5)
        connection.sendall(OK)

    assert probe(f"http{serve(answer)}", 12).ok


def test_an_attempt_that_is_cut_short_does_not_hide_the_cause(serve: Serve) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        connection.recv(1000)
        time.sleep(0.25)
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    record = probe(f"http{serve(answer)}", 0.7)
    assert (record.state, record.cause, record.status) == ("degraded", "application_error", 502)


# What fails, by its cause


def test_no_such_socket_names_what_is_missing(tmp_path: Path) -> None:
    record = probe(f"http+unix://{tmp_path}/run/app/a.sock", wait=False)
    assert (record.state, record.cause, record.phase) == ("down", "no_such_socket", "connect")
    assert f"{tmp_path}/run does not exist" in record.message
    assert "RuntimeDirectory" in record.hint


def test_a_file_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.touch()
    record = probe(f"http+unix://{path}", wait=False)
    assert (record.cause, "no socket" in record.message) == ("no_such_socket", True)


def test_a_stale_socket_is_told_from_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
        gone.listen()
    record = probe(f"http+unix://{path}", wait=False)
    assert (record.state, record.cause) == ("down", "stale_socket")
    assert record.socket


def test_a_full_queue_is_busy_not_down(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as waiting:
        full.bind(str(path))
        full.listen(0)
        waiting.connect(str(path))
        record = probe(f"http+unix://{path}", wait=False)
    assert (record.state, record.cause, record.phase) == ("busy", "backlog_full", "connect")


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_who_waits_in_the_queue_meets_busy_workers(tmp_path: Path, family: int) -> None:
    with socket.socket(family) as listener:
        listener.bind(str(tmp_path / "a.sock") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listener.listen(5)
        name = listener.getsockname()
        url = f"+unix://{name}" if family == socket.AF_UNIX else f"://127.0.0.1:{name[1]}"
        record = probe(f"fastcgi{url}", 0.5)
    if record.queue is None:
        pytest.skip("this kernel does not tell the queues of listeners")
    assert (record.state, record.cause, record.phase, record.attempts) == ("busy", "busy", "receive", 1)
    assert record.queue == {"length": 1, "limit": 5}
    assert "pm.max_children" in record.hint


def test_a_datagram_socket_is_another_service(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "a.sock"))
        record = probe(f"unix://{tmp_path}/a.sock", wait=False)
    assert record.cause == "wrong_protocol"


def test_an_unknown_name_is_unresolved() -> None:
    record = probe("http://no-such-host.invalid:80", 3, wait=False)
    assert (record.state, record.cause, record.phase) == ("down", "unresolved", "resolve")
    assert "no-such-host.invalid" in record.message


def test_a_name_is_tried_at_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: both)
    with web_server() as port:  # on 127.0.0.1 only
        record = probe(f"http://two.example:{port}")
    assert (record.state, record.attempts) == ("ok", 1)


@pytest.mark.parametrize(
    ("protocol", "answer", "cause", "words"),
    [
        ("http", say(b""), "closed", "no answer"),
        ("http", say(OK[:30]), "closed", "inside its header"),
        ("http", say(OK[:-2]), "closed", "inside its body"),
        ("fastcgi", say(b""), "closed", "no answer"),
        ("uwsgi", say(b""), "closed", "no answer"),
        ("https", say(b""), "closed", "TLS"),
    ],
)
def test_a_peer_that_closes_early(serve: Serve, protocol: str, answer: t.Any, cause: str, words: str) -> None:
    record = probe(f"{protocol}{serve(answer)}", 1, wait=False)
    assert (record.state, record.cause) == ("down", cause)
    assert words in record.message
    assert record.hint


def test_a_peer_that_answers_before_it_took_the_whole_request(serve: Serve, tmp_path: Path) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        connection.sendall(b"HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n")

    spec = {"endpoint": f"http{serve(answer, tmp_path / 'a.sock')}", "path": "/" + "x" * 2_000_000}
    record = probe(spec, 2, wait=False)
    assert (record.state, record.status) == ("ok", 431)


def test_memory_is_bounded_when_the_answer_does_not_end(serve: Serve) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    record = probe(f"http{serve(answer)}", 3)
    assert record.ok
    assert record.body == "x" * 2048


# Which protocol the peer speaks


def _tls_server(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("protocol", ["fastcgi", "uwsgi", "https"])
def test_a_web_server_is_found_behind_another_protocol(protocol: str) -> None:
    with web_server() as port:
        record = probe({"endpoint": f"{protocol}://127.0.0.1:{port}", "validate_certs": False}, 6)
    assert (record.state, record.cause, record.speaks) == ("down", "wrong_protocol", "http")
    assert f"speaks http, not {protocol}" in record.message
    assert record.attempts == 1


@pytest.mark.parametrize("protocol", ["fastcgi", "uwsgi", "http"])
def test_a_tls_server_is_found_behind_another_protocol(certificate: Path, protocol: str) -> None:
    with web_server(_tls_server(certificate)) as port:
        record = probe(f"{protocol}://127.0.0.1:{port}", 6)
    assert (record.cause, record.speaks) == ("wrong_protocol", "https")


@pytest.mark.parametrize("protocol", ["fastcgi", "uwsgi", "http"])
def test_a_tls_server_that_answers_plain_http_with_an_error(serve: Serve, certificate: Path, protocol: str) -> None:
    """As nginx and Apache do."""

    def answer(connection: socket.socket, _number: int) -> None:
        if connection.recv(1, socket.MSG_PEEK) == b"\x16":
            _tls_server(certificate).wrap_socket(connection, server_side=True).recv(1000)
        else:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    record = probe(f"{protocol}{serve(answer)}", 6)
    assert (record.cause, record.speaks, record.phase) == ("wrong_protocol", "https", "parse")


def test_a_broken_answer_in_the_right_protocol_is_the_applications_fault(serve: Serve) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        broken = b"GET /x" in connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello" if broken else OK)

    record = probe({"endpoint": f"http{serve(answer)}", "path": "/x"}, 2, wait=False)
    assert (record.state, record.cause, record.phase) == ("degraded", "application_error", "parse")
    assert record.speaks is None


def test_a_400_of_the_application_is_no_wrong_protocol(serve: Serve) -> None:
    record = probe(f"http{serve(say(b'HTTP/1.1 400 Bad Request' + OK[15:]))}", 2)
    assert (record.state, record.status) == ("ok", 400)


# What comes back


def test_the_record_has_the_same_shape_on_success_and_failure(serve: Serve) -> None:
    good, bad = probe_all([f"http{serve(say(OK))}", f"http://{CLOSED}"], 1, False)
    assert set(good.as_dict()) == set(bad.as_dict())
    assert {"state", "phase", "cause", "hint", "message", "attempts", "latency_ms", "peer"} <= set(bad.as_dict())


def test_a_description_says_what_where_and_what_to_do(serve: Serve) -> None:
    text = describe(probe_all([f"http{serve(say(OK))}", {"endpoint": f"tcp://{CLOSED}", "name": "blog"}], 1, False))
    assert text.startswith(f"blog (tcp://{CLOSED}) is down: {CLOSED} refuses the connection")
    assert "hint: nothing listens there" in text
    assert "http://" not in text


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"endpoint": "http://a:1", "pth": "/"}, r"endpoints\[0\]: unknown key 'pth'"),
        ({"endpoint": "http://a:1", "expect": {"stats": 1}}, r"endpoints\[0\].expect: unknown key 'stats'"),
        ({"endpoint": "http://a:1", "expect": {"status": ["200"]}}, "expect.status"),
        ({"endpoint": "http://a:1", "expect": {"regex": "("}}, "not a regular expression"),
        ({"endpoint": "http://a:1", "path": "/a b"}, "not a request target"),
        ({"endpoint": "http://a:1", "host": "a b"}, "not a host name"),
        ({"endpoint": "https://a:1", "host": ".a"}, "not a host name"),
        ({"endpoint": "http://a:1", "validate_certs": "no"}, "neither true nor false"),
        ({"endpoint": "uwsgi://a:1", "params": {"A": "x" * 70000}}, "16 bits"),
        ({"endpoint": "https://a:1", "ca_path": "/no/such/file"}, "no file of certificates"),
        ("nonsense", "is no endpoint"),
    ],
)
def test_a_wrong_spec_is_refused_before_anything_is_probed(spec: t.Any, words: str) -> None:
    with pytest.raises(EndpointError, match=words):
        probe_all([spec], 1)


@pytest.mark.parametrize(
    ("host", "name"),
    [("a.example", "a.example"), ("a.example:8443", "a.example"), ("[::1]:443", "::1"), ("[::1]", "::1")],
)
def test_the_name_for_tls_is_the_host_without_its_port(host: str, name: str) -> None:
    assert parse_check({"endpoint": "https://127.0.0.1:1", "host": host}).server_name == name


def test_more_endpoints_than_the_soft_limit_of_files(serve: Serve, tmp_path: Path) -> None:
    url = serve(say(OK), tmp_path / "a.sock")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        records = probe_all([f"http{url}"] * 150, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert {record.cause for record in records} == {None}


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "1"])
def test_a_timeout_is_finite_and_above_zero(timeout: t.Any) -> None:
    with pytest.raises(EndpointError, match="timeout"):
        probe_all([f"tcp://{CLOSED}"], timeout)


def test_who_asks_gets_the_whole_answer(serve: Serve) -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000
    url = f"http{serve(say(long))}"
    ((record, answer),) = ask_all([url], 5, max_body=200_000)
    assert answer
    assert (len(answer.body), answer.truncated, len(record.body or "")) == (100000, False, 2048)
    ((record, answer),) = ask_all([url], 5, max_body=1000)
    assert answer
    assert (record.ok, len(answer.body), answer.truncated) == (True, 1000, True)
    ((record, answer),) = ask_all([f"http://{CLOSED}"], 1)
    assert (record.cause, answer) == ("refused", None)
