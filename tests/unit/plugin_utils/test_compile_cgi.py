# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sites that run programs, as CGI and as FastCGI, and the locations of the front servers that do it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils import _spec
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import _apache, _app_service, _nginx, _stacks

SCRIPT = {"path": "/", "script": "/usr/lib/app/app.cgi"}


def site(**keys: t.Any) -> dict[str, t.Any]:
    return {"name": "git", "port": 8085, "scripts": [SCRIPT], **keys}


def plan(stack: str, *sites: dict[str, t.Any], socket: str = "unix") -> _stacks.StackPlan:
    return _stacks.stack_plan(list(sites), stack, _spec.role_defaults(stack)[f"{stack}_drawing"], socket)


def modules(planned: _apache.ApachePlan) -> set[str]:
    links = [entry["path"] for entry in planned["files"] if entry.get("path", "").startswith("mods-enabled/")]
    return {path.partition("/")[2] for path in links}


def apache(mpm: str, *locations: dict[str, t.Any]) -> _apache.ApachePlan:
    return _apache.apache_plan([{"name": "x", "port": 80, "locations": list(locations)}], "me", mpm)


@pytest.mark.parametrize(
    ("mpm", "loaded"),
    [
        ("prefork", {"cgi.load"}),
        ("itk", {"cgi.load"}),
        ("worker", {"cgid.load", "cgid.conf"}),
        ("event", {"cgid.load", "cgid.conf"}),
    ],
)
def test_the_mpm_decides_between_mod_cgi_and_mod_cgid(mpm: str, loaded: set[str]) -> None:
    assert modules(apache(mpm, {"type": "cgi", **SCRIPT})) == loaded


def test_mod_fcgid_comes_with_its_package_and_its_settings() -> None:
    planned = apache("event", {"type": "fcgid", **SCRIPT})
    assert planned["packages"] == ["apache2", "libapache2-mod-fcgid"]
    assert modules(planned) == {"fcgid.load", "fcgid.conf"}
    assert "conf-enabled/fcgid.conf" in [entry.get("path") for entry in planned["files"]]


def test_an_apache_without_sites_is_not_installed() -> None:
    planned = _apache.apache_plan([], "me", modules=["rewrite"])
    assert (planned["packages"], planned["files"]) == ([], [])


@pytest.mark.parametrize("front", ["prefork", "event"])
def test_apache_starts_cgi_programs_itself(front: str) -> None:
    planned = plan("cgi", site(front=front, environment={"A": "b"}))
    (served,) = planned["fronts"][front]
    assert served["locations"] == [{"type": "cgi", "timeout": 60, **SCRIPT}]
    assert served["environment"] == {"A": "b"}
    assert planned["app_services"] == []
    assert [endpoint["role"] for endpoint in planned["endpoints"]] == ["front"]


def test_nginx_has_fcgiwrap_on_a_socket_that_systemd_opens() -> None:
    planned = plan("cgi", site(front="nginx", user="git", processes=3, environment={"A": "b"}))
    (service,) = planned["app_services"]
    assert service["command"] == ["/usr/sbin/fcgiwrap", "-f", "-c", "3", "-p", SCRIPT["script"]]
    assert (service["user"], service["activation"], service["packages"]) == ("git", "stdin", ["fcgiwrap"])
    assert service["environment"] == {"A": "b"}
    (location,) = planned["fronts"]["nginx"][0]["locations"]
    assert location["endpoint"] == service["endpoint"]
    assert location["script"] == SCRIPT["script"]
    # Each component takes what the other one gets.
    assert _app_service.app_service_plan([service], "me")["files"]
    assert {item["path"] for item in _nginx.nginx_plan(planned["fronts"]["nginx"], "me")["requires"]} == {
        SCRIPT["script"]
    }


def test_fcgiwrap_is_kept_to_the_programs_unless_there_is_a_directory_of_them() -> None:
    scripts = [SCRIPT, {"path": "/bin/", "root": "/srv/bin"}]
    (service,) = plan("cgi", site(front="nginx", scripts=scripts))["app_services"]
    assert "-p" not in service["command"]


def test_programs_run_as_www_data_where_no_user_is_given() -> None:
    assert plan("cgi", site(front="nginx"))["app_services"][0]["user"] == "www-data"
    assert plan("fastcgi", site())["app_services"][0]["user"] == "www-data"
    assert plan("cgi", site(user="www-data"))["fronts"]["prefork"]


@pytest.mark.parametrize("front", ["nginx", "apache"])
def test_a_fastcgi_program_is_a_service_with_its_socket_as_descriptor_0(front: str) -> None:
    planned = plan("fastcgi", site(front=front, scripts=[{**SCRIPT, "arguments": ["--fcgi"]}], processes=4))
    (service,) = planned["app_services"]
    assert service["name"] == "git"
    assert service["command"] == ["/usr/bin/multiwatch", "--forks=4", "--", SCRIPT["script"], "--fcgi"]
    assert (service["activation"], service["packages"]) == ("stdin", ["multiwatch"])
    assert service["endpoint"] == {"protocol": "fastcgi", "unix": "/run/app/git/www-data/fastcgi.sock"}
    assert planned["fronts"][front][0]["locations"][0]["endpoint"] == service["endpoint"]
    assert [endpoint["endpoint"]["protocol"] for endpoint in planned["endpoints"]] == ["http", "fastcgi"]


def test_a_single_process_needs_nobody_to_watch_it() -> None:
    (service,) = plan("fastcgi", site(processes=1))["app_services"]
    assert (service["command"], service["packages"]) == ([SCRIPT["script"]], [])


def test_several_programs_are_services_of_their_own() -> None:
    scripts = [SCRIPT, {"path": "/b", "script": "/usr/lib/app/Other One.fcgi".replace(" ", "_")}]
    planned = plan("fastcgi", site(scripts=scripts), socket="tcp")
    assert [service["name"] for service in planned["app_services"]] == ["git-app-9085", "git-other-one-9086"]
    ports = [service["endpoint"]["port"] for service in planned["app_services"]]
    assert ports == [9085, 9086]


def test_an_interpreter_is_what_runs_and_the_program_is_what_it_finds() -> None:
    script = {"path": "/", "script": "/srv/a.php", "interpreter": "/usr/bin/php-cgi"}
    planned = plan("fastcgi", site(scripts=[script], processes=1))
    assert planned["app_services"][0]["command"] == ["/usr/bin/php-cgi"]
    assert planned["fronts"]["nginx"][0]["locations"][0]["script"] == "/srv/a.php"
    (served,) = plan("fastcgi", site(front="fcgid", scripts=[script]))["fronts"]["fcgid"]
    needed = {item["path"] for item in _apache.apache_plan([served], "me")["requires"]}
    assert needed == {"/srv/a.php", "/usr/bin/php-cgi"}


def test_mod_fcgid_has_no_service() -> None:
    planned = plan("fastcgi", site(front="fcgid", processes=5, environment={"A": "b"}))
    (served,) = planned["fronts"]["fcgid"]
    assert served["locations"] == [{"type": "fcgid", "timeout": 60, "processes": 5, **SCRIPT, "arguments": []}]
    assert planned["app_services"] == []


@pytest.mark.parametrize(
    ("stack", "keys", "said"),
    [
        ("cgi", {"scripts": []}, "cgi_sites[0].scripts: at least one program is needed"),
        ("cgi", {"scripts": [{"path": "/"}]}, "cgi_sites[0].scripts[0]: give either script, one program"),
        (
            "cgi",
            {"scripts": [{**SCRIPT, "root": "/srv"}]},
            "cgi_sites[0].scripts[0]: give either script, one program",
        ),
        (
            "cgi",
            {"scripts": [{"path": "x", "script": "/a"}]},
            "cgi_sites[0].scripts[0].path: 'x' is not an absolute path",
        ),
        (
            "cgi",
            {"scripts": [{"path": "/", "script": "a b"}]},
            "cgi_sites[0].scripts[0].script: 'a b' is not an absolute path",
        ),
        (
            "cgi",
            {"scripts": [SCRIPT, SCRIPT]},
            "cgi_sites[0].scripts[1].path: the path / is taken already by cgi_sites[0]",
        ),
        (
            "cgi",
            {"static": [{"path": "/", "root": "/srv"}]},
            "cgi_sites[0].scripts[0].path: the path / is taken already by cgi_sites[0].static[0].path",
        ),
        (
            "cgi",
            {"root": "/usr/lib/app/"},
            "cgi_sites[0].scripts[0].script: it lies below root (/usr/lib/app/), where everybody could read its source",
        ),
        (
            "cgi",
            {"root": "/srv/x", "scripts": [{"path": "/b/", "root": "/srv/x/b"}]},
            "cgi_sites[0].scripts[0].root: it lies below root (/srv/x), where everybody could read its source",
        ),
        (
            "fastcgi",
            {"static": [{"path": "/s/", "root": "/usr/lib"}]},
            "fastcgi_sites[0].scripts[0].script: it lies below static[0].root (/usr/lib), where everybody could read",
        ),
        ("cgi", {"user": "git"}, "cgi_sites[0].user: Apache starts programs as its own user, www-data"),
        ("fastcgi", {"front": "fcgid", "user": "git"}, "fastcgi_sites[0].user: Apache starts programs as its own user"),
        ("cgi", {"front": "lighttpd"}, "cgi_sites[0].front: 'lighttpd' is not one of prefork, event, nginx"),
        (
            "fastcgi",
            {"environment": {"A": "$5"}},
            "fastcgi_sites[0].environment.A: nginx takes $ for the name of a variable",
        ),
        (
            "fastcgi",
            {"scripts": [SCRIPT, {"path": "/b", "script": "/usr/lib/other/app.cgi"}]},
            "fastcgi_sites[0].scripts[1].script: the program git-app is taken already by fastcgi_sites[0].scripts[0]",
        ),
        (
            "fastcgi",
            {"scripts": [SCRIPT, {"path": "/b", "script": "/b"}], "socket": "fastcgi://127.0.0.1:9000"},
            "fastcgi_sites[0].socket: one endpoint serves one program, and this site has several",
        ),
        ("fastcgi", {"socket": "scgi://127.0.0.1:9000"}, "fastcgi_sites[0].socket: "),
        ("fastcgi", {"user": "root"}, "fastcgi_sites[0].user: an application does not run as root"),
        ("cgi", {"front": "nginx", "user": "root"}, "cgi_sites[0].user: an application does not run as root"),
        ("fastcgi", {"environment": {"A B": "x"}}, "fastcgi_sites[0].environment.A B: a variable's name has letters"),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(stack: str, keys: dict[str, t.Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        plan(stack, site(**keys))
    assert str(caught.value).startswith(said)


def test_a_directory_with_a_similar_name_is_another_one() -> None:
    assert plan("cgi", site(root="/usr/lib/ap"))["fronts"]["prefork"][0]["root"] == "/usr/lib/ap"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ({"type": "cgi", "path": "/"}, "apache_sites[0].locations[0]: a cgi location needs either a script or a root"),
        ({"type": "fcgid", "path": "/"}, "apache_sites[0].locations[0].script: a fcgid location needs its program"),
        (
            {"type": "fcgid", **SCRIPT, "arguments": ["a b"]},
            "apache_sites[0].locations[0].arguments[0]: 'a b' has a blank or a quote",
        ),
    ],
)
def test_apaches_locations_of_programs_are_checked(location: dict[str, t.Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        apache("event", location)
    assert str(caught.value).startswith(said)
