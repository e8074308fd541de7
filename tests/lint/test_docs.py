# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages, held against each other and against the code."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from examples import PAGES, ROOT, blocks
from troubleshooting import CASES, Row, rows, unnamed

from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import PROTOCOLS
from ansible_collections.weblab.stacks.plugins.module_utils._probe._record import CAUSES, PHASES, STATES

BLOCKS = [block for page in PAGES for block in blocks(page)]


def headings(page: pathlib.Path) -> set[str]:
    """The anchors of a page, as GitHub and Galaxy make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        file, _hash, anchor = target.partition("#")
        to = (path.parent / file) if file else path
        assert to.exists(), f"{page}: {target}"
        assert not anchor or anchor in headings(to), f"{page}: {target}"


def test_blocks_are_yaml_and_their_tasks_are_known(tmp_path: pathlib.Path) -> None:
    for number, block in enumerate(BLOCKS):
        assert block.is_data or block.is_play or block.is_tasks, f"{block}: neither variables nor tasks nor plays"
        if not block.is_data:
            play = block.data if block.is_play else [{"hosts": "all", "tasks": block.data}]
            (tmp_path / f"{number}.json").write_text(json.dumps(play), encoding="utf-8")
    playbooks = sorted(path.name for path in tmp_path.iterdir())
    done = subprocess.run(
        [pathlib.Path(sys.executable).with_name("ansible-playbook"), "--syntax-check", "-i", "localhost,", *playbooks],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {page for page in PAGES if page.startswith("docs/") and f"({page})" not in readme} == set()


def test_every_cause_has_a_row_and_every_row_a_case() -> None:
    found = rows()
    assert {row.cause for row in found} == set(CAUSES)
    assert [row.case for row in found] == sorted({row.case for row in found}, key=[row.case for row in found].index)
    assert {row.case for row in found} == set(CASES)
    assert {row.case: row.state for row in found} == {row.case: CAUSES[row.cause] for row in found}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.case)
def test_a_row_names_the_fix_that_is_tested(row: Row) -> None:
    assert unnamed(row) == set()


def test_the_probes_page_has_all_its_words() -> None:
    text = (ROOT / "docs" / "endpoint_probe.md").read_text(encoding="utf-8")
    spelled = set(re.findall(r"`([a-z_]+)`", text))
    assert set(CAUSES) | set(STATES) | set(PHASES) | set(PROTOCOLS) <= spelled
