# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sites of programs that speak HTTP themselves: what they become, and what is refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils import _spec
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import _nginx, _stacks
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile._app_service import app_service_plan

DRAWING = _spec.role_defaults("nginx_app")["nginx_app_drawing"]


def site(**more: t.Any) -> dict[str, t.Any]:
    return {"name": "js", "stack": "nginx_app", "port": 8101, "user": "js", "command": ["/usr/bin/node", "a"], **more}


def plan(*sites: dict[str, t.Any], socket: str = "unix") -> _stacks.StackPlan:
    return _stacks.stack_plan(list(sites), "nginx_app", DRAWING, socket)


@pytest.mark.parametrize(
    ("socket", "address"),
    [
        ("unix", "unix:/run/app/js/www-data/http.sock"),
        ("tcp", "127.0.0.1:9101"),
        ("http://127.0.0.1:3000", "127.0.0.1:3000"),
    ],
)
def test_front_program_and_probe_come_from_one_endpoint(socket: str, address: str) -> None:
    planned = plan(site(socket=socket, command=["/usr/bin/app", "{bind}"]))
    (service,) = planned["app_services"]
    location = planned["fronts"]["nginx"][0]["locations"][-1]
    assert service["endpoint"] == location["endpoint"] == planned["endpoints"][1]["probe"]["endpoint"]
    assert _nginx.nginx_pass(location["endpoint"]) == f"http://{address}"
    (unit,) = (
        file for file in app_service_plan([service], "me")["files"] if file.get("path") == f"{service['name']}.env"
    )
    assert unit["vars"]["app"]["exec_start"] == f"/usr/bin/app {address}"


def test_one_variable_moves_all_programs_to_tcp() -> None:
    assert plan(site(), socket="tcp")["app_services"][0]["endpoint"]["port"] == 9101


def test_the_component_takes_every_key_of_a_site() -> None:
    more: dict[str, t.Any] = {
        "packages": ["nodejs"],
        "directory": "/srv/js",
        "activation": "systemd",
        "environment": {"A": "b"},
        "files": {"conf.js": "x"},
        "reload_signal": "HUP",
        "timeout": 7,
        "memory_mb": 64,
        "health_path": "/health",
    }
    (service,) = plan(site(**more))["app_services"]
    probe_path = more.pop("health_path")
    assert {key: service[key] for key in (*more, "probe_path")} == {**more, "probe_path": probe_path}
    assert app_service_plan([service], "me")["probe"][0]["path"] == "/health"


def test_static_files_come_first_and_streams_are_not_kept() -> None:
    front = plan(site(static=[{"path": "/static/", "root": "/srv/s"}], buffering=False))["fronts"]["nginx"][0]
    assert [place["type"] for place in front["locations"]] == ["static", "proxy"]
    assert "proxy_buffering off;" in front["locations"][1]["extra"]
    assert "extra" not in plan(site())["fronts"]["nginx"][0]["locations"][0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (site(command=["node"]), "weblab_sites[0].command[0]: 'node' is not an absolute path"),
        (site(command=["/usr/bin/node", "{port}"]), "weblab_sites[0].command[1]: there is no {port} where it listens"),
        (site(user="root"), "weblab_sites[0].user: an application does not run as root"),
        (site(activation="stdin"), "weblab_sites[0].activation: 'stdin' is not one of none, systemd"),
        (site(socket="scgi://127.0.0.1:1"), "weblab_sites[0].socket: this endpoint speaks http, not scgi"),
        (site(environment={"a-b": 1}), "weblab_sites[0].environment.a-b: a variable's name"),
        (site(comand=["/x"]), "weblab_sites[0].comand: unknown key; did you mean command?"),
        (site(static=[{"path": "/", "root": "/srv"}]), "weblab_sites[0].static[0].path: the path / is taken already"),
    ],
)
def test_what_is_refused_is_named_by_its_place_in_the_sites(wrong: dict[str, t.Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        _stacks.host_plan([wrong], {})
    assert said in str(caught.value)
