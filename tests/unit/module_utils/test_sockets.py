# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What processes have open, while they open and close."""

from __future__ import annotations

import os
import socket

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils import _sockets


def test_what_is_closed_meanwhile_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["99999", *listdir(path), "99998"])
    with socket.socket() as one:
        inode = os.fstat(one.fileno()).st_ino
        assert dict(_sockets.descriptors(os.getpid()))[one.fileno()] == f"socket:[{inode}]"


def test_a_process_that_has_ended_is_told_from_one_with_nothing_open() -> None:
    with pytest.raises(FileNotFoundError):
        list(_sockets.descriptors(2**22 + 1))
