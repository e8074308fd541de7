# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a test host: takes a tree from one state to another and back, and strikes at one system call after another.

strace strikes: it kills the process in front of the call, or has the call fail. What is true then is asked with find,
sha256sum, stat and a client of the daemon. The task comes on standard input, what was seen goes to standard output.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import typing as t

LOG = "/srv/strace.log"
#: Whatever changes something, or starts or waits for a program.
CALLS = (
    "rename renameat renameat2 symlink symlinkat link linkat unlink unlinkat rmdir mkdir mkdirat chown fchown lchown "
    "fchownat chmod fchmod fchmodat utimensat fsync syncfs sendfile copy_file_range flock kill vfork clone clone3"
).split()
WAITS = ["poll", "wait4"]
FILES = ["openat", "write"]
#: Where a run has no business to leave anything.
PLACES = "/etc /tmp /run/weblab.stacks /run/lock/weblab.stacks /srv"


def shell(script: str) -> str:
    return subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, check=False).stdout


def strace(calls: t.Sequence[str], *options: str) -> list[str]:
    return ["strace", "-qq", "-o", LOG, "-e", f"trace={','.join(f'?{call}' for call in calls)}", *options]


class Sweep:
    """
    :param states: options of two states of one tree.
    :param ask: a command that is answered with the name of the state that the daemon serves.
    :param stepwise: whether the tree may be a mixture when the run was killed.
    """

    def __init__(self, states: dict[str, t.Any], ask: str, stepwise: bool) -> None:
        self.states = states
        self.ask = ask
        self.stepwise = stepwise
        options = next(iter(states.values()))
        self.root = options["root"]
        self.system = sorted(
            {
                entry["system"]
                for state in states.values()
                for entries in state["owners"].values()
                for entry in entries
                if "system" in entry
            }
        )
        self.trees: dict[str, str] = {}
        self.files: dict[str, dict[str, str]] = {}
        self.names: dict[str, str] = {}
        self.failures: list[str] = []
        self.seen: dict[str, int] = {}

    def run(self, state: str, *wrap: str) -> tuple[int, dict[str, t.Any]]:
        done = subprocess.run(
            [*wrap, "python3", "/srv/driver.py"],
            input=json.dumps(self.states[state]),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode >= 0 and not done.stdout:
            return done.returncode, {"msg": f"no result: {done.stderr[-1500:]}", "crashed": True}
        return done.returncode, json.loads(done.stdout) if done.stdout else {}

    def tree(self) -> str:
        names = shell(f"find {self.root} -printf '%P %y %m %U %G %l\\n' 2>/dev/null | sort")
        if len(names.splitlines()) < 2:
            # An empty directory is where a tree that was not there before is tested.
            return ""
        return names + shell(f"find {self.root} -type f -exec sha256sum {{}} + 2>/dev/null | sort")

    def system_files(self) -> dict[str, str]:
        return {path: shell(f"stat -c '%a %U %G' {path} 2>&1; cat {path} 2>&1") for path in self.system}

    def listing(self) -> str:
        return shell(f"find {PLACES} -xdev 2>/dev/null | grep -vE '{LOG}|/tmp/systemd-private-' | sort")

    def served(self) -> str:
        # A daemon may just be restarting, whoever asked it to.
        answer = ""
        for _attempt in range(50):
            answer = shell(f"{self.ask} 2>/dev/null").strip()
            if answer in self.states:
                break
            time.sleep(0.1)
        return answer

    def learn(self) -> None:
        """What each of the two states looks like when nothing goes wrong."""
        for _round in range(2):
            for state in self.states:
                _code, result = self.run(state)
                assert not result["msg"], result
                self.trees[state], self.files[state] = self.tree(), self.system_files()
                self.names[state] = self.listing()
                assert self.served() == state, (state, self.served())

    def points(self, calls: t.Sequence[str], matching: str, first: str, second: str) -> list[tuple[str, int]]:
        """The calls of a run from one state to the other that are worth a strike: each counts for itself."""
        self.run(first)
        self.run(second, *strace(calls))
        with open(LOG, encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if not line.startswith(("---", "+++"))]
        self.run(first)
        counts: dict[str, int] = {}
        found = []
        for line in lines:
            name = line.partition("(")[0]
            counts[name] = counts.get(name, 0) + 1
            if re.search(matching, line):
                found.append((name, counts[name]))
        return found

    def strike(self, how: str, calls: t.Sequence[str], matching: str, step: int) -> None:
        first, second = self.states
        now = first
        for count, (name, number) in enumerate(self.points(calls, matching, first, second)[::step]):
            target = second if now == first else first
            where = f"{how} at {name} {number}, from {now} to {target}"
            code, result = self.run(target, *strace(calls, f"--inject={name}:{how}:when={number}"))
            found = self.look(where, now, target, killed=code < 0, result=result)
            self.seen[found] = self.seen.get(found, 0) + 1
            # One time forward, one time back.
            now = target if count % 2 else now
            _code, result = self.run(now)
            if result.get("msg"):
                self.failures.append(f"{where}: the next run failed: {result['msg']}")
            self.settled(where, now)

    def look(self, where: str, old: str, new: str, *, killed: bool, result: dict[str, t.Any]) -> str:
        tree, files, served = self.tree(), self.system_files(), self.served()
        is_tree = old if tree == self.trees[old] else new if tree == self.trees[new] else "mixture"
        kind = "killed" if killed else "failed" if result.get("msg") else "done"
        problems = []
        if is_tree == "mixture" and not (killed and self.stepwise):
            problems.append(f"the tree is a mixture:\n{tree}")
        if served not in self.states:
            problems.append(f"it serves {served!r}")
        for path, text in files.items():
            if text not in (self.files[old][path], self.files[new][path]):
                problems.append(f"{path} is neither: {text}")
        if kind != "killed":
            wanted = old if kind == "failed" else new
            if is_tree != wanted or files != self.files[wanted] or served != wanted:
                problems.append(f"it {kind} and left {is_tree}, serving {served!r}: {result.get('msg')}")
            words = result.get("msg", "")
            if kind == "failed" and ("by hand" in words or not re.search(r"Nothing was changed|was restored", words)):
                problems.append(f"the message does not help: {words}")
            if result.get("crashed"):
                problems.append(words)
        self.failures += [f"{where}: {problem}" for problem in problems]
        return f"{kind} {'new' if is_tree == new else 'old' if is_tree == old else 'mixture'}"

    def settled(self, where: str, state: str) -> None:
        if self.tree() != self.trees[state] or self.system_files() != self.files[state]:
            self.failures.append(f"{where}: after the next run it is not {state}:\n{self.tree()}")
        if self.served() != state:
            self.failures.append(f"{where}: after the next run it serves {self.served()!r}")
        here, wanted = set(self.listing().splitlines()), set(self.names[state].splitlines())
        if here != wanted:
            self.failures.append(f"{where}: the next run left {sorted(here ^ wanted)}")


def main() -> None:
    task = json.load(sys.stdin)
    sweep = Sweep(task["states"], task["ask"], task.get("stepwise", False))
    sweep.learn()
    for how, calls, matching, step in task["strikes"]:
        sweep.strike(how, {"calls": CALLS, "all": CALLS + WAITS, "files": FILES}[calls], matching, step)
    json.dump({"failures": sweep.failures, "seen": sweep.seen}, sys.stdout)


if __name__ == "__main__":
    main()
