# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many threads Apache has: enough for busy clients, and no more than may wait for a backend."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.plugin_utils import _spec
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import _apache

CLIENTS = 256


def numbers(mpm: str, memory_mb: int) -> dict[str, int]:
    files = _apache.apache_base({"memtotal_mb": memory_mb, "processor_vcpus": 2}, mpm)
    [found] = [entry["vars"]["mpm"] for entry in files if entry.get("template", "").startswith("mods-enabled/mpm_")]
    return t.cast(dict[str, int], found)


@pytest.mark.parametrize("mpm", ["event", "worker"])
@pytest.mark.parametrize("memory_mb", [256, 512, 2048, 65536])
def test_one_process_has_a_thread_for_each_client_and_none_ends_for_being_spare(mpm: str, memory_mb: int) -> None:
    found = numbers(mpm, memory_mb)
    assert found["threads"] >= CLIENTS
    servers, rest = divmod(found["max_workers"], found["threads"])
    assert (found["max_spare"], rest) == (found["max_workers"], 0)
    assert found["start_servers"] <= servers <= found["server_limit"]


@pytest.mark.parametrize("memory_mb", [256, 65536])
def test_all_threads_together_fit_into_the_queue_of_a_backend(memory_mb: int) -> None:
    pools = _spec.role_options("php_fpm")["php_fpm_pools"]["options"]
    assert numbers("event", memory_mb)["max_workers"] <= pools["backlog"]["default"]
