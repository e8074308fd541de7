# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run playbooks against a test host, as a user would."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Run:
    """What ansible-playbook said, and how it ended."""

    code: int
    output: str

    @property
    def text(self) -> str:
        """What was said, without YAML's line breaks and doubled quotes."""
        return " ".join(self.output.split()).replace("''", "'")

    def recap(self, word: str) -> int:
        """Return a number of the recap line, such as ``changed``."""
        found = re.findall(rf"\b{word}=(\d+)", self.output.rpartition("PLAY RECAP")[2])
        assert found, self.output
        return sum(map(int, found))


def play(inventory: pathlib.Path, playbook: pathlib.Path, *options: str) -> Run:
    """Run a playbook with an inventory."""
    done = subprocess.run(
        [pathlib.Path(sys.executable).parent / "ansible-playbook", "-i", inventory, playbook, *options],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Run(done.returncode, done.stdout + done.stderr)


class Stand:
    """A host with variables, and a directory for the inventory."""

    def __init__(self, name: str, directory: pathlib.Path) -> None:
        self.name = name
        self.directory = directory

    def play(self, playbook: str | list[dict[str, t.Any]], variables: dict[str, t.Any], *options: str) -> Run:
        """Run a playbook of the collection by name, or the plays given."""
        host = {"ansible_connection": "community.docker.docker", "ansible_host": self.name, **variables}
        inventory = self.directory / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"stand": host}}}), encoding="utf-8")
        if isinstance(playbook, str):
            path = ROOT / "playbooks" / f"{playbook}.yml"
        else:
            path = self.directory / "play.json"
            path.write_text(json.dumps(playbook), encoding="utf-8")
        return play(inventory, path, *options)

    def site(self, sites: list[t.Any], *options: str) -> Run:
        return self.play("site", {"weblab_sites": sites}, *options)
