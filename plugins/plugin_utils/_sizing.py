# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""How many workers a host carries, from its memory and CPUs."""

from __future__ import annotations

import dataclasses

#: Workers that wait for a database or a client leave the CPU to others; beyond this many a CPU
#: they only queue inside the host instead of in the listener's backlog.
WORKERS_PER_CPU = 16


@dataclasses.dataclass(frozen=True)
class Workers:
    """Numbers of worker processes: 1 <= min_spare <= start <= max_spare <= max."""

    max: int
    start: int
    min_spare: int
    max_spare: int


def size_workers(memory_mb: int, cpus: int, worker_mb: int = 64, share: float = 0.5, groups: int = 1) -> Workers:
    """Return the workers of one of ``groups`` equal groups that may use ``share`` of the memory.

    :param memory_mb: memory of the host, in MiB.
    :param cpus: logical CPUs of the host.
    :param worker_mb: what one worker holds when it is busy, in MiB.
    :param share: part of the memory for all groups together, above 0 and at most 1.
    :param groups: pools, vassals or instances that share it.
    :raises ValueError: for a number out of its range.
    """
    for name, value in (("memory_mb", memory_mb), ("cpus", cpus), ("worker_mb", worker_mb), ("groups", groups)):
        if value < 1:
            raise ValueError(f"{name} is {value}; at least 1 is needed")
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it is above 0 and at most 1")
    by_memory = int(memory_mb * share / groups) // worker_mb
    most = max(1, min(by_memory, cpus * WORKERS_PER_CPU))
    min_spare = max(1, min(cpus, most // 4))
    max_spare = max(min_spare, min(cpus * 2, most // 2))
    return Workers(
        max=most,
        start=min(max_spare, min_spare + (max_spare - min_spare) // 2),
        min_spare=min_spare,
        max_spare=max_spare,
    )
