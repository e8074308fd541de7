# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every role promises about its variables, held against itself."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def load(role: str, file: str) -> t.Any:
    return yaml.safe_load((ROOT / "roles" / role / file).read_text(encoding="utf-8")) or {}


def options(role: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for entry_point in load(role, "meta/argument_specs.yml")["argument_specs"].values():
        found |= entry_point.get("options", {})
    return found


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_agree(role: str) -> None:
    defaults, specs = load(role, "defaults/main.yml"), options(role)
    assert set(defaults) <= set(specs), "a default that the argument specs do not know"
    assert {name for name, spec in specs.items() if not spec.get("required")} <= set(defaults), "no default"
    stated = {name: spec["default"] for name, spec in specs.items() if "default" in spec}
    assert stated == {name: defaults[name] for name in stated}


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_roles_name(role: str) -> None:
    names = set(load(role, "defaults/main.yml")) | set(options(role))
    assert {name for name in names if not name.startswith(f"{role}_")} == set()


@pytest.mark.parametrize("role", ROLES)
def test_no_variable_is_without_use(role: str) -> None:
    directory = ROOT / "roles" / role
    files = [
        path
        for path in directory.rglob("*")
        if path.is_file() and path.suffix in (".yml", ".j2") and path.parent.name != "meta"
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    unused = [name for name in load(role, "defaults/main.yml") if len(re.findall(rf"\b{name}\b", text)) < 2]
    assert unused == []


@pytest.mark.parametrize("role", ROLES)
def test_task_names_say_stem_and_what_happens(role: str) -> None:
    for file in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        for task in yaml.safe_load(file.read_text(encoding="utf-8")):
            assert re.match(r"^[A-Z][\w -]* \| \w", task["name"]), f"{file.name}: {task['name']}"


@pytest.mark.parametrize("program", ["readmes.py", "broken_stands.py"])
def test_pages_show_the_data_as_it_is(program: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "lab" / program, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
