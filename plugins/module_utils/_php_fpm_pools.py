# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""PHP-FPM's pool files, as far as the collection needs to read them."""

from __future__ import annotations

import re
import typing as t

_SECTION = re.compile(r"\s*\[([^]]+)\]")
_KEY = re.compile(r"\s*([a-z_.]+)\s*=\s*(.*?)\s*(;.*)?$")


def read_pools(texts: t.Iterable[str]) -> dict[str, dict[str, str]]:
    """The keys of every pool in the text of pool files; ``$pool`` is replaced, a later value wins."""
    pools: dict[str, dict[str, str]] = {}
    for text in texts:
        keys: dict[str, str] = {}
        name = ""
        for line in text.splitlines():
            section = _SECTION.match(line)
            match = _KEY.match(line)
            if section:
                name = section[1]
                keys = pools.setdefault(name, {}) if name != "global" else {}
            elif match:
                keys[match[1]] = match[2].strip("\"'").replace("$pool", name)
    return pools
