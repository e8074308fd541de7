# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.weblab.stacks.plugins.plugin_utils._sizing import size_workers


@given(
    memory_mb=st.integers(128, 1 << 20),
    cpus=st.integers(1, 256),
    worker_mb=st.integers(8, 2048),
    share=st.floats(0.05, 1.0),
    groups=st.integers(1, 20),
)
def test_the_invariants_hold_on_every_machine(
    memory_mb: int, cpus: int, worker_mb: int, share: float, groups: int
) -> None:
    workers = size_workers(memory_mb, cpus, worker_mb, share, groups)
    assert 1 <= workers.min_spare <= workers.start <= workers.max_spare <= workers.max
    # One worker runs even where none fits; more never exceed the share.
    assert workers.max == 1 or groups * workers.max * worker_mb <= memory_mb * share


def test_the_smallest_machine() -> None:
    workers = size_workers(memory_mb=512, cpus=1, worker_mb=64, share=0.5)
    assert (workers.max, workers.start, workers.min_spare, workers.max_spare) == (4, 1, 1, 2)


def test_memory_does_not_make_more_workers_than_the_cpus_can_use() -> None:
    assert size_workers(memory_mb=512 * 1024, cpus=2).max == 32


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"memory_mb": 0}, "memory_mb is 0"),
        ({"cpus": 0}, "cpus is 0"),
        ({"share": 0.0}, "share is"),
        ({"share": 1.5}, "share is"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float], said: str) -> None:
    arguments: dict[str, float] = {"memory_mb": 1024, "cpus": 1, **wrong}
    with pytest.raises(ValueError, match=said):
        size_workers(**arguments)  # type: ignore[arg-type]
