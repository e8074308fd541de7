# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The shape that every component's compile step returns, and what the components share."""

from __future__ import annotations

import json
import re
import typing as t

from ...module_utils._endpoint import Endpoint
from ...module_utils._errors import DataError

_NAME = re.compile(r"^[a-z0-9]([a-z0-9_.-]{0,30}[a-z0-9])?$")
_ACCOUNT = re.compile(r"^[a-z_][a-z0-9_-]{0,31}$")

#: Users that Debian's packages bring, or that own too much to run an application.
_KNOWN_USERS = frozenset({"www-data", "nobody", "daemon"})


class Plan(t.TypedDict):
    """One component's configuration of one owner: the arguments of ``config_tree``."""

    files: list[dict[str, t.Any]]
    listen: list[dict[str, t.Any]]
    probe: list[dict[str, t.Any]]
    requires: list[dict[str, t.Any]]


def empty_plan() -> Plan:
    return {"files": [], "listen": [], "probe": [], "requires": []}


def check_name(name: str, where: str) -> str:
    """Return ``name`` when it can be part of file names, units and configuration."""
    if not _NAME.match(name):
        raise DataError(where, f"{name!r} is not a name: lower-case letters, digits, '_', '.', '-', at most 32")
    return name


def check_user(user: str, where: str) -> str:
    """Return ``user`` when an application may run as it."""
    if user == "root":
        raise DataError(where, "an application does not run as root; give it a user of its own")
    if not _ACCOUNT.match(user):
        raise DataError(where, f"{user!r} is not a Unix user name (useradd(8))")
    return user


def check_unique(values: t.Iterable[tuple[str, str]], what: str) -> None:
    """Refuse the second of two equal values; ``values`` are pairs of value and its path."""
    seen: dict[str, str] = {}
    for value, where in values:
        if value in seen:
            raise DataError(where, f"{what} {value} is taken already by {seen[value]}")
        seen[value] = where


def check_text(value: str, where: str) -> str:
    """Return ``value`` when it cannot break out of the line of configuration that it is written into."""
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise DataError(where, f"{value!r} has a control character or a line break")
    return value


def check_path(value: str, where: str) -> str:
    """Return ``value`` when it is an absolute path that every daemon can spell unquoted."""
    if not re.match(r"^/[^\s;{}\"'\\$|]*$", value):
        raise DataError(where, f"{value!r} is not an absolute path without blanks, quotes and ; {{ }} $ |")
    return value


def check_run_path(path: str, where: str) -> None:
    """Refuse a socket outside /run: elsewhere it outlives a reboot and is then stale."""
    check_path(path, where)
    if not path.startswith("/run/"):
        raise DataError(where, f"a socket belongs below /run, which is empty after a reboot; {path} is not")


def check_mode(mode: str, where: str) -> None:
    """Refuse a socket mode that lets everybody connect."""
    if not re.match(r"^0[0-7]{3}$", mode) or int(mode, 8) & 0o007:
        raise DataError(where, f"{mode!r} is not a socket mode closed to others, such as '0660'")


def listener(endpoint: Endpoint, what: str) -> dict[str, t.Any]:
    return {"endpoint": endpoint.as_dict(), "what": what}


def marker(owner: str, component: str, instance: str = "", **more: t.Any) -> dict[str, t.Any]:
    """Return the local fact that the owner has something here; a later run without its sites finds it by that."""
    content = json.dumps({"owner": owner, "component": component, "instance": instance, **more}) + "\n"
    name = "_".join(part for part in ("weblab", owner, component, instance) if part)
    return {"system": f"/etc/ansible/facts.d/{name}.fact", "content": content}


def base_marker(component: str, instance: str, **more: t.Any) -> dict[str, t.Any]:
    """Return the local fact that this instance is set up here, whoever has sites on it."""
    content = json.dumps({"base": component, "instance": instance, **more}) + "\n"
    name = "_".join(part for part in ("weblab", component, instance) if part)
    return {"system": f"/etc/ansible/facts.d/{name}.fact", "content": content}


def tmpfiles(owner: str, lines: t.Iterable[str]) -> list[dict[str, t.Any]]:
    """Return the tmpfiles.d(5) file with these lines; what it makes below /run goes with it."""
    content = "".join(f"{line}\n" for line in lines)
    return [{"system": f"/etc/tmpfiles.d/weblab-{owner}.conf", "content": content}] if content else []


def sysusers(users: t.Mapping[str, str], owner: str) -> list[dict[str, t.Any]]:
    """Return a sysusers.d(5) file for each of ``users`` (name -> home) that is to be created.

    By its comment ``config_tree`` knows an account that goes with the last file that names it.
    """
    return [
        {
            "system": f"/etc/sysusers.d/weblab-{owner}-{user}.conf",
            "content": f'u {user} - "weblab.stacks application" {home}\n',
        }
        for user, home in users.items()
        if user not in _KNOWN_USERS
    ]
