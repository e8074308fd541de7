# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may open a socket is changed at the socket, and at nothing else that has its name."""

from __future__ import annotations

import pathlib
import socket
import stat

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _service


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_socket_gets_its_mode(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        _service.give(str(path), mode=0o640)
        assert mode(path) == 0o640


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_took_a_sockets_name_is_left_alone(tmp_path: pathlib.Path, kind: str) -> None:
    target, path = tmp_path / "shadow", tmp_path / "a.sock"
    target.write_text("x")
    target.chmod(0o600)
    path.symlink_to(target) if kind == "link" else target.rename(path)
    with pytest.raises(_service.ServiceError, match=r"a\.sock is no socket"):
        _service.give(str(path), mode=0o666)
    assert mode(path) == 0o600


def test_a_socket_that_is_gone_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(_service.ServiceError, match=r"a\.sock cannot be given"):
        _service.give(str(tmp_path / "a.sock"), mode=0o666)
