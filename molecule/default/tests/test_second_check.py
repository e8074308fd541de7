# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode after converge must find nothing to change; Molecule itself only asks whether it fails."""

from __future__ import annotations

import os
import pathlib
import re

import pytest


def test_check_mode_finds_nothing_to_change() -> None:
    log = pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "ansible.log").read_text(encoding="utf-8")
    last_run = log.rpartition("\nPLAY RECAP" if "\nPLAY RECAP" in log else "PLAY RECAP")
    before = last_run[0].rpartition("PLAY RECAP")[2]
    if "[CHECK MODE]" not in before:
        pytest.skip("the last run was not in check mode: run the whole sequence, molecule test -s NAME")
    recap = re.findall(r"^\S*.*?(\S+)\s+: ok=\d+\s+changed=(\d+)", last_run[2], flags=re.MULTILINE)
    assert recap, "no recap in the log of the last run"
    assert {host: int(changed) for host, changed in recap if int(changed)} == {}
