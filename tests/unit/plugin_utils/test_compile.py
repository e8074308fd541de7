# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The compile step: what sites become, and what is refused before any host is touched."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils import _spec
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import (
    _apache,
    _facts,
    _nginx,
    _php_fpm,
    _stacks,
    _uwsgi,
)

FACTS = {"memtotal_mb": 2048, "processor_nproc": 2, "distribution": "Debian", "distribution_major_version": "12"}

Site = dict[str, t.Any]


def blog(**more: t.Any) -> Site:
    return {"name": "blog", "stack": "apache_event_php_fpm", "port": 8082, "root": "/srv/blog", "user": "blog", **more}


def prefork(**more: t.Any) -> Site:
    return {"name": "old", "stack": "apache_prefork_mod_php", "port": 8081, "root": "/srv/old", **more}


def shop(**more: t.Any) -> Site:
    application = {"path": "/srv/shop", "module": "shop.wsgi:application"}
    return {
        "name": "shop",
        "stack": "nginx_uwsgi_monolith",
        "port": 8083,
        "user": "shop",
        "application": application,
        **more,
    }


def services(**more: t.Any) -> Site:
    def service(name: str, **keys: t.Any) -> Site:
        return {"name": name, "user": f"cut-{name}", "application": {"path": "/srv/cut", "module": "cut:app"}, **keys}

    both = [service("web", calls=["catalog"]), service("catalog", mount="/catalog")]
    return {"name": "cut", "stack": "nginx_uwsgi_microservices", "port": 8084, "services": both, **more}


def plan(site: Site, socket: str = "unix") -> _stacks.StackPlan:
    stack = site["stack"]
    return _stacks.stack_plan([site], stack, _spec.role_defaults(stack)[f"{stack}_drawing"], socket)


def test_front_pool_and_probe_come_from_one_endpoint() -> None:
    planned = plan(blog(socket="fastcgi://127.0.0.1:9123"))
    front = planned["fronts"]["apache"][0]["php"]["endpoint"]
    assert front == planned["php_fpm_pools"][0]["listen"] == planned["endpoints"][1]["probe"]["endpoint"]
    assert _apache.apache_handler(front, "blog") == "proxy:fcgi://127.0.0.1:9123"


def test_one_variable_moves_the_backend_from_unix_to_tcp() -> None:
    assert plan(blog())["php_fpm_pools"][0]["listen"] == {"protocol": "fastcgi", "unix": "/run/php/blog.sock"}
    assert plan(blog(), "tcp")["php_fpm_pools"][0]["listen"] == {
        "protocol": "fastcgi",
        "host": "127.0.0.1",
        "port": 9082,
    }


def test_unix_socket_workers_have_a_pseudo_host_of_their_own() -> None:
    # Apache tells workers apart by their URL: with equal names it would mix the pools.
    names = {
        _apache.apache_worker(f"fastcgi+unix:///run/php/{name}.sock", name).partition("|")[2] for name in ("a", "b")
    }
    assert names == {"fcgi://a", "fcgi://b"}


def test_uploads_fit_the_body_that_the_site_allows() -> None:
    values = plan(blog(max_body_mb=64, php_values={"memory_limit": "256M"}))["php_fpm_pools"][0]["admin_values"]
    assert values == {"upload_max_filesize": "64M", "post_max_size": "64M", "memory_limit": "256M"}


def test_a_monolith_is_one_application_behind_one_socket() -> None:
    planned = plan(shop())
    assert [app["name"] for app in planned["uwsgi_instances"]] == ["shop"]
    assert not planned["uwsgi_vassals"]
    assert [place["type"] for place in planned["fronts"]["nginx"][0]["locations"]] == ["uwsgi"]


def test_a_site_that_is_not_cut_is_one_service() -> None:
    planned = plan(shop(stack="nginx_uwsgi_microservices"))
    assert [(app["name"], app["mount"], app["user"]) for app in planned["uwsgi_vassals"]] == [("shop-web", "/", "shop")]
    cut = {**services(), **{key: shop()[key] for key in ("application", "user")}}
    for stack in ("nginx_uwsgi_monolith", "apache_uwsgi", "apache_mod_wsgi", "scgi"):
        # The whole application, however it could be cut.
        fronts = plan({**cut, "stack": stack})["fronts"].values()
        assert [place["path"] for sites in fronts for site in sites for place in site["locations"]] == ["/"]


def test_services_have_a_vassal_a_user_and_a_socket_each() -> None:
    planned = plan(services())
    assert [(app["name"], app["user"], app["mount"]) for app in planned["uwsgi_vassals"]] == [
        ("cut-web", "cut-web", "/"),
        ("cut-catalog", "cut-catalog", "/catalog"),
    ]
    sockets = [endpoint["endpoint"]["unix"] for endpoint in planned["endpoints"] if endpoint["role"] != "front"]
    assert len(set(sockets)) == 3


def test_a_call_opens_a_socket_for_the_caller_alone() -> None:
    planned = plan(services())
    web, catalog = planned["uwsgi_vassals"]
    socket = "/run/uwsgi/cut-catalog/cut-web/http.sock"
    assert web["environment"]["CATALOG_SOCKET"] == socket
    assert catalog["listen"][1] == {"endpoint": {"protocol": "http", "unix": socket}, "group": "cut-web"}
    system = {
        entry["system"]: entry
        for entry in _uwsgi.uwsgi_plan({"vassals": [web, catalog]}, FACTS, "me")["files"]
        if "system" in entry
    }
    assert (
        "d /run/uwsgi/cut-catalog/cut-web 2750 cut-catalog cut-web"
        in system["/etc/tmpfiles.d/weblab-uwsgi-cut-catalog.conf"]["content"]
    )


@pytest.mark.parametrize("site", [blog(), prefork(), shop(), services()], ids=lambda site: str(site["stack"]))
def test_the_input_is_not_changed_and_order_is_kept(site: Site) -> None:
    sites = [site, {**copy.deepcopy(site), "name": "zz", "port": 9}, {**copy.deepcopy(site), "name": "aa", "port": 10}]
    before = copy.deepcopy(sites)
    drawing = _spec.role_defaults(site["stack"])[f"{site['stack']}_drawing"]
    planned = _stacks.stack_plan(sites, site["stack"], drawing)
    assert sites == before
    (fronts,) = planned["fronts"].values()
    assert [front["name"] for front in fronts] == [site["name"], "zz", "aa"]


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([blog(colour="red")], "weblab_sites[0].colour: unknown key"),
        ([prefork(), blog(server_name="x")], "weblab_sites[1].server_name: unknown key; did you mean server_names?"),
        (
            [services(services=[{"name": "web", "user": "u", "application": {"path": "/x", "modul": "a"}}])],
            "weblab_sites[0].services[0].application.modul: unknown key",
        ),
        ([blog(port="eighty")], "weblab_sites[0].port: 'eighty' is not a whole number"),
        ([blog(aliases=[{"path": "/a", "root": ["/x"]}])], "weblab_sites[0].aliases[0].root: a text is needed"),
        ([blog(workers={"max": "many"})], "weblab_sites[0].workers.max: 'many' is not a whole number"),
        ([{"name": "blog", "stack": "apache_event_php_fpm", "port": 1}], "weblab_sites[0].root: this key is required"),
        ([blog(stack="lamp")], "weblab_sites[0].stack: 'lamp' is not one of apache_event_php_fpm,"),
        (["blog"], "weblab_sites[0]: a site is a mapping"),
        ([blog(name="../blog")], "weblab_sites[0].name: '../blog' is not a name"),
        ([blog(port=0)], "weblab_sites[0].port: port 0 is not a number"),
        ([blog(socket={"unix": "/run/" + "x" * 120})], "weblab_sites[0].socket: the socket path has 125 bytes"),
        ([blog(socket="http://127.0.0.1:9000")], "weblab_sites[0].socket: this endpoint speaks fastcgi, not http"),
        (
            [blog(), prefork(port=8082)],
            "weblab_sites[1].port: the address TCP port 8082 is taken already by weblab_sites[0].port",
        ),
        (
            [blog(), blog(name="two", port=8085, socket="fastcgi+unix:///run/php/blog.sock")],
            "weblab_sites[1].socket: the address /run/php/blog.sock is taken already by weblab_sites[0].socket",
        ),
        (
            [blog(), shop(port=8085, socket="uwsgi://127.0.0.1:8082")],
            "weblab_sites[1].socket: the address TCP port 8082 is taken already",
        ),
        (
            [blog(), prefork(name="blog")],
            "weblab_sites[1].name: the site name blog is taken already by weblab_sites[0].name",
        ),
        ([services(services=[])], "weblab_sites[0].application: this key is required where there are no services"),
        (
            [{**services(), "services": [{**services()["services"][0], "calls": ["nobody"]}]}],
            "weblab_sites[0].services[0].calls[0]: 'nobody' is not another service",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_in_the_sites_is_named_by_its_path(sites: list[t.Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        _stacks.host_plan(sites, {})
    assert str(caught.value).startswith(said)


def pool(**more: t.Any) -> Site:
    return {"name": "blog", "user": "blog", **more}


def app(**more: t.Any) -> Site:
    return {"name": "shop", "user": "shop", "path": "/srv/shop", "module": "shop:app", **more}


def apache(**more: t.Any) -> Site:
    return {"name": "blog", "port": 80, "root": "/srv/blog", **more}


def place(**more: t.Any) -> Site:
    return {"name": "blog", "port": 80, "locations": [{"path": "/", **more}]}


@pytest.mark.parametrize(
    ("compile_it", "said"),
    [
        (
            lambda: _apache.apache_plan([apache(php={"handler": "mod_php"})], "me", "event"),
            "apache_sites[0].php.handler: mod_php is not thread-safe",
        ),
        (
            lambda: _apache.apache_plan([apache(http2=True)], "me", "prefork"),
            "apache_sites[0].http2: HTTP/2 needs several requests",
        ),
        (
            lambda: _apache.apache_plan([apache(php={"handler": "php_fpm"})], "me"),
            "apache_sites[0].php.endpoint: php_fpm needs",
        ),
        (
            lambda: _apache.apache_plan([apache(server_names=["a b"])], "me"),
            "apache_sites[0].server_names[0]: 'a b' is not a host name",
        ),
        (
            lambda: _apache.apache_plan([apache(root="/srv/my blog")], "me"),
            "apache_sites[0].root: '/srv/my blog' is not an absolute path",
        ),
        (
            lambda: _apache.apache_plan([apache(environment={"A": "x\nRequire all granted"})], "me"),
            "apache_sites[0].environment.A: 'A=x",
        ),
        (
            lambda: _apache.apache_plan([apache(), apache(name="two")], "me"),
            "apache_sites[1].port: the front of port 80 of every host name is taken",
        ),
        (
            lambda: _php_fpm.php_fpm_plan([pool(user="root")], FACTS, "me"),
            "php_fpm_pools[0].user: an application does not run as root",
        ),
        (
            lambda: _php_fpm.php_fpm_plan([pool(listen_mode="0666")], FACTS, "me"),
            "php_fpm_pools[0].listen_mode: '0666' is not a socket mode closed to others",
        ),
        (
            lambda: _php_fpm.php_fpm_plan([pool(listen={"unix": "/tmp/x.sock"})], FACTS, "me"),
            "php_fpm_pools[0].listen: a socket belongs below /run",
        ),
        (
            lambda: _php_fpm.php_fpm_plan([pool(workers={"max": 2, "min_spare": 3})], FACTS, "me"),
            "php_fpm_pools[0].workers: 1 <= min_spare",
        ),
        (
            lambda: _php_fpm.php_fpm_plan([pool(), pool(name="b", listen={"unix": "/run/php/blog.sock"})], FACTS, "me"),
            "php_fpm_pools[1].listen: the address /run/php/blog.sock is taken already by php_fpm_pools[0].listen",
        ),
        (
            lambda: _php_fpm.php_fpm_plan([pool(status_listen={"host": "127.0.0.1", "port": 9000})], FACTS, "me"),
            "php_fpm_pools[0].status_listen: through 127.0.0.1:9000 every user of the host could run scripts as blog",
        ),
        (
            lambda: _php_fpm.php_fpm_plan([pool(status_listen={"unix": "/run/php/blog.sock"})], FACTS, "me"),
            "php_fpm_pools[0].status_listen: the address /run/php/blog.sock is taken already by php_fpm_pools[0]",
        ),
        (lambda: _php_fpm.php_fpm_plan([pool()], {}, "me"), "ansible_facts.memtotal_mb: this fact was not gathered"),
        (
            lambda: _uwsgi.uwsgi_plan({"instances": [app(processes=1)]}, FACTS, "me"),
            "uwsgi_instances[0].processes: a chain reload needs two",
        ),
        (
            lambda: _uwsgi.uwsgi_plan({"vassals": [app(buffer_size=70000)]}, FACTS, "me"),
            "uwsgi_vassals[0].buffer_size: 70000 is not from 4096 to 65535",
        ),
        (
            lambda: _uwsgi.uwsgi_plan({"vassals": [app(mount="/x/")]}, FACTS, "me"),
            "uwsgi_vassals[0].mount: '/x/' ends with a slash",
        ),
        (
            lambda: _uwsgi.uwsgi_plan({"vassals": [app(module="shop; rm")]}, FACTS, "me"),
            "uwsgi_vassals[0].module: 'shop; rm' is neither",
        ),
        (
            lambda: _uwsgi.uwsgi_plan({"instances": [app()], "vassals": [app()]}, FACTS, "me"),
            "uwsgi_vassals[0].name: the application name shop is taken already by uwsgi_instances[0].name",
        ),
        (
            lambda: _uwsgi.uwsgi_plan({"vassals": [app(listen=[{"endpoint": "ws://127.0.0.1:1"}])]}, FACTS, "me"),
            "uwsgi_vassals[0].listen[0].endpoint: uWSGI listens with uwsgi or http or fastcgi or scgi here",
        ),
        (
            lambda: _nginx.nginx_plan([place(type="uwsgi")], "me"),
            "nginx_sites[0].locations[0].endpoint: a uwsgi location needs the endpoint",
        ),
        (
            lambda: _nginx.nginx_plan([place(type="uwsgi", endpoint="http://127.0.0.1:80")], "me"),
            "nginx_sites[0].locations[0].endpoint: a uwsgi location speaks uwsgi, not http",
        ),
        (
            lambda: _nginx.nginx_plan([place(type="static")], "me"),
            "nginx_sites[0].locations[0]: a static location needs a root",
        ),
        (
            lambda: _nginx.nginx_plan([place(type="cgi")], "me"),
            "nginx_sites[0].locations[0].type: 'cgi' is not one of static,",
        ),
        (
            lambda: _facts.platform(
                {"distribution": "Ubuntu", "distribution_major_version": "24"}, {"Debian": {"12": {}}}
            ),
            "this host runs Ubuntu 24, and weblab.stacks is tested on Debian 12 only; nothing was changed",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_refused_with_its_reason(compile_it: t.Callable[[], object], said: str) -> None:
    with pytest.raises(DataError) as caught:
        compile_it()
    assert str(caught.value).startswith(said)


def test_modules_follow_from_the_sites_with_what_they_depend_on() -> None:
    planned = _apache.apache_plan([apache(php={"handler": "php_fpm", "endpoint": "fastcgi://127.0.0.1:9000"})], "me")
    links = {entry["path"] for entry in planned["files"] if "link" in entry}
    assert {"mods-enabled/proxy.load", "mods-enabled/proxy.conf", "mods-enabled/proxy_fcgi.load"} <= links
    assert planned["packages"] == ["apache2"]


def test_an_owner_without_sites_declares_nothing() -> None:
    assert _apache.apache_plan([], "me")["files"] == []
    assert _nginx.nginx_plan([], "me")["files"] == []
    assert _php_fpm.php_fpm_plan([], FACTS, "me")["files"] == []
    assert _uwsgi.uwsgi_plan({}, FACTS, "me")["files"] == []


def mark(component: str, **more: t.Any) -> dict[str, t.Any]:
    return {"owner": _stacks.OWNER, "component": component, "instance": "", **more}


def test_each_component_gets_all_sites_of_the_host_in_one_call() -> None:
    planned = _stacks.host_plan([blog(), shop(), services(), prefork(), blog(name="news", port=8085)], {})
    assert planned["components"] == {"php_fpm": "present", "uwsgi": "present"}
    assert [pool["name"] for pool in planned["php_fpm_pools"]] == ["blog", "news"]
    assert [app["name"] for app in planned["uwsgi_instances"]] == ["shop"]
    assert {front["name"]: [site["name"] for site in front["sites"]] for front in planned["fronts"]} == {
        "apache event": ["blog", "news"],
        "nginx": ["shop", "cut"],
        "apache prefork": ["old"],
    }


def test_a_component_that_lost_all_its_sites_is_called_once_more() -> None:
    left = {
        "weblab_weblab_sites_nginx": mark("nginx", sites={"shop": 8083}),
        "weblab_weblab_sites_uwsgi": mark("uwsgi"),
        "weblab_mine_php_fpm": {"owner": "mine", "component": "php_fpm"},
        "somebody_elses": "a fact",
    }
    planned = _stacks.host_plan([prefork()], {}, left)
    assert [(front["name"], len(front["sites"])) for front in planned["fronts"]] == [
        ("apache prefork", 1),
        ("nginx", 0),
    ]
    assert planned["components"] == {"uwsgi": "present"}


def test_a_site_that_shall_be_absent_is_the_same_as_one_that_is_left_out() -> None:
    there = _stacks.host_plan([blog()], {})
    for gone in (
        {"name": "shop", "state": "absent"},
        {**shop(), "state": "absent"},
        {**blog(name="x"), "state": "absent"},
    ):
        assert _stacks.host_plan([blog(state="present"), gone], {}) == there
    assert _stacks.stack_sites([blog(), shop(), {"name": "old", "state": "absent"}], shop()["stack"]) == [shop()]
    assert _stacks.stack_sites([{**blog(), "state": "absent"}], blog()["stack"]) == []


@pytest.mark.parametrize(
    ("sites", "variables", "words"),
    [
        ([{"state": "absent"}], {}, r"weblab_sites\[0\].name: this key is required"),
        ([{"name": "a b", "state": "absent"}], {}, r"weblab_sites\[0\].name: 'a b' is not a name"),
        ([{"name": "x", "state": "gone"}], {}, r"weblab_sites\[0\].state: 'gone' is neither present nor absent"),
        ([blog(), {"name": "blog", "state": "absent"}], {}, r"weblab_sites\[1\].name: the site name blog is taken"),
        ([], {"weblab_state": "gone"}, "weblab_state: 'gone' is neither"),
        ([], {"cgi_state": False}, "cgi_state: False is neither"),
        (
            [blog()],
            {"php_fpm_state": "absent"},
            r"weblab_sites\[0\].stack: \w+ needs php_fpm, and php_fpm_state is absent",
        ),
        ([blog(), shop()], {"uwsgi_state": "absent"}, r"weblab_sites\[1\].stack: \w+ needs uwsgi"),
    ],
)
def test_what_cannot_be_absent(sites: list[t.Any], variables: dict[str, t.Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        _stacks.host_plan(sites, variables)


def states(sites: list[t.Any], facts: dict[str, t.Any], **variables: str) -> dict[str, str]:
    planned = _stacks.host_plan(sites, variables, facts)
    return {**{front["name"]: front["state"] for front in planned["fronts"]}, **planned["components"]}


def test_a_stack_goes_with_the_components_that_nobody_else_has() -> None:
    sites = [blog(), shop(), prefork()]
    assert set(states(sites, {}).values()) == {"present"}
    assert states(sites, {}, nginx_uwsgi_monolith_state="absent") == {
        "apache event": "present",
        "apache prefork": "present",
        "nginx": "unused",
        "php_fpm": "present",
        "uwsgi": "unused",
        "app_service": "unused",
    }


def test_without_sites_a_component_stays_until_it_shall_go() -> None:
    marks = {"a": mark("nginx", sites={"shop": 8083}), "b": {"base": "apache", "instance": "own", "mpm": "event"}}
    assert states([], marks) == {"nginx": "present"}
    everything = states([blog()], marks, weblab_state="absent")
    assert {"apache own", "apache event", "nginx", "php_fpm", "uwsgi", "app_service"} <= set(everything)
    assert set(everything.values()) == {"unused"}
    assert states([], marks, apache_state="absent") == {"nginx": "present", "apache": "absent", "apache own": "absent"}


def test_a_front_server_takes_over_the_sites_whose_ports_it_wants() -> None:
    left = {
        "one": mark("apache", instance="event", mpm="event", sites={"blog": 8082, "news": 8085, "gone": 8086}),
        "two": mark("nginx", sites={"shop": 8083}),
    }
    sites = [prefork(name="blog", port=8082), blog(name="news", port=8085), prefork(name="new", port=8083)]
    planned = _stacks.host_plan(sites, {}, left)["fronts"]
    # Who loses a site serves it until the other one has it.
    assert {front["name"]: front["prune"] for front in planned} == {
        "apache event": False,
        "nginx": False,
        "apache prefork": True,
    }
    assert {front["name"]: front["takes_over"] for front in planned} == {
        "apache event": [],
        "nginx": [],
        "apache prefork": [
            {
                "daemon": "apache",
                "root": "/etc/apache2-event",
                "service": "apache2@event.service",
                "paths": ["sites-enabled/blog.conf", "sites-available/blog.conf", "ports-enabled/8082.conf"],
            },
            {
                "daemon": "nginx",
                "root": "/etc/nginx",
                "service": "nginx.service",
                "paths": ["sites-enabled/shop.conf", "sites-available/shop.conf"],
            },
        ],
    }


def test_an_instance_has_one_mpm() -> None:
    drawing = _spec.role_defaults("apache_event_php_fpm")["apache_event_php_fpm_drawing"]
    other = {**drawing, "fronts": {"apache": {"component": "apache", "instance": "event", "mpm": "worker"}}}
    sites = [blog(), prefork(name="p", port=83)]
    hand = {
        **_spec.role_defaults("apache_prefork_mod_php")["apache_prefork_mod_php_drawing"],
        "fronts": other["fronts"],
    }
    with pytest.raises(DataError, match=r"weblab_sites\[1\].stack: its apache event has the MPM worker, and another"):
        _stacks.host_plan(sites, {"apache_prefork_mod_php_drawing": hand})


def test_the_hosts_variables_choose_the_socket() -> None:
    planned = _stacks.host_plan([blog()], {"apache_event_php_fpm_socket": "tcp"})
    assert planned["endpoints"][1]["endpoint"]["port"] == 9082


@pytest.mark.parametrize(
    ("endpoint", "target", "spelled"),
    [
        ("uwsgi+unix:///run/x.sock", "", "unix:/run/x.sock"),
        ("fastcgi://[::1]:9000", "", "[::1]:9000"),
        ("http+unix:///run/x.sock", "", "http://unix:/run/x.sock"),
        ("http+unix:///run/x.sock", "/new/", "http://unix:/run/x.sock:/new/"),
        ("ws://127.0.0.1:80", "", "http://127.0.0.1:80"),
        ("https://127.0.0.1:443", "/a", "https://127.0.0.1:443/a"),
    ],
)
def test_nginx_spells_an_endpoint(endpoint: str, target: str, spelled: str) -> None:
    assert _nginx.nginx_pass(endpoint, target) == spelled


@pytest.mark.parametrize("site", [blog(), shop(), services()], ids=lambda site: site["stack"])
def test_a_backend_over_tcp_is_another_one(site: Site) -> None:
    def names(planned: _stacks.StackPlan) -> list[str]:
        backends = [*planned["php_fpm_pools"], *planned["uwsgi_instances"], *planned["uwsgi_vassals"]]
        return [backend["name"] for backend in backends]

    assert not set(names(plan(site))) & set(names(plan(site, "tcp")))
