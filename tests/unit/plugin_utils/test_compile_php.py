# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PHP sites: the same words for every stack that runs them, and what each makes of them."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils import _spec
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import _apache, _nginx, _stacks

FACTS = {"memtotal_mb": 2048, "processor_nproc": 2, "distribution": "Debian", "distribution_major_version": "12"}
STACKS = [
    "apache_prefork_mod_php",
    "apache_worker_php_fpm",
    "apache_event_php_fpm",
    "apache_itk_mod_php",
    "nginx_php_fpm",
]
#: Every key that a PHP site has.
SITE: dict[str, t.Any] = {
    "name": "blog",
    "port": 8082,
    "address": "127.0.0.1",
    "server_names": ["blog.example.org"],
    "tls": {"certificate": "/etc/ssl/blog.pem", "key": "/etc/ssl/blog.key"},
    "max_body_mb": 20,
    "health_path": "/whoami/",
    "extra": "# nothing",
    "root": "/srv/blog",
    "index": ["index.php"],
    "front_controller": "/index.php",
    "aliases": [{"path": "/static/", "root": "/srv/static/"}, {"path": "/static/whoami", "root": "/srv/whoami"}],
    "deny_php": ["/uploads"],
    "environment": {"COLOUR": "blue"},
    "php_values": {"memory_limit": "200M"},
    "user": "blog",
    "socket": "tcp",
    "pm": "static",
    "worker_mb": 32,
    "workers": {"max": 3},
}


def plan(stack: str, **more: t.Any) -> _stacks.StackPlan:
    drawing = _spec.role_defaults(stack)[f"{stack}_drawing"]
    return _stacks.stack_plan([copy.deepcopy({**SITE, **more, "stack": stack})], stack, drawing)


def front(stack: str, **more: t.Any) -> dict[str, t.Any]:
    (sites,) = plan(stack, **more)["fronts"].values()
    return sites[0]


@pytest.mark.parametrize("stack", STACKS)
def test_a_site_moves_from_one_stack_to_another_by_one_word(stack: str) -> None:
    planned = _stacks.host_plan([{**SITE, "stack": stack}], {})
    assert planned["endpoints"][0]["endpoint"]["port"] == 8082
    (call,) = planned["fronts"]
    if call["component"] == "nginx":
        _nginx.nginx_plan(call["sites"], "me")
    else:
        _apache.apache_plan(call["sites"], "me", call["mpm"], call["instance"])
    with_pool = "php_fpm" in stack
    assert [(pool["pm"], pool["workers"], pool["user"]) for pool in planned["php_fpm_pools"]] == (
        [("static", {"max": 3}, "blog")] if with_pool else []
    )


@pytest.mark.parametrize("stack", STACKS)
def test_the_longest_alias_comes_first_and_none_ends_with_a_slash(stack: str) -> None:
    site = front(stack)
    places = [place for place in site.get("locations", []) if place["type"] == "php" and place["path"] != "/"]
    assert [{key: place[key] for key in ("path", "root")} for place in site.get("aliases", places)] == [
        {"path": "/static/whoami", "root": "/srv/whoami"},
        {"path": "/static", "root": "/srv/static"},
    ]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"aliases": [{"path": "/", "root": "/srv"}]}, "_sites[0].aliases[0].path: the whole site's directory is"),
        (
            {"aliases": [{"path": "/a", "root": "/x"}, {"path": "/a/", "root": "/y"}]},
            "_sites[0].aliases[1].path: the alias /a is taken already by",
        ),
        ({"pm": "many"}, "_sites[0].pm: 'many' is not one of dynamic, static, ondemand"),
        ({"workers": {"maximum": 1}}, "_sites[0].workers.maximum: unknown key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named_alike_by_every_stack(stack: str, keys: dict[str, t.Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        plan(stack, **keys)
    assert str(caught.value).startswith(f"{stack}{said}")


@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "apache_prefork_mod_php"])
def test_who_runs_a_site_as_a_user_has_to_be_told_which(stack: str) -> None:
    site = {key: value for key, value in SITE.items() if key != "user"}
    with pytest.raises(DataError, match=r"weblab_sites\[0\].user: this key is required"):
        _stacks.host_plan([{**site, "stack": stack}], {})


def test_mpm_itk_serves_a_site_as_its_user_and_prefork_does_not() -> None:
    assert front("apache_itk_mod_php")["user"] == "blog"
    assert "user" not in front("apache_prefork_mod_php")


def test_mpm_itk_is_prefork_and_a_module_from_a_package_of_its_own() -> None:
    files = {entry.get("path"): entry for entry in _apache.apache_base(FACTS, "itk", "itk")}
    loaded = {path for path in files if path and path.startswith("mods-enabled/mpm_")}
    assert loaded == {"mods-enabled/mpm_prefork.load", "mods-enabled/mpm_prefork.conf", "mods-enabled/mpm_itk.load"}
    prefork = {entry.get("path"): entry for entry in _apache.apache_base(FACTS, "prefork", "prefork")}
    assert files["mods-enabled/mpm_prefork.conf"]["vars"] == prefork["mods-enabled/mpm_prefork.conf"]["vars"]
    planned = _apache.apache_plan([front("apache_itk_mod_php")], "me", "itk", "itk")
    assert planned["packages"] == ["apache2", "libapache2-mpm-itk", "libapache2-mod-php8.2"]
    assert _apache.apache_plan([], "me", "itk", "itk")["packages"] == []


@pytest.mark.parametrize(("mpm", "gone"), [("prefork", "itk"), ("event", "itk"), ("itk", "event")])
def test_debians_own_instance_keeps_no_other_mpm(mpm: str, gone: str) -> None:
    absent = {entry["path"] for entry in _apache.apache_base(FACTS, mpm) if entry.get("state") == "absent"}
    assert f"mods-enabled/mpm_{gone}.load" in absent
    assert not absent & {f"mods-enabled/mpm_{part}.load" for part in _apache.MPMS[mpm]}


def test_each_instance_creates_the_users_of_its_own_sites() -> None:
    planned = _apache.apache_plan([front("apache_itk_mod_php")], "weblab_sites", "itk", "itk")
    system = {entry["system"]: entry["content"] for entry in planned["files"] if "system" in entry}
    assert system["/etc/sysusers.d/weblab-weblab_sites-apache-itk-blog.conf"].startswith("u blog ")


def test_sites_under_itk_do_not_run_each_others_code_from_the_shared_cache() -> None:
    (entry,) = (
        entry
        for entry in _apache.apache_plan([front("apache_itk_mod_php")], "me", "itk")["files"]
        if entry.get("template") == "sites-available/site.conf.j2"
    )
    values = entry["vars"]["site"]["php"]["admin_values"]
    assert values["opcache.validate_permission"] is True
    assert values["memory_limit"] == "200M"


@pytest.mark.parametrize(
    ("keys", "mpm", "said"),
    [
        ({"user": "blog"}, "event", "apache_sites[0].user: only mpm-itk serves each site as a user of its own"),
        ({"user": "blog"}, "prefork", "apache_sites[0].user: only mpm-itk"),
        ({"user": "root"}, "itk", "apache_sites[0].user: an application does not run as root"),
        ({"user": "no one"}, "itk", "apache_sites[0].user: 'no one' is not a Unix user name"),
        ({"http2": True}, "itk", "apache_sites[0].http2: HTTP/2 needs several requests"),
        ({"php": {"handler": "mod_php"}}, "worker", "apache_sites[0].php.handler: mod_php is not thread-safe"),
    ],
)
def test_what_an_mpm_cannot_do_is_refused(keys: dict[str, t.Any], mpm: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        _apache.apache_plan([{"name": "blog", "port": 80, "root": "/srv/blog", **keys}], "me", mpm)
    assert str(caught.value).startswith(said)


def test_nginx_gets_the_front_controller_for_scripts_and_for_files() -> None:
    *_aliases, scripts, files = front("nginx_php_fpm")["locations"]
    assert (scripts["type"], scripts["path"], scripts["front_controller"]) == ("php", "/", "/index.php")
    assert files == {"type": "static", "path": "/", "front_controller": "/index.php"}


def test_nginx_the_pool_and_the_probe_have_one_endpoint() -> None:
    planned = plan("nginx_php_fpm")
    endpoints = {
        place["endpoint"]["port"] for place in planned["fronts"]["nginx"][0]["locations"] if "endpoint" in place
    }
    assert endpoints == {9082} == {planned["php_fpm_pools"][0]["listen"]["port"]}
    assert planned["endpoints"][1]["endpoint"]["port"] == 9082


def test_nginx_cannot_say_a_dollar() -> None:
    with pytest.raises(DataError, match=r"nginx_php_fpm_sites\[0\].environment.PRICE: nginx takes the \$ in '5 \$'"):
        plan("nginx_php_fpm", environment={"PRICE": "5 $"})


def test_nginx_refuses_the_same_directory_of_scripts_twice() -> None:
    place = {"type": "php", "endpoint": "fastcgi://127.0.0.1:9000", "path": "/a", "root": "/srv/a"}
    with pytest.raises(DataError, match=r"nginx_sites\[0\].locations\[1\].path: the location of PHP /a is taken"):
        _nginx.nginx_plan([{"name": "blog", "port": 80, "locations": [place, place]}], "me")
