# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts that experiments measure: what runs inside, what serves there, and on what machine."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import re
import subprocess
import typing as t

import lab_docker

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = os.environ.get("WEBLAB_BENCH_RELEASE", "bookworm")


def inside(host: str, *words: str, stdin: str = "", timeout: float = 120) -> str:
    """Run a program on a host and return what it says.

    :raises lab_docker.LabError: when it fails.
    """
    done = lab_docker.run(["docker", "exec", "-i", host, *words], stdin=stdin, timeout=timeout)
    if done.returncode:
        raise lab_docker.LabError(f"{' '.join(words)[:200]} failed on {host}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def shell(host: str, script: str, timeout: float = 120) -> str:
    return inside(host, "sh", "-eu", stdin=script, timeout=timeout)


def python(host: str, program: str, task: t.Mapping[str, t.Any], timeout: float = 120) -> dict[str, t.Any]:
    """Run a program of this directory on a host, with a task, and return what it found."""
    text = pathlib.Path(__file__).with_name(program).read_text(encoding="utf-8")
    found: dict[str, t.Any] = json.loads(inside(host, "python3", "-", json.dumps(task), stdin=text, timeout=timeout))
    return found


def serve(host: str, work: pathlib.Path, variables: t.Mapping[str, t.Any], *playbooks: str) -> None:
    """Apply playbooks of the collection to a host, as a user would."""
    connection = {"ansible_connection": "community.docker.docker", "ansible_host": host, "weblab_lab_dir": str(work)}
    inventory = work / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"bench": {**connection, **variables}}}}), encoding="utf-8")
    for playbook in playbooks:
        argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(inventory), f"playbooks/{playbook}.yml"]
        done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise lab_docker.LabError(f"playbooks/{playbook}.yml failed:\n{(done.stdout + done.stderr)[-4000:]}")


def machine() -> list[str]:
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return [
        model[1] if model else platform.processor(), f"{os.cpu_count()} CPUs", platform.release(), RELEASE,
    ]  # fmt: skip
