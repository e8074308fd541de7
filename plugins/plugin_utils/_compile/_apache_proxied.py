# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""An Apache behind a proxy, and the last answers in its memory."""

from __future__ import annotations

import ipaddress
import typing as t

from ...module_utils._errors import DataError
from ._plan import check_path


def complete_proxied(site: t.Mapping[str, t.Any], here: str) -> None:
    """Check who stands in front of ``site``, and what it keeps."""
    for number, address in enumerate(site["proxies"]):
        try:
            ipaddress.ip_network(address)
        except ValueError as error:
            raise DataError(f"{here}.proxies[{number}]", f"{error}") from None
    cache = site.get("cache")
    if cache is None:
        return
    for key in ("mb", "max_kb"):
        if cache[key] < 1:
            raise DataError(f"{here}.cache.{key}", f"{cache[key]} is nothing; at least 1")
    # The memory is cut into parts, more and larger ones with its size, and an answer has to fit into one of them.
    largest = 120 << (cache["mb"].bit_length() - 1) // 2
    if cache["max_kb"] > largest:
        problem = f"the largest answer that {cache['mb']} MiB have room for is {largest} KiB; raise mb, or lower this"
        raise DataError(f"{here}.cache.max_kb", problem)
    for number, path in enumerate(cache["paths"]):
        check_path(path, f"{here}.cache.paths[{number}]")


def proxied_modules(site: t.Mapping[str, t.Any]) -> list[str]:
    """Return the modules that ``site`` needs for that."""
    return [*(["remoteip"] if site["proxies"] else []), *(["cache_socache"] if site.get("cache") else [])]
