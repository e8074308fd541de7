# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a class costs: 1, 10, 20 and 30 stands checked in one run of playbooks/verify.yml, ten at a time.

Each stand is a container with two sites of the stack nginx_uwsgi_monolith. Beside each run, in turn with it, a playbook
that only gathers the facts of the same hosts. `over_facts_s` is what a stand costs beyond that; memory is that of all
Ansible's processes together, with what they share counted once (PSS).
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import threading
import time
import typing as t

import lab_docker
import measured

STANDS = (1, 10, 20, 30)
FORKS = 10
IMAGE = "weblab-bench-verify:stand"
FACTS = "- hosts: stands\n  gather_facts: true\n  tasks: []\n"
BACKEND = "uwsgi+unix:///run/uwsgi/demo/www-data/uwsgi.sock"
SITE = {
    "name": "demo", "stack": "nginx_uwsgi_monolith", "port": 8083, "user": "demo", "processes": 2,
    "application": {"path": "/usr/lib", "module": "wsgiref.simple_server:demo_app"},
}  # fmt: skip
OTHER = {**SITE, "name": "other", "port": 8084, "user": "other"}


def rows() -> list[dict[str, t.Any]]:
    work = measured.ROOT / ".lab" / "bench"
    work.mkdir(parents=True, exist_ok=True)
    names = [f"weblab-bench-stand-{number}" for number in range(max(STANDS))]
    lab_docker.down(names)
    try:
        addresses = _class(names, work)
        return [_row(count, names[:count], addresses, work) for count in STANDS]
    finally:
        lab_docker.down(names)
        lab_docker.run(["docker", "image", "rm", "--force", IMAGE])


def _class(names: t.Sequence[str], work: pathlib.Path) -> list[str]:
    """One stand, made by the collection, and copies of it; their addresses."""
    first = names[0]
    lab_docker.say("Making a stand")
    lab_docker.up(work.parent, first, measured.RELEASE, [], warm=True)
    measured.serve(first, work, {"weblab_sites": [SITE, OTHER]}, "site")
    lab_docker.must(["docker", "commit", first, IMAGE])
    lab_docker.say(f"Starting {len(names) - 1} like it")
    label = f"{lab_docker.LABEL}=host"
    for name in names[1:]:
        words = ["docker", "run", "-d", "--name", name, "--hostname", name, "--label", label, *lab_docker.RUN_OPTIONS]
        lab_docker.must([*words, IMAGE])
    for name in names[1:]:
        lab_docker.wait_for_systemd(name)
    return [measured.shell(name, "hostname --all-ip-addresses").split()[0] for name in names]


def _row(count: int, names: t.Sequence[str], addresses: t.Sequence[str], work: pathlib.Path) -> dict[str, t.Any]:
    lab_docker.say(f"Checking {count}")
    sites = [
        {
            "name": site["name"], "port": site["port"], "served_by": "uwsgi", "nonce": "/?q={nonce}",
            "backend": BACKEND.replace("demo", str(site["name"])),
        }
        for site in (SITE, OTHER)
    ]  # fmt: skip
    hosts = {
        name: {"ansible_connection": "community.docker.docker", "verify_address": address}
        for name, address in zip(names, addresses)
    }
    results = work / "verify"
    variables = {"verify_stand": {"sites": sites}, "verify_results": str(results), "verify_fails": False}
    inventory = work / "stands.json"
    inventory.write_text(json.dumps({"stands": {"hosts": hosts, "vars": variables}}), encoding="utf-8")
    facts = work / "facts.yml"
    facts.write_text(FACTS, encoding="utf-8")
    for path in results.glob("*.json"):
        path.unlink()
    gathered, _peak = _timed(inventory, facts)
    seconds, peak = _timed(inventory, measured.ROOT / "playbooks" / "verify.yml")
    percents = {json.loads(path.read_text(encoding="utf-8"))["percent"] for path in results.glob("*.json")}
    if len(list(results.glob("*.json"))) != count or len(percents) != 1:
        raise lab_docker.LabError(f"{count} stands that are the same came to {sorted(percents)} percent")
    return {
        "stands": count, "seconds": round(seconds, 2), "facts_s": round(gathered, 2),
        "stand_s": round(seconds / count, 2), "over_facts_s": round((seconds - gathered) / count, 2),
        "memory_mib": round(peak / 2**20), "percent": percents.pop(), "machine": measured.machine(),
    }  # fmt: skip


def _timed(inventory: pathlib.Path, playbook: pathlib.Path) -> tuple[float, int]:
    """Seconds, and bytes of memory at the most."""
    started = time.monotonic()
    ansible = subprocess.Popen(
        [measured.ROOT / ".venv/bin/ansible-playbook", "-i", inventory, "--forks", str(FORKS), playbook],
        cwd=measured.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    peaks = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peaks.append(sum(map(_memory, _family(ansible.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _none = ansible.communicate()
    seconds = time.monotonic() - started
    done.set()
    watcher.join()
    if ansible.returncode:
        raise lab_docker.LabError(f"{playbook} failed:\n{output[-4000:]}")
    return seconds, max(peaks)


def _family(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text(encoding="ascii").split())
    return [pid, *(one for child in children for one in _family(child))]


def _memory(pid: int) -> int:
    """PSS in bytes (proc(5), smaps_rollup)."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
