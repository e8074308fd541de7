# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a browser reads streams of server-sent events: the judge of the codec's expectations."""

from __future__ import annotations

import http.server
import shutil
import threading
import typing as t
import urllib.parse

import pytest
from event_streams import STREAMS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine: apt-get install chromium")

OPTIONS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync".split()
#: Reads the stream to its end, where the browser reports an error and would come again.
LISTEN = """([name, types]) => new Promise((resolve) => {
    const seen = [], source = new EventSource('/' + encodeURIComponent(name));
    const keep = (event) => seen.push([event.type, event.data, event.lastEventId]);
    types.forEach((type) => source.addEventListener(type, keep));
    source.onerror = () => { source.close(); resolve(seen); };
})"""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        stream = STREAMS.get(urllib.parse.unquote(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if stream else "text/html")
        self.end_headers()
        self.wfile.write(stream[0] if stream else b"<!doctype html>")

    def log_message(self, *args: t.Any) -> None:
        """Quiet."""


def test_a_browser_reads_the_same_events() -> None:
    types = sorted({event[0] for _data, events in STREAMS.values() for event in events})
    found = {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server, playwright.sync_playwright() as driver:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        for name in STREAMS:
            found[name] = [tuple(event) for event in page.evaluate(LISTEN, [name, types])]
        browser.close()
        server.shutdown()
    assert found == {name: events for name, (_data, events) in STREAMS.items()}
