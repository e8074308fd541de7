# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""How busy uWSGI's applications are: what their stats servers say."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import re
import typing as t
from pathlib import Path

from . import _endpoint
from ._endpoint import Endpoint
from ._errors import DataError
from ._probe import ask_all, queues_of
from ._probe._conversations import Answer, Conversation
from .wire._error import ClosedEarly, WireError

if t.TYPE_CHECKING:
    from ._probe._check import Check

#: The statistics of a thousand cores that are all in a request are shorter.
MAX_SIZE = 4 << 20
#: So many workers, sockets, applications and vassals are kept.
MAX_ITEMS = 256
CONFIG = ("/etc/uwsgi/instances/*.ini", "/etc/uwsgi/vassals/*.ini", "/etc/uwsgi/apps-enabled/*.ini")

_OPTION = re.compile(r"\s*([a-z0-9_-]+)\s*=\s*(.*?)\s*$")
_OF_SERVER = ("version", "pid", "uid", "gid", "cwd", "load", "listen_queue", "listen_queue_errors", "signal_queue")
_OF_WORKER = (
    "id", "pid", "status", "accepting", "requests", "exceptions", "harakiri_count", "respawn_count", "last_spawn",
    "running_time", "avg_rt", "rss", "vsz", "tx",
)  # fmt: skip
_COUNTED = ("requests", "exceptions", "harakiri_count")


@dataclasses.dataclass(frozen=True)
class Server:
    """A stats server, and the name of what it tells of."""

    name: str
    endpoint: Endpoint


class Statistics(Conversation):
    """A stats server speaks first, says everything, and closes."""

    complete = False

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self._said = bytearray()

    def feed(self, data: bytes) -> None:
        self._said += data
        if not b"{".startswith(self._said[:1]):
            raise WireError(f"the answer starts with {bytes(self._said[:16])!r}, which is not uWSGI's statistics")
        if len(self._said) > MAX_SIZE:
            raise WireError(f"the statistics are longer than {MAX_SIZE} bytes")

    def feed_eof(self) -> None:
        if not self._said:
            raise ClosedEarly("no statistics came")
        self.complete = True

    def answer(self) -> Answer:
        return Answer(body=bytes(self._said))


def options(text: str, name: str) -> dict[str, list[str]]:
    """The options in the text of an ini file; ``%n`` is its name without the suffix."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = _OPTION.match(line)
        if match:
            found.setdefault(match[1], []).append(match[2].replace("%n", name))
    return found


def address(text: str, where: str = "") -> Endpoint:
    """The endpoint behind a ``stats`` option: ``/run/shop/stats.sock``, ``127.0.0.1:9191``, ``:9191``.

    :raises EndpointError: with ``where`` and what is wrong.
    """
    return _endpoint.listening(text, _bare(text), where)


def statistics(text: str, timeout: float) -> dict[str, t.Any]:
    """What the stats server at a ``stats`` option's address says; empty when it says nothing."""
    try:
        ((_record, answer),) = ask_all([address(text, "stats")], timeout, conversation=Statistics)
        return dict(_read(answer.body)) if answer else {}
    except DataError:
        return {}


def summary(stats: t.Any) -> dict[str, t.Any]:
    """What a stats server says, without the requests themselves, and how much of the application is busy.

    :param stats: JSON, as text or as what was read from it.
    :raises DataError: these are no statistics of uWSGI.
    """
    said = _read(stats)
    if "version" not in said:
        raise DataError("stats", "these are not the statistics of uWSGI: they have no version")
    workers = [_worker(worker) for worker in _mappings(said, "workers")]
    cores = sum(worker["cores"] for worker in workers)
    return {
        **{key: said.get(key) for key in _OF_SERVER},
        "sockets": _mappings(said, "sockets")[:MAX_ITEMS],
        "workers": workers[:MAX_ITEMS],
        "busy": sum(worker["status"] == "busy" for worker in workers),
        "idle": sum(worker["status"] == "idle" for worker in workers),
        "cheap": sum(worker["status"] == "cheap" for worker in workers),
        **{key: sum(worker[key] or 0 for worker in workers) for key in _COUNTED},
        # A worker with threads is called busy when one of them is.
        "saturation": round(sum(worker["busy_cores"] for worker in workers) / cores, 3) if cores else None,
        "apps": _apps(_mappings(said, "workers"))[:MAX_ITEMS],
        "vassals": _mappings(said, "vassals")[:MAX_ITEMS],
    }


def requests(stats: t.Any) -> int:
    """How many requests the workers have handled, those before a restart of a worker as well.

    :param stats: JSON, as text or as what was read from it.
    :raises DataError: these are no statistics of an application of uWSGI.
    """
    counts: list[t.Any] = [worker.get("requests") for worker in _mappings(_read(stats), "workers")]
    # A bool is an int as well.
    numbers = [count for count in counts if isinstance(count, int) and not isinstance(count, bool)]
    if not counts or len(numbers) < len(counts) or not all(0 <= count < 2**63 for count in numbers):
        raise DataError("stats", "these are not the statistics of uWSGI: its workers count no requests")
    return sum(numbers)


def _read(stats: t.Any) -> t.Mapping[str, t.Any]:
    if isinstance(stats, (str, bytes)):
        try:
            stats = json.loads(stats, strict=False)
        except (ValueError, RecursionError) as error:
            raise DataError("stats", f"this is not the JSON of a uWSGI stats server: {error}") from None
    if not isinstance(stats, t.Mapping):
        raise DataError("stats", "these are not the statistics of uWSGI: they are no mapping")
    return stats


def _mappings(said: t.Mapping[str, t.Any], key: str) -> list[dict[str, t.Any]]:
    items = said.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, t.Mapping) for item in items):
        raise DataError("stats", f"these are not the statistics of uWSGI: {key} is no list of mappings")
    return [dict(item) for item in items]


def _worker(worker: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    # What a core works on has the request's variables, cookies and passwords among them.
    cores = _mappings(worker, "cores")
    return {
        **{key: worker.get(key) for key in _OF_WORKER},
        "cores": len(cores),
        "busy_cores": sum(bool(core.get("in_request")) for core in cores),
    }


def _apps(workers: t.Iterable[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The applications, each with the sums of all workers that have loaded it."""
    apps: dict[tuple[str, str], dict[str, t.Any]] = {}
    for worker in workers:
        for app in _mappings(worker, "apps") if worker.get("pid") else ():
            key = str(app.get("mountpoint", "")), str(app.get("chdir", ""))
            known = apps.setdefault(
                key, {"mountpoint": key[0], "chdir": key[1], "workers": 0, "requests": 0, "exceptions": 0}
            )
            known["workers"] += 1
            for count in ("requests", "exceptions"):
                known[count] += app.get(count) or 0
    return list(apps.values())


def configured(patterns: t.Iterable[str] = CONFIG) -> list[Server]:
    """The stats servers in the ini files that match, by the names of the files."""
    found = []
    for name in sorted({name for pattern in patterns for name in glob.glob(pattern)}):
        stem = os.path.basename(name).rpartition(".")[0]
        keys = options(Path(name).read_text(encoding="utf-8", errors="replace"), stem)
        for key in ("stats", "stats-server", "emperor-stats"):
            for text in keys.get(key, [])[-1:]:
                found.append(Server(stem, address(text, f"{key} in {name}")))
    return found


def chosen(specs: t.Sequence[t.Mapping[str, t.Any]], servers: t.Sequence[Server]) -> list[Server]:
    """The stats servers that ``specs`` describe; one without an endpoint is looked up by its name.

    :raises DataError: with the path of the wrong value.
    """
    return [_chosen(spec, servers, f"servers[{index}]") for index, spec in enumerate(specs)]


def _chosen(spec: t.Mapping[str, t.Any], servers: t.Sequence[Server], where: str) -> Server:
    name = spec.get("name")
    if spec.get("endpoint") is not None:
        endpoint = _endpoint.parse(spec["endpoint"], f"{where}.endpoint")
        if endpoint.protocol not in ("tcp", "unix"):
            problem = f"a stats server has no protocol of its own: write {_bare(endpoint.address)}://..."
            raise DataError(f"{where}.endpoint", problem)
        known = next((server.name for server in servers if server.endpoint == endpoint), endpoint.url)
        return Server(name or known, endpoint)
    named = [server for server in servers if server.name == name]
    if len(named) != 1:
        raise DataError(where, f"{len(named)} stats servers are in files called {name}; give its endpoint")
    return named[0]


def _bare(address: str) -> str:
    return "unix" if address.startswith(("/", "@")) else "tcp"


def ask(servers: t.Sequence[Server], timeout: float) -> list[dict[str, t.Any]]:
    """Ask all stats servers at once; one result for each, whether it answers or not."""
    specs = [{"endpoint": server.endpoint, "name": server.name} for server in servers]
    results = []
    for record, answer in ask_all(specs, timeout, conversation=Statistics):
        keys = ("name", "endpoint", "state", "cause", "phase", "message", "hint")
        result: dict[str, t.Any] = {**{key: getattr(record, key) for key in keys}, "queues": [], "status": None}
        if answer and record.ok:
            try:
                result["status"] = summary(answer.body)
                result["queues"] = _queues(result["status"]["sockets"])
            except DataError as error:
                result.update(state="degraded", cause="expectation", phase="expect", message=str(error))
                result["hint"] = "what listens there is not uWSGI's stats server: correct the address"
        results.append(result)
    return results


def _queues(sockets: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The kernel's queues of an application's sockets."""
    endpoints = {}
    for sock in sockets:
        name = str(sock.get("name", ""))
        # A socket may have a name that says nothing, as one that was inherited.
        with contextlib.suppress(DataError):
            endpoints[name] = address(name)
    found = zip(endpoints, queues_of(endpoints.values()))
    return [{"socket": name, **queue} for name, queue in found if queue]
