# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back, and what the system's errors mean to a user."""

from __future__ import annotations

import errno
import os
import pathlib

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _transaction
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import Change, Ledger, Node, Plan
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._undo import Undo


def test_the_way_back_goes_on_after_a_step_that_fails() -> None:
    done: list[str] = []

    def fails() -> None:
        raise OSError(errno.EIO, "gone")

    undo = Undo()
    undo.add(lambda: done.append("first"))
    undo.add(fails)
    undo.add(lambda: done.append("last"))
    with pytest.raises(OSError, match="gone"):
        undo.run()
    assert (done, undo.any) == (["last", "first"], False)


def test_only_what_was_done_is_taken_back(tmp_path: pathlib.Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "foreign").touch()
    undo = Undo()
    link = Node("link", target="x")
    with pytest.raises(OSError, match="full"):
        # A name that cannot be taken, after one that can.
        undo.files(str(tmp_path), [Change("a", None, link), Change("full", None, link)])
    assert (tmp_path / "a").is_symlink()
    undo.run()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["foreign", "full"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, ["/etc/nginx/a: No space left", "free space or inodes", "df -i /etc/nginx"]),
        (errno.EDQUOT, ["Disk quota exceeded", "free space"]),
        (errno.EROFS, ["Read-only file system", "Mount it read-write", "findmnt --target /etc/nginx"]),
        (errno.EPERM, ["Operation not permitted", "become: true", "lsattr -d /etc/nginx"]),
        (errno.EIO, ["Input/output error", "dmesg"]),
        (errno.ENAMETOOLONG, ["/etc/nginx/a: File name too long"]),
    ],
)
def test_errors_say_what_where_and_what_to_do(code: int, words: list[str]) -> None:
    shown = _transaction.explain(OSError(code, os.strerror(code), "/etc/nginx/a"), "/etc/nginx")
    for word in words:
        assert word in shown
    assert "/etc/nginx: " in _transaction.explain(OSError(code, os.strerror(code)), "/etc/nginx")


def test_volatile_directories_are_those_that_tmpfiles_makes_below_run_and_var_cache() -> None:
    lines = [
        "# d /run/a",
        "d /run/b 0755 root root",
        "D /run/c",
        "d /var/log/x 0750 root adm",
        "d /var/cache/c",
        "d",
        "",
    ]
    node = Node("file", "\n".join(lines).encode())
    assert _transaction._volatile_directories(node) == {
        "/run/b": False,
        "/run/c": True,
        "/var/cache/c": True,
    }
    assert _transaction._volatile_directories(None) == {}


def test_a_directory_that_another_file_names_now_stays(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transaction, "_CACHES", f"{tmp_path}/")
    for name in ("moved", "gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").touch()
    lines = [f"d {tmp_path}/{name} 0700 root root\n" for name in ("moved", "gone")]
    changes = (
        Change("/etc/tmpfiles.d/old.conf", Node("file", "".join(lines).encode()), None),
        Change("/etc/tmpfiles.d/new.conf", None, Node("file", lines[0].encode())),
    )
    _transaction._remove_directories(Plan(changes, Ledger(), ledger_changed=False))
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    assert (tmp_path / "moved" / "kept").exists()
