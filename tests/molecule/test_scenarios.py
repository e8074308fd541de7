# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every Molecule scenario as one test: the same `molecule test -s NAME` that a developer runs."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
#: The longest first: all stacks on one host.
SCENARIOS = sorted(
    (path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")),
    key=lambda name: (not name.startswith("default"), name),
)
LIMIT = 1200


#: The lab's own inventory is always there; of the others, which are a stack or a component each, every second.
@pytest.mark.parametrize(
    "scenario", [name if name == "default" else pytest.param(name, marks=pytest.mark.sampled(2)) for name in SCENARIOS]
)
def test_scenario(scenario: str, named_host: t.Callable[[str], object], tmp_path: pathlib.Path) -> None:
    named_host(f"weblab-test-{scenario}")
    # --destroy=never: the daemons' logs are wanted after a failure.
    argv = [sys.executable, "-m", "molecule", "test", "-s", scenario, "--destroy=never", "--no-command-borders"]
    environment = {
        **os.environ,
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule"),
        "NO_COLOR": "1",
        "PWD": str(ROOT),
    }
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    if done.returncode:
        steps = re.findall(rf"{scenario} > (\w+)\]? .*Failed", done.stdout)
        last = "\n".join([line for line in done.stdout.splitlines() if line.strip()][-200:])
        pytest.fail(f"scenario {scenario} failed in {', '.join(dict.fromkeys(steps)) or '?'}:\n{last}", pytrace=False)
