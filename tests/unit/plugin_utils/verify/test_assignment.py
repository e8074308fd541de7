# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Task sheets: a student's own, always the same, and nobody else's. OpenSSL is the judge of the token."""

from __future__ import annotations

import base64
import subprocess

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._assignment import PORTS, sheet

SEED = "0123456789abcdef"


def test_the_token_is_what_openssl_comes_to() -> None:
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SEED, "-binary"], input=b"token\0anna", capture_output=True, check=True
    )
    assert sheet(SEED, "anna").token == base64.b32encode(done.stdout).decode().lower()[:12]


def test_everybody_has_other_ones() -> None:
    sheets = [sheet(SEED, f"student {number}") for number in range(300)]
    assert len({one.token for one in sheets}) == 300
    assert len({one.ports for one in sheets}) > 290
    assert all(len(set(one.ports)) == 3 and PORTS[0] <= min(one.ports) <= max(one.ports) <= PORTS[1] for one in sheets)
    assert sheet(SEED, "student 7") == sheets[7]
    assert sheet(SEED + "x", "student 7").token != sheets[7].token
    assert len(sheet(SEED, "anna", 100).ports) == 100


def test_a_name_is_one_however_it_is_typed() -> None:
    composed, decomposed = "Андрей", "Андреи\u0306"
    assert sheet(SEED, composed).token == sheet(SEED, f" {decomposed} ").token


@pytest.mark.parametrize(("seed", "sites", "said"), [("short", 3, "openssl rand"), (SEED, 0, "0"), (SEED, 101, "101")])
def test_what_makes_no_sheet(seed: str, sites: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        sheet(seed, "anna", sites)
