# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the web servers of this host for something, and write down which system calls they made to answer.

    record.py requests.json steps.json [--if-new] [--method strace|proc]

With strace, every call of the processes that listen there; without it, or where the kernel does not let it look, what
/proc tells of them at some moments of a request. The servers are only watched, and strace lets go of them after some
seconds, whatever happens. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
import uuid
from pathlib import Path

import calls
import client
import processes

#: strace ends by itself after this, should this program be killed.
LIMIT = 20
#: How often a server is asked whose children have changed meanwhile.
ATTEMPTS = 3
TRACED = "%network,%desc,%file,futex,semop,semtimedop"
#: Longer than the names and values that a front server hands on, so that the nonce is among what is seen.
STRING = 4096


class Problem(Exception):
    """What is wrong, where, and what to do."""


def listeners(request: dict[str, t.Any], where: str) -> list[processes.Process]:
    """Everybody who could accept on one of the request's sockets, the parents of the others marked as such."""
    found: dict[int, processes.Process] = {}
    for socket in request["sockets"]:
        inodes = processes.listening(socket)
        if not inodes:
            name = socket.get("unix") or f"port {socket['port']}"
            raise Problem(f"{where}: nothing listens on {name}; start the site, or take it out of the requests")
        for process in processes.holders(inodes, processes.name_of(socket)):
            found.setdefault(process.pid, process)
    for process in found.values():
        process.role = "master" if any(other.ppid == process.pid for other in found.values()) else "worker"
    return list(found.values())


class Trace:
    """strace on some processes, from the moment when it has all of them until it lets them go."""

    def __init__(self, watched: list[processes.Process]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="webserver-steps-"))
        self.said = self.directory / "said"
        with self.said.open("wb") as said:
            pids = ",".join(str(process.pid) for process in watched)
            argv = ["strace", "-ff", "-ttt", "-T", "-yy", "-s", str(STRING), "-e", f"trace={TRACED}"]
            argv += ["-o", str(self.directory / "call"), "-p", pids]
            self.strace = subprocess.Popen(
                ["timeout", "--signal", "INT", "--kill-after", "2", str(LIMIT), *argv],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        self.watched = watched

    def attached(self) -> bool:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and self.strace.poll() is None:
            if all(processes.is_traced(process.pid) for process in self.watched):
                # A call that was under way begins anew.
                time.sleep(0.1)
                return True
            time.sleep(0.02)
        return False

    def end(self) -> dict[int, list[calls.Call]]:
        """Let go, and return the calls of every thread."""
        try:
            if self.strace.poll() is None:
                self.strace.terminate()
            self.strace.wait()
            return {
                int(path.suffix[1:]): calls.read(path.read_text("utf-8", "replace"))
                for path in self.directory.glob("call.*")
            }
        finally:
            shutil.rmtree(self.directory)


def with_strace(request: dict[str, t.Any], where: str) -> dict[str, t.Any] | None:
    """All rounds of a request with their calls, or None where strace cannot look."""
    everybody = listeners(request, where)
    waiting = {process.pid: processes.waits_of(process.pid) for process in everybody}
    workers = [process for process in everybody if process.role == "worker"]
    if not workers:
        return None
    trace = Trace(workers)
    answers: list[client.Answer] = []
    try:
        ready = trace.attached()
        if ready:
            answers = client.ask(request, uuid.uuid4().hex)
    finally:
        traced = trace.end()
    if not ready:
        return None
    owners = {thread: process for process in workers for thread in process.threads}
    return {
        "method": "strace",
        "processes": [{**process.shown(), "waits": waiting[process.pid]} for process in everybody],
        "rounds": [
            {**answer.shown(), **calls.round_of(traced, owners, answer.nonce, answer.began, answer.ended)}
            for answer in answers
        ],
    }


def with_proc(request: dict[str, t.Any], where: str) -> dict[str, t.Any]:
    """One request, and what /proc says at its moments."""
    everybody = listeners(request, where)
    moments: list[dict[str, t.Any]] = []
    before = processes.snapshot(everybody)
    shown = [{**process.shown(), "waits": processes.waits_of(process.pid)} for process in everybody]

    def look(moment: str, port: int) -> None:
        nonlocal before
        now = processes.snapshot(everybody)
        connection = processes.connection(request["sockets"][0], port, everybody)
        moments.append({"moment": moment, "connection": connection, "threads": processes.moved(before, now)})
        before = now

    answer = client.ask_slowly(request, uuid.uuid4().hex, look)
    return {
        "method": "proc",
        "sees": any(process["waits"] for process in shown if process["role"] == "worker"),
        "processes": shown,
        "moments": moments,
        "rounds": [answer.shown()],
    }


def record(requests: list[dict[str, t.Any]], method: str) -> dict[str, t.Any]:
    recorded = []
    for number, request in enumerate(requests):
        where = f"requests[{number}], {request['kind']} of {request['site']}"
        try:
            done = None
            # strace cannot attach to a child that has ended meanwhile, and does not see one that was born.
            for _attempt in range(ATTEMPTS if method == "strace" else 0):
                done = with_strace(request, where)
                if done and all(round_["actors"] for round_ in done["rounds"]):
                    break
            done = done or with_proc(request, where)
        except client.Unanswered as problem:
            raise Problem(f"{where}: {problem}; look into the logs of its servers") from problem
        recorded.append({**{key: request[key] for key in ("kind", "site", "port", "path")}, **done})
    return {
        "recorded": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "requests": recorded,
    }


def digest(requests: str, method: str) -> str:
    """What a recording is of: the requests, the way, and this program."""
    parts = [requests, method, *(path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.py")))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description="Record the system calls with which web servers answer.")
    parser.add_argument("requests", type=Path, help="what to ask for")
    parser.add_argument("steps", type=Path, help="where to write what was seen")
    parser.add_argument("--if-new", action="store_true", help="leave a recording of the same requests alone")
    parser.add_argument("--method", choices=["strace", "proc"], help="strace where there is one, else /proc")
    arguments = parser.parse_args()
    text = arguments.requests.read_text("utf-8")
    method = arguments.method or ("strace" if shutil.which("strace") else "proc")
    wanted = digest(text, method)
    if arguments.if_new:
        try:
            if json.loads(arguments.steps.read_text("utf-8")).get("digest") == wanted:
                print("there already")
                return 0
        except (OSError, ValueError):
            pass
    try:
        steps = {"digest": wanted, **record(json.loads(text), method)}
    except (Problem, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    temporary = arguments.steps.with_name(f".{arguments.steps.name}.new")
    temporary.write_text(json.dumps(steps, ensure_ascii=False, indent=1) + "\n", "utf-8")
    temporary.chmod(0o644)
    os.replace(temporary, arguments.steps)
    print("recorded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
