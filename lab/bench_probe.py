# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it takes to see that 1,000 endpoints answer: one task with endpoint_probe, or a loop with ansible.builtin.

Half of them are Unix sockets, half TCP, all on one host, and one small HTTP server answers. The loops ask 20 of
them, and are extrapolated. `wait_for` only connects, and only sees that a Unix socket's file is there; `ping` asks
nothing: a loop cannot be faster, since it starts a module 1,000 times, and one task starts it once. Module time is
what the host spends on a module, from the start of its Python to the end, by the clock and in CPU time (which does not
know what else the machine does); task time is what the user waits.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import statistics
import subprocess
import typing as t

import lab_docker

ROOT = pathlib.Path(__file__).resolve().parent.parent
STATE = ROOT / ".lab"
HOST = "weblab-bench-probe"
ENDPOINTS, LOOP = 1000, 20
TURNS = 3
COLUMNS = ("module_s", "module_cpu_s", "task_s")
FIRST_PORT = 20000
TIMES = "/run/bench/times"

#: Listens on everything in one process; every request gets the same answer.
SERVER = f"""
import selectors, socket
loop = selectors.DefaultSelector()
for number in range({ENDPOINTS // 2}):
    for family, address in ((socket.AF_UNIX, f"/run/bench/{{number}}.sock"),
                            (socket.AF_INET, ("127.0.0.1", {FIRST_PORT} + number))):
        listener = socket.socket(family)
        listener.bind(address)
        listener.listen(128)
        loop.register(listener, selectors.EVENT_READ)
open("/run/bench/ready", "w").close()
while True:
    for key, events in loop.select():
        client = key.fileobj.accept()[0]
        client.settimeout(5)
        if client.recv(65536):
            client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
        client.close()
"""
#: Stands in for the host's Python, and writes down how long every module took, by the clock and in CPU time.
PYTHON = f"""#!/usr/bin/python3
import os, subprocess, sys, time
started = time.monotonic()
code = subprocess.call(["/usr/bin/python3", *sys.argv[1:]])
with open("{TIMES}", "a") as file:
    print(time.monotonic() - started, sum(os.times()[2:4]), file=file)
sys.exit(code)
"""


def unix(number: int) -> str:
    return f"/run/bench/{number}.sock"


def tasks() -> dict[str, dict[str, t.Any]]:
    """The ways to ask, by name, and what a loop costs that asks nothing."""
    half = LOOP // 2
    every = [f"http+unix://{unix(number)}" for number in range(ENDPOINTS // 2)]
    every += [f"http://127.0.0.1:{FIRST_PORT + number}" for number in range(ENDPOINTS // 2)]
    files = [{"path": unix(number)} for number in range(half)]
    ports = [{"port": FIRST_PORT + number} for number in range(half)]
    unixes = [{"url": "http://localhost/", "unix_socket": unix(number)} for number in range(half)]
    urls = [{"url": f"http://127.0.0.1:{FIRST_PORT + number}/"} for number in range(half)]
    timeout = {"timeout": 60}
    return {
        "endpoint_probe": {"weblab.stacks.endpoint_probe": {"endpoints": every, **timeout}},
        "loop of wait_for": {
            "ansible.builtin.wait_for": "{{ item }}",
            "loop": [{**x, **timeout} for x in files + ports],
        },
        "loop of ping": {"ansible.builtin.ping": {}, "loop": list(range(LOOP))},
        "loop of uri": {"ansible.builtin.uri": "{{ item }}", "loop": [{**x, **timeout} for x in unixes + urls]},
    }


def on_host(script: str, stdin: str = "") -> str:
    return lab_docker.must(["docker", "exec", "-i", HOST, "sh", "-c", script], stdin=stdin)


def measured(name: str, task: dict[str, t.Any], work: pathlib.Path) -> tuple[float, float, float]:
    """Seconds in modules on the host, by the clock and in CPU time, and seconds of the task."""
    variables = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": HOST,
        "ansible_python_interpreter": "/usr/local/bin/bench-python",
    }
    inventory, play = work / "inventory.json", work / "play.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"bench": variables}}}), encoding="utf-8")
    # The first task makes the connection's acquaintance, and is not measured.
    plays = [
        {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]},
        {"hosts": "all", "gather_facts": False, "tasks": [{"name": name, **task}]},
    ]
    play.write_text(json.dumps(plays), encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "NO_COLOR": "1"}
    on_host(f": > {TIMES}")
    argv: list[str | pathlib.Path] = ["ansible-playbook", "-i", inventory, play]
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise lab_docker.LabError(f"{name} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    duration = json.loads(done.stdout)["plays"][1]["tasks"][0]["task"]["duration"]
    modules = [tuple(map(float, line.split())) for line in on_host(f"cat {TIMES}").splitlines()][1:]
    clock, cpu = (sum(column) for column in zip(*modules))
    return clock, cpu, _seconds(duration["start"], duration["end"])


def _seconds(start: str, end: str) -> float:
    first, last = (datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in (start, end))
    return (last - first).total_seconds()


def rows() -> list[dict[str, t.Any]]:
    work = STATE / "bench"
    work.mkdir(parents=True, exist_ok=True)
    lab_docker.down([HOST])
    found: list[dict[str, t.Any]] = []
    try:
        lab_docker.up(STATE, HOST, "bookworm", [], warm=True)
        on_host(
            "mkdir -p /run/bench; cat > /usr/local/bin/bench-python; chmod 0755 /usr/local/bin/bench-python", PYTHON
        )
        on_host("cat > /run/bench/server.py", SERVER)
        on_host("systemd-run --quiet --property=LimitNOFILE=4096 -- python3 /run/bench/server.py")
        on_host("for i in $(seq 100); do test -e /run/bench/ready && exit; sleep 0.1; done; exit 1")
        for name, task in tasks().items():
            lab_docker.say(f"Measuring {name}")
            asked = LOOP if "loop" in task else ENDPOINTS
            turns = [measured(name, task, work) for _turn in range(TURNS)]
            medians = (statistics.median(column) * ENDPOINTS / asked for column in zip(*turns))
            found.append({"what": name, "asked": asked, **dict(zip(COLUMNS, medians))})
    finally:
        lab_docker.down([HOST])
    return [
        {
            **{key: round(value, 2) if key in COLUMNS else value for key, value in row.items()},
            **{f"{key}_ratio": round(row[key] / found[0][key]) for key in COLUMNS},
        }
        for row in found
    ]
