# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the table of variables into every role's README, from its argument_specs and defaults.

`readmes.py` writes, `readmes.py --check` only says which are not up to date.
"""

from __future__ import annotations

import pathlib
import re
import sys
import typing as t

import yaml

ROLES = pathlib.Path(__file__).resolve().parent.parent / "roles"
BEGIN, END = "<!-- variables: begin, written by lab/readmes.py -->", "<!-- variables: end -->"


def rows(options: t.Mapping[str, t.Any], defaults: t.Mapping[str, t.Any], prefix: str = "") -> t.Iterator[str]:
    """One table row per option, nested ones below their parent."""
    for name, option in options.items():
        default = option.get("default", defaults.get(name))
        kind = option.get("type", "str")
        if "choices" in option:
            kind = " or ".join(f"`{choice}`" for choice in option["choices"])
        elif kind == "list":
            kind = f"list of {option.get('elements', 'raw')}"
        if option.get("required"):
            shown = "**required**"
        elif default is None or (isinstance(default, str) and "{{" in default) or name.endswith("_drawing"):
            shown = ""
        else:
            flow = yaml.safe_dump(default, default_flow_style=True, width=1000)
            shown = f"`{flow.strip().removesuffix('...').strip()}`"
        yield f"| `{prefix}{name}` | {kind} | {shown} | {text(option['description'])} |"
        if "options" in option:
            yield from rows(option["options"], {}, f"{prefix}{name}{'[]' if option.get('type') == 'list' else ''}.")


def text(description: str | list[str]) -> str:
    """Ansible's markup as Markdown, in one line."""
    line = " ".join([description] if isinstance(description, str) else description)
    return re.sub(r"\b[A-Z]\(([^)]*)\)", r"`\1`", line).replace("|", "\\|").replace("\n", " ").strip()


def table(role: pathlib.Path) -> str:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text(encoding="utf-8")) or {}
    lines = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([BEGIN, *lines, *rows(specs["main"]["options"], defaults), END])


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for readme in sorted(ROLES.glob("*/README.md")):
        content = readme.read_text(encoding="utf-8")
        if BEGIN not in content:
            continue
        before, _begin, rest = content.partition(BEGIN)
        wanted = before + table(readme.parent) + rest.partition(END)[2]
        if wanted != content:
            stale.append(str(readme.relative_to(ROLES.parent)))
            if not check:
                readme.write_text(wanted, encoding="utf-8")
    if check and stale:
        print(f"not up to date: {', '.join(stale)}\n  What to do: python3 lab/readmes.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
