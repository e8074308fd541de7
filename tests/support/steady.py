# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A visitor who comes again and again, and writes down when nobody answered. It runs on the host, with Python alone.

One request after the other, each on a connection of its own, as a browser that was opened anew. Only a 200 counts as
an answer. The output is one JSON object, with times in seconds of the host's monotonic clock: ``requests``;
``outages``, each with ``began`` (the last answer before it), ``ended`` (when somebody asked who was answered) and
``kinds``, how often it failed and how; and ``waits``, when somebody asked whose answer took long, and how long.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import time
import typing as t

#: Seconds from one request to the next; after which an answer took long; and after which it counts as failed.
EVERY, LONG, PATIENCE = 0.04, 0.2, 10.0


def ask(port: int) -> str:
    """What went wrong; empty when nothing did."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return "" if answer.status == 200 else str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def watch(port: int, stop: str, seconds: float) -> dict[str, t.Any]:
    outages: list[dict[str, t.Any]] = []
    waits: list[tuple[float, float]] = []
    kinds: collections.Counter[str] = collections.Counter()
    requests, last = 0, time.monotonic()
    end = last + seconds
    while (asked := time.monotonic()) < end and not os.path.exists(stop):
        requests += 1
        failed = ask(port)
        if failed:
            kinds[failed] += 1
        else:
            if kinds:
                outages.append({"began": last, "ended": asked, "kinds": dict(kinds)})
                kinds.clear()
            last = time.monotonic()
            if last - asked > LONG:
                waits.append((asked, last - asked))
        time.sleep(EVERY)
    if kinds:
        outages.append({"began": last, "ended": time.monotonic(), "kinds": dict(kinds)})
    return {"requests": requests, "outages": outages, "waits": waits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stop", required=True, help="it ends when this file appears")
    parser.add_argument("--seconds", type=float, default=1800, help="it ends after this time at the latest")
    options = parser.parse_args()
    print(json.dumps(watch(options.port, options.stop, options.seconds)))


if __name__ == "__main__":
    main()
