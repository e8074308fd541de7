# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The compile step of caches, of files before a backend, and of the stack that has both."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils import _spec
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import _apache, _nginx, _stacks

Site = dict[str, t.Any]

DRAWING = _spec.role_defaults("reverse_proxy")["reverse_proxy_drawing"]
PROXY = {"path": "/", "type": "proxy", "endpoint": "http://127.0.0.1:10106", "cache": True}


def blog(**more: t.Any) -> Site:
    return {"name": "blog", "stack": "reverse_proxy", "port": 8106, "root": "/srv/blog", "user": "blog", **more}


def plan(**more: t.Any) -> _stacks.StackPlan:
    return _stacks.stack_plan([blog(**more)], "reverse_proxy", DRAWING)


def nginx(**more: t.Any) -> Site:
    """The site as nginx's templates get it."""
    site = {"name": "kept", "port": 8106, "root": "/srv/kept", "locations": [PROXY], "cache": {}, **more}
    given = {key: value for key, value in site.items() if value is not None}
    return t.cast("Site", _nginx.nginx_plan([given], "me")["files"][0]["vars"]["site"])


def test_the_apache_behind_it_listens_on_this_host_only() -> None:
    planned = plan(address="192.0.2.1", server_names=["blog.example.org"], tls={"certificate": "/c", "key": "/k"})
    apache = planned["fronts"]["event"][0]
    assert (apache["address"], apache["port"], apache["server_names"]) == ("127.0.0.1", 10106, [])
    assert "tls" not in apache
    assert planned["fronts"]["nginx"][0]["locations"][0]["endpoint"] == {
        "protocol": "http",
        "host": "127.0.0.1",
        "port": 10106,
    }
    assert apache["proxies"] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("backend", "other", "handler"), [("event", "prefork", "php_fpm"), ("prefork", "event", "mod_php")]
)
def test_one_word_chooses_the_apache(backend: str, other: str, handler: str) -> None:
    planned = plan(backend=backend)
    assert planned["fronts"][backend][0]["php"]["handler"] == handler
    assert planned["fronts"][other] == []
    assert len(planned["php_fpm_pools"]) == (backend == "event")
    # Each socket of the drawing is probed.
    assert [endpoint["endpoint"]["protocol"] for endpoint in planned["endpoints"]] == ["http", "http"] + (
        ["fastcgi"] if backend == "event" else []
    )


def test_over_tcp_each_of_the_three_has_a_port_of_its_own() -> None:
    ports = [endpoint["endpoint"]["port"] for endpoint in plan(socket="tcp")["endpoints"]]
    assert ports == [8106, 10106, 11106]


def test_nginx_comes_after_the_apaches_that_have_to_answer() -> None:
    first = {"name": "shop", "stack": "nginx_uwsgi_monolith", "port": 80, "user": "shop"}
    first["application"] = {"path": "/srv/shop", "module": "shop:app"}
    planned = _stacks.host_plan([first, blog(), blog(name="old", port=8107, backend="prefork")], {})
    assert [front["name"] for front in planned["fronts"]] == ["apache event", "apache prefork", "nginx"]


def test_files_of_an_alias_come_before_those_of_the_whole_site() -> None:
    aliases = [{"path": "/a", "root": "/srv/a"}, {"path": "/a/b/", "root": "/srv/b"}]
    served = plan(aliases=aliases)["fronts"]["nginx"]
    locations = _nginx.nginx_plan(served, "me")["files"][0]["vars"]["site"]["locations"]
    assert [(place["type"], place["path"], place.get("root")) for place in locations] == [
        ("files", "/a/b", "/srv/b"),
        ("files", "/a", "/srv/a"),
        ("files", "/", None),
        ("proxy", "@backend", None),
        ("rest", "/", None),
    ]


def test_without_kinds_of_files_nginx_serves_none() -> None:
    locations = plan(static={"suffixes": []})["fronts"]["nginx"][0]["locations"]
    assert [(place["type"], place["path"]) for place in locations] == [("proxy", "/")]


def test_by_default_no_source_is_a_file_that_nginx_sends() -> None:
    suffixes = set(plan()["fronts"]["nginx"][0]["locations"][1]["suffixes"])
    assert {"css", "js", "png"} <= suffixes
    assert not suffixes & {
        "php",
        "phtml",
        "phar",
        "inc",
        "sql",
        "log",
        "ini",
        "bak",
        "html",
        "txt",
        "json",
        "xml",
        "zip",
    }


def test_a_cache_is_switched_off_whole() -> None:
    site = plan(cache={"enabled": False})["fronts"]["nginx"][0]
    assert "cache" not in site
    assert not any(place.get("cache") for place in site["locations"])


def test_a_cache_has_a_directory_that_comes_back_after_a_reboot() -> None:
    planned = _nginx.nginx_plan([{"name": "kept", "port": 80, "locations": [PROXY], "cache": {}}], "me")
    system = {entry["system"]: entry["content"] for entry in planned["files"] if "system" in entry}
    assert system["/etc/tmpfiles.d/weblab-nginx-kept.conf"] == "d /var/cache/nginx-kept 0700 www-data root\n"


def test_statuses_with_one_time_share_a_line() -> None:
    site = nginx(cache={"valid": {200: "1m", "301": "1m", "any": "5s"}})
    assert site["cache"]["times"] == {"1m": "200 301", "5s": "any"}


@pytest.mark.parametrize(
    ("kind", "endpoint", "gateway"),
    [
        ("proxy", "http://127.0.0.1:10106", "proxy"),
        ("php", "fastcgi+unix:///run/php/a.sock", "fastcgi"),
        ("fastcgi", "fastcgi+unix:///run/a.sock", "fastcgi"),
        ("uwsgi", "uwsgi+unix:///run/a.sock", "uwsgi"),
        ("scgi", "scgi+unix:///run/a.sock", "scgi"),
    ],
)
def test_every_gateway_can_fill_a_cache(kind: str, endpoint: str, gateway: str) -> None:
    location = {"path": "/", "type": kind, "endpoint": endpoint, "cache": True}
    assert nginx(locations=[location])["cache"]["gateway"] == gateway


def test_an_apache_behind_a_proxy_believes_it_and_keeps_answers_in_memory() -> None:
    apache = plan(backend_cache={"mb": 8, "max_kb": 200})["fronts"]["event"]
    files = _apache.apache_plan(apache, "me", instance_name="event")["files"]
    modules = {entry["path"] for entry in files if entry.get("path", "").startswith("mods-enabled/")}
    assert {f"mods-enabled/{name}.load" for name in ("remoteip", "cache", "cache_socache", "socache_shmcb")} <= modules
    site = files[0]["vars"]["site"]
    assert site["cache"] == {"mb": 8, "max_kb": 200, "paths": ["/"]}


def test_an_apache_of_its_own_believes_nobody() -> None:
    files = _apache.apache_plan([{"name": "a", "port": 80, "root": "/srv/a"}], "me")["files"]
    assert not any("remoteip" in entry.get("path", "") or "cache" in entry.get("path", "") for entry in files)


def test_the_input_is_not_changed() -> None:
    site = blog(aliases=[{"path": "/a", "root": "/srv/a"}], cache={"cookies": ["session"]})
    before = copy.deepcopy(site)
    _stacks.stack_plan([site], "reverse_proxy", DRAWING)
    assert site == before


FILES = {"path": "/", "type": "files", "suffixes": ["css"]}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: _stacks.stack_plan([{k: v for k, v in blog().items() if k != "user"}], "reverse_proxy", DRAWING),
            "reverse_proxy_sites[0].user: this key is required: PHP-FPM",
        ),
        (lambda: plan(port=64600), "reverse_proxy_sites[0].port: port 66600 is not"),
        (lambda: plan(backend="worker"), "reverse_proxy_sites[0].backend: 'worker' is not one of event, prefork"),
        (lambda: plan(cache={"zone": 1}), "reverse_proxy_sites[0].cache.zone: unknown key"),
        (lambda: nginx(cache=None), "nginx_sites[0].locations[0].cache: the site has no cache"),
        (
            lambda: nginx(locations=[{**PROXY, "cache": False}]),
            "nginx_sites[0].cache: one kind of backend fills a cache, and these locations have none",
        ),
        (
            lambda: nginx(
                locations=[
                    PROXY,
                    {"path": "/a", "type": "uwsgi", "endpoint": "uwsgi+unix:///run/a.sock", "cache": True},
                ]
            ),
            "these locations have proxy, uwsgi",
        ),
        (
            lambda: nginx(locations=[PROXY, {"path": "/a", "type": "static", "root": "/srv/a", "cache": True}]),
            "nginx_sites[0].locations[1].cache: files are on disk",
        ),
        (lambda: nginx(cache={"valid": {"2oo": "1m"}}), "nginx_sites[0].cache.valid.2oo: a status"),
        (
            lambda: nginx(cache={"valid": {"200": "1 minute"}}),
            "nginx_sites[0].cache.valid.200: '1 minute' is not a time",
        ),
        (lambda: nginx(cache={"inactive": "1h; }"}), "nginx_sites[0].cache.inactive: '1h; }' is not a time"),
        (lambda: nginx(cache={"keys_mb": 0}), "nginx_sites[0].cache.keys_mb: 0 MiB is nothing"),
        (lambda: nginx(cache={"path": "/var/cache/a b"}), "nginx_sites[0].cache.path: "),
        (lambda: nginx(cache={"key": "$uri\n"}), "nginx_sites[0].cache.key: "),
        (lambda: nginx(cache={"cookies": ['a"; }']}), "nginx_sites[0].cache.cookies[0]: "),
        (
            lambda: nginx(cache={"purge_from": ["example.org"]}),
            "nginx_sites[0].cache.purge_from[0]: 'example.org' does not appear",
        ),
        (lambda: nginx(cache={"purge_from": []}), "nginx_sites[0].cache.purge_from: name at least one"),
        (lambda: nginx(open_files={"valid": "soon"}), "nginx_sites[0].open_files.valid: 'soon' is not a time"),
        (
            lambda: nginx(locations=[PROXY, {**FILES, "suffixes": []}]),
            "nginx_sites[0].locations[1].suffixes: at least one",
        ),
        (
            lambda: nginx(locations=[PROXY, {**FILES, "suffixes": [".css"]}]),
            "nginx_sites[0].locations[1].suffixes[0]: '.css' is not the end",
        ),
        (
            lambda: nginx(locations=[PROXY, {**FILES, "suffixes": ["css", "PHP"]}]),
            "nginx_sites[0].locations[1].suffixes[1]: files that end in .PHP are programs",
        ),
        (
            lambda: nginx(locations=[FILES], cache=None),
            "nginx_sites[0].locations[0]: files need a location / of type proxy",
        ),
        (lambda: nginx(locations=[{**PROXY, "target": "/x/"}, FILES]), "nginx_sites[0].locations: behind files"),
        (lambda: nginx(locations=[PROXY, FILES, FILES]), "the location of files / is taken already"),
        (
            lambda: _apache.apache_plan([{"name": "a", "port": 80, "proxies": ["front"]}], "me"),
            "apache_sites[0].proxies[0]: 'front' does not appear",
        ),
        (
            lambda: _apache.apache_plan([{"name": "a", "port": 80, "cache": {"mb": 0}}], "me"),
            "apache_sites[0].cache.mb: 0 is nothing",
        ),
        (
            lambda: _apache.apache_plan([{"name": "a", "port": 80, "cache": {"mb": 4}}], "me"),
            "apache_sites[0].cache.max_kb: the largest answer that 4 MiB have room for is 240 KiB",
        ),
        (
            lambda: _apache.apache_plan([{"name": "a", "port": 80, "cache": {"paths": ["x"]}}], "me"),
            "apache_sites[0].cache.paths[0]: ",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(make: t.Callable[[], object], said: str) -> None:
    with pytest.raises(DataError) as caught:
        make()
    assert said in str(caught.value)


def test_a_port_is_taken_once_also_behind_nginx() -> None:
    sites = [blog(), blog(name="other", port=10106)]
    with pytest.raises(DataError, match=r"weblab_sites\[1\].port: the address TCP port 10106 is taken already"):
        _stacks.host_plan(sites, {})


def test_another_apache_takes_over_the_address_as_well() -> None:
    first = _stacks.host_plan([blog()], {})["fronts"][0]
    (mark,) = (
        json.loads(entry["content"])
        for entry in _apache.apache_plan(first["sites"], "weblab_sites", instance_name="event")["files"]
        if entry.get("system", "").endswith(".fact")
    )
    planned = _stacks.host_plan([blog(backend="prefork")], {}, {"weblab_one": mark})["fronts"]
    (taken,) = next(front["takes_over"] for front in planned if front["name"] == "apache prefork")
    assert taken["paths"] == [
        "sites-enabled/blog-10106.conf",
        "sites-available/blog-10106.conf",
        "ports-enabled/127.0.0.1:10106.conf",
    ]
