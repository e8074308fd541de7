# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sockets: those that listen, as the kernel's tables in /proc/net have them, and what processes have open (proc(5))."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import typing as t

_LISTEN = "0A"
_ACCEPTING = 0x10000


class Listener(t.NamedTuple):
    """A listening socket: ``host`` and ``port`` for TCP, ``host`` is the path for Unix."""

    host: str
    port: int
    inode: int


def tcp(table: str) -> list[Listener]:
    """The listening sockets in the text of /proc/net/tcp or tcp6."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN:
            address, _colon, port = fields[1].partition(":")
            found.append(Listener(_address(address), int(port, 16), int(fields[9])))
    return found


def unix(table: str) -> list[Listener]:
    """The listening sockets in the text of /proc/net/unix."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and int(fields[3], 16) & _ACCEPTING:
            found.append(Listener(fields[7], 0, int(fields[6])))
    return found


def descriptors(pid: int) -> t.Iterator[tuple[int, str]]:
    """Number and target of each descriptor of a process, without what it closes meanwhile.

    :raises OSError: the process has ended, or does not show its descriptors.
    """
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            yield int(name), os.readlink(f"/proc/{pid}/fd/{name}")


def _address(text: str) -> str:
    # Words of four bytes, each in the byte order of the machine.
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
