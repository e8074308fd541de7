# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Visitors who stay, at a server of the standard library."""

from __future__ import annotations

import collections
import http.server
import threading
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _visitors
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._manifest import Site


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, closes: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.closes = closes
        #: The visitor's address -> requests that came from it.
        self.asked: collections.Counter[tuple[str, int]] = collections.Counter()
        self.changed = threading.Condition()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_OPTIONS(self) -> None:
        with self.server.changed:
            self.server.asked[self.client_address] += 1
            self.server.changed.notify_all()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        if self.server.closes:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(params=[False, True], ids=["keeps", "closes"])
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    with Server(request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_visitors_ask_again_by_the_connection_they_have(server: Server) -> None:
    site = Site("shop", server.server_address[1], "static")
    with _visitors.staying([site], "127.0.0.1", 20) as count:
        assert count == {"shop": 0 if server.closes else _visitors.VISITORS}
        if not server.closes:
            # Servers end what nobody has used for a while; these outlive any such limit.
            with server.changed:
                assert server.changed.wait_for(lambda: min(server.asked.values()) > 2, 20)
    assert len(server.asked) == _visitors.VISITORS
    if server.closes:
        assert set(server.asked.values()) == {1}
