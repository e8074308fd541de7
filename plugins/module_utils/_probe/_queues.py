# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The kernel's queues of listening sockets, by its sock_diag interface (sock_diag(7)).

PHP-FPM counts its queue only on TCP, and uWSGI not on Unix sockets: only the kernel knows
how many connections wait to be accepted, and that is what tells busy from down.
"""

from __future__ import annotations

import socket
import struct
import typing as t
from pathlib import Path

from ._names import Address, Names

if t.TYPE_CHECKING:
    from .._endpoint import Endpoint

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY, _DONE, _ERROR = 20, 3, 2  # types of messages: SOCK_DIAG_BY_FAMILY, NLMSG_DONE, NLMSG_ERROR
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_LISTEN = 1 << 10  # the state TCP_LISTEN, of Unix sockets too

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_SHOW = 0x01 | 0x02 | 0x10  # UDIAG_SHOW_NAME, UDIAG_SHOW_VFS, UDIAG_SHOW_RQLEN
_NAME, _VFS, _QUEUE = 0, 1, 4  # UNIX_DIAG_NAME, UNIX_DIAG_VFS, UNIX_DIAG_RQLEN
_UNIX_QUERY = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _LISTEN, 0, _SHOW, 0, 0)  # struct unix_diag_req
_UNIX_MESSAGE_SIZE = 16  # struct unix_diag_msg; attributes follow
_INET_QUERIES = [  # struct inet_diag_req_v2 with an empty sockid
    (family, struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, _LISTEN))
    for family in (socket.AF_INET, socket.AF_INET6)
]
#: struct inet_diag_msg: port, address, expires, both queues, inode.
_INET_MESSAGE = struct.Struct("=4xH2x16s28xIII4xI")


class Listener(t.NamedTuple):
    """A listening socket: where, how many connections wait, how many may, and which one it is."""

    family: int
    name: bytes  # the path, or the packed address
    length: int
    limit: int
    inode: int


class Waiting(t.NamedTuple):
    """How many connections wait at an address, and the inodes of the sockets that listen there."""

    length: int
    sockets: frozenset[int]


class Queues:
    """All stream listeners of this network namespace at one moment; none where the kernel does not tell."""

    def __init__(self) -> None:
        #: By the inode of the path, and by port.
        self._unix = _grouped(_unix(message) for message in _dump(_UNIX_QUERY))
        self._tcp = _grouped(_inet(f, message) for f, query in _INET_QUERIES for message in _dump(query))

    def of(self, endpoint: Endpoint, addresses: t.Iterable[Address]) -> dict[str, int] | None:
        """The queue of the local listener behind an endpoint, as a record shows it."""
        found = self._behind_path(endpoint.unix) if endpoint.unix else self._behind_port(endpoint.port, addresses)
        return {"length": found.length, "limit": found.limit} if found else None

    def _behind_path(self, path: str) -> Listener | None:
        if path.startswith("@"):
            name = path[1:].encode()
            return next((x for x in self._unix.get(0, ()) if x.name[1:] in (name, name + b"\0")), None)
        # By inode: the daemon may have bound the socket under another spelling of the path.
        try:
            inode = Path(path).stat().st_ino & 0xFFFFFFFF
        except OSError:
            return None
        name = path.rpartition("/")[2].encode()
        return next((x for x in self._unix.get(inode, ()) if x.name.rstrip(b"\0").rpartition(b"/")[2] == name), None)

    def _behind_port(self, port: int | None, addresses: t.Iterable[Address]) -> Listener | None:
        # A listener on the address itself goes before one on all addresses: the kernel chooses so too.
        candidates = sorted(self._tcp.get(port or 0, ()), key=lambda x: not any(x.name))
        for family, address in addresses:
            packed = socket.inet_pton(family, address[0].partition("%")[0])
            for listener in candidates:
                everywhere = not any(listener.name) and _is_local(family, address)
                if everywhere or (listener.family, listener.name) == (family, packed):
                    return listener
        return None


def queues_of(endpoints: t.Iterable[Endpoint]) -> list[dict[str, int] | None]:
    """The queues of the local listeners behind endpoints, all at one moment."""
    snapshot, names = Queues(), Names()
    return [snapshot.of(endpoint, _known(names.addresses(endpoint))) for endpoint in endpoints]


def waiting() -> dict[int | bytes, Waiting]:
    """Every TCP port and Unix path that something listens on, and what waits there."""
    snapshot = Queues()
    groups: dict[int | bytes, list[Listener]] = {}
    groups.update((port, group) for port, group in snapshot._tcp.items())
    for group in snapshot._unix.values():
        groups.update((listener.name.rstrip(b"\0"), [listener]) for listener in group)
    return {
        address: Waiting(sum(one.length for one in group), frozenset(one.inode for one in group))
        for address, group in groups.items()
    }


def _known(found: list[Address] | OSError | None) -> list[Address]:
    return found if isinstance(found, list) else []


def _grouped(found: t.Iterable[tuple[int, Listener]]) -> dict[int, list[Listener]]:
    groups: dict[int, list[Listener]] = {}
    for key, listener in found:
        groups.setdefault(key, []).append(listener)
    return groups


def _is_local(family: int, address: t.Any) -> bool:
    """Whether an address is one of this host: only then can it be bound."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address[0], 0, *address[2:]))
    except OSError:
        return False
    return True


def _dump(request: bytes) -> t.Iterator[bytes]:
    """The bodies of the messages that answer a request."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as sock:
            sock.settimeout(0.5)
            sock.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _DUMP, 1, 0) + request)
            while True:
                data = sock.recv(1 << 17)
                while len(data) >= _HEADER.size:
                    size, kind, _flags, _sequence, _port = _HEADER.unpack_from(data)
                    if kind in (_DONE, _ERROR) or size < _HEADER.size:
                        return
                    yield data[_HEADER.size : size]
                    data = data[(size + 3) & ~3 :]
    except OSError:  # no sock_diag in this kernel, or not for this user
        return


def _unix(message: bytes) -> tuple[int, Listener]:
    attributes = {}
    position = _UNIX_MESSAGE_SIZE
    while position + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, position)
        if size < 4:
            break
        attributes[kind] = message[position + 4 : position + size]
        position += (size + 3) & ~3
    inode = struct.unpack_from("=I", attributes.get(_VFS, bytes(4)))[0]
    length, limit = struct.unpack_from("=II", attributes.get(_QUEUE, bytes(8)))
    (own,) = struct.unpack_from("=I", message, 4)
    return inode, Listener(socket.AF_UNIX, attributes.get(_NAME, b""), length, limit, own)


def _inet(family: int, message: bytes) -> tuple[int, Listener]:
    port, address, _expires, length, limit, inode = _INET_MESSAGE.unpack_from(message)
    return socket.ntohs(port), Listener(family, address[: 4 if family == socket.AF_INET else 16], length, limit, inode)
