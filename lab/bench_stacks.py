# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a stack costs over what it cannot do without, both measured here and now.

* the first run, over a bare `apt-get install` of the same packages on a host like it;
* the second run, over a playbook that only gathers facts.

The sites are those of the Molecule scenarios; the packages are downloaded before, so the network is not measured.
"""

from __future__ import annotations

import json
import pathlib
import re
import statistics
import subprocess
import time
import typing as t

import lab_docker

ROOT = pathlib.Path(__file__).resolve().parent.parent
STATE = ROOT / ".lab"
STACKS = ("apache_prefork_mod_php", "apache_event_php_fpm", "nginx_uwsgi_monolith", "nginx_uwsgi_microservices")
#: A second run and a gathering of facts take turns, so that a slow minute of the machine hits both.
TURNS = 3
FACTS = "- hosts: weblab\n  gather_facts: true\n  tasks: []\n"


def timed(argv: t.Sequence[str | pathlib.Path]) -> tuple[float, str]:
    started = time.monotonic()
    done = subprocess.run(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise lab_docker.LabError(f"{' '.join(map(str, argv))} failed:\n{done.stdout[-4000:]}")
    return time.monotonic() - started, done.stdout


def packages(host: str) -> set[str]:
    return set(lab_docker.must(["docker", "exec", host, "apt-mark", "showmanual"]).split())


def measure(stack: str, work: pathlib.Path) -> dict[str, t.Any]:
    host, bare = f"weblab-bench-{stack}", f"weblab-bench-{stack}-apt"
    inventory = work / f"{stack}.yml"
    inventory.write_text(
        json.dumps({"weblab": {"hosts": {stack.replace("_", "-"): {"ansible_host": host}}}}), encoding="utf-8"
    )
    facts = work / "facts.yml"
    facts.write_text(FACTS, encoding="utf-8")
    sites = ROOT / "molecule" / stack / "inventory"
    ansible: list[str | pathlib.Path] = ["ansible-playbook", "-i", sites, "-i", inventory]
    lab_docker.down([host, bare])
    try:
        for name in (host, bare):
            lab_docker.up(STATE, name, "bookworm", [], warm=True)
        timed([*ansible, "molecule/shared/prepare.yml"])
        before = packages(host)
        first, _output = timed([*ansible, "playbooks/site.yml"])
        wanted = sorted(packages(host) - before)
        script = 'DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"'
        apt, _output = timed(["docker", "exec", bare, "sh", "-c", script, "sh", *wanted])
        seconds: list[float] = []
        gathers: list[float] = []
        tasks = changed = 0
        for _turn in range(TURNS):
            taken, output = timed([*ansible, "playbooks/site.yml"])
            seconds.append(taken)
            gathers.append(timed([*ansible, facts])[0])
            recap = re.search(r": ok=(\d+) +changed=(\d+)", output)
            tasks, changed = (int(recap[1]), int(recap[2])) if recap else (0, 0)
    finally:
        lab_docker.down([host, bare])
    second, gather = statistics.median(seconds), statistics.median(gathers)
    return {
        "stack": stack, "packages": wanted, "first_run_s": round(first, 2), "apt_s": round(apt, 2),
        "first_over_apt": round(first / apt, 2), "first_minus_apt_s": round(first - apt, 2),
        "second_run_s": round(second, 2), "facts_s": round(gather, 2), "second_over_facts": round(second / gather, 2),
        "second_run_tasks": tasks, "second_run_changed": changed,
    }  # fmt: skip


def rows() -> list[dict[str, t.Any]]:
    work = STATE / "bench"
    work.mkdir(parents=True, exist_ok=True)
    found = []
    for stack in STACKS:
        lab_docker.say(f"Measuring {stack}")
        found.append(measure(stack, work))
    return found
