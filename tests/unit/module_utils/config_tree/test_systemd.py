# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that are services of systemd: which units a tree has, and what each change needs."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _systemd
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._systemd import Systemd
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._units import affects

SYSTEMD = Systemd("/etc/app-service", None)
UNITS = "/etc/systemd/system"
SERVICE, SOCKET = "app@shop.service", "app@shop.socket"


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> Tree:
    (tmp_path / "shop.service").symlink_to(f"{UNITS}/{SERVICE}")
    (tmp_path / "shop.socket").symlink_to(f"{UNITS}/{SOCKET}")
    (tmp_path / "other.service").symlink_to(f"{UNITS}/other.service")
    (tmp_path / "shop.env").write_text('KEY="xyzzy"\n')
    # Neither is a unit: a file, and a link to somewhere else.
    (tmp_path / "file.service").write_text("")
    (tmp_path / "elsewhere.service").symlink_to("/srv/elsewhere.service")
    return Tree(str(tmp_path))


def test_the_links_name_the_units(tree: Tree) -> None:
    assert SYSTEMD.units(tree) == {SERVICE: True, SOCKET: True, "other.service": True}


@pytest.mark.parametrize(
    ("unit", "path", "expected"),
    [
        (SERVICE, "shop.env", True),
        (SERVICE, "shop/conf.py", True),
        (SERVICE, "shopping.env", False),
        (SERVICE, "other.env", False),
        ("other.service", "other.env", True),
        (SOCKET, "shop.env", False),
    ],
)
def test_what_belongs_to_a_unit(unit: str, path: str, expected: bool) -> None:
    assert SYSTEMD.belongs(unit, path) is expected


@pytest.mark.parametrize(
    ("changed", "tested"),
    [
        (["shop.env"], [SERVICE]),
        ([f"{UNITS}/{SOCKET}"], [SOCKET]),
        ([f"{UNITS}/other.service", "shop/x"], [SERVICE, "other.service"]),
        (["/etc/tmpfiles.d/x.conf"], []),
    ],
)
def test_changed_units_are_tested_and_no_others(tree: Tree, changed: list[str], tested: list[str]) -> None:
    commands = SYSTEMD.commands(tree, changed)
    assert [word for command in commands for word in command.argv if word.startswith("/")] == [
        f"{UNITS}/{unit}" for unit in tested
    ]


def facts(
    monkeypatch: pytest.MonkeyPatch, tree: Tree, unit: str = "[Service]\nExecReload=/bin/kill -HUP $MAINPID\n"
) -> t.Any:
    monkeypatch.setattr(_systemd, "_read", lambda path: unit)
    return SYSTEMD.facts(SERVICE, tree)


def test_an_environment_needs_a_restart_and_is_not_kept(monkeypatch: pytest.MonkeyPatch, tree: Tree) -> None:
    old = facts(monkeypatch, tree)
    assert "xyzzy" not in str(old)
    assert SYSTEMD.restart_reason(SERVICE, old, facts(monkeypatch, tree)) == ""
    (pathlib.Path(tree.base) / "shop.env").write_text('KEY="plugh"\n')
    assert "environment" in SYSTEMD.restart_reason(SERVICE, old, facts(monkeypatch, tree))


def test_who_cannot_reload_is_restarted(monkeypatch: pytest.MonkeyPatch, tree: Tree) -> None:
    without = facts(monkeypatch, tree, "[Service]\nExecReload=\n")
    assert "no ExecReload" in SYSTEMD.restart_reason(SERVICE, without, without)


def test_a_service_whose_socket_systemd_holds_turns_nobody_away(tree: Tree) -> None:
    assert SYSTEMD.keeps_listening(SERVICE, tree)
    assert not SYSTEMD.keeps_listening(SOCKET, tree)
    assert not SYSTEMD.keeps_listening("other.service", tree)


def test_a_changed_socket_unit_is_its_services_business_as_well() -> None:
    assert affects(SERVICE, f"{UNITS}/{SOCKET}")
    assert affects(SOCKET, f"{UNITS}/{SOCKET}")
    assert not affects("app@other.service", f"{UNITS}/{SOCKET}")
    assert not affects(SOCKET, f"{UNITS}/{SERVICE}")
