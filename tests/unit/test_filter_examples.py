# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example of every filter runs, and gives what its documentation says."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
from examples import FILTERS, ROOT, of_filter

KINDS: dict[str, type] = {"str": str, "dict": dict, "list": list}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[t.Any]]:
    """Filter -> what each of its examples gave; one run for all."""
    tasks = []
    for name in FILTERS:
        examples, _returned = of_filter(name)
        assert examples, f"{name} has no example"
        for task in examples:
            assert f"weblab.stacks.{name}" in task["ansible.builtin.debug"]["msg"]
            tasks.append({**task, "name": name})
    directory = tmp_path_factory.mktemp("filters")
    play = {"hosts": "localhost", "connection": "local", "gather_subset": ["hardware"], "tasks": tasks}
    (directory / "play.json").write_text(json.dumps([play]), encoding="utf-8")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
    }
    playbook = pathlib.Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [playbook, "-i", "localhost,", "play.json"],
        cwd=directory, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[t.Any]] = {}
    for task in json.loads(done.stdout)["plays"][0]["tasks"]:
        found.setdefault(task["task"]["name"], []).append(task["hosts"]["localhost"].get("msg"))
    return found


@pytest.mark.parametrize("name", FILTERS)
def test_the_example_gives_what_the_documentation_says(results: dict[str, list[t.Any]], name: str) -> None:
    _tasks, returned = of_filter(name)
    value = results[name][0]
    if returned["type"] in KINDS:
        assert isinstance(value, KINDS[returned["type"]])
    if "sample" in returned:
        assert value == returned["sample"]
    else:
        assert value, "an example without a sample shows something at least"
    # "With the keys C(one) and C(two)": those, and no other ones.
    named = set(re.findall(r"\bC\((\w+)\)", returned["description"]))
    first = value[0] if isinstance(value, list) else value
    if named:
        assert set(first) == named
