# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the echo program says that molecule/shared/programs.yml puts on a host."""

from __future__ import annotations

import typing as t

from onhost import get


def echo(host: t.Any, url: str, *options: str) -> dict[str, t.Any]:
    """Ask the echo program."""
    answer = get(host, url, *options)
    assert answer.status == 200, f"{url}: {answer.status} {answer.body[:300]}"
    return t.cast("dict[str, t.Any]", answer.json())
