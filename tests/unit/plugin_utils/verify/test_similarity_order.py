# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is more alike, by comparisons that others wrote: Debian's similarity-tester, and Python's difflib."""

from __future__ import annotations

import difflib
import itertools
import pathlib
import re
import shutil
import subprocess
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _similarity

ROOT = pathlib.Path(__file__).resolve().parents[4]
#: Roles that nobody has copied, and how much of the first one each of the others has beside its own work.
ORIGINAL, OWN = "demo_wordpress", {"demo_dokuwiki": 0.0, "demo_board": 0.3, "demo_whoami": 0.6, "demo_index": 1.0}
#: Shares that differ by less may be in another order: none of the three reads texts quite as another one does.
CLEAR = 0.15

Shares = t.Dict[t.Tuple[str, str], float]


def lines(role: str) -> list[str]:
    """Its YAML, without comments: two of the three know none."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "roles" / role).rglob("*.yml")))
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "---"))]


@pytest.fixture
def files(tmp_path: pathlib.Path) -> dict[str, pathlib.Path]:
    original = lines(ORIGINAL)
    texts = {ORIGINAL: original}
    for name, part in OWN.items():
        texts[name] = lines(name)[:90] + original[: int(len(original) * part)]
    made = {}
    for name, text in texts.items():
        made[name] = tmp_path / name / "site.yml"
        made[name].parent.mkdir()
        made[name].write_text("\n".join(text) + "\n", encoding="utf-8")
    return made


def by_sim_text(files: dict[str, pathlib.Path]) -> Shares:
    if shutil.which("sim_text") is None:
        pytest.skip("no sim_text on this machine: apt-get install similarity-tester")
    names = {str(file): name for name, file in files.items()}
    done = subprocess.run(
        ["sim_text", "-p", "-a", "-e", "-s", "-r7", "-t1", *names], capture_output=True, text=True, check=True
    )
    found = re.findall(r"^(\S+) consists for (\d+) % of (\S+) material$", done.stdout, re.MULTILINE)
    shares = dict.fromkeys(itertools.permutations(files, 2), 0.0)
    shares.update({(names[one], names[other]): int(percent) / 100 for one, percent, other in found})
    return shares


def by_difflib(files: dict[str, pathlib.Path]) -> Shares:
    words = {name: re.findall(r"\w+", file.read_text(encoding="utf-8").lower()) for name, file in files.items()}
    shares = {}
    for one, other in itertools.permutations(files, 2):
        blocks = difflib.SequenceMatcher(None, words[one], words[other], autojunk=False).get_matching_blocks()
        shares[one, other] = sum(block.size for block in blocks if block.size >= 7) / len(words[one])
    return shares


@pytest.mark.parametrize("oracle", [by_sim_text, by_difflib])
def test_pairs_are_in_the_order_of_others(
    files: dict[str, pathlib.Path], oracle: t.Callable[[dict[str, pathlib.Path]], Shares]
) -> None:
    theirs = oracle(files)
    found = _similarity.compare({name: str(file.parent) for name, file in files.items()})
    ours: Shares = {}
    for pair in found["pairs"]:
        ours[pair["one"], pair["other"]], ours[pair["other"], pair["one"]] = pair["share"]
    assert ours.keys() == theirs.keys()
    wrong = [
        (one, other)
        for one, other in itertools.permutations(ours, 2)
        if ours[one] - ours[other] > CLEAR and theirs[one] <= theirs[other]
    ]
    assert not wrong, (ours, theirs)
    # And it is an order: there is much to be compared.
    assert sum(ours[one] - ours[other] > CLEAR for one, other in itertools.permutations(ours, 2)) > 50
    # What was copied is as much for both.
    assert max(abs(ours[pair] - theirs[pair]) for pair in ours) < CLEAR, (ours, theirs)
