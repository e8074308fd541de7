# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples of the documentation: those of every plugin, and the YAML blocks of every page."""

from __future__ import annotations

import ast
import pathlib
import re
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILTERS = sorted(path.stem for path in (ROOT / "plugins" / "filter").glob("*.yml"))
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("[!_]*.py"))
PAGES = sorted(
    str(path.relative_to(ROOT)) for pattern in ("*.md", "docs/*.md", "roles/*/README.md") for path in ROOT.glob(pattern)
)


class Block(t.NamedTuple):
    """A YAML block of a page."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.removesuffix('.md')}-{self.line}"

    @property
    def data(self) -> t.Any:
        return yaml.safe_load(self.text)

    @property
    def is_data(self) -> bool:
        return isinstance(self.data, dict)

    @property
    def is_play(self) -> bool:
        return isinstance(self.data, list) and all("hosts" in play for play in self.data)

    @property
    def is_tasks(self) -> bool:
        return isinstance(self.data, list) and all("name" in task for task in self.data) and not self.is_play


def of_module(name: str) -> list[dict[str, t.Any]]:
    """The tasks in EXAMPLES."""
    tree = ast.parse((ROOT / "plugins" / "modules" / f"{name}.py").read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "EXAMPLES":
            return list(yaml.safe_load(ast.literal_eval(statement.value)))
    raise AssertionError(f"{name} has no EXAMPLES")


def of_filter(name: str) -> tuple[list[dict[str, t.Any]], dict[str, t.Any]]:
    """The tasks in EXAMPLES, and what RETURN says about the value."""
    page = yaml.safe_load((ROOT / "plugins" / "filter" / f"{name}.yml").read_text(encoding="utf-8"))
    return list(yaml.safe_load(page["EXAMPLES"])), page["RETURN"]["_value"]


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text[: match.start()].count("\n") + 1, match[1])
        for match in re.finditer(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    ]
