# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write docs/broken_stands.md: every broken stand of the tests, and the checks that name it.

`broken_stands.py` writes, `broken_stands.py --check` only says whether it is up to date.
"""

from __future__ import annotations

import pathlib
import sys
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "broken_stands.md"
RUBRIC = ROOT / "roles" / "verify" / "files" / "rubrics" / "course.yml"
CATALOGUE = ROOT / "roles" / "verify" / "files" / "lang" / "en.yml"
HEAD = """\
# Stands with one mistake, and the checks that name it

The oracle of the verification is the mistake itself. `tests/support/stands.py` has a stand that somebody has configured
by hand from Debian's packages (nginx, gunicorn, uWSGI, PHP-FPM), right in everything, and {stands} edits of it, each
with one mistake.
`tests/daemons/test_verify.py` puts each up and checks it against the rubric `course`, on Debian 12 and 13, and fails

- for a **miss**: a check that is for the mistake does not name it;
- for a **false alarm**: any other of the {criteria} checks does, or any at all on the right stand.

So the rate of both is 0 of {judgements} judgements of a release, or the test is red. Where a mistake has several
consequences, all are listed; what a missing check only keeps from being looked at is not. This page is made of the same
data by `lab/broken_stands.py`.

`tests/daemons/test_verify_servers.py` does the same with sites behind Apache, lighttpd and Caddy, and puts each of
Apache's MPMs up to see it known by the connections that it holds.

| mistake | named by | in these words |
|---|---|---|
"""


def page() -> str:
    """The page as it is to be."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from stands import BROKEN

    rubric = yaml.safe_load(RUBRIC.read_text(encoding="utf-8"))
    causes = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))["causes"]
    names = [one["id"] for section in rubric["sections"] for one in section["criteria"]]
    head = HEAD.format(stands=len(BROKEN), criteria=len(names), judgements=f"{(len(BROKEN) + 1) * len(names):,}")
    return head + "".join(
        f"| {_cell(name)} | {', '.join(f'`{one}`' for one in sorted(broken.named, key=names.index))} "
        f"| {_cell('; '.join(_sentence(causes, cause) for cause in broken.named.values() if cause))} |\n"
        for name, broken in BROKEN.items()
    )


def _sentence(causes: t.Mapping[str, t.Mapping[str, str]], cause: str) -> str:
    return causes[cause]["seen"].replace("{", "*").replace("}", "*")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    made = page()
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == made:
        return 0
    if "--check" in sys.argv:
        print(f"{PAGE.relative_to(ROOT)} is not up to date: python lab/broken_stands.py")
        return 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
