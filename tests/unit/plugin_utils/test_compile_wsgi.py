# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the stacks for WSGI and for Perl come to, and what they refuse."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils import _spec
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile import _apache, _nginx, _stacks, _uwsgi

FACTS = {"memtotal_mb": 2048, "processor_nproc": 2}

Site = dict[str, t.Any]


def shop(stack: str, **more: t.Any) -> Site:
    application = {"path": "/srv/shop", "module": "shop.wsgi:application", "environment": {"COLOUR": "blue"}}
    return {"name": "shop", "stack": stack, "port": 8083, "user": "shop", "application": application, **more}


def services(*services: Site) -> Site:
    """A site in pieces."""
    service = {"name": "web", "mount": "/", "user": "shop", "application": {"path": "/srv", "module": "web"}}
    cut = [{**service, **more} for more in services]
    return {"name": "shop", "stack": "nginx_uwsgi_microservices", "port": 8084, "services": cut}


def scripts(**more: t.Any) -> Site:
    return {
        "name": "perl",
        "stack": "apache_mod_perl",
        "port": 8097,
        "scripts": [{"path": "/", "script": "/srv/hello.pl"}],
        **more,
    }


def plan(site: Site, socket: str = "unix") -> _stacks.StackPlan:
    stack = site["stack"]
    return _stacks.stack_plan([site], stack, _spec.role_defaults(stack)[f"{stack}_drawing"], socket)


def wsgi_file(**application: t.Any) -> str:
    """The lines that load the application in the file for mod_wsgi."""
    site = shop("apache_mod_wsgi", application={"path": "/srv/shop", **application})
    (front,) = plan(site)["fronts"]["apache"]
    files = {file["path"]: file for file in _apache.apache_plan([front], "me", facts=FACTS)["files"] if "path" in file}
    return "\n".join(files["wsgi/shop.wsgi"]["vars"]["location"]["loads"]["lines"])


def backend(planned: _stacks.StackPlan) -> t.Any:
    """The endpoint that the front server, the backend and the probe agree on."""
    (sites,) = [sites for sites in planned["fronts"].values() if sites]
    (programs,) = [programs for programs in (planned["uwsgi_instances"], planned["app_services"]) if programs]
    listens = programs[0]["listen"][0]["endpoint"] if "listen" in programs[0] else programs[0]["endpoint"]
    assert sites[0]["locations"][-1]["endpoint"] == listens == planned["endpoints"][1]["probe"]["endpoint"]
    return listens


def test_a_site_keeps_its_application_when_the_stack_changes() -> None:
    ends = {stack: plan(shop(stack)) for stack in ("nginx_uwsgi_monolith", "apache_uwsgi", "scgi")}
    keys = ("user", "path", "module", "environment", "mount")
    apps = [{key: planned["uwsgi_instances"][0][key] for key in keys} for planned in ends.values()]
    assert apps[0] == apps[1] == apps[2]
    # Another protocol is another instance, so that both serve while the front server changes.
    assert [planned["uwsgi_instances"][0]["name"] for planned in ends.values()] == ["shop", "shop", "shop-scgi"]
    moved = plan(shop("apache_mod_wsgi", socket="tcp"))
    assert not moved["uwsgi_instances"]
    assert [endpoint["role"] for endpoint in moved["endpoints"]] == ["front"]


@pytest.mark.parametrize(
    ("site", "socket", "expected"),
    [
        (shop("apache_uwsgi"), "unix", {"protocol": "uwsgi", "unix": "/run/uwsgi/shop/www-data/uwsgi.sock"}),
        (shop("apache_uwsgi"), "tcp", {"protocol": "uwsgi", "host": "127.0.0.1", "port": 9083}),
        (shop("scgi"), "unix", {"protocol": "scgi", "unix": "/run/uwsgi/shop-scgi/www-data/scgi.sock"}),
        (shop("scgi", front="apache"), "tcp", {"protocol": "scgi", "host": "127.0.0.1", "port": 9083}),
        (shop("scgi", server="aioscgi"), "unix", {"protocol": "scgi", "unix": "/run/app/shop-scgi/www-data/scgi.sock"}),
    ],
    ids=["uwsgi unix", "uwsgi tcp", "scgi unix", "scgi tcp", "aioscgi unix"],
)
def test_front_backend_and_probe_come_from_one_endpoint(site: Site, socket: str, expected: Site) -> None:
    assert backend(plan(site, socket)) == expected


def test_the_front_is_the_sites_choice() -> None:
    assert [name for name, sites in plan(shop("scgi", front="apache"))["fronts"].items() if sites] == ["apache"]
    assert [name for name, sites in plan(shop("scgi"))["fronts"].items() if sites] == ["nginx"]


def test_each_protocol_of_uwsgi_has_its_option_and_its_socket() -> None:
    listen = [{"protocol": protocol} for protocol in ("uwsgi", "http", "fastcgi", "scgi")]
    app = {"name": "shop", "user": "shop", "path": "/srv/shop", "module": "shop:app", "listen": listen}
    planned = _uwsgi.uwsgi_plan({"instances": [app]}, FACTS, "me")
    (ini,) = [file for file in planned["files"] if file.get("path") == "instances/shop.ini"]
    assert [(socket["option"], socket["endpoint"]["unix"]) for socket in ini["vars"]["app"]["sockets"]] == [
        ("socket", "/run/uwsgi/shop/www-data/uwsgi.sock"),
        ("http-socket", "/run/uwsgi/shop/www-data/http.sock"),
        ("fastcgi-socket", "/run/uwsgi/shop/www-data/fastcgi.sock"),
        ("scgi-socket", "/run/uwsgi/shop/www-data/scgi.sock"),
    ]


def test_a_probe_over_fastcgi_asks_a_wsgi_application_and_no_script() -> None:
    app = {"name": "shop", "user": "shop", "path": "/srv/shop", "module": "shop:app", "mount": "/shop"}
    listen = [{"protocol": "fastcgi"}, {"protocol": "uwsgi"}]
    fastcgi, uwsgi = _uwsgi.uwsgi_plan({"instances": [{**app, "listen": listen}]}, FACTS, "me")["probe"]
    assert fastcgi["params"] == {"SCRIPT_NAME": "", "PATH_INFO": "/shop"}
    assert "params" not in uwsgi


def test_another_scgi_server_is_a_service_whose_socket_systemd_opens() -> None:
    (service,) = plan(shop("scgi", server="aioscgi", threads=4))["app_services"]
    assert (service["activation"], service["directory"], service["user"]) == ("systemd", "/srv/shop", "shop")
    assert service["environment"] == {
        "COLOUR": "blue",
        "WSGI_APPLICATION": "shop.wsgi:application",
        "WSGI_THREADS": "4",
    }
    _spec.checked(_spec.role_options("app_service")["app_service_services"], [service], "app_service_services")


def test_mod_wsgi_brings_its_package_its_module_and_a_user() -> None:
    (front,) = plan(shop("apache_mod_wsgi", static=[{"path": "/static/", "root": "/srv/static"}]))["fronts"]["apache"]
    planned = _apache.apache_plan([front], "me", instance_name="event", facts=FACTS)
    assert planned["packages"] == ["apache2", "libapache2-mod-wsgi-py3"]
    paths = {file["path"] for file in planned["files"] if "path" in file}
    assert {"mods-enabled/wsgi.load", "mods-enabled/wsgi.conf", "conf-enabled/wsgi.conf", "wsgi/shop.wsgi"} <= paths
    # Nothing is proxied here.
    assert not {path for path in paths if "proxy" in path}
    users = [file["content"] for file in planned["files"] if file.get("system", "").startswith("/etc/sysusers.d/")]
    assert users == ['u shop - "weblab.stacks application" /srv/shop\n']
    assert {"path": "/srv/shop", "what": "apache_sites[0].locations[1].application.path"} in planned["requires"]


def test_what_may_hold_secrets_is_read_by_the_sites_user_alone() -> None:
    (front,) = plan(shop("apache_mod_wsgi"))["fronts"]["apache"]
    files = _apache.apache_plan([front], "me", facts=FACTS)["files"]
    (script,) = [file for file in files if file.get("path") == "wsgi/shop.wsgi"]
    assert (script["group"], script["mode"]) == ("shop", "0640")


@pytest.mark.parametrize(
    ("module", "lines"),
    [
        ("shop.wsgi:application", "from shop.wsgi import application"),
        ("shop.wsgi", "from shop.wsgi import application"),
        ("shop:app", "from shop import app\napplication = app"),
        ("shop:create()", "from shop import create\napplication = create()"),
        ("shop:server.app", "from shop import server\napplication = server.app"),
    ],
)
def test_mod_wsgi_loads_what_uwsgi_would(module: str, lines: str) -> None:
    assert wsgi_file(module=module) == lines


def test_a_file_runs_in_the_place_of_the_script() -> None:
    code = wsgi_file(module="app.py")
    assert "'/srv/shop/app.py'" in code
    compile(code, "shop.wsgi", "exec")


def test_the_environment_is_python_whatever_is_in_it() -> None:
    values = {"A": 'deep "blue"', "B": "caf\u00e9 \U0001f600", "C": "back\\slash", "D": 5}
    site = shop("apache_mod_wsgi", application={"path": "/srv", "module": "m", "environment": values})
    (front,) = plan(site)["fronts"]["apache"]
    files = _apache.apache_plan([front], "me", facts=FACTS)["files"]
    (script,) = [file for file in files if file.get("path") == "wsgi/shop.wsgi"]
    written = script["vars"]["location"]["loads"]["environment"]
    # The literals of the generated file, read by Python.
    assert {key: eval(literal) for key, literal in written.items()} == {k: str(v) for k, v in values.items()}


def test_processes_follow_the_host_unless_they_are_given() -> None:
    def processes(**more: t.Any) -> int:
        (front,) = plan(shop("apache_mod_wsgi", **more))["fronts"]["apache"]
        _apache.apache_plan([front], "me", facts={"memtotal_mb": 65536, "processor_nproc": 8})
        files = _apache.apache_plan([front], "me", facts={"memtotal_mb": 65536, "processor_nproc": 8})["files"]
        (script,) = [file for file in files if file.get("path") == "wsgi/shop.wsgi"]
        return int(script["vars"]["location"]["processes"])

    assert processes(processes=3) == 3
    assert processes() > 3


def test_a_virtual_environment_needs_the_python_of_mod_wsgi() -> None:
    app = {"path": "/srv/shop", "module": "shop", "virtualenv": "/srv/venv"}
    (front,) = plan(shop("apache_mod_wsgi", application=app))["fronts"]["apache"]
    planned = _apache.apache_plan([front], "me", facts=FACTS, python_version="3.13")
    assert "/srv/venv/lib/python3.13" in [needed["path"] for needed in planned["requires"]]


def test_a_time_means_the_same_to_apache_as_to_nginx() -> None:
    static = [{"path": "/static/", "root": "/srv/static", "expires": "1d12h"}]
    (front,) = plan(shop("apache_uwsgi", static=static))["fronts"]["apache"]
    files = _apache.apache_plan([front], "me")["files"]
    assert "mods-enabled/expires.load" in [file.get("path") for file in files]
    (site,) = [file["vars"]["site"] for file in files if "site" in file.get("vars", {})]
    assert [place["expires_seconds"] for place in site["locations"] if place["type"] == "static"] == [129600]


def test_perl_brings_its_package_and_its_module() -> None:
    (front,) = plan(scripts())["fronts"]["apache"]
    planned = _apache.apache_plan([front], "me", "prefork")
    assert planned["packages"] == ["apache2", "libapache2-mod-perl2"]
    assert "mods-enabled/perl.load" in [file.get("path") for file in planned["files"]]
    assert {"path": "/srv/hello.pl", "what": "apache_sites[0].locations[0].script"} in planned["requires"]


def place(**more: t.Any) -> Site:
    return {"name": "shop", "port": 80, "locations": [{"path": "/", **more}]}


@pytest.mark.parametrize(
    ("compile_it", "said"),
    [
        (lambda: plan(shop("scgi", front="lighttpd")), "scgi_sites[0].front: 'lighttpd' is not one of nginx, apache"),
        (lambda: plan(shop("scgi", server="flup")), "scgi_sites[0].server: 'flup' is not one of uwsgi, aioscgi"),
        (
            lambda: plan(shop("scgi", server="aioscgi", processes=4)),
            "scgi_sites[0].processes: aioscgi has one process",
        ),
        (lambda: plan(shop("apache_uwsgi", processes=1)), "apache_uwsgi_sites[0].processes: a chain reload needs two"),
        (
            lambda: plan(shop("apache_uwsgi", user="root")),
            "apache_uwsgi_sites[0].user: an application does not run as root",
        ),
        (
            lambda: plan(shop("apache_uwsgi", socket={"unix": "/tmp/shop.sock"})),
            "apache_uwsgi_sites[0].socket: a socket belongs below /run",
        ),
        (
            lambda: plan(shop("apache_uwsgi", application={"path": "srv", "module": "shop"})),
            "apache_uwsgi_sites[0].application.path: 'srv' is not an absolute path",
        ),
        (
            lambda: plan(shop("apache_uwsgi", application={"path": "/srv", "module": "a b"})),
            "apache_uwsgi_sites[0].application.module: 'a b' is neither",
        ),
        (
            lambda: plan(
                shop("apache_uwsgi", application={"path": "/srv", "module": "a", "environment": {"A": "$(B)"}})
            ),
            "apache_uwsgi_sites[0].application.environment.A: uWSGI would replace",
        ),
        (
            lambda: plan(services({"processes": 1})),
            "nginx_uwsgi_microservices_sites[0].services[0].processes: a chain reload needs two",
        ),
        (
            lambda: plan(shop("scgi", socket="uwsgi://127.0.0.1:9000")),
            "scgi_sites[0].socket: this endpoint speaks scgi, not uwsgi",
        ),
        (
            lambda: plan(shop("scgi", server="aioscgi", application={"path": "/srv", "module": "a b"})),
            "scgi_sites[0].application.module: 'a b' is neither",
        ),
        (
            lambda: _apache.apache_plan([place(type="wsgi", user="shop")], "me"),
            "apache_sites[0].locations[0].application: a wsgi location needs",
        ),
        (
            lambda: _apache.apache_plan(
                [place(type="wsgi", user="root", application={"path": "/srv", "module": "m"})], "me"
            ),
            "apache_sites[0].locations[0].user: an application does not run as root",
        ),
        (
            lambda: _apache.apache_plan(
                [place(type="wsgi", user="u", processes=0, application={"path": "/srv", "module": "m"})], "me"
            ),
            "apache_sites[0].locations[0].processes: 0 is less than one",
        ),
        (
            lambda: _apache.apache_plan(
                [place(type="wsgi", user="u", application={"path": "/srv", "module": "os; x"})], "me"
            ),
            "apache_sites[0].locations[0].application.module: 'os; x' is neither",
        ),
        (
            lambda: _apache.apache_plan([place(type="static", root="/srv", expires="soon")], "me"),
            "apache_sites[0].locations[0].expires: 'soon' is not a time",
        ),
        (lambda: plan(scripts(scripts=[])), "apache_mod_perl_sites[0].scripts: at least one script"),
        (
            lambda: plan(scripts(scripts=[{"path": "/"}])),
            "apache_mod_perl_sites[0].scripts[0]: give either script",
        ),
        (
            lambda: _apache.apache_plan([place(type="perl")], "me"),
            "apache_sites[0].locations[0]: a perl location needs either",
        ),
        (
            lambda: _nginx.nginx_plan([place(type="scgi", endpoint="uwsgi://127.0.0.1:1")], "me"),
            "nginx_sites[0].locations[0].endpoint: a scgi location speaks scgi, not uwsgi",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_refused_with_its_reason(compile_it: t.Callable[[], object], said: str) -> None:
    with pytest.raises(DataError) as caught:
        compile_it()
    assert str(caught.value).startswith(said)
