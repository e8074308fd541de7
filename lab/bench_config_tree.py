# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""1,000 files of nginx in one task of config_tree, or in a loop of ansible.builtin.copy over 20 that is extrapolated.

`written` puts them on the host (config_tree tests them, exchanges the tree, reloads nginx and sees that it took);
`unchanged` finds them there. Module and task time are those of the experiment `probe`.
"""

from __future__ import annotations

import pathlib
import statistics
import typing as t

import bench_probe
import lab_docker

FILES, LOOP = 1000, 20


def files(count: int, text: str) -> list[dict[str, str]]:
    return [{"path": f"bench.d/{number}.conf", "content": f"# {text} {number}\n" * 20} for number in range(count)]


def tree(text: str) -> dict[str, t.Any]:
    options = {"daemon": "nginx", "root": "/etc/nginx", "service": "nginx.service"}
    return {"weblab.stacks.config_tree": {**options, "owners": {"bench": files(FILES, text)}}}


def loop(text: str) -> dict[str, t.Any]:
    items = [{"dest": f"/srv/{entry['path']}", "content": entry["content"]} for entry in files(LOOP, text)]
    return {"ansible.builtin.copy": "{{ item }}", "loop": items}


def rows() -> list[dict[str, t.Any]]:
    work = bench_probe.STATE / "bench"
    work.mkdir(parents=True, exist_ok=True)
    found = []
    lab_docker.down([bench_probe.HOST])
    try:
        lab_docker.up(bench_probe.STATE, bench_probe.HOST, "bookworm", [], warm=True)
        bench_probe.on_host("mkdir -p /run/bench /srv/bench.d; apt-get install -y -q --no-install-recommends nginx")
        wrapper = "cat > /usr/local/bin/bench-python; chmod 0755 /usr/local/bin/bench-python"
        bench_probe.on_host(wrapper, bench_probe.PYTHON)
        for name, task, times in (("config_tree", tree, 1), ("loop of copy", loop, FILES // LOOP)):
            lab_docker.say(f"Measuring {name}")
            turns = [_turn(name, task, f"turn {number}", work) for number in range(bench_probe.TURNS)]
            for what, results in zip(("written", "unchanged"), zip(*turns)):
                medians = (round(statistics.median(column) * times, 2) for column in zip(*results))
                found.append({"what": f"{name}, {what}", **dict(zip(bench_probe.COLUMNS, medians))})
    finally:
        lab_docker.down([bench_probe.HOST])
    return found


def _turn(
    name: str, task: t.Callable[[str], dict[str, t.Any]], text: str, work: pathlib.Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return bench_probe.measured(name, task(text), work), bench_probe.measured(name, task(text), work)
