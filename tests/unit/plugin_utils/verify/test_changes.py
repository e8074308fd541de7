# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done to a stand is undone, whatever goes wrong between. Real services: tests/daemons/test_verify.py."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils import _endpoint
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _changes
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._evidence import (
    Answered,
    Ask,
    Facts,
    Listener,
    Process,
)
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._kinds import Scope
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._manifest import Site, Stand

DOCKER = f"docker-{'0a' * 32}.scope"
SITES = tuple(
    Site(name, 8081 + number, "http", backend=_endpoint.parse(f"http://127.0.0.1:{3000 + number}"))
    for number, name in enumerate(("shop", "api", "talk"))
)
#: Of each site in this order. The third is what somebody has started in a session.
UNITS = ("shop.service", DOCKER, "session-3.scope")
AGAIN = """\
TASK [Shop | Its motto] ****
changed: [localhost]
TASK [Shop | Its clock] ****
ok: [localhost]

PLAY RECAP ****
localhost                  : ok=2    changed=1    unreachable=0    failed=0    skipped=0
other                      : ok=2    changed=2    unreachable=1    failed=0    skipped=0
"""


class Host:
    """Services that run or do not, and what was done to them."""

    def __init__(self, wrong: str = "") -> None:
        self.down: set[str] = set()
        self.wrong = wrong
        self.said = (0, AGAIN)
        self.restarts = 0

    def stop(self, unit: str) -> list[str]:
        self.down.add(unit)
        if self.wrong == "stop":
            raise _changes.ChangeError("no right to do so")
        return [unit]

    def start(self, units: t.Sequence[str]) -> None:
        self.down -= set(units)

    def run(self, command: str) -> tuple[int, str]:
        return self.said

    def reboot(self) -> None:
        self.restarts += 1

    def ask(self, asks: t.Sequence[Ask]) -> list[Answered]:
        if self.wrong == "ask" and self.down:
            raise RuntimeError
        units = {f"http://10.0.0.5:{site.port}": unit for site, unit in zip(SITES, UNITS)}
        return [Answered("", "", 502 if units[ask.endpoint] in self.down else 200) for ask in asks]


def change(host: Host, *names: str, again: str | None = "again") -> dict[str, t.Any]:
    processes = {
        10: Process(10, 1, "root", "nginx", "nginx", "nginx.service", True),
        **{20 + n: Process(20 + n, 1, "app", "node", "node", unit, True) for n, unit in enumerate(UNITS)},
    }
    listeners = [Listener("0.0.0.0", site.port, (10,)) for site in SITES]
    listeners += [Listener("127.0.0.1", 3000 + n, (20 + n,)) for n in range(3)]
    stand = Stand("s", "10.0.0.5", SITES, again=again)
    facts = Facts(processes, tuple(listeners), 0, {})
    return dict(_changes.change(names, stand, host, lambda site: Scope(stand, site, {}, "n", facts=facts), host.ask))


def test_each_backend_is_stopped_and_started() -> None:
    host = Host()
    found = change(host, "stop_backend")["stop_backend"]
    assert found == {
        "shop": {"units": ["shop.service"], "status": 502, "others": []},
        "api": {"units": [DOCKER], "status": 502, "others": []},
    }
    assert not host.down
    assert host.restarts == 0


@pytest.mark.parametrize("wrong", ["stop", "ask"])
def test_what_goes_wrong_leaves_nothing_stopped_that_is_known_of(wrong: str) -> None:
    host = Host(wrong)
    if wrong == "ask":
        with pytest.raises(RuntimeError):
            change(host, "stop_backend")
        assert not host.down
    else:
        assert change(host, "stop_backend") == {"stop_backend": {"error": "no right to do so"}}


def test_a_site_that_does_not_come_back_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_changes, "PATIENCE", 0.0)
    monkeypatch.setattr(_changes, "PAUSE", 0.0)
    host = Host()
    monkeypatch.setattr(host, "start", lambda units: None)
    assert "shop answers 502" in change(host, "stop_backend")["stop_backend"]["error"]


def test_the_second_run_is_read_from_its_recap() -> None:
    host = Host()
    assert change(host, "second_run")["second_run"] == {
        "code": 0, "recaps": 2, "changed": 3, "failed": 1, "tasks": ["Shop | Its motto"],
    }  # fmt: skip
    host.said = (127, "sh: again: not found")
    assert change(host, "second_run")["second_run"]["code"] == 127
    assert change(host, "second_run", again=None) == {"second_run": {"missing": True}}


def test_an_output_without_end_is_read_in_no_time() -> None:
    host = Host()
    host.said = (0, "TASK [" * 500_000 + "\n" + AGAIN)
    assert change(host, "second_run")["second_run"]["changed"] == 3


def test_a_restart_is_the_last_of_all() -> None:
    host = Host()
    found = change(host, "reboot", "stop_backend", "second_run")
    assert list(found) == ["stop_backend", "second_run", "reboot"]
    assert found["reboot"] == {"status": dict.fromkeys(("shop", "api", "talk"), 200)}
    assert host.restarts == 1
