# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""TLS for a connection. Apart from it, so that ssl is only imported where it is spoken."""

from __future__ import annotations

import functools
import ssl
from typing import TYPE_CHECKING

from ._loop import READ, WRITE

if TYPE_CHECKING:
    import socket


class Tls:
    """How to speak TLS to one endpoint."""

    def __init__(self, name: str, *, validate: bool, ca_path: str | None) -> None:
        self._name = name
        self._context = _context(validate, ca_path)

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """The socket for the handshake and what follows; takes over ``sock``."""
        return self._context.wrap_socket(sock, server_hostname=self._name, do_handshake_on_connect=False)

    @staticmethod
    def plain(error: OSError) -> OSError:
        """The error that a connection without TLS has instead, where there is one."""
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return ConnectionResetError("the peer closed the connection in the TLS handshake")
        return error

    @staticmethod
    def wants(error: OSError) -> int | None:
        """What to wait for before the action that raised ``error`` is tried again; None: a real error."""
        if isinstance(error, ssl.SSLWantReadError):
            return READ
        return WRITE if isinstance(error, ssl.SSLWantWriteError) else None


@functools.cache
def _context(validate: bool, ca_path: str | None) -> ssl.SSLContext:
    """A context reads all authorities: once for all endpoints. Raises OSError for a wrong ca_path."""
    context = ssl.create_default_context(cafile=ca_path)
    if not validate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
