# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board of the role realtime, with clients that stay: by each transport, through each front, on one host.

held: of 10,000 clients that connect and then hear the clock only, those that have their stream; kernel (ss) and
application say the same, or the verdict does not. KiB: what front and application grew by for each of them (PSS).
files: what a process of the front and of the application may open. delay: from the sending of a message to its
arrival, for 1,000 clients and 10 messages; spread: the shortest and the longest median of a message. requests/s and
CPU (seconds a second): what those 1,000 clients cost meanwhile; a poller asks every two seconds.

Beside them: "direct" is the application's own socket without a front, and "bare" the least that a server can do, a
loop that writes to 1,000 sockets. The clients are one Python process on the same processors, and part of each delay;
with "bare" they have it nearly for themselves.
"""

from __future__ import annotations

import itertools
import statistics
import typing as t

import lab_docker
from measured import RELEASE, ROOT, machine, python, serve, shell

STATE = ROOT / ".lab"
HOST = "weblab-bench-streams"
HELD, HEARING, MESSAGES = 10_000, 1_000, 10
APPLICATION = "app@board.service"
#: Way in -> its address, and the unit of its front.
WAYS = {
    "nginx": ("127.0.0.1:8112", "nginx.service"),
    "apache": ("127.0.0.1:8113", "apache2@event.service"),
    "direct": ("/run/app/board/www-data/http.sock", ""),
}
TRANSPORTS = {"poll": "polling", "long": "long polling", "sse": "Server-Sent Events", "ws": "WebSocket"}

_SITE: dict[str, t.Any] = {
    "stack": "realtime",
    "path": "/api/",
    "health_path": "/api/state",
    "clients": HELD,
    "static": [{"path": "/", "root": "/srv/weblab/board-page"}],
}
SITES = [
    {
        **_SITE, "name": "board", "port": 8112, "user": "board",
        "application": {
            "path": "/srv/weblab/board", "module": "asgi:application", "environment": {"PREFIX": "/api"},
            "packages": ["python3-starlette", "python3-redis", "python3-hiredis"],
        },
    },
    {**_SITE, "name": "board-apache", "port": 8113, "front": "apache", "server_of": "board"},
]  # fmt: skip

_sources = (f"127.0.0.{number}" for number in itertools.count(2))


def units(way: str) -> dict[str, str]:
    front = WAYS[way][1]
    return {**({"front": front} if front else {}), "application": APPLICATION}


def fresh(way: str) -> None:
    """Start anew, so that nothing is left of the clients before: memory that was once used stays with a process."""
    address, front = WAYS[way]
    shell(HOST, f"systemctl restart {APPLICATION} {front}")
    curl = f"--unix-socket {address} http://localhost" if not front else f"http://{address}"
    shell(HOST, f"for i in $(seq 100); do curl -fso /dev/null {curl}/api/state && exit; sleep 0.1; done; exit 1")


def asked(what: str, way: str, transport: str, clients: int) -> dict[str, t.Any]:
    lab_docker.say(f"  {what}: {clients} clients by {TRANSPORTS[transport]}, {way}")
    fresh(way)
    task = {
        "what": what, "address": WAYS[way][0], "prefix": "/api", "transport": transport, "clients": clients,
        "messages": MESSAGES, "source": next(_sources), "units": units(way), "bare": False,
        "application": WAYS["direct"][0],
    }  # fmt: skip
    return python(HOST, "streams_on_host.py", task, timeout=300)


def row(way: str, transport: str) -> dict[str, t.Any]:
    # Who polls holds nothing between two polls.
    held = asked("hold", way, transport, HELD) if transport != "poll" else None
    heard = asked("broadcast", way, transport, HEARING)
    return {**shown(way, transport, held, heard), "runs": [held, {**heard, "delays": None}]}


def shown(way: str, transport: str, held: dict[str, t.Any] | None, heard: dict[str, t.Any]) -> dict[str, t.Any]:
    """What was found, and whether it is what was asked for."""
    faults = [f"{heard['missing']} deliveries missing"] if heard["missing"] else []
    if heard["held"] != HEARING:
        faults.append(f"{heard['held']} of {HEARING} heard")
    if held and {held[witness] for witness in ("held", "application")} != {HELD}:
        faults.append(f"held {held['held']}, says the application {held['application']}")
    if held and not HELD <= held["kernel"] <= HELD + 100:
        faults.append(f"the kernel has {held['kernel']} connections")
    memory = held["memory"] if held else {}
    files = held["files"] if held else {}
    return {
        "way": way,
        "transport": TRANSPORTS[transport],
        "held": held["held"] if held else None,
        "connect_s": round(held["seconds"], 1) if held else None,
        "front_KiB": round(memory["front"], 1) if "front" in memory else None,
        "app_KiB": round(memory["application"], 1) if memory else None,
        "files": "/".join(str(files[name]) for name in files),
        **delays(heard["delays"]),
        "spread_ms": "{:.0f}-{:.0f}".format(*(1000 * of(heard["medians"]) for of in (min, max)))
        if heard["medians"]
        else "",
        "requests_s": round(1000 * heard["requests"]),
        "front_CPU": round(heard["processor"]["front"], 2) if "front" in heard["processor"] else None,
        "app_CPU": round(heard["processor"].get("application", 0), 2),
        "clients_CPU": round(heard["processor"]["clients"], 2),
        "verdict": ", ".join(faults) or "ok",
    }


def delays(seconds: list[float]) -> dict[str, int | None]:
    """Milliseconds: half of the deliveries, 99 of a hundred, and all took no longer."""
    if len(seconds) < 100:
        return {"p50_ms": None, "p99_ms": None, "max_ms": None}
    percentiles = statistics.quantiles(seconds, n=100)
    return {
        "p50_ms": round(1000 * percentiles[49]),
        "p99_ms": round(1000 * percentiles[98]),
        "max_ms": round(1000 * max(seconds)),
    }


def bare() -> dict[str, t.Any]:
    task = {
        "what": "broadcast", "address": "/run/bench-bare.sock", "prefix": "/api", "transport": "sse", "units": {},
        "application": "", "clients": HEARING, "messages": MESSAGES, "source": "", "bare": True,
    }  # fmt: skip
    heard = python(HOST, "streams_on_host.py", task)
    return {**shown("bare", "sse", None, heard), "runs": [None, {**heard, "delays": None}]}


def rows() -> list[dict[str, t.Any]]:
    work = STATE / "bench-streams"
    work.mkdir(parents=True, exist_ok=True)
    lab_docker.down([HOST])
    try:
        lab_docker.say("Putting up the board behind nginx and Apache")
        lab_docker.up(STATE, HOST, RELEASE, [], warm=True)
        shell(HOST, "apt-get update -q; apt-get install -y -q --no-install-recommends curl iproute2", timeout=300)
        applications = [{"role": "weblab.stacks.demo_board"}]
        serve(HOST, work, {"weblab_sites": SITES, "weblab_applications": applications}, "site")
        lab_docker.say(f"Measuring on {', '.join(machine())}")
        found = [bare(), *(row(way, transport) for transport in TRANSPORTS for way in WAYS)]
        return [{**one, "machine": machine()} for one in found]
    finally:
        lab_docker.down([HOST])
