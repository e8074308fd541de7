# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench`: every experiment, or one (`make bench WHAT=probe`); a table of each, and .lab/bench-NAME.json.

An experiment is a module bench_NAME with a docstring that says what is compared, and `rows()`, which measures.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
import typing as t

import lab_docker
import rich.box
import rich.console
import rich.table

STATE = pathlib.Path(__file__).resolve().parent.parent / ".lab"
EXPERIMENTS = sorted(path.stem.removeprefix("bench_") for path in pathlib.Path(__file__).parent.glob("bench_*.py"))


def table(rows: t.Sequence[t.Mapping[str, t.Any]]) -> rich.table.Table:
    """One column per key; what is a list is in the file only."""
    keys = [key for key, value in rows[0].items() if not isinstance(value, list)]
    grid = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for key in keys:
        text = isinstance(rows[0][key], str)
        grid.add_column(key.replace("_", " "), justify="left" if text else "right", no_wrap=text)
    for row in rows:
        grid.add_row(*("" if row[key] is None else str(row[key]) for key in keys))
    return grid


def main() -> int:
    wanted = sys.argv[1:] or EXPERIMENTS
    unknown = sorted(set(wanted) - set(EXPERIMENTS))
    if unknown:
        lab_docker.say(
            f"error: no experiment {unknown[0]}\n  What to do: make bench WHAT={' or WHAT='.join(EXPERIMENTS)}"
        )
        return 1
    console = rich.console.Console(width=None if sys.stdout.isatty() else 160)
    for name in wanted:
        experiment = importlib.import_module(f"bench_{name}")
        try:
            rows = experiment.rows()
        except lab_docker.LabError as error:
            lab_docker.say(f"error: {error}")
            return 1
        (STATE / f"bench-{name}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        console.print(str(experiment.__doc__).strip(), highlight=False)
        console.print(table(rows))
        lab_docker.say(f"Also in .lab/bench-{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
