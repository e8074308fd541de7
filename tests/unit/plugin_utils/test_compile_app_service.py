# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a program needs as a service of systemd, and what is refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile._app_service import app_service_plan

Service = dict[str, t.Any]


def service(**more: t.Any) -> Service:
    return {"name": "shop", "user": "shop", "command": ["/usr/bin/shop"], **more}


def planned(*services: Service) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", app_service_plan(list(services), "me"))


def files(*services: Service) -> dict[str, dict[str, t.Any]]:
    return {entry.get("path") or entry["system"]: entry for entry in planned(*services)["files"]}


def app(*services: Service) -> Service:
    return t.cast("Service", files(*services)["shop.env"]["vars"]["app"])


def test_nothing_to_do_is_nothing() -> None:
    assert planned() == {"files": [], "listen": [], "probe": [], "requires": []}


def test_socket_listener_and_probe_are_one_endpoint() -> None:
    plan = planned(service(protocol="fastcgi", group="front", probe_path="/ping"))
    endpoint = {"protocol": "fastcgi", "unix": "/run/app/shop/front/fastcgi.sock"}
    assert plan["probe"] == [{"name": "service shop", "endpoint": endpoint, "path": "/ping"}]
    assert plan["listen"] == [
        {"endpoint": endpoint, "what": "app_service_services[0].endpoint", "unit": "app@shop.service"}
    ]


def test_the_probe_runs_no_script_of_fastcgi() -> None:
    assert "path" not in planned(service(protocol="fastcgi"))["probe"][0]
    assert [planned(service(protocol=name))["probe"][0]["path"] for name in ("http", "scgi")] == ["/", "/"]


def test_the_directory_gives_the_socket_its_group() -> None:
    tmpfiles = files(service(group="front"))["/etc/tmpfiles.d/weblab-app-shop.conf"]["content"]
    assert "d /run/app/shop/front 2750 shop front" in tmpfiles.splitlines()
    # A place of the user's own is the user's business.
    assert "/etc/tmpfiles.d/weblab-app-shop.conf" not in files(service(endpoint="http+unix:///run/mine/x.sock"))


@pytest.mark.parametrize(
    ("endpoint", "words", "expected"),
    [
        ("http+unix:///run/x.sock", ["{socket}", "--bind={bind}"], "/run/x.sock --bind=unix:/run/x.sock"),
        ("http://127.0.0.1:9000", ["-b", "{bind}", "{host}", "{port}"], "-b 127.0.0.1:9000 127.0.0.1 9000"),
        ("http://[::1]:9000", ["{bind}"], '"[::1]:9000"'),
        ("http://127.0.0.1:9000", ["{other}", "{}"], '"{other}" "{}"'),
    ],
)
def test_placeholders_are_where_it_listens(endpoint: str, words: list[str], expected: str) -> None:
    made = app(service(endpoint=endpoint, command=["/usr/bin/shop", *words]))
    assert made["exec_start"] == f"/usr/bin/shop {expected}"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("100%", "100%%"),
        ("$HOME", "$$HOME"),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        (";", '";"'),
        ("", '""'),
    ],
)
def test_systemd_neither_splits_nor_expands_a_word(word: str, expected: str) -> None:
    assert app(service(command=["/usr/bin/shop", word]))["exec_start"] == f"/usr/bin/shop {expected}"


def test_the_environment_says_where_to_listen_only_to_who_opens_the_socket() -> None:
    assert app(service())["listens"] == {"SOCKET": "/run/app/shop/www-data/http.sock"}
    assert app(service(endpoint="http://127.0.0.1:9000"))["listens"] == {"HOST": "127.0.0.1", "PORT": "9000"}
    assert app(service(activation="systemd"))["listens"] == {}


def test_a_socket_unit_comes_and_goes_with_the_activation() -> None:
    unit = "/etc/systemd/system/app@shop.socket"
    assert files(service(activation="stdin"))["shop.socket"]["link"] == unit
    assert files(service(activation="stdin"))[unit]["template"] == "app.socket.j2"
    without = files(service())
    assert without["shop.socket"]["state"] == without[unit]["state"] == "absent"


def test_secrets_and_files_are_closed() -> None:
    made = files(service(environment={"KEY": "xyzzy"}, files={"conf.py": "x = 1\n"}))
    assert made["shop.env"]["secret"]
    assert made["shop/conf.py"] == {"path": "shop/conf.py", "content": "x = 1\n", "mode": "0640", "group": "shop"}


def test_program_and_directory_have_to_be_there() -> None:
    assert planned(service(directory="/srv/shop"))["requires"] == [
        {"path": "/usr/bin/shop", "what": "app_service_services[0].command[0]"},
        {"path": "/srv/shop", "what": "app_service_services[0].directory"},
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"user": "root"}, "app_service_services[0].user: an application does not run as root"),
        ({"command": []}, "app_service_services[0].command: the program is missing"),
        ({"command": ["shop"]}, "app_service_services[0].command[0]: 'shop' is not an absolute path"),
        ({"command": ["/bin/x", "a\nb"]}, "app_service_services[0].command[1]: 'a\\nb' has a control character"),
        (
            {"command": ["/bin/x", "{port}"]},
            "app_service_services[0].command[1]: there is no {port} where it listens "
            "(http+unix:///run/app/shop/www-data/http.sock), but {socket}, {bind}",
        ),
        (
            {"command": ["/bin/x", "{socket}"], "endpoint": "http://127.0.0.1:9"},
            "app_service_services[0].command[1]: there is no {socket} where it listens",
        ),
        ({"endpoint": "uwsgi://127.0.0.1:9"}, "app_service_services[0].endpoint: a service speaks http, fastcgi, scgi"),
        ({"endpoint": "http+unix:///tmp/x.sock"}, "app_service_services[0].endpoint: a socket belongs below /run"),
        ({"endpoint": "http+unix:///run/%n.sock"}, "app_service_services[0].endpoint: '/run/%n.sock' has a % in it"),
        ({"directory": "/srv/%h"}, "app_service_services[0].directory: '/srv/%h' has a % in it"),
        ({"activation": "inetd"}, "app_service_services[0].activation: 'inetd' is not one of none, systemd, stdin"),
        ({"reload_signal": "HUP now"}, "app_service_services[0].reload_signal: 'HUP now' is not a signal"),
        ({"environment": {"A B": "x"}}, "app_service_services[0].environment.A B: a variable's name"),
        ({"environment": {"A": "x\ny"}}, "app_service_services[0].environment.A: 'x\\ny' has a control character"),
        ({"files": {"../x": ""}}, "app_service_services[0].files.../x: a file's name"),
        ({"files": {"x": 1}}, "app_service_services[0].files.x: the content of a file is text, not int"),
        ({"colour": "red"}, "app_service_services[0].colour: unknown key"),
    ],
)
def test_what_is_refused(more: Service, said: str) -> None:
    with pytest.raises(DataError) as caught:
        planned(service(**more))
    assert said in str(caught.value)


def test_names_and_addresses_are_taken_once() -> None:
    other = service(endpoint="http://127.0.0.1:9000")
    with pytest.raises(DataError, match=r"\[1\].name: the service name shop is taken already"):
        planned(service(), other)
    with pytest.raises(DataError, match=r"\[1\].endpoint: the address 127.0.0.1:9000 is taken already"):
        planned(other, {**other, "name": "two"})
