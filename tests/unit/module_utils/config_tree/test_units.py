# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens to a unit, and which system files belong to it."""

from __future__ import annotations

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import Standing
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._service import Unit
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._units import affects, decide


@pytest.mark.parametrize(
    ("active", "enabled", "serves", "why", "restart", "action", "enable"),
    [
        ("active", "enabled", True, "", "", "none", False),
        ("active", "enabled", True, "changed", "", "reloaded", False),
        ("active", "enabled", True, "changed", "the MPM", "restarted", False),
        ("active", "enabled", True, "", "the MPM", "none", False),
        ("active", "disabled", True, "", "", "none", True),
        ("active", "static", True, "", "", "none", False),
        ("inactive", "enabled", True, "", "", "started", False),
        ("inactive", "disabled", True, "changed", "the MPM", "started", True),
        ("failed", "enabled", True, "", "", "started", False),
        ("active", "enabled", False, "changed", "", "stopped", False),
        ("inactive", "enabled", False, "", "", "stopped", False),
        ("inactive", "disabled", False, "", "", "none", False),
        ("inactive", "", False, "", "", "none", False),
    ],
)
def test_decision(active: str, enabled: str, serves: bool, why: str, restart: str, action: str, enable: bool) -> None:
    decision = decide(Unit("x.service", "loaded", active, enabled), serves=serves, why=why, restart=restart)
    assert (decision.action, decision.enable) == (action, enable)
    if action == "restarted":
        assert decision.reason == restart


@pytest.mark.parametrize(
    ("active", "enabled", "before", "why", "restart", "expected"),
    [
        ("active", "enabled", Standing("enabled", True), "", "the MPM", ("none", False, False)),
        ("active", "enabled", Standing("enabled", True), "changed", "", ("reloaded", False, False)),
        ("active", "enabled", Standing("enabled", True), "changed", "the MPM", ("restarted", False, False)),
        ("active", "enabled", Standing("disabled", True), "", "", ("none", False, True)),
        ("active", "enabled", Standing("disabled", False), "changed", "", ("stopped", False, False)),
        ("active", "enabled", Standing("enabled", False), "changed", "", ("stopped", True, False)),
        ("inactive", "disabled", Standing("enabled", True), "changed", "", ("started", True, False)),
        ("inactive", "disabled", Standing("enabled", False), "", "", ("none", True, False)),
        ("inactive", "disabled", Standing("disabled", False), "changed", "", ("none", False, False)),
        ("inactive", "masked", Standing("masked", False), "", "", ("none", False, False)),
        ("active", "static", Standing("static", True), "", "", ("none", False, False)),
    ],
)
def test_a_unit_that_stands_as_before(
    active: str, enabled: str, before: Standing, why: str, restart: str, expected: tuple[str, bool, bool]
) -> None:
    unit = Unit("x.service", "loaded", active, enabled)
    decision = decide(unit, serves=before.active, why=why, restart=restart, before=before)
    assert (decision.action, decision.enable, decision.disable) == expected


@pytest.mark.parametrize(
    ("unit", "path", "expected"),
    [
        ("nginx.service", "/etc/systemd/system/nginx.service", True),
        ("nginx.service", "/etc/systemd/system/nginx.service.d/limits.conf", True),
        ("nginx.service", "/etc/systemd/system/apache2.service.d/limits.conf", False),
        ("nginx.service", "/etc/default/nginx", True),
        ("nginx.service", "/etc/logrotate.d/nginx", False),
        ("uwsgi@shop.service", "/etc/systemd/system/uwsgi@.service", True),
        ("uwsgi@shop.service", "/etc/systemd/system/uwsgi@shop.service", True),
        ("uwsgi@shop.service", "/etc/systemd/system/uwsgi@other.service", False),
        ("uwsgi@shop.service", "/etc/systemd/system/uwsgi@.service.d/x.conf", True),
        ("uwsgi@shop.service", "/etc/systemd/system/uwsgi-emperor.service", False),
        ("uwsgi-emperor.service", "/etc/systemd/system/uwsgi@.service", False),
    ],
)
def test_system_files_of_a_unit(unit: str, path: str, expected: bool) -> None:
    assert affects(unit, path) is expected
