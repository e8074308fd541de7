# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an application under uWSGI counts as reloaded: its workers and its stats socket have to agree."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._service import Process, Running
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._uwsgi import EMPEROR, Uwsgi

UWSGI = Uwsgi("/etc/uwsgi", None)
MASTER = Process(1, 0, 1, 0)


def running(*workers: int) -> Running:
    return Running(MASTER, frozenset(Process(pid, 1, pid, 0) for pid in workers))


def worker(pid: int, accepting: int = 1, apps: int = 1) -> dict[str, t.Any]:
    return {"pid": pid, "accepting": accepting, "apps": [{"id": number} for number in range(apps)]}


@pytest.fixture
def directory() -> t.Iterator[pathlib.Path]:
    # Shorter than tmp_path: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


def answering(path: pathlib.Path, answer: bytes) -> threading.Thread:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as client:
            client.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("before", "now", "answer", "word"),
    [
        pytest.param(running(2, 3), running(4, 5), [worker(4), worker(5)], "", id="reloaded"),
        pytest.param(running(2, 3), running(3, 4), [worker(4)], "old workers", id="one old worker left"),
        pytest.param(running(2, 3), running(), [worker(2), worker(3)], "no worker", id="old master still answers"),
        pytest.param(running(2, 3), running(4), [worker(4, apps=0)], "no worker", id="application not loaded"),
        pytest.param(running(2, 3), running(4), [worker(4, accepting=0)], "no worker", id="not accepting"),
        pytest.param(running(2, 3), running(4), "nonsense", "no worker", id="nonsense"),
        pytest.param(running(2, 3), Running(), [], "master process", id="died"),
        pytest.param(Running(), running(4), [worker(4)], "", id="started"),
    ],
)
def test_pending(directory: pathlib.Path, before: Running, now: Running, answer: t.Any, word: str) -> None:
    (directory / "instances").mkdir()
    (directory / "instances" / "shop.ini").write_text(f"[uwsgi]\nstats = {directory}/%n.sock\n")
    body = json.dumps({"pid": 1, "workers": answer if isinstance(answer, list) else []})
    answering(directory / "shop.sock", body.encode())
    missing = UWSGI.pending("uwsgi@shop.service", Tree(str(directory)), [], before, now)
    assert word in missing if word else missing == ""


@pytest.mark.parametrize("listens", [False, True])
def test_stats_socket_that_does_not_answer_is_named(directory: pathlib.Path, listens: bool) -> None:
    (directory / "instances").mkdir()
    (directory / "instances" / "shop.ini").write_text(f"[uwsgi]\nstats = {directory}/%n.sock\n")
    if listens:
        answering(directory / "shop.sock", b"no json")
    missing = UWSGI.pending("uwsgi@shop.service", Tree(str(directory)), [], Running(), running(4))
    assert f"{directory}/shop.sock does not answer" in missing


def test_emperor_waits_for_the_changed_vassals_only(directory: pathlib.Path) -> None:
    (directory / "vassals").mkdir()
    for name in ("one", "two"):
        (directory / "vassals" / f"{name}.ini").write_text(f"[uwsgi]\nstats = {directory}/%n.sock\n")
    # Before, the master of one did not say in time which worker is its own: nothing of then is the new one's.
    before = Running(MASTER, running(2).children | running(3).children, {"vassals/two.ini": running(3)})
    now = Running(MASTER, frozenset(), {"vassals/one.ini": running(4), "vassals/two.ini": running(3)})
    tree = Tree(str(directory))
    answering(directory / "one.sock", json.dumps({"workers": [worker(4)]}).encode())
    assert UWSGI.pending("uwsgi-emperor.service", tree, ["vassals/one.ini"], before, now) == ""
    missing = UWSGI.pending("uwsgi-emperor.service", tree, ["vassals/two.ini"], before, now)
    assert missing == "vassals/two.ini: its old workers still run"
    late = Running(MASTER, frozenset(), {"vassals/one.ini": running(2), "vassals/two.ini": running(3)})
    missing = UWSGI.pending("uwsgi-emperor.service", tree, ["vassals/one.ini"], before, late)
    assert missing == "vassals/one.ini: its old workers still run"


def test_a_vassal_that_is_gone_before_it_is_told_to_go_is_no_error() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    before = Running(MASTER, parts={"vassals/a.ini": Running(Process(child.pid, 1, 1, 0))})
    old, new = ({"vassals": {"vassals/a.ini": {"socket": [path]}}} for path in ("/run/uwsgi/a/x", "/run/uwsgi/a/y"))
    UWSGI.reload("uwsgi-emperor.service", old, new, before, 1)


def test_only_vassals_written_since_the_emperor_read_them_are_unnoticed(directory: pathlib.Path) -> None:
    (directory / "vassals").mkdir()
    for name in ("a", "b"):
        (directory / "vassals" / f"{name}.ini").write_text("[uwsgi]\n")
    tree = Tree(str(directory))
    loaded = UWSGI.facts(EMPEROR, tree)
    assert UWSGI.unnoticed(EMPEROR, tree, loaded) == []
    os.utime(directory / "vassals" / "b.ini", ns=(1, 1))
    assert UWSGI.unnoticed(EMPEROR, tree, loaded) == ["vassals/b.ini"]
    # An instance is told by systemd; nothing watches its file.
    assert UWSGI.unnoticed("uwsgi@b.service", tree, {}) == []
