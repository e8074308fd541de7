# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from onhost import children, main_pid, may_connect, run, socket_access, tcp_listeners, unix_listeners

UNIT = "php8.2-fpm.service"


def test_config_test_has_no_warning(host: t.Any) -> None:
    done = host.run("php-fpm8.2 -t")
    assert done.rc == 0
    assert "WARNING" not in done.stderr


def test_no_web_server_came_along(host: t.Any) -> None:
    assert not host.package("apache2").is_installed
    assert not host.package("nginx").is_installed


def test_sockets_are_those_declared_and_debians_pool_is_gone(host: t.Any) -> None:
    assert {"/run/php/blog.sock", "/run/php/fixed.sock"} <= unix_listeners(host)
    assert "/run/php/php8.2-fpm.sock" not in unix_listeners(host)
    assert "127.0.0.1:9001" in tcp_listeners(host)
    assert "0.0.0.0:9001" not in tcp_listeners(host)


def test_a_pools_socket_is_the_front_servers_and_nobody_elses(host: t.Any) -> None:
    assert socket_access(host, "/run/php/blog.sock") == "socket root www-data 660"
    assert may_connect(host, "www-data", "/run/php/blog.sock")
    assert not may_connect(host, "shop", "/run/php/blog.sock")
    # Not even the pool's own workers, who could otherwise answer in their master's place.
    assert not may_connect(host, "blog", "/run/php/blog.sock")


def test_workers_run_as_their_pools_users(host: t.Any) -> None:
    users = children(host, main_pid(host, UNIT))
    assert users.count("fixed") == 2
    assert "blog" in users
    assert "root" not in users


@pytest.mark.parametrize(
    ("pool", "setting"),
    [
        ("blog", "pm = dynamic"),
        ("shop", "pm = ondemand"),
        ("shop", "pm.max_children = 3"),
        ("fixed", "pm = static"),
        ("blog", "php_admin_value[memory_limit] = 200M"),
        ("blog", 'env[COLOUR] = deep "blue"'),
        ("blog", "pm.status_path = /fpm-status"),
    ],
)
def test_fpm_reads_the_settings_as_they_were_meant(host: t.Any, pool: str, setting: str) -> None:
    shown = run(host, "php-fpm8.2 -tt 2>&1")
    section = shown.partition(f"[{pool}]")[2].partition("NOTICE: [")[0]
    assert setting in section


def test_a_reload_lets_requests_finish(host: t.Any) -> None:
    assert "process_control_timeout = 30" in run(host, "php-fpm8.2 -tt 2>&1")
