# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make lab` on a lab that runs: it takes seconds, changes nothing, and shows what is there."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import urllib.request

import lab_docker
import pytest
from visitor import visiting

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONTAINER = "weblab-lab"


@pytest.fixture(scope="module")
def again() -> str:
    """What another `make lab` prints."""
    found = lab_docker.run(["docker", "inspect", "--format", "{{.State.Running}}", CONTAINER])
    if found.stdout.strip() != "true":
        pytest.skip("no lab runs here; run `make lab`")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    with visiting():
        done = subprocess.run(
            ["make", "lab"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_second_run_changes_nothing(again: str) -> None:
    recaps = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", again, flags=re.MULTILINE)
    assert len(recaps) == 3, again
    assert [recap for recap in recaps if recap[1] != "0"] == [], again


def test_the_second_run_grows_with_the_daemons_and_not_with_the_sites(again: str) -> None:
    # Each task is a round trip; what the run takes is printed by phase, and measured by `make bench`.
    tasks = [int(ok) for ok in re.findall(r"^\S+ +: ok=(\d+)", again, flags=re.MULTILINE)]
    sites = json.loads((ROOT / ".lab" / "lab.json").read_text(encoding="utf-8"))
    assert max(tasks) < 5 * len(sites), again


def test_phases_and_their_times_are_shown(again: str) -> None:
    for phase in ("Docker engine", "Image of bookworm", "Virtual environment", "Lab hosts", "Stacks", "Verification"):
        assert re.search(rf"^==> {phase}.*: \d+\.\d s$", again, flags=re.MULTILINE), again


def test_the_lab_scores_full_in_the_whole_lecture(again: str, tmp_path: pathlib.Path) -> None:
    # `make lab` has held it against the rubric of one's own sites.
    assert re.search(r"^lab +100 % +accepted$", again, flags=re.MULTILINE), again
    argv = ["ansible-playbook", "-i", "inventories/lab", "playbooks/verify.yml", "-e", "verify_rubric=lecture"]
    with visiting():
        done = subprocess.run(
            [*argv, "-e", f"verify_results={tmp_path}"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    document = json.loads((tmp_path / "lab.json").read_text(encoding="utf-8"))
    assert (document["verdict"], document["percent"]) == ("accepted", 100)
    states = {one["id"]: one["state"] for section in document["sections"] for one in section["criteria"]}
    # What nobody asked for is not there; everything else is seen to be right.
    changes = {"stops_alone", "second_run", "back_after_reboot"}
    assert {name for name, state in states.items() if state != "ok"} == changes


def test_table_and_json_show_every_stack(again: str) -> None:
    stacks = json.loads((ROOT / ".lab" / "lab.json").read_text(encoding="utf-8"))
    assert stacks
    table = again.rpartition("What it took")[2]
    for stack in stacks:
        assert {"stack", "url", "host", "endpoints", "state"} <= set(stack)
        assert stack["state"] == "ok", stack
        assert stack["stack"] in table
        assert stack["url"] in table
        for endpoint in stack["endpoints"]:
            assert endpoint["address"] in table
        # The oracle: somebody who did not write the table opens the link.
        with urllib.request.urlopen(stack["url"], timeout=20) as answer:
            assert answer.status == 200
