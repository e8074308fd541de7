# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""WebSocket, server-sent events, long polling and SCGI, and what can be expected of an endpoint."""

from __future__ import annotations

import base64
import hashlib
import os
import pwd
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
import websockets.sync.server

from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import EndpointError
from ansible_collections.weblab.stacks.plugins.module_utils._probe import Record, _names, _queues, ask_all, probe_all
from ansible_collections.weblab.stacks.plugins.module_utils._probe._conversations import Conversation
from ansible_collections.weblab.stacks.plugins.module_utils.wire import _scgi

if t.TYPE_CHECKING:
    from .conftest import Serve

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: b\r\nContent-Length: 4\r\n\r\npong"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
COMMENT = b": hello\n"
MORE = b"\n\ndata: more"
CLOSED = "127.0.0.1:1"  # tcpmux: nobody has it


def probe(spec: t.Any, timeout: float = 5.0, wait: bool = False) -> Record:
    (record,) = probe_all([spec], timeout, wait)
    return record


def say(*pieces: bytes, pause: float = 0.0, then: float = 0.0) -> t.Any:
    def answer(connection: socket.socket, _number: int) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        time.sleep(then)

    return answer


def hold(connection: socket.socket, _number: int) -> None:
    while connection.recv(65536):
        pass


# WebSocket, with the server of a library that this project did not write


@pytest.fixture
def chat(tmp_path: Path) -> t.Iterator[str]:
    """A server that sends back what it gets, behind a greeting; its URL without the protocol."""

    def handler(connection: t.Any) -> None:
        connection.send("welcome")
        for message in connection:
            if message == "leave":
                connection.close(1011, "asked to")
            elif message != "silence":
                connection.send(f"you said {message}")

    path = str(tmp_path / "ws.sock")
    options: dict[str, t.Any] = {
        "origins": [None, "https://a.example"],
        "select_subprotocol": lambda _connection, offered: "chat" if "chat" in offered else None,
    }
    with websockets.sync.server.unix_serve(handler, path, **options) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws+unix://{path}"
        server.shutdown()


def test_a_websocket_answers_handshake_ping_and_close(chat: str) -> None:
    record = probe(chat)
    assert (record.state, record.phase, record.status) == ("ok", "done", 101)
    assert record.headers["upgrade"] == "websocket"


def test_a_websocket_sends_back_what_it_gets(chat: str) -> None:
    record = probe({"endpoint": chat, "expect": {"echo": "hello"}, "subprotocols": ["other", "chat"]})
    assert (record.state, record.body) == ("ok", "welcome")
    assert record.headers["sec-websocket-protocol"] == "chat"


@pytest.mark.parametrize(
    ("check", "cause", "words"),
    [
        ({"expect": {"echo": "silence"}}, "timeout", "the echo of 'silence' did not come, but 'welcome' did"),
        ({"expect": {"echo": "leave"}}, "closed", "closed the WebSocket with 1011 asked to, and the echo of 'leave'"),
        ({"subprotocols": ["other"]}, "application_error", "chose none of the subprotocols other"),
        ({"origin": "https://b.example"}, "denied", "expected status 101, got HTTP 403"),
        ({"expect": {"status": [200]}}, "expectation", "expected status 200, got HTTP 101"),
        ({"expect": {"header": {"server": "other"}}}, "expectation", "in the header server"),
    ],
)
def test_a_websocket_that_is_not_as_expected(chat: str, check: t.Any, cause: str, words: str) -> None:
    record = probe({"endpoint": chat, **check}, 1)
    assert (record.cause, record.phase == "done") == (cause, False)
    assert words in record.message


def test_a_refused_websocket_can_be_what_is_expected(chat: str) -> None:
    assert probe({"endpoint": chat, "origin": "https://b.example", "expect": {"status": [403]}}).ok


def _handshake(connection: socket.socket, accept: str | None = None) -> None:
    head = connection.recv(65536).decode()
    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    made = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    fields = f"upgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\nsec-websocket-accept: {accept or made}\r\n"
    connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n".encode())


def test_a_websocket_with_a_wrong_key_is_refused(serve: Serve) -> None:
    record = probe(f"ws{serve(lambda connection, _n: _handshake(connection, 'c3R1ZmY='))}", 2)
    assert (record.state, record.cause) == ("degraded", "application_error")
    assert "Sec-WebSocket-Accept 'c3R1ZmY='" in record.message


@pytest.mark.parametrize("reset", [False, True])
def test_a_websocket_that_drops_the_connection_instead_of_closing_it(serve: Serve, reset: bool) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        _handshake(connection)
        ping = connection.recv(100)
        payload = bytes(byte ^ ping[2 + number % 4] for number, byte in enumerate(ping[6:]))
        connection.sendall(bytes([0x8A, len(payload)]) + payload)
        if not reset:
            connection.recv(100)  # what is left unread resets the connection
        else:
            time.sleep(0.1)

    assert probe(f"ws{serve(answer)}").ok


def test_a_websocket_is_pinged_after_its_echo(serve: Serve) -> None:
    heard = []

    def answer(connection: socket.socket, number: int) -> None:
        if number == 1:
            _handshake(connection)
            heard.append(connection.recv(100)[:1])
            connection.sendall(b"\x81\x02hi")
            heard.append(connection.recv(100)[:1])

    probe({"endpoint": f"ws{serve(answer)}", "expect": {"echo": "hi"}}, 1)
    assert heard == [b"\x81", b"\x89"]  # a text, a ping


def test_a_stream_that_does_not_end_is_no_websocket(serve: Serve) -> None:
    record = probe(f"ws{serve(say(STREAM, then=3))}", 2)
    assert (record.cause, record.speaks) == ("wrong_protocol", "sse")


def test_a_websocket_without_pong_or_close(serve: Serve) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        _handshake(connection)
        hold(connection, 0)

    record = probe(f"ws{serve(answer)}", 0.5)
    assert (record.cause, record.phase) == ("timeout", "receive")
    assert "the WebSocket is open, and the pong to a ping did not come" in record.message


@pytest.mark.parametrize(
    ("answer", "cause", "speaks", "words"),
    [
        (OK, "wrong_protocol", "http", "Give both sides one protocol"),
        (STREAM, "wrong_protocol", "sse", "without buffering"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "expectation", None, "correct the path"),
        (
            b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
            "expectation",
            None,
            "proxy_set_header Upgrade",
        ),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "expectation", None, "upgrade=websocket"),
        (b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n", "application_error", None, "proxy_read_timeout"),
    ],
)
def test_what_is_no_websocket(serve: Serve, answer: bytes, cause: str, speaks: str | None, words: str) -> None:
    record = probe(f"ws{serve(say(answer))}", 2)
    assert (record.cause, record.speaks) == (cause, speaks)
    assert words in record.hint


# Server-sent events


def test_events_are_counted_and_their_gaps_measured(serve: Serve) -> None:
    url = f"sse{serve(say(STREAM, COMMENT, b'data: 1', *[MORE] * 9, pause=0.3))}"
    record = probe({"endpoint": url, "expect": {"events": 4, "interval": 0.05, "body": "1"}})
    assert (record.state, record.phase, record.body) == ("ok", "done", "1")
    assert record.events
    assert (record.events["count"], len(record.events["gaps_ms"])) == (4, 3)
    assert min(record.events["gaps_ms"]) >= 50


def test_events_through_chunks_do_not_fill_the_memory(serve: Serve) -> None:
    head = STREAM[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    event = b"data: " + b"x" * 9990 + b"\n\n"
    chunk = b"%x\r\n%s\r\n" % (len(event), event)
    ((record, answer),) = ask_all([{"endpoint": f"sse{serve(say(head, *[chunk] * 60))}", "expect": {"events": 50}}], 5)
    assert (record.state, record.events and record.events["count"]) == ("ok", 50)
    assert answer
    assert len(answer.body) == 9990


@pytest.mark.parametrize(
    ("answer", "expect", "cause", "words"),
    [
        (say(STREAM + b"data: 1\n\ndata: 2\n\n", then=1), {"interval": 0.1}, "expectation", "proxy_buffering off"),
        (say(STREAM + b"data: 1\n\n"), {"events": 2}, "expectation", "the stream ended after 1"),
        (
            say(STREAM + b"data: 1\n\n: still here\n\n", then=2),
            {"events": 2},
            "timeout",
            "1 of 2 events and 1 comments",
        ),
        (say(STREAM + b"data: 1\n\n"), {"json": {"a": 1}}, "expectation", "expected JSON"),
        (say(STREAM + b"data: 1\n\n"), {"body": "2"}, "expectation", "expected '2' in the first event"),
        (say(OK), {}, "wrong_protocol", "the answer is text/plain, not text/event-stream"),
        (say(b"HTTP/1.1 204 No Content\r\n\r\n"), {}, "expectation", "expected status 200"),
    ],
)
def test_events_that_are_not_as_expected(
    serve: Serve, answer: t.Any, expect: dict[str, t.Any], cause: str, words: str
) -> None:
    record = probe({"endpoint": f"sse{serve(answer)}", "expect": expect}, 1)
    assert record.cause == cause
    assert words in f"{record.message}; {record.hint}"


def test_a_stream_is_recognised_by_who_expects_an_answer_with_an_end(serve: Serve) -> None:
    record = probe(f"http{serve(say(STREAM, *[MORE] * 50, pause=0.1))}", 1)
    assert (record.cause, record.speaks) == ("wrong_protocol", "sse")


# Long polling


def test_a_request_that_is_held_is_ok_when_that_is_enough(serve: Serve) -> None:
    url = f"long_polling{serve(hold)}"
    record = probe({"endpoint": url, "hold": 0.3}, 2)
    assert (record.state, record.status, record.body) == ("ok", None, None)
    assert (record.held_ms or 0) >= 300
    record = probe(url, 0.5)
    assert (record.cause, record.phase) == ("timeout", "receive")
    assert "give hold" in record.hint


def test_an_answer_ends_long_polling(serve: Serve) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        connection.recv(1000)
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    record = probe({"endpoint": f"long_polling{serve(answer)}", "hold": 2, "expect": {"time": {"min": 0.2}}})
    assert (record.state, record.status) == ("ok", 204)
    assert (record.held_ms or 0) >= 300


def test_a_request_is_held_in_one_attempt(serve: Serve) -> None:
    record = probe({"endpoint": f"long_polling{serve(hold)}", "hold": 2.5}, 10, True)
    assert (record.state, record.attempts) == ("ok", 1)


def test_who_is_not_accepted_is_not_held(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a.sock"))
        listener.listen(5)
        record = probe({"endpoint": f"long_polling+unix://{tmp_path}/a.sock", "hold": 0.2}, 2)
    if record.queue is None:
        pytest.skip("this kernel does not tell the queues of listeners")
    assert (record.state, record.cause) == ("busy", "busy")


# SCGI, and what a request can carry


def test_scgi_sends_a_complete_request(serve: Serve) -> None:
    heard: list[tuple[dict[str, str], bytes]] = []

    def answer(connection: socket.socket, _number: int) -> None:
        heard.append(_scgi.decode_request(connection.recv(65536)))
        connection.sendall(b"Status: 201 Created\r\nContent-Type: text/plain\r\n\r\nhello")

    spec = {"endpoint": f"scgi{serve(answer)}", "path": "/a%20b?c=d", "content": "x=1", "params": {"A": "1"}}
    headers = {"Content-Type": "text/x", "X-Request-Id": "7"}
    record = probe({**spec, "headers": headers, "host": "blog.example"})
    assert (record.state, record.status, record.body) == ("ok", 201, "hello")
    ((variables, body),) = heard
    wanted = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "3",
        "HTTP_X_REQUEST_ID": "7",
        "HTTP_HOST": "blog.example",
        "A": "1",
    }
    assert {name: variables[name] for name in wanted} == wanted
    assert body == b"x=1"


def test_http_sends_headers_and_content(serve: Serve) -> None:
    heard = []

    def answer(connection: socket.socket, _number: int) -> None:
        heard.append(connection.recv(65536).decode())
        connection.sendall(OK)

    spec = {"endpoint": f"http{serve(answer)}", "content": "\u0434\u0430", "headers": {"accept": "text/x", "X-A": "b"}}
    assert probe(spec).ok
    head, _blank, body = heard[0].partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "POST / HTTP/1.1"
    assert {"accept: text/x", "X-A: b", "Content-Length: 4"} <= set(lines)
    assert not any(line.startswith("Accept:") for line in lines)
    assert body == "\u0434\u0430"


# Expectations


@pytest.mark.parametrize(
    ("expect", "cause", "words"),
    [
        ({"header": {"X-A": "b"}}, None, ""),
        ({"header": {"content-type": {"regex": "^text/"}}}, None, ""),
        ({"header": {"content-length": 4}}, None, ""),
        ({"header": {"x-a": "B"}}, "expectation", "expected 'B' in the header x-a, got 'b'"),
        ({"header": {"X-A": {"regex": "^c"}}}, "expectation", "expected a match of '^c' in the header x-a, got 'b'"),
        ({"header": {"X-B": "b"}}, "expectation", "expected 'b' in the header x-b, it is not there"),
        ({"time": 2}, None, ""),
        ({"time": {"max": 2}}, None, ""),
        ({"time": {"min": 0.5, "max": 2}}, "expectation", "expected an answer after at least 0.5 s, it took 0."),
        ({"time": 0.000001}, "expectation", "expected an answer after at most 1e-06 s, it took 0."),
    ],
)
def test_header_and_time(serve: Serve, expect: dict[str, t.Any], cause: str | None, words: str) -> None:
    record = probe({"endpoint": f"http{serve(say(OK))}", "expect": expect})
    assert record.cause == cause
    assert words in record.message


@pytest.mark.parametrize("protocol", ["unix", "http"])
def test_who_listens_can_be_expected(serve: Serve, tmp_path: Path, protocol: str) -> None:
    url = serve(say(OK), tmp_path / "a.sock").replace("+unix", "" if protocol == "unix" else "+unix")
    me = pwd.getpwuid(os.geteuid())
    for peer in (me.pw_name, me.pw_uid, str(me.pw_uid)):
        assert probe({"endpoint": f"{protocol}{url}", "expect": {"peer": peer}}).ok
    record = probe({"endpoint": f"{protocol}{url}", "expect": {"peer": "www-data"}})
    assert (record.state, record.cause, record.phase) == ("degraded", "expectation", "expect")
    assert f"expected www-data to listen on {tmp_path}/a.sock, {me.pw_name} (uid {me.pw_uid}" in record.message


# Absence


def test_what_shall_be_absent_is(tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
        gone.listen()
    urls = [f"http+unix://{path}", f"http+unix://{tmp_path}/none", f"wss://{CLOSED}", "unix://@weblab-nobody"]
    records = probe_all([{"endpoint": url, "state": "absent"} for url in urls], 1)
    assert [(record.state, record.cause, record.phase) for record in records] == [("ok", None, "done")] * 4


@pytest.mark.parametrize("protocol", ["http", "wss"])
def test_nothing_is_said_to_what_shall_be_absent(serve: Serve, protocol: str) -> None:
    heard = []
    url = serve(lambda connection, _number: heard.append(connection.recv(100)))
    record = probe({"endpoint": f"{protocol}{url}", "state": "absent"}, 1)
    assert record.cause == "expectation"
    time.sleep(0.1)
    assert heard == [b""]


def test_waits_until_the_server_is_gone(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "a.sock"))
    listener.listen()
    threading.Timer(0.4, listener.close).start()
    record = probe({"endpoint": f"https+unix://{tmp_path}/a.sock", "state": "absent"}, 5, True)
    assert record.ok
    assert record.attempts > 1


def test_what_is_still_there_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a.sock"))
        listener.listen(20)
        record = probe({"endpoint": f"http+unix://{tmp_path}/a.sock", "state": "absent"}, 0.3, True)
        listener.listen(0)
        full = probe({"endpoint": f"http+unix://{tmp_path}/a.sock", "state": "absent"}, 0.3)
    assert (record.state, record.cause) == ("degraded", "expectation")
    assert f"process {os.getpid()}" in record.message
    assert full.cause == "expectation"  # its queue is full: there is somebody


# Addresses


def _full(host: str) -> tuple[socket.socket, list[socket.socket]]:
    """A listener that lets nobody in any more: the kernel drops what comes, as a packet filter does."""
    listener = socket.create_server((host, 0), backlog=0)
    waiting = []
    for _number in range(3):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(listener.getsockname())
    time.sleep(0.1)
    return listener, waiting


def test_an_address_that_does_not_answer_leaves_time_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    dead, waiting = _full("127.0.0.2")
    port = dead.getsockname()[1]
    found = [(socket.AF_INET, ("127.0.0.2", 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    monkeypatch.setattr(_names.Names, "_look_up", lambda _names, _host: found)
    monkeypatch.setattr(_queues.Queues, "of", lambda *_of: None)  # it stands for one of another host
    with dead, socket.create_server(("127.0.0.1", port)) as alive:

        def answer() -> None:
            connection, _address = alive.accept()
            with connection:
                time.sleep(0.2)  # which is not left of the attempt if the first address had it all
                say(OK)(connection, 0)

        threading.Thread(target=answer, daemon=True).start()
        record = probe(f"http://two.example:{port}", 2.0)
        alone = probe(f"tcp://127.0.0.2:{port}", 0.3)
    for client in waiting:
        client.close()
    assert alone.phase == "connect"  # or the first address was not dead at all
    assert alone.cause in ("timeout", "backlog_full")
    assert (record.state, record.attempts) == ("ok", 1)


def test_ipv6_is_spoken(serve: Serve) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no ::1 here: {error}")

    def answer() -> None:
        connection, _address = listener.accept()
        with connection:
            say(OK)(connection, 0)

    threading.Thread(target=answer, daemon=True).start()
    record = probe(f"http://[::1]:{listener.getsockname()[1]}")
    listener.close()
    assert (record.state, record.address) == ("ok", f"[::1]:{record.address.rpartition(':')[2]}")


@pytest.mark.parametrize("tail", ["", "\0"])
def test_an_abstract_socket_is_found_by_its_name(tail: str) -> None:
    """uWSGI counts the NUL that ends the string as a part of the name."""
    name = f"weblab-probe-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}{tail}")
        listener.listen(3)
        record = probe(f"unix://@{name}")
    assert (record.state, record.kind, record.queue) == ("ok", "unix", {"length": 0, "limit": 3})
    assert record.peer
    assert (record.peer["pid"], record.socket) == (os.getpid(), None)


# Who speaks first, and who speaks something else


@pytest.mark.parametrize("protocol", ["http", "https", "ws", "sse", "fastcgi", "scgi", "uwsgi"])
@pytest.mark.parametrize(
    ("greeting", "words"),
    [(b"220 mail.example ESMTP\r\n", "220 mail.example ESMTP"), (b"J\0\0\0\n11.8.3-MariaDB\0abc", "11.8.3-MariaDB")],
)
def test_a_greeting_is_told_instead_of_guessed(serve: Serve, protocol: str, greeting: bytes, words: str) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        connection.sendall(greeting)
        hold(connection, 0)

    record = probe(f"{protocol}{serve(answer)}", 4)
    assert (record.state, record.cause, record.speaks) == ("down", "wrong_protocol", None)
    assert f"greets with {words!r}" in record.message


def test_scgi_is_found_behind_another_protocol(serve: Serve) -> None:
    def answer(connection: socket.socket, _number: int) -> None:
        if connection.recv(1, socket.MSG_PEEK).isdigit():
            connection.recv(65536)
            connection.sendall(b"Status: 200 OK\r\n\r\n")

    record = probe(f"fastcgi{serve(answer)}", 4)
    assert (record.cause, record.speaks) == ("wrong_protocol", "scgi")
    assert "scgi_pass" in record.hint


def test_a_websocket_is_found_behind_another_protocol(chat: str) -> None:
    record = probe(f"http{chat[2:]}", 4)
    assert (record.cause, record.speaks) == ("wrong_protocol", "ws")


def test_the_end_of_the_connection_ends_every_conversation(serve: Serve) -> None:
    class Endless(Conversation):
        complete = False

    url = serve(lambda _connection, _number: None)
    ((record, answer),) = ask_all([f"tcp{url}"], 3, conversation=Endless)
    assert (record.cause, answer) == ("closed", None)


# What cannot be asked


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"endpoint": "tcp://a:1", "expect": {"status": [200]}}, r"\[0\]\.expect\.status: this does not apply to tcp"),
        (
            {"endpoint": "http://a:1", "expect": {"echo": "a"}},
            "expect.echo: this does not apply to http, but to ws, wss",
        ),
        ({"endpoint": "http://a:1", "expect": {"interval": 1}}, "expect.interval: this does not apply"),
        ({"endpoint": "ws://a:1", "expect": {"body": "a"}}, "expect.body: this does not apply to ws"),
        ({"endpoint": "http://a:1", "expect": {"peer": "root"}}, "only for Unix sockets"),
        ({"endpoint": "fastcgi://a:1", "expect": {"body": "pong"}}, "expect.body: give path or script_filename"),
        ({"endpoint": "http://a:1", "hold": 3}, "hold: this does not apply to http"),
        ({"endpoint": "http://a:1", "tls": True}, "tls: this does not apply to http"),
        ({"endpoint": "http://a:1", "params": {"A": "b"}}, "params: this does not apply to http"),
        ({"endpoint": "http://a:1", "state": "gone"}, "neither present nor absent"),
        ({"endpoint": "http://a:1", "state": "absent", "expect": {"status": [200]}}, "absent answers nothing"),
        ({"endpoint": "long_polling://a:1", "hold": 0}, "hold: 0 is not a finite number"),
        ({"endpoint": "long_polling://a:1", "hold": float("inf")}, "not a finite number"),
        ({"endpoint": "sse://a:1", "expect": {"events": 1, "interval": 1}}, "not a number from 2 to 100"),
        ({"endpoint": "sse://a:1", "expect": {"events": 101}}, "not a number from 1 to 100"),
        ({"endpoint": "http://a:1", "expect": {"time": float("nan")}}, "expect.time: nan is not a finite number"),
        ({"endpoint": "http://a:1", "expect": {"time": {"min": 2, "max": 1}}}, "is no span of time"),
        ({"endpoint": "http://a:1", "expect": {"header": {"a": ["b"]}}}, "neither the header's value nor a mapping"),
        ({"endpoint": "http://a:1", "expect": {"header": {"a": {"regex": "("}}}}, "not a regular expression"),
        ({"endpoint": "unix:///a", "expect": {"peer": True}}, "neither a user's name nor a uid"),
        ({"endpoint": "http://a:1", "headers": {"a b": "c"}}, "is not a header field"),
        ({"endpoint": "uwsgi://a:1", "headers": {"a": "c\r\nd: e"}}, "is not a header field"),
        ({"endpoint": "http://a:1", "headers": {"Host": "a"}}, "a key of its own: host"),
        ({"endpoint": "ws://a:1", "headers": {"Upgrade": "a"}}, "the protocol itself needs this field"),
        ({"endpoint": "ws://a:1", "subprotocols": ["a b"]}, "is not a list of names"),
    ],
)
def test_what_could_do_nothing_is_an_error(spec: t.Any, words: str) -> None:
    with pytest.raises(EndpointError, match=words):
        probe_all([spec], 1)


@pytest.mark.parametrize("url", ["sse", "long_polling"])
def test_streams_and_long_polling_can_have_tls(serve: Serve, url: str) -> None:
    record = probe({"endpoint": f"{url}{serve(say(OK))}", "tls": True}, 2)
    assert (record.cause, record.speaks) == ("wrong_protocol", "http")
    assert "set tls to false" in record.hint
    assert record.message.endswith(f"speaks http, not {url} with TLS")
