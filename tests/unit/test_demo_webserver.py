# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lines of strace as the textbook's steps; what a recording never shows."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import types
import typing as t
from pathlib import Path

import pytest

ROLE = Path(__file__).resolve().parents[2] / "roles" / "demo_webserver"
CALLS = ROLE / "files" / "host" / "recorder" / "calls.py"


@pytest.fixture(scope="module")
def calls() -> t.Iterator[t.Any]:
    spec = importlib.util.spec_from_file_location("webserver_calls", CALLS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def _worker(pid: int, *sockets: str) -> t.Any:
    return types.SimpleNamespace(
        pid=pid, user="www-data", name="server", threads=[pid], sockets=list(sockets), role="worker"
    )


CLIENT = "TCP:[127.0.0.1:8087->127.0.0.1:41296]"
OTHER = "TCP:[127.0.0.1:8087->127.0.0.1:50000]"
BACKEND = "TCP:[127.0.0.1:60898->127.0.0.1:9106]"
FILE = "/usr/share/site/static/site.css"
#: Call, and its step and sentence. In the order of the textbook.
LINES = [
    ("epoll_wait(7<anon_inode:[eventpoll]>, [{events=EPOLLIN, data={u32=1, u64=2}}], 512, -1) = 1", "wait", "event"),
    (
        "accept4(11<TCP:[0.0.0.0:8087]>, {sa_family=AF_INET, sin_port=htons(41296)}, [112 => 16], SOCK_NONBLOCK)"
        f" = 5<{CLIENT}>",
        "accept",
        "accept",
    ),
    (
        "accept4(11<TCP:[0.0.0.0:8087]>, 0x7ffe, [112], SOCK_CLOEXEC) = -1 EAGAIN (Resource unavailable)",
        "accept",
        "accept_none",
    ),
    (f"getsockname(5<{CLIENT}>, {{sa_family=AF_INET}}, [128 => 16]) = 0", "accept", "option"),
    (f"epoll_ctl(7<anon_inode:[eventpoll]>, EPOLL_CTL_ADD, 5<{CLIENT}>, {{events=EPOLLIN}}) = 0", "wait", "watch"),
    (
        "epoll_ctl(7<anon_inode:[eventpoll]>, EPOLL_CTL_ADD, 11<TCP:[0.0.0.0:8087]>, {events=EPOLLEXCLUSIVE}) = 0",
        "wait",
        "rotate",
    ),
    (f'recvfrom(5<{CLIENT}>, "GET /static/site.css HTTP/1.1\\r\\nX: n-1\\r\\n", 1024, 0) = 40', "read", "request"),
    (f'newfstatat(AT_FDCWD</>, "{FILE}", {{st_mode=S_IFREG|0644}}, 0) = 0', "map", "stat"),
    ('newfstatat(AT_FDCWD</>, "/usr", {st_mode=S_IFDIR|0755}, AT_SYMLINK_NOFOLLOW) = 0', "map", "lstat"),
    (f'openat(AT_FDCWD</>, "{FILE}.gz", O_RDONLY) = -1 ENOENT (No such file)', "map", "missing"),
    ('openat(AT_FDCWD</>, "/usr/share", O_PATH|O_DIRECTORY) = 12</usr/share>', "map", "open_directory"),
    (f'openat(AT_FDCWD</>, "{FILE}", O_RDONLY|O_NONBLOCK) = 13<{FILE}>', "map", "open"),
    (f'newfstatat(13<{FILE}>, "", {{st_mode=S_IFREG|0644, st_size=9}}, AT_EMPTY_PATH) = 0', "fetch", "fstat"),
    (f"mmap(NULL, 9, PROT_READ, MAP_SHARED, 13<{FILE}>, 0) = 0x7fd1", "fetch", "mmap"),
    (f'pread64(13<{FILE}>, "secret", 6, 0) = 6', "fetch", "read_file"),
    (f"setsockopt(5<{CLIENT}>, SOL_TCP, TCP_CORK, [1], 4) = 0", "send", "cork"),
    (f'writev(5<{CLIENT}>, [{{iov_base="HTTP/1.1 200 OK\\r\\n", iov_len=17}}], 1) = 17', "send", "send"),
    (f"sendfile(5<{CLIENT}>, 13<{FILE}>, [0] => [9], 9) = 9", "send", "sendfile"),
    ("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 14<TCP:[1234]>", "backend", "prepare_backend"),
    (
        "connect(14<TCP:[1234]>, {sa_family=AF_INET}, 16) = -1 EINPROGRESS (Operation now in progress)",
        "backend",
        "connect",
    ),
    (f'writev(14<{BACKEND}>, [{{iov_base="password", iov_len=8}}], 1) = 8', "backend", "ask"),
    (f'readv(14<{BACKEND}>, [{{iov_base="answer", iov_len=6}}], 1) = 6', "backend", "answer"),
    (f"readv(14<{BACKEND}>, 0x7ffe, 1) = -1 EAGAIN (Resource temporarily unavailable)", "backend", "not_yet"),
    (f"close(14<{BACKEND}>) = 0", "backend", "backend_closed"),
    ('write(25</var/log/nginx/site.access.log>, "127.0.0.1 - - [x] \\"GET /\\"", 25) = 25', "log", "log"),
    (f"close(13<{FILE}>) = 0", "fetch", "close_file"),
    (f"read(5<{CLIENT}>, 0x7ffe, 8000) = -1 EAGAIN (Resource temporarily unavailable)", "close", "keep"),
    (f'recvfrom(5<{CLIENT}>, "", 1024, 0) = 0', "close", "client_closed"),
    (f"shutdown(5<{CLIENT}>, SHUT_WR) = 0", "close", "shutdown"),
    (f"close(5<{CLIENT}>) = 0", "close", "close"),
    ("futex(0x7fd1, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 0, NULL) = 0", "wait", "queue"),
    ("futex(0x7fd1, FUTEX_WAKE_PRIVATE, 1) = 1", "wait", "hand_over"),
    ("futex(0x7fd1, FUTEX_LOCK_PI, NULL) = 0", "wait", "mutex"),
    ("futex(0x7fd1, FUTEX_UNLOCK_PI) = 0", "wait", "mutex_free"),
    ("semop(3, [{0, -1, SEM_UNDO}], 1) = 0", "wait", "mutex"),
    ('read(12<pipe:[49278877]>, "\\1", 512) = 1', "wait", "pipe"),
    ('chdir("/srv") = 0', "other", "other"),
]


def _log(lines: t.Iterable[str], start: float = 100.0) -> str:
    return "".join(f"{start + number / 100:.6f} {line} <0.000010>\n" for number, line in enumerate(lines))


def _round(calls: t.Any, *threads: tuple[t.Any, str]) -> t.Any:
    traced = {worker.pid: calls.read(text) for worker, text in threads}
    return calls.round_of(traced, {worker.pid: worker for worker, _text in threads}, "n-1", 99.0, 200.0)


def test_every_call_has_its_step_and_its_sentence(calls: t.Any) -> None:
    found = _round(calls, (_worker(1, "0.0.0.0:8087"), _log(line for line, _step, _why in LINES)))
    (actor,) = found["actors"]
    assert [(call["step"], call["why"]) for call in actor["calls"]] == [(step, why) for _line, step, why in LINES]
    assert [call["error"] for call in actor["calls"] if call["error"]] == [
        *("EAGAIN", "ENOENT", "EINPROGRESS", "EAGAIN", "EAGAIN")
    ]


def test_what_is_in_files_and_said_to_backends_is_not_told(calls: t.Any) -> None:
    found = json.dumps(_round(calls, (_worker(1, "0.0.0.0:8087"), _log(line for line, _step, _why in LINES))))
    assert not re.search("secret|password|answer\\\\", found)
    assert "GET /static/site.css" in found
    assert "HTTP/1.1 200 OK" in found


def test_other_visitors_of_the_same_thread_are_left_out(calls: t.Any) -> None:
    wait = "epoll_wait(7<anon_inode:[eventpoll]>, [{events=EPOLLIN}], 512, -1) = 1"
    others_backend = "TCP:[127.0.0.1:50000->127.0.0.1:9107]"
    lines = [
        wait,
        f'recvfrom(6<{OTHER}>, "GET /private HTTP/1.1", 1024, 0) = 21',
        "socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 15<TCP:[5678]>",
        f'writev(15<{others_backend}>, [{{iov_base="private", iov_len=7}}], 1) = 7',
        wait,
        f'recvfrom(5<{CLIENT}>, "GET / HTTP/1.1\\r\\nX: n-1", 1024, 0) = 23',
        f'openat(AT_FDCWD</>, "{FILE}", O_RDONLY|O_NONBLOCK) = 13<{FILE}>',
        wait,
        f'readv(15<{others_backend}>, [{{iov_base="private", iov_len=7}}], 1) = 7',
        f'writev(6<{OTHER}>, [{{iov_base="HTTP/1.1 200 OK", iov_len=15}}], 1) = 15',
        'write(25</var/log/nginx/site.access.log>, "192.0.2.1 - - [x] \\"GET /private\\"", 25) = 25',
        f'writev(5<{CLIENT}>, [{{iov_base="HTTP/1.1 200 OK", iov_len=15}}], 1) = 15',
        wait,
    ]
    found = _round(calls, (_worker(1, "0.0.0.0:8087"), _log(lines)))
    told = [call["call"] for call in found["actors"][0]["calls"]]
    assert told == ["epoll_wait", "recvfrom", "openat", "epoll_wait", "writev", "epoll_wait"]
    assert "private" not in json.dumps(found)


def test_who_woke_up_for_nothing_is_told(calls: t.Any) -> None:
    lines = [line for line, _step, why in LINES if why in ("accept", "request")]
    found = _round(
        calls,
        (_worker(1, "0.0.0.0:8087"), _log(lines)),
        (_worker(2, "0.0.0.0:8087"), _log([LINES[0][0], LINES[2][0]])),
        (_worker(3, "0.0.0.0:8087"), "100.5 epoll_wait(7<anon_inode:[eventpoll]>,  <detached ...>\n"),
    )
    assert [actor["pid"] for actor in found["actors"]] == [1]
    assert found["woken"] == [
        {"pid": 2, "tid": 2, "call": "epoll_wait", "error": None},
        {"pid": 2, "tid": 2, "call": "accept4", "error": "EAGAIN"},
    ]


def test_a_request_is_followed_to_the_backend_and_its_listening_thread(calls: t.Any) -> None:
    front = [
        f'recvfrom(5<{CLIENT}>, "GET / HTTP/1.1\\r\\nX: n-1", 1024, 0) = 23',
        f'writev(14<{BACKEND}>, [{{iov_base="GET / HTTP/1.1\\r\\nX: n-1", iov_len=23}}], 1) = 23',
    ]
    seen = "TCP:[127.0.0.1:9106->127.0.0.1:60898]"
    listening = [f"accept4(3<TCP:[127.0.0.1:9106]>, 0x7ffe, [128], SOCK_CLOEXEC) = 14<{seen}>"]
    serving = [f'read(14<{seen}>, "GET / HTTP/1.1\\r\\nX: n-1", 8000) = 23']
    found = _round(
        calls,
        (_worker(1, "0.0.0.0:8087"), _log(front)),
        (_worker(2, "127.0.0.1:9106"), _log(listening, 100.2)),
        (_worker(3, "127.0.0.1:9106"), _log(serving, 100.3)),
    )
    assert [(actor["pid"], actor["calls"][0]["step"]) for actor in found["actors"]] == [
        (1, "read"),
        (2, "accept"),
        (3, "read"),
    ]
    assert found["actors"][0]["calls"][1]["step"] == "backend"


def test_of_a_long_story_the_middle_is_counted(calls: t.Any) -> None:
    request, end = (line for line, _step, why in LINES if why in ("request", "shutdown"))
    lines = [request, *['access("/x", F_OK) = 0'] * 500, end]
    (actor,) = _round(calls, (_worker(1, "0.0.0.0:8087"), _log(lines)))["actors"]
    told = [call for call in actor["calls"] if "left_out" not in call]
    (left_out,) = (call["left_out"] for call in actor["calls"] if "left_out" in call)
    assert len(told) + sum(left_out.values()) == len(lines)
    assert (told[0]["why"], told[-1]["why"], set(left_out)) == ("request", "shutdown", {"access"})


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_catalogue_has_a_sentence_for_every_call_and_no_other(language: str) -> None:
    texts = json.loads((ROLE / "files" / "lang" / f"{language}.json").read_text("utf-8"))
    source = CALLS.read_text("utf-8")
    assert {why for _line, _step, why in LINES} <= set(texts["why"])
    assert [why for why in texts["why"] if f'"{why}"' not in source] == []
    assert {step for _line, step, _why in LINES} == set(texts["steps"])


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_text_of_the_catalogue_is_without_use(language: str) -> None:
    texts = json.loads((ROLE / "files" / "lang" / f"{language}.json").read_text("utf-8"))
    pages = [ROLE / "templates" / "index.html.j2", ROLE / "files" / "host" / "page" / "page.js"]
    used = {key for path in pages for key in re.findall(r"texts\.(\w+)", path.read_text("utf-8"))}
    listed = {"process", "role", "user", "threads", "waited_in", "did", "master", "worker"}
    assert set(texts) == used | listed
