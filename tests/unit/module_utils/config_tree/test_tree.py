# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tree on disk: copies that change nothing, writes that are whole, exchanges that are one step."""

from __future__ import annotations

import getpass
import grp
import os
import pathlib
import stat
import subprocess

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import Change, Node

ME, MY_GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name


def file(content: str, mode: int = 0o644) -> Node:
    return Node("file", content.encode(), "", mode, ME, MY_GROUP)


@pytest.fixture
def live(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "live"
    (root / "conf.d").mkdir(parents=True)
    (root / "main.conf").write_text("main\n")
    (root / "main.conf").chmod(0o640)
    (root / "conf.d" / "link").symlink_to("../main.conf")
    (root / "conf.d" / "dangling").symlink_to("/nowhere")
    (root / "empty").mkdir(mode=0o700)
    os.utime(root / "main.conf", (1000, 1000))
    os.utime(root / "empty", (2000, 2000))
    return root


def listing(root: pathlib.Path) -> str:
    """What find says about a tree: names, kinds, modes, owners, targets, times."""
    form = "%P %y %m %U %G %l %T@ %s\n"
    lines = subprocess.run(["find", ".", "-printf", form], cwd=root, capture_output=True, text=True, check=True).stdout
    return "\n".join(sorted(lines.splitlines()))


def test_a_staged_copy_differs_in_nothing(live: pathlib.Path, tmp_path: pathlib.Path) -> None:
    before = listing(live)
    _tree.stage(str(live), str(tmp_path / "staged"))
    assert listing(tmp_path / "staged") == before == listing(live)
    assert (tmp_path / "staged" / "main.conf").stat().st_ino != (live / "main.conf").stat().st_ino


def test_a_socket_in_the_tree_is_refused(live: pathlib.Path, tmp_path: pathlib.Path) -> None:
    os.mkfifo(live / "pipe")
    with pytest.raises(_tree.TreeError, match="pipe"):
        _tree.stage(str(live), str(tmp_path / "staged"))


def test_changes_and_the_way_back(live: pathlib.Path) -> None:
    def contents() -> dict[str, str]:
        return {
            str(path.relative_to(live)): os.readlink(path) if path.is_symlink() else path.read_text()
            for path in live.rglob("*")
            if path.is_symlink() or path.is_file()
        }

    before = contents()
    tree = _tree.Tree(str(live))
    changes = [
        Change("main.conf", tree.node("main.conf"), file("new\n", 0o600)),
        Change("new/deep/a.conf", None, file("a\n")),
        Change("conf.d/link", tree.node("conf.d/link"), None),
        Change("conf.d/dangling", tree.node("conf.d/dangling"), Node("link", target="here")),
    ]
    _tree.apply(str(live), changes)
    assert contents() == {"main.conf": "new\n", "new/deep/a.conf": "a\n", "conf.d/dangling": "here"}
    assert stat.S_IMODE((live / "main.conf").stat().st_mode) == 0o600
    _tree.apply(str(live), [change.reversed() for change in changes])
    assert contents() == before
    assert stat.S_IMODE((live / "main.conf").stat().st_mode) == 0o640


def test_a_write_replaces_a_link_and_not_what_it_points_to(live: pathlib.Path, tmp_path: pathlib.Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched\n")
    (live / "a").symlink_to(outside)
    os.link(live / "main.conf", tmp_path / "hard")
    _tree.write(str(live / "a"), file("mine\n"))
    _tree.write(str(live / "main.conf"), file("mine\n"))
    assert (outside.read_text(), (tmp_path / "hard").read_text()) == ("untouched\n", "main\n")
    assert (live / "a").read_text() == "mine\n"


def test_a_linked_directory_is_not_written_through(live: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (live / "sites").symlink_to(tmp_path)
    with pytest.raises(_tree.TreeError, match="sites is a symbolic link"):
        _tree.Tree(str(live)).node("sites/a.conf")


def test_other_names_of_a_file_survive_staging(live: pathlib.Path, tmp_path: pathlib.Path) -> None:
    os.link(live / "main.conf", tmp_path / "hard")
    before = _tree.Tree(str(live)).fingerprint()
    _tree.stage(str(live), str(tmp_path / "staged"))
    assert (tmp_path / "staged" / "main.conf").samefile(tmp_path / "hard")
    assert _tree.Tree(str(live)).fingerprint() == before


def test_nothing_changes_before_all_new_files_are_written(live: pathlib.Path) -> None:
    before = listing(live)
    made: list[str] = []
    changes = [
        Change("empty/first", None, file("1\n")),
        Change("conf.d/link", None, None),
        Change("main.conf", None, Node("file", b"", "", 0o644, "no-such-account", None)),
    ]
    with pytest.raises(_tree.TreeError):
        _tree.apply(str(live), changes, lambda change: made.append(change.path))
    assert made == []
    assert names(listing(live)) == names(before)


def names(text: str) -> list[list[str]]:
    # Without times: that of a directory tells that something was there for a moment.
    return [line.split()[:3] for line in text.splitlines() if not line.startswith(" ")]


def test_a_file_makes_room_for_a_directory(live: pathlib.Path) -> None:
    tree = _tree.Tree(str(live))
    _tree.apply(
        str(live), [Change("main.conf", tree.node("main.conf"), None), Change("main.conf/a", None, file("a\n"))]
    )
    assert (live / "main.conf" / "a").read_text() == "a\n"


def test_the_way_back_has_the_old_time(live: pathlib.Path) -> None:
    before = _tree.digest(_tree.Tree(str(live)).fingerprint())
    change = Change("main.conf", _tree.Tree(str(live)).node("main.conf"), file("new\n", 0o600))
    _tree.apply(str(live), [change])
    assert _tree.digest(_tree.Tree(str(live)).fingerprint()) != before
    _tree.apply(str(live), [change.reversed()])
    assert _tree.digest(_tree.Tree(str(live)).fingerprint()) == before


def test_directories_are_open_only_when_they_are_named(live: pathlib.Path) -> None:
    old = os.umask(0o077)
    try:
        _tree.apply(
            str(live), [Change("new/deep/a.conf", None, file("a\n")), Change("d", None, Node("directory", mode=0o711))]
        )
    finally:
        os.umask(old)
    assert [stat.S_IMODE((live / name).stat().st_mode) for name in ("new", "new/deep", "d")] == [0o755, 0o755, 0o711]


def test_files_on_their_way_go_when_their_process_is_dead(live: pathlib.Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (live / f".a.conf.weblab-{pid}~").touch()
    (live / ".a.conf.weblab-x~").touch()
    _tree.remove_temporary(str(live))
    found = {path.name for path in live.iterdir() if "weblab" in path.name}
    assert found == {f".a.conf.weblab-{os.getpid()}~", ".a.conf.weblab-x~"}
    _tree.remove_temporary(str(live / "nowhere"))


def test_a_linked_system_directory_is_not_written_through(live: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tree, "SYSTEM_DIRECTORIES", (str(live),))
    (live / "x.d").symlink_to(live / "conf.d")
    with pytest.raises(_tree.TreeError, match=r"x\.d is a symbolic link"):
        _tree.Tree("/").node(str(live / "x.d" / "a.conf"))


def test_an_unknown_account_is_named_and_nothing_stays(live: pathlib.Path) -> None:
    before = listing(live)
    node = Node("file", b"", "", 0o644, "no-such-account", None)
    with pytest.raises(_tree.TreeError, match=r"main\.conf shall belong to the user no-such-account"):
        _tree.write(str(live / "main.conf"), node)
    assert sorted(line.split()[0] for line in before.splitlines()) == sorted(
        line.split()[0] for line in listing(live).splitlines()
    )


def test_a_changed_file_is_newer_by_a_whole_second(live: pathlib.Path) -> None:
    path = live / "main.conf"
    for content in ("1", "2", "3"):
        before = int(path.stat().st_mtime)
        _tree.write(str(path), file(content))
        assert int(path.stat().st_mtime) > before
    before = int(path.stat().st_mtime)
    _tree.touch(str(path))
    assert int(path.stat().st_mtime) > before


def test_exchange(tmp_path: pathlib.Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (one / "x").touch()
    if not _tree.exchange(str(one), str(other)):
        pytest.skip("this file system cannot exchange directories")
    assert list(one.iterdir()) == []
    assert [path.name for path in other.iterdir()] == ["x"]


def test_exchange_tells_a_real_error_from_what_the_file_system_cannot(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        _tree.exchange(str(tmp_path / "one"), str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("action", "same"),
    [
        (lambda root: None, True),
        (lambda root: (root / ".weblab.json").write_text("{}"), True),
        (lambda root: (root / "main.conf").write_text("more\n"), False),
        (lambda root: (root / "main.conf").chmod(0o600), False),
        (lambda root: (root / "other").touch(), False),
        (lambda root: (root / "conf.d" / "link").unlink(), False),
    ],
    ids=["nothing", "ledger", "content", "mode", "new", "gone"],
)
def test_digest(live: pathlib.Path, action: object, same: bool) -> None:
    tree = _tree.Tree(str(live))
    before = _tree.digest(tree.fingerprint())
    action(live)  # type: ignore[operator]
    assert (_tree.digest(tree.fingerprint()) == before) is same


def test_digest_of_a_copy_is_the_same(live: pathlib.Path, tmp_path: pathlib.Path) -> None:
    _tree.stage(str(live), str(tmp_path / "staged"))
    copy = _tree.Tree(str(tmp_path / "staged")).fingerprint()
    assert _tree.digest(copy) == _tree.digest(_tree.Tree(str(live)).fingerprint())


def test_a_tree_of_directories_is_empty(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / ".weblab.json").write_text("{}")
    assert _tree.Tree(str(tmp_path)).empty()
    (tmp_path / "a" / "link").symlink_to("x")
    assert not _tree.Tree(str(tmp_path)).empty()
