# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""How busy PHP-FPM's pools are: what their status says, held against the configured maximum."""

from __future__ import annotations

import dataclasses
import glob
import json
import typing as t
from pathlib import Path

from . import _endpoint
from ._endpoint import Endpoint
from ._errors import DataError
from ._php_fpm_pools import read_pools
from ._probe import ask_all, queues_of

#: The status of a thousand workers, each with the longest URI that PHP-FPM keeps, is shorter.
MAX_BODY = 1 << 20
#: So many workers are kept.
MAX_PROCESSES = 256
PATH = "/fpm-status"
CONFIG = ("/etc/php/*/fpm/pool.d/*.conf",)


@dataclasses.dataclass(frozen=True)
class Pool:
    """Where a pool is asked, and what its file says."""

    name: str
    endpoint: Endpoint
    path: str = PATH
    max_children: int | None = None
    #: Where it takes requests.
    listen: Endpoint | None = None


def summary(status: t.Any, max_children: t.Any = None) -> dict[str, t.Any]:
    """What a status page says, in snake case, and how much of the pool is busy.

    :param status: the page's JSON, as text or as what was read from it.
    :raises DataError: it is no status page.
    """
    page = {_snake(key): value for key, value in _page(status).items()}
    limit = _limit(max_children)
    processes = [{_snake(key): value for key, value in process.items()} for process in page.pop("processes", [])]
    # Without pm.status_listen, the worker that answers is one of the pool's, and counts itself.
    busy = max(0, page["active_processes"] - sum(map(_answers, processes)))
    return {
        **page,
        "busy_processes": busy,
        "max_children": limit,
        "saturation": None if limit is None else round(min(1.0, busy / limit), 3),
        "processes": processes[:MAX_PROCESSES],
    }


def _page(status: t.Any) -> t.Mapping[str, t.Any]:
    if isinstance(status, (str, bytes)):
        try:
            status = json.loads(status, strict=False)
        except (ValueError, RecursionError) as error:
            raise DataError("status", f"this is not JSON; ask for {PATH}?json or {PATH}?json&full: {error}") from None
    if not isinstance(status, t.Mapping) or not isinstance(status.get("active processes"), int):
        raise DataError("status", "this is not the status of a PHP-FPM pool: it has no number of active processes")
    if not all(isinstance(process, t.Mapping) for process in status.get("processes", [])):
        raise DataError("status", "this is not the status of a PHP-FPM pool: its processes are no mappings")
    return status


def _snake(key: str) -> str:
    return str(key).replace(" ", "_")


def _limit(value: t.Any) -> int | None:
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise DataError("max_children", f"{value!r} is not a number of workers above zero")
    return number


def _answers(process: t.Mapping[str, t.Any]) -> bool:
    """Is it the worker that answers this question for the status? It has no script, and the question as its URI."""
    query = str(process.get("request_uri", "")).partition("?")[2].split("&")
    return process.get("state") == "Running" and process.get("script") == "-" and "json" in query


def configured(patterns: t.Iterable[str] = CONFIG) -> list[Pool]:
    """The pools in the files that match; asked at their pm.status_listen, where they have one."""
    found = []
    for pattern in patterns:
        texts = [Path(name).read_text(encoding="utf-8", errors="replace") for name in sorted(glob.glob(pattern))]
        for name, keys in read_pools(texts).items():
            if "listen" in keys:
                listen = _endpoint.listening(keys["listen"], "fastcgi", f"listen of pool {name}")
                status = keys.get("pm.status_listen")
                endpoint = (
                    _endpoint.listening(status, "fastcgi", f"pm.status_listen of pool {name}") if status else listen
                )
                limit = keys.get("pm.max_children", "")
                path = keys.get("pm.status_path", PATH)
                found.append(Pool(name, endpoint, path, int(limit) if limit.isdigit() else None, listen))
    return found


def chosen(specs: t.Sequence[t.Mapping[str, t.Any]], pools: t.Sequence[Pool]) -> list[Pool]:
    """The pools that ``specs`` describe, each completed from its file.

    :raises DataError: with the path of the wrong value.
    """
    return [_chosen(spec, pools, f"pools[{index}]") for index, spec in enumerate(specs)]


def _chosen(spec: t.Mapping[str, t.Any], pools: t.Sequence[Pool], where: str) -> Pool:
    name = spec.get("name")
    if spec.get("endpoint") is not None:
        endpoint = _endpoint.parse(spec["endpoint"], f"{where}.endpoint", "fastcgi")
        known = next((pool for pool in pools if endpoint in (pool.endpoint, pool.listen)), None)
        pool = dataclasses.replace(known or Pool(endpoint.url, endpoint), endpoint=endpoint)
    else:
        named = [pool for pool in pools if pool.name == name]
        if len(named) != 1:
            problem = f"{len(named)} pools are called {name} in the pool files; give its endpoint"
            raise DataError(where, problem)
        pool = named[0]
    given = {key: spec[key] for key in ("name", "path", "max_children") if spec.get(key) is not None}
    _limit(given.get("max_children"))
    return dataclasses.replace(pool, **given)


def ask(pools: t.Sequence[Pool], timeout: float) -> list[dict[str, t.Any]]:
    """Ask all pools at once; one result for each, whether it answers or not."""
    specs = [
        {"endpoint": pool.endpoint, "name": pool.name, "path": f"{pool.path}?json&full", "expect": {"status": [200]}}
        for pool in pools
    ]
    answers = ask_all(specs, timeout, max_body=MAX_BODY)
    queues = queues_of(pool.listen or pool.endpoint for pool in pools)
    results = []
    for pool, (record, answer), queue in zip(pools, answers, queues):
        result = {
            **{key: getattr(record, key) for key in ("name", "endpoint", "state", "cause", "phase", "message", "hint")},
            "queue": queue,
            "status": None,
        }
        if answer and answer.status in (403, 404):
            result["hint"] = f"set pm.status_path = {pool.path} in the pool and reload PHP-FPM"
        elif answer and record.ok:
            try:
                result["status"] = summary(answer.body, pool.max_children)
            except DataError as error:
                result.update(state="degraded", cause="expectation", phase="expect", message=str(error))
                result["hint"] = f"what answers at {pool.path} is not PHP-FPM's status: correct the path"
        results.append(result)
    return results
