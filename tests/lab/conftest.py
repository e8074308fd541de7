# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All tests visit the same lab, and some want to be alone there."""

from __future__ import annotations

import typing as t

import pytest
from visitor import visiting


@pytest.fixture(scope="session", autouse=True)
def up() -> None:
    """`make test` brings the lab up beside the first tests, and is alone there until it is up."""
    with visiting():
        pass


@pytest.fixture(autouse=True)
def visit() -> t.Iterator[None]:
    with visiting():
        yield
