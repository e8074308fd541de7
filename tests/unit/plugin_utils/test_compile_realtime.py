# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sites whose requests stay open: what they become, and what is refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils import _spec
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import _apache, _nginx, _stacks
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile._app_service import app_service_plan
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile._uwsgi import uwsgi_plan

DRAWING = _spec.role_defaults("realtime")["realtime_drawing"]
APPLICATION: dict[str, t.Any] = {"path": "/srv/board", "module": "board:application"}


def site(**more: t.Any) -> dict[str, t.Any]:
    return {"name": "board", "stack": "realtime", "port": 8112, "user": "board", "application": APPLICATION, **more}


def plan(*sites: dict[str, t.Any]) -> _stacks.StackPlan:
    return _stacks.stack_plan(list(sites), "realtime", DRAWING)


@pytest.mark.parametrize("front", ["nginx", "apache"])
def test_front_server_and_broker_meet_at_their_sockets(front: str) -> None:
    planned = plan(site(front=front, clients=300))
    broker, server = planned["app_services"]
    (location,) = planned["fronts"][front][0]["locations"]
    assert location["endpoint"] == server["endpoint"]
    assert location["streams"] == 300
    assert server["environment"]["REDIS_URL"] == f"unix://{broker['endpoint']['unix']}"
    assert f"unixsocket {broker['endpoint']['unix']}\n" in broker["files"]["redis.conf"]
    # Only the application's group gets to the broker.
    assert (broker["user"], broker["group"], server["user"]) == ("board-broker", "board", "board")
    assert [entry["role"] for entry in planned["endpoints"]] == ["front", "backend", "internal"]


def test_the_component_takes_what_the_stack_says() -> None:
    services = plan(site(processes=3))["app_services"]
    files = {entry.get("system", entry.get("path")): entry for entry in app_service_plan(services, "me")["files"]}
    unit = files["/etc/systemd/system/app@board.service"]["vars"]["app"]
    assert (unit["type"], unit["reload_signal"], unit["activation"]) == ("notify", "HUP", "systemd")
    assert "--workers=3" in unit["exec_start"].split()
    assert "class Worker" in files["board/asgi_worker.py"]["content"]
    assert files["/etc/systemd/system/app@board-broker.service"]["vars"]["app"]["data"]


def test_another_front_of_one_server_has_none_of_its_own() -> None:
    planned = plan(site(), {"name": "other", "port": 8113, "front": "apache", "server_of": "board", "socket": "unix"})
    assert [service["name"] for service in planned["app_services"]] == ["board-broker", "board"]
    (location,) = planned["fronts"]["apache"][0]["locations"]
    assert location["endpoint"] == planned["app_services"][1]["endpoint"]


def test_another_front_finds_the_server_wherever_it_listens() -> None:
    other = {"name": "other", "port": 8113, "front": "apache", "server_of": "board"}
    for more in ({"socket": "tcp"}, {"server": "uwsgi"}, {"server": "uwsgi", "socket": "http://127.0.0.1:3000"}):
        # Before the other one as well as after it.
        for sites in ([site(**more), other], [other, site(**more)]):
            planned = plan(*sites)
            (server,) = [entry for entry in planned["endpoints"] if entry["role"] == "backend"]
            (location,) = planned["fronts"]["apache"][0]["locations"]
            assert location["endpoint"] == server["endpoint"], more


@pytest.mark.parametrize(
    ("others", "problem"),
    [
        ([], "there is no site board of the stack realtime"),
        ([site(state="absent")], "there is no site board of the stack realtime"),
        ([site(stack="nginx_app")], "there is no site board of the stack realtime"),
        ([{"name": "board", "port": 8114, "server_of": "third"}, site(name="third")], "name that one"),
    ],
)
def test_another_front_is_of_a_site_that_has_a_server(others: list[dict[str, t.Any]], problem: str) -> None:
    known = [entry for entry in others if entry.get("stack", "realtime") == "realtime"]
    other = {"name": "other", "port": 8113, "server_of": "board", "stack": "realtime"}
    with pytest.raises(DataError, match=problem) as error:
        _stacks.stack_plan([*known, other], "realtime", DRAWING, others=[*others, other])
    assert error.value.where == f"realtime_sites[{len(known)}].server_of"


def test_among_all_sites_of_a_host_the_other_one_is_found() -> None:
    other = {"name": "other", "stack": "realtime", "port": 8113, "front": "apache", "server_of": "board"}
    application = {**APPLICATION, "environment": {}}
    fronts = _stacks.host_plan([other, site(application=application, server="uwsgi")], {})["fronts"]
    nginx, apache = (
        next(front["sites"][0] for front in fronts if front["component"] == name) for name in ("nginx", "apache")
    )
    assert nginx["locations"][0]["endpoint"] == apache["locations"][0]["endpoint"]
    with pytest.raises(DataError) as error:
        _stacks.host_plan([{**other, "server_of": "none"}, site()], {})
    assert error.value.where == "weblab_sites[0].server_of"


def test_on_uwsgi_there_is_a_greenlet_for_each_client_and_no_time_limit() -> None:
    planned = plan(site(server="uwsgi", clients=1000, processes=4, application={**APPLICATION, "packages": ["x"]}))
    (app,) = planned["uwsgi_instances"]
    assert [service["name"] for service in planned["app_services"]] == ["board-broker"]
    assert app["environment"]["REDIS_URL"] == f"unix://{planned['app_services'][0]['endpoint']['unix']}"
    assert (app["packages"], planned["endpoints"][1]["endpoint"]["unix"]) == (
        ["x"],
        "/run/uwsgi/board/www-data/http.sock",
    )
    assert 1000 < app["processes"] * app["gevent"] < 3000
    files = uwsgi_plan({"instances": [app]}, {"memtotal_mb": 2000, "processor_vcpus": 2}, "me")["files"]
    checked = files[0]["vars"]["app"]
    assert (checked["gevent"], checked["threads"]) == (app["gevent"], 1)


def test_a_process_has_either_threads_or_greenlets() -> None:
    app = {"name": "a", "user": "a", "path": "/srv/a", "module": "a:b", "gevent": 10, "threads": 2}
    with pytest.raises(DataError, match="either") as error:
        uwsgi_plan({"instances": [app]}, {"memtotal_mb": 2000, "processor_vcpus": 2}, "me")
    assert error.value.where == "uwsgi_instances[0].threads"


def test_a_site_has_an_application_or_names_whose_server_it_has() -> None:
    with pytest.raises(DataError, match="server_of") as error:
        plan({"name": "board", "port": 8112, "user": "board"})
    assert error.value.where == "realtime_sites[0].application"


def test_without_a_broker_there_is_none() -> None:
    (server,) = plan(site(broker=False))["app_services"]
    assert "REDIS_URL" not in server["environment"]


PASSWORD = "a-password-of-some-length"


def test_for_other_hosts_the_broker_listens_and_nobody_sees_its_password() -> None:
    listen = {"address": "10.0.0.1", "password": PASSWORD}
    planned = plan(site(broker_listen=listen))
    broker, server = planned["app_services"]
    assert server["environment"]["REDIS_URL"] == f"unix://:{PASSWORD}@{broker['endpoint']['unix']}"
    assert planned["endpoints"][-1]["endpoint"] == {"protocol": "tcp", "host": "10.0.0.1", "port": 6379}
    files = app_service_plan([broker, server], "me")["files"]
    open_to_all = [entry for entry in files if not entry.get("secret")]
    assert PASSWORD not in str([entry.get("content") for entry in open_to_all])
    assert not any(PASSWORD in str(entry["vars"]["app"]["exec_start"]) for entry in files if "vars" in entry)
    (secret,) = [entry for entry in files if PASSWORD in entry.get("content", "")]
    assert (secret["path"], secret["mode"]) == ("board-broker/tcp.conf", "0640")
    assert "include /etc/app-service/board-broker/tcp.conf\n" in broker["files"]["redis.conf"]


@pytest.mark.parametrize("server", ["asgi", "uwsgi"])
def test_somebody_elses_broker_is_used_and_there_is_none_of_ones_own(server: str) -> None:
    url = f"redis://:{PASSWORD}@10.0.0.1:6379/0"
    planned = plan(site(broker_url=url, server=server))
    (program,) = planned["app_services"] + planned["uwsgi_instances"]
    assert program["environment"]["REDIS_URL"] == url
    assert [entry["role"] for entry in planned["endpoints"]] == ["front", "backend"]
    facts = {"memtotal_mb": 2000, "processor_vcpus": 2}
    files = uwsgi_plan({"instances": planned["uwsgi_instances"]}, facts, "me")["files"]
    assert [(entry["secret"], entry["mode"]) for entry in files if entry.get("path") == "instances/board.ini"] == (
        [(True, "0640")] if server == "uwsgi" else []
    )


def test_a_file_is_either_secret_or_not() -> None:
    service = {"name": "a", "user": "a", "command": ["/usr/bin/a"], "files": {"x": ""}, "secret_files": {"x": ""}}
    with pytest.raises(DataError, match="already") as error:
        app_service_plan([service], "me")
    assert error.value.where == "app_service_services[0].secret_files.x"


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"broker_listen": {"address": "10.0.0.1", "password": "short"}}, "broker_listen.password"),
        ({"broker_listen": {"address": "10.0.0.1", "password": PASSWORD + " x"}}, "broker_listen.password"),
        ({"broker_listen": {"address": "10.0.0.1"}}, "broker_listen.password"),
        ({"broker_listen": {"address": "10.0.0.1", "port": 0, "password": PASSWORD}}, "broker_listen.port"),
        ({"broker_listen": {"address": "10.0.0.1", "password": PASSWORD}, "broker": False}, "broker_listen"),
        ({"broker_url": f"http://:{PASSWORD}@10.0.0.1/"}, "broker_url"),
        ({"broker_url": f"redis://{PASSWORD} @10.0.0.1/"}, "broker_url"),
    ],
)
def test_a_wrong_broker_is_refused_without_saying_its_password(more: dict[str, t.Any], where: str) -> None:
    with pytest.raises(DataError) as error:
        plan(site(**more))
    assert error.value.where == f"realtime_sites[0].{where}"
    assert PASSWORD not in error.value.problem


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"clients": 0}, "realtime_sites[0].clients"),
        ({"processes": 0}, "realtime_sites[0].processes"),
        ({"processes": 1, "server": "uwsgi"}, "realtime_sites[0].processes"),
        ({"server": "daphne"}, "realtime_sites[0].server"),
        ({"user": "root"}, "realtime_sites[0].user"),
        ({"application": {**APPLICATION, "path": "srv"}}, "realtime_sites[0].application.path"),
        ({"front": "lighttpd"}, "realtime_sites[0].front"),
        ({"static": [{"path": "/", "root": "/srv/page"}]}, "realtime_sites[0].static[0].path"),
        ({"path": "api"}, "realtime_sites[0].path"),
        ({"user": ""}, "realtime_sites[0].user"),
        ({"server_of": "no name"}, "realtime_sites[0].server_of"),
    ],
)
def test_what_cannot_work_is_refused_by_its_path(more: dict[str, t.Any], where: str) -> None:
    with pytest.raises(DataError) as error:
        plan(site(**more))
    assert error.value.where == where


@pytest.mark.parametrize(
    ("compiled", "name"), [(_nginx.nginx_plan, "nginx_sites"), (_apache.apache_plan, "apache_sites")]
)
@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ({"type": "static", "root": "/srv", "streams": 5}, "of type proxy, not static"),
        ({"type": "proxy", "endpoint": "http://127.0.0.1:1", "streams": -1}, "no number of requests"),
    ],
)
def test_streams_belong_to_locations_that_can_hold_them(
    compiled: t.Any, name: str, location: dict[str, t.Any], problem: str
) -> None:
    with pytest.raises(DataError) as error:
        compiled([{"name": "a", "port": 80, "locations": [{"path": "/", **location}]}], "me")
    assert error.value.where == f"{name}[0].locations[0].streams"
    assert problem in error.value.problem
