# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""app_files: the plan, and the module itself on a directory of this machine."""

from __future__ import annotations

import base64
import getpass
import grp
import json
import os
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._app_files import plan, read_entries, undeclared
from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError

COLLECTIONS = Path(__file__).resolve().parents[2] / ".collections"
ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getegid()).gr_name}


def _run(root: Path, files: list[dict[str, t.Any]], *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    arguments = {
        "path": str(root),
        "files": [{**ME, **item} for item in files],
        "_ansible_check_mode": check,
        "_ansible_diff": True,
        "_ansible_remote_tmp": str(root.parent),
        **options,
    }
    answer = subprocess.run(
        [sys.executable, "-m", "ansible_collections.weblab.stacks.plugins.modules.app_files"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        check=False,
    )
    return t.cast("dict[str, t.Any]", json.loads(answer.stdout))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the module gives files to root")


@needs_root
def test_check_apply_apply(tmp_path: Path) -> None:
    root = tmp_path / "app"
    files: list[dict[str, t.Any]] = [
        {"path": "code/a.py", "content": "a = 1\n"},
        {"path": "picture", "base64": base64.b64encode(b"\x89PNG\xff").decode()},
        {"path": "current", "link": "code"},
        {"path": "var", "directory": True, "mode": "0700"},
        {"path": "secret", "random": 40},
    ]
    assert _run(root, files, check=True)["changed"]
    assert not root.exists()
    first = _run(root, files)
    assert first["changed"]
    secret = (root / "secret").read_text()
    assert len(secret.strip()) == 40
    assert secret.strip() not in json.dumps(first)
    assert stat.S_IMODE((root / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "var").stat().st_mode) == 0o700
    assert (root / "picture").read_bytes() == b"\x89PNG\xff"
    assert (root / "current").readlink() == Path("code")
    second = _run(root, files)
    assert not second["changed"]
    assert second["changed_paths"] == []
    assert (root / "secret").read_text() == secret


@needs_root
def test_heals_content_and_mode(tmp_path: Path) -> None:
    root = tmp_path / "app"
    files = [{"path": "a", "content": "right\n"}, {"path": "b", "content": "b\n"}]
    _run(root, files)
    (root / "a").write_text("wrong\n")
    (root / "b").chmod(0o666)
    result = _run(root, files)
    assert result["changed_paths"] == [str(root / "a"), str(root / "b")]
    assert (root / "a").read_text() == "right\n"
    assert stat.S_IMODE((root / "b").stat().st_mode) == 0o644


@needs_root
def test_purge_removes_only_what_nobody_declared_or_keeps(tmp_path: Path) -> None:
    root = tmp_path / "app"
    files = [{"path": "a", "content": "a\n"}]
    for extra in ("old.py", "static/x.css", "code/__pycache__/a.pyc"):
        (root / extra).parent.mkdir(parents=True, exist_ok=True)
        (root / extra).write_text("x")
    assert _run(root, files, purge=True, keep=["static"], check=True)["changed"]
    assert (root / "old.py").exists()
    _run(root, files, purge=True, keep=["static"])
    left = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert left == ["a", "code/__pycache__/a.pyc", "static/x.css"]


@needs_root
def test_does_not_write_through_a_link(tmp_path: Path) -> None:
    root, victim = tmp_path / "app", tmp_path / "victim"
    root.mkdir()
    victim.write_text("mine\n")
    (root / "a").symlink_to(victim)
    _run(root, [{"path": "a", "content": "new\n"}])
    assert victim.read_text() == "mine\n"
    assert (root / "a").read_text() == "new\n"
    assert not (root / "a").is_symlink()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([{"path": "a"}], r"files\[0\]: say exactly one of"),
        ([{"path": "a", "content": "x", "link": "y"}], r"files\[0\]: say exactly one of .* content, link"),
        ([{"path": "../a", "content": "x"}], r"files\[0\].path: ../a climbs out"),
        ([{"path": "a", "content": "x"}, {"path": "a", "content": "y"}], r"files\[1\].path: .* declared twice"),
    ],
)
def test_wrong_entries_are_named(tmp_path: Path, files: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_entries(tmp_path, files)


def test_a_directory_in_the_way_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="a directory is in the way"):
        plan(read_entries(tmp_path, [{"path": "a", "content": "x"}]))


def test_nothing_undeclared_where_nothing_is(tmp_path: Path) -> None:
    assert undeclared(tmp_path / "missing", [], []) == []
