# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The directory where a tree is built, and the journal that a killed run leaves in it."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _workplace
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import Ledger
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._workplace import Journal, Workplace

JOURNAL = Journal(
    Ledger({"shop": frozenset({"/etc/default/shop"})}, frozenset({"/etc/default/shop"})), ("a.service",), True
)


def test_a_journal_is_found_by_the_next_run(tmp_path: pathlib.Path) -> None:
    work = Workplace.make(str(tmp_path), "nginx")
    assert stat.S_IMODE(os.stat(work.path).st_mode) == 0o700
    work.write_journal(JOURNAL)
    os.makedirs(os.path.join(work.tree, "conf.d"))
    Workplace.make(str(tmp_path), "nginx2")
    (tmp_path / ".nginx.weblab-link").symlink_to(tmp_path)
    (found,) = _workplace.left(str(tmp_path), "nginx")
    found.clear()
    assert found.read_journal() == JOURNAL
    found.remove()
    assert _workplace.left(str(tmp_path), "nginx") == []


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"ledger": "x", "units": [], "created": true}'])
def test_a_journal_that_was_never_complete_says_nothing(tmp_path: pathlib.Path, text: str | None) -> None:
    work = Workplace.make(str(tmp_path), "nginx")
    if text is not None:
        pathlib.Path(work.path, "journal.json").write_text(text)
    assert work.read_journal() == Journal()


def test_who_works_there(tmp_path: pathlib.Path) -> None:
    assert not Workplace.make(str(tmp_path), "etc-my.weblab-x").abandoned
    dead = subprocess.Popen(["true"])
    dead.wait()
    assert Workplace(str(tmp_path / f".nginx.weblab-{dead.pid}-abc")).abandoned
    assert Workplace(str(tmp_path / ".nginx.weblab-")).abandoned


def test_a_temporary_one_goes_whatever_happens(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RuntimeError), _workplace.temporary(str(tmp_path / "run"), "etc-nginx") as work:
        os.mkdir(work.tree)
        raise RuntimeError
    assert list((tmp_path / "run").iterdir()) == []
