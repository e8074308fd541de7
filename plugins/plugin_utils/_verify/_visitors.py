# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Visitors who have got their answer and stay: connections that are kept open (RFC 9112, 9.3)."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import socket
import ssl
import threading
import typing as t

if t.TYPE_CHECKING:
    from ._manifest import Site

#: At each site.
VISITORS = 8
#: Bytes; whoever has more to say is not waited for.
MAX_ANSWER = 64 * 1024
#: Seconds after which a visitor asks again, or a server (Apache's KeepAliveTimeout, 5 s) would end the connection while
#: the others still wait to be let in, or while the host is looked at.
AGAIN = 0.5


@contextlib.contextmanager
def staying(sites: t.Sequence[Site], address: str, timeout: float) -> t.Iterator[dict[str, int]]:
    """Keep VISITORS connections to each site; yields name -> how many of them are open.

    :param timeout: seconds for each connection.
    """
    visitors = [(site, _connection(site, address, timeout)) for site in sites for _number in range(VISITORS)]
    workers = concurrent.futures.ThreadPoolExecutor(max_workers=len(visitors) or 1)
    answered: list[concurrent.futures.Future[bool]] = [concurrent.futures.Future() for _visitor in visitors]
    end = threading.Event()
    try:
        for (site, connection), future in zip(visitors, answered):
            workers.submit(_stay, connection, site, future, end)
        done, _late = concurrent.futures.wait(answered, timeout=timeout)
        count = {site.name: 0 for site in sites}
        for (site, _none), future in zip(visitors, answered):
            count[site.name] += future in done and future.result()
        yield count
    finally:
        end.set()
        for _site, connection in visitors:
            # Whoever still waits for a server that says a letter a second wakes up.
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
        workers.shutdown(wait=False, cancel_futures=True)


def _connection(site: Site, address: str, timeout: float) -> http.client.HTTPConnection:
    if not site.tls:
        return http.client.HTTPConnection(address, site.port, timeout=timeout)
    context = ssl.create_default_context()
    # Who signed a student's certificate is not the question here.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(address, site.port, timeout=timeout, context=context)


def _stay(
    connection: http.client.HTTPConnection, site: Site, first: concurrent.futures.Future[bool], end: threading.Event
) -> None:
    """Ask until the end; ``first`` says whether the connection stayed open after the first answer."""
    stays = _ask(connection, site)
    connection.auto_open = 0  # it is the same connection, or none
    first.set_result(stays)
    while stays and not end.wait(AGAIN):
        stays = _ask(connection, site)


def _ask(connection: http.client.HTTPConnection, site: Site) -> bool:
    """Ask what the server can do; is the connection open after it?

    It answers that by itself (RFC 9110, 9.3.7): after a page, it may close the connection because of who made the page.
    """
    try:
        connection.request("OPTIONS", "*", headers={"Host": site.named})
        answer = connection.getresponse()
        answer.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException):
        return False
    return connection.sock is not None and answer.isclosed()
