# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Where to connect to: what connect(2) takes, without waiting for a name server."""

from __future__ import annotations

import ipaddress
import socket
import threading
import typing as t

if t.TYPE_CHECKING:
    from .._endpoint import Endpoint

#: The socket's family and what its connect() takes.
Address = tuple[int, t.Any]


class Names:
    """Resolves host names; each in a thread, since the C library's resolver blocks."""

    def __init__(self) -> None:
        self._found: dict[str, list[Address] | OSError | None] = {}

    def addresses(self, endpoint: Endpoint) -> list[Address] | OSError | None:
        """The addresses to try in turn, the resolver's error, or None: ask again soon."""
        if endpoint.unix is not None:
            path = endpoint.unix
            if not path.startswith("@"):
                return [(socket.AF_UNIX, path)]
            # uWSGI counts the NUL that ends its string as a part of an abstract name.
            return [(socket.AF_UNIX, f"\0{path[1:]}"), (socket.AF_UNIX, f"\0{path[1:]}\0")]
        host, port = t.cast("str", endpoint.host), endpoint.port
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            found = self._look_up(host)
            return [(f, (a[0], port, *a[2:])) for f, a in found] if isinstance(found, list) else found
        return [(socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port))]

    def _look_up(self, host: str) -> list[Address] | OSError | None:
        if host not in self._found:
            self._found[host] = None
            threading.Thread(target=self._ask, args=(host,), daemon=True).start()
        found = self._found[host]
        if isinstance(found, OSError):
            del self._found[host]  # the next attempt asks anew
        return found

    def _ask(self, host: str) -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._found[host] = error if isinstance(error, OSError) else OSError(str(error))
        else:
            self._found[host] = [(family, address) for family, _type, _proto, _name, address in found]
