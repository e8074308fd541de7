# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold streams at two sites of this host, and ask each for an ordinary page meanwhile; the result is JSON.

Runs on the host itself, for some seconds, and asks 127.0.0.1 only. Standard library.
"""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import sys
import time
import typing as t

#: Seconds that a page, and the first event of a stream, may take.
PATIENCE = 3.0
#: Seconds that workers may take to notice that their clients have gone.
RECOVERY = 30.0

Row = t.Dict[str, t.Any]


def open_streams(port: int, count: int) -> tuple[list[socket.socket], int]:
    """Open streams, and return them with the number of those that had an event within the patience."""
    streams = []
    waiting = selectors.DefaultSelector()
    for _number in range(count):
        stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
        streams.append(stream)
        waiting.register(stream, selectors.EVENT_READ)
    answered = 0
    end = time.monotonic() + PATIENCE
    while answered < count and time.monotonic() < end:
        for key, _events in waiting.select(end - time.monotonic()):
            stream = t.cast("socket.socket", key.fileobj)
            waiting.unregister(stream)
            answered += stream.recv(4096).startswith(b"HTTP/1.1 200 ")
    waiting.close()
    return streams, answered


def ask(port: int) -> float | None:
    """Return the seconds that a page takes, or None when it does not come."""
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
    except OSError:
        return None
    finally:
        connection.close()
    return round(time.monotonic() - started, 3) if response.status == 200 else None


def recovered(port: int) -> float | None:
    """Ask until there is an answer again."""
    end = time.monotonic() + RECOVERY
    while time.monotonic() < end:
        seconds = ask(port)
        if seconds is not None:
            return seconds
        time.sleep(0.5)
    return None


def step(sites: list[Row], counts: t.Mapping[str, int], pause: float) -> list[Row]:
    """Hold so many streams at each site, ask all of them, and let go."""
    held = {site["name"]: open_streams(site["port"], counts[site["name"]]) for site in sites}
    rows = [
        {
            "stack": site["stack"],
            "workers": site["workers"],
            "opened": counts[site["name"]],
            "streaming": held[site["name"]][1],
            "seconds": ask(site["port"]),
        }
        for site in sites
    ]
    time.sleep(pause)
    for streams, _answered in held.values():
        for stream in streams:
            stream.close()
    return rows


def table(rows: list[Row]) -> list[str]:
    """Return the rows as lines for a person."""
    head = ("stack", "workers", "streams opened", "streaming", "an ordinary page took")
    cells = [head]
    for row in rows:
        took = f"no answer in {PATIENCE:.0f} s" if row["seconds"] is None else f"{row['seconds'] * 1000:.0f} ms"
        cells.append((row["stack"], row["workers"], str(row["opened"]), str(row["streaming"]), took))
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]


def verdict(rows: list[Row], sync: Row, loop: Row) -> tuple[bool, str]:
    """Say whether it went as the stacks' drawings let expect."""
    starved = [row for row in rows if row["stack"] == sync["stack"] and row["seconds"] is None]
    expected = [row for row in rows if row["stack"] == sync["stack"] and row["opened"] >= sync["holds"]]
    served = [row for row in rows if row["stack"] == loop["stack"]]
    if starved != expected:
        return False, f"Not as expected: {sync['stack']} should stop at {sync['holds']} streams, and only then."
    if any(row["seconds"] is None or row["streaming"] < row["opened"] for row in served):
        return False, f"Not as expected: {loop['stack']} did not serve all the while."
    most = max(row["opened"] for row in served)
    return True, (
        f"{sync['stack']} stops at {sync['holds']} streams: each holds a worker, and every other visitor waits."
        f" {loop['stack']} serves on with {most}. Without streams, both answer again."
    )


def main(given: str) -> None:
    plan = json.loads(given)
    sync, loop = plan["sites"]
    rows = []
    for counts in plan["steps"]:
        rows += step(plan["sites"], counts, plan["pause"])
        for site in plan["sites"]:
            seconds = recovered(site["port"])
            if seconds is None:
                sys.exit(f"{site['stack']} does not answer {RECOVERY:.0f} s after its streams have gone")
    for site in plan["sites"]:
        after = {"opened": 0, "streaming": 0, "seconds": ask(site["port"])}
        rows.append({"stack": site["stack"], "workers": site["workers"], **after})
    as_expected, words = verdict(rows, sync, loop)
    print(json.dumps({"as_expected": as_expected, "verdict": words, "rows": rows, "table": table(rows)}))


if __name__ == "__main__":
    main(sys.argv[1])
