# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers in threads, for the probe to talk to."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import typing as t
from pathlib import Path

import pytest

Answer = t.Callable[[socket.socket, int], None]


class Serve(t.Protocol):
    """Start a server that calls `answer` with each connection and its number; returns its URL without the protocol."""

    def __call__(self, answer: Answer, path: Path | None = None) -> str: ...


@pytest.fixture
def serve() -> t.Iterator[Serve]:
    sockets: list[socket.socket] = []

    def run(listener: socket.socket, answer: Answer) -> None:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                connection, _address = listener.accept()
                number += 1
                sockets.append(connection)
                threading.Thread(target=talk, args=(connection, answer, number), daemon=True).start()

    def talk(connection: socket.socket, answer: Answer, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            answer(connection, number)

    def start(answer: Answer, path: Path | None = None) -> str:
        listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        listener.bind(str(path) if path else ("127.0.0.1", 0))
        listener.listen()
        sockets.append(listener)
        threading.Thread(target=run, args=(listener, answer), daemon=True).start()
        return f"+unix://{path}" if path else f"://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    # Whoever still talks is cut off: no thread goes on beside the tests that come after.
    for used in sockets:
        with contextlib.suppress(OSError):
            used.shutdown(socket.SHUT_RDWR)
        used.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path
