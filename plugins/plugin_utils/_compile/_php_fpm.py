# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""PHP-FPM pools: from data to files, addresses and probes."""

from __future__ import annotations

import dataclasses
import typing as t

from ...module_utils import _endpoint
from ...module_utils._errors import DataError
from .. import _sizing, _spec
from ._facts import Host
from ._plan import (
    Plan,
    check_mode,
    check_name,
    check_run_path,
    check_text,
    check_unique,
    check_user,
    empty_plan,
    listener,
    marker,
    sysusers,
)

PING_PATH = "/fpm-ping"
STATUS_PATH = "/fpm-status"
#: A directory that only root may enter: PHP-FPM gives a pool's status socket the owner, group and mode of its other
#: socket, and runs any .php file there, as the pool's user and (PHP 8.2) without the pool's php_admin_value.
STATUS_DIRECTORY = "/run/php-status"


def default_socket(name: str) -> str:
    """Where a pool listens that names no endpoint."""
    return f"fastcgi+unix:///run/php/{name}.sock"


def default_status_socket(name: str) -> str:
    """Where a pool says how busy it is, also when all of its workers are."""
    return f"fastcgi+unix://{STATUS_DIRECTORY}/{name}.sock"


def php_fpm_plan(
    pools: list[dict[str, t.Any]],
    facts: t.Mapping[str, t.Any],
    owner: str,
    share: float = 0.5,
    where: str = "php_fpm_pools",
) -> Plan:
    """Return files, listeners and probes of the pools that ``owner`` declares.

    :raises DataError: with the path of the wrong value.
    """
    option = _spec.role_options("php_fpm")["php_fpm_pools"]
    checked: list[dict[str, t.Any]] = _spec.checked(option, pools, where)
    plan = empty_plan()
    users: dict[str, str] = {}
    listeners: list[tuple[str, str]] = []
    for index, pool in enumerate(checked):
        here = f"{where}[{index}]"
        endpoint, status = _complete(pool, here)
        pool["workers"] = _workers(pool, here, Host.from_facts(facts), share, len(checked))
        users[pool["user"]] = "/nonexistent"
        listeners += [(endpoint.address, f"{here}.listen"), (status.address, f"{here}.status_listen")]
        plan["files"].append(
            {"path": f"pool.d/{pool['name']}.conf", "template": "pool.d/pool.conf.j2", "vars": {"pool": pool}}
        )
        plan["listen"] += [listener(endpoint, f"{here}.listen"), listener(status, f"{here}.status_listen")]
        plan["probe"].append(
            {
                "name": f"pool {pool['name']}",
                "endpoint": endpoint.as_dict(),
                "path": PING_PATH,
                "expect": {"body": "pong"},
            }
        )
    check_unique([(pool["name"], f"{where}[{index}].name") for index, pool in enumerate(checked)], "the pool name")
    check_unique(listeners, "the address")
    if checked:
        plan["files"] += [*sysusers(users, f"{owner}-php-fpm"), marker(owner, "php_fpm")]
    return plan


def _complete(pool: dict[str, t.Any], here: str) -> tuple[_endpoint.Endpoint, _endpoint.Endpoint]:
    """Check ``pool``, fill in what follows from it, and return its endpoint and that of its status."""
    check_name(pool["name"], f"{here}.name")
    check_user(pool["user"], f"{here}.user")
    pool["group"] = pool.get("group") or pool["user"]
    endpoint = _endpoint.parse(pool.get("listen") or default_socket(pool["name"]), f"{here}.listen", "fastcgi")
    if endpoint.unix is not None:
        check_run_path(endpoint.unix, f"{here}.listen")
        check_mode(pool["listen_mode"], f"{here}.listen_mode")
    status = _endpoint.parse(
        pool.get("status_listen") or default_status_socket(pool["name"]), f"{here}.status_listen", "fastcgi"
    )
    if status.unix is None:
        problem = f"through {status.address} every user of the host could run scripts as {pool['user']}"
        raise DataError(f"{here}.status_listen", f"{problem}; give a Unix socket in a directory of root's alone")
    check_run_path(status.unix, f"{here}.status_listen")
    pool["listen"], pool["status_listen"] = endpoint.as_dict(), status.as_dict()
    for group in ("environment", "admin_values"):
        for key, value in pool[group].items():
            check_text(f"{key}={value}", f"{here}.{group}.{key}")
    return endpoint, status


def _workers(pool: t.Mapping[str, t.Any], here: str, host: Host, share: float, pools: int) -> dict[str, int]:
    sized = dataclasses.asdict(_sizing.size_workers(host.memory_mb, host.cpus, pool["worker_mb"], share, pools))
    given: dict[str, int] = pool.get("workers") or {}
    if "max" in given:
        # The spare workers follow a maximum that was given by hand, unless they are given as well.
        for key in ("start", "min_spare", "max_spare"):
            sized[key] = min(sized[key], given["max"])
    workers = {**sized, **given}
    if not 1 <= workers["min_spare"] <= workers["start"] <= workers["max_spare"] <= workers["max"]:
        raise DataError(
            f"{here}.workers",
            "1 <= min_spare <= start <= max_spare <= max does not hold: "
            + ", ".join(f"{key} {workers[key]}" for key in ("min_spare", "start", "max_spare", "max")),
        )
    return workers
