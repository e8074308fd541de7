# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab as a table: stack, URL, sockets, state; from .lab/lab.json, which playbooks/verify.yml writes."""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t

import rich.box
import rich.console
import rich.table
import rich.text

GOOD = ("ok", "up", "running")


def socket(endpoint: t.Mapping[str, t.Any]) -> str:
    """One endpoint in one line: protocol, address, and on a Unix socket who may use it."""
    access = " ".join(
        str(part)
        for part in (
            ":".join(str(endpoint[key]) for key in ("owner", "group") if endpoint.get(key)),
            endpoint.get("mode"),
        )
        if part
    )
    words = (endpoint.get("role"), endpoint.get("protocol"), endpoint.get("kind"), endpoint.get("address"), access)
    return " ".join(str(word) for word in words if word)


def table(stacks: t.Sequence[t.Mapping[str, t.Any]]) -> rich.table.Table:
    grid = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_lines=False, pad_edge=False)
    for column in ("Stack", "URL", "Sockets", "State"):
        grid.add_column(column, overflow="fold")
    for stack in stacks:
        state = str(stack["state"])
        grid.add_row(
            rich.text.Text(str(stack["stack"])),
            rich.text.Text(str(stack["url"])),
            rich.text.Text("\n".join(socket(endpoint) for endpoint in stack["endpoints"])),
            rich.text.Text(state, style="green" if state in GOOD else "bold red"),
        )
    return grid


def main() -> int:
    source = pathlib.Path(sys.argv[1])
    try:
        stacks = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"error: no description of the lab: {error}\n  What to do: make lab", file=sys.stderr)
        return 1
    # In a log there is no width to fit into.
    rich.console.Console(width=None if sys.stdout.isatty() else 160).print(table(stacks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
