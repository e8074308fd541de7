# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of check on evidence that is made by hand: what it accepts, and what it names."""

from __future__ import annotations

import dataclasses
import re
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils import _endpoint, _uwsgi_info
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _kinds
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._evidence import (
    Answered,
    Ask,
    Facts,
    Held,
    Listener,
    Process,
)
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._manifest import Site, Stand
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._text import LANGUAGES, catalogue

NONCE = "5eed5eed5eed5eed"
HOST, CONTAINER = 1, 2

PHP = Site(
    "blog", 8083, "php_fpm", nonce="/?s={nonce}", script="/srv/blog/index.php", process="/pid.php",
    backend=_endpoint.parse("fastcgi+unix:///run/php/blog.sock"),
)  # fmt: skip
APP = Site("shop", 8081, "http", nonce="/q/{nonce}", backend=_endpoint.parse("http://127.0.0.1:3000"))


def page(body: str, status: int = 200, **headers: str) -> Answered:
    return Answered("", "", status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


NGINX = [
    Process(10, 1, "root", "nginx", "nginx: master process /usr/sbin/nginx", "nginx.service", True, HOST),
    Process(11, 10, "www-data", "nginx", "nginx: worker process", "nginx.service", True, HOST),
]
FPM = [
    Process(20, 1, "root", "php-fpm8.2", "php-fpm: master process", "php8.2-fpm.service", True, HOST),
    Process(21, 20, "blog", "php-fpm8.2", "php-fpm: pool blog", "php8.2-fpm.service", True, HOST),
]
GUNICORN = [
    Process(30, 1, "shop", "gunicorn", "/usr/bin/python3 /usr/bin/gunicorn app:app", "shop.service", True, HOST),
    Process(31, 30, "shop", "gunicorn", "/usr/bin/python3 /usr/bin/gunicorn app:app", "shop.service", True, HOST),
]
APACHE = [
    Process(40, 1, "root", "apache2", "/usr/sbin/apache2 -k start", "apache2.service", True, HOST),
    *(Process(pid, 40, "www-data", "apache2", "/usr/sbin/apache2 -k start", network=HOST) for pid in (41, 42)),
]
SSHD = Process(5, 1, "root", "sshd", "sshd: /usr/sbin/sshd -D", "ssh.service", True, HOST)
SOCKET = Listener("/run/php/blog.sock", None, (20, 21), 0o660, "blog", "www-data", False, HOST)
FRONTS = tuple(Listener("0.0.0.0", port, (10, 11), network=HOST) for port in (8081, 8083))
APPLICATION = Listener("127.0.0.1", 3000, (30, 31), network=HOST)
SSH = Listener("0.0.0.0", 22, (5,), network=HOST)


def facts(
    processes: t.Iterable[Process] = (*NGINX, *FPM, *GUNICORN, SSHD),
    listeners: tuple[Listener, ...] = (*FRONTS, SOCKET, APPLICATION, SSH),
    configuration: t.Mapping[str, str] | None = None,
) -> Facts:
    return Facts({one.pid: one for one in processes}, listeners, HOST, configuration or {})


def look(
    kind: str,
    site: Site | None = None,
    *,
    answer: t.Callable[[Ask], Answered] = lambda ask: page(f"<h1>{ask.path}</h1>"),
    seen: Facts | None = None,
    stand: t.Mapping[str, t.Any] | None = None,
    options: t.Mapping[str, t.Any] | None = None,
    **more: t.Any,
) -> _kinds.Outcome:
    """Judge by one kind; ``answer`` is what the stand says to each request."""
    made = _kinds.KINDS[kind]
    given = {"sites": (PHP, APP), "names": ("shop.example",), **(stand or {})}
    whole = Stand("s", "10.0.0.5", **given)
    scope = _kinds.Scope(whole, site, {**made.options, **(options or {})}, NONCE, facts=seen or facts(), **more)
    asks = made.asks(scope)
    return made.judge(dataclasses.replace(scope, answers={ask: answer(ask) for ask in asks}))


def caused(outcome: _kinds.Outcome) -> str:
    """The state, or the cause of what is not ok; every cause has its sentences."""
    for language in LANGUAGES:
        sentences = catalogue(language)["causes"].get(outcome.cause, {}) if outcome.cause else {"seen": ""}
        assert "seen" in sentences, f"{language}: {outcome.cause}"
        names = {name for text in sentences.values() for name in re.findall(r"(?<!\{)\{(\w+)\}", text)}
        assert names <= set(outcome.facts), f"{language}: {outcome.cause} speaks of {names - set(outcome.facts)}"
    return outcome.cause or outcome.state


# --- pages --------------------------------------------------------------------------------------


def only_localhost(ask: Ask) -> Answered:
    return page("shop") if ask.host.startswith("localhost") else page("Bad Request (400)", 400)


def test_answers_by_every_name() -> None:
    assert caused(look("answers", APP)) == "ok"
    some = look("answers", APP, answer=only_localhost)
    assert caused(some) == "only_by_some_names"
    assert some.facts == {"bad": "10.0.0.5:8081, shop.example:8081", "good": "localhost:8081", "seen": "400"}
    assert caused(look("answers", APP, answer=lambda ask: Answered("refused"))) == "no_answer_refused"
    assert caused(look("answers", APP, answer=lambda ask: page("", 502))) == "bad_status"


@pytest.mark.parametrize(
    ("kind", "body", "cause"),
    [
        ("no_installer", "<a href='/wp-admin/install.php'>", "installer"),
        ("no_installer", "<title>DokuWiki Installer</title>", "installer"),
        ("no_installer", "<p>How to use a DokuWiki installer</p>", "ok"),
        ("no_default_page", "<html><title>Welcome to nginx!</title>", "default_page"),
        ("no_default_page", "<title>Apache2 Debian Default Page: It works</title>", "default_page"),
        ("no_default_page", "<title>Notes on Apache2 Debian Default Page</title>", "ok"),
        ("no_debug_page", "<p>You're seeing this error because you have <code>DEBUG = True</code>", "debug_page"),
        ("no_debug_page", "<title>KeyError // Werkzeug Debugger</title>", "debug_page"),
        ("no_debug_page", "<pre>Error: no\n at Layer (/srv/node_modules/express)", "debug_page"),
        ("no_debug_page", "<br><b>Warning</b>: mysqli in /srv/a.php on line <b>4</b>", "debug_page"),
        ("no_debug_page", "<p>Error: the book is not there</p>", "ok"),
        ("no_source", "<?php echo 1;", "source_served"),
        ("no_source", "<?xml version='1.0'?>", "ok"),
    ],
)
def test_pages_that_visitors_should_not_see(kind: str, body: str, cause: str) -> None:
    assert caused(look(kind, PHP, answer=lambda ask: page(body))) == cause


def test_an_installer_that_visitors_are_sent_to() -> None:
    sent = page("", 302, location="/wp-admin/setup-config.php")
    assert caused(look("no_installer", PHP, answer=lambda ask: sent)) == "installer"


def test_a_debug_page_behind_an_address_that_nobody_has() -> None:
    def answer(ask: Ask) -> Answered:
        return page("know this ditty", 404) if ask.path.endswith("-nowhere") else page("fine")

    assert caused(look("no_debug_page", APP, answer=answer)) == "debug_page"


@pytest.mark.parametrize(
    "body", ["<title>" * 30000, "<title>" + "Joomla" * 40000, "<b>Warning</b>:" * 15000, "<?" * 100000]
)
def test_a_page_that_is_made_to_take_long_does_not(body: str) -> None:
    for kind in ("no_installer", "no_default_page", "no_debug_page", "no_source"):
        assert caused(look(kind, PHP, answer=lambda ask: page(body))) == "ok"


def test_secret_files() -> None:
    def head(ask: Ask) -> Answered:
        return page("ref: refs/heads/main\n") if ask.path == "/.git/HEAD" else page("not found", 404)

    assert caused(look("no_secret_files", APP, answer=head)) == "secret_file"
    # An application that answers every path gives nothing away.
    assert caused(look("no_secret_files", APP)) == "ok"


def test_a_nonce_that_nobody_could_prepare() -> None:
    assert caused(look("computed", APP)) == "ok"
    assert caused(look("computed", APP, answer=lambda ask: page(f"prepared for {NONCE}"))) == "nonce_not_repeated"
    assert caused(look("computed", dataclasses.replace(APP, nonce=None))) == "no_nonce_in_manifest"
    assert caused(look("computed", Site("files", 8081, "static"))) == "static_site"


def test_a_websocket() -> None:
    assert caused(look("websocket", APP)) == "no_websocket_in_manifest"
    site = dataclasses.replace(APP, websocket="/talk", tls=True)
    (ask,) = _kinds.KINDS["websocket"].asks(_kinds.Scope(Stand("s", "10.0.0.5", (site,)), site, {}, NONCE))
    assert (ask.endpoint, ask.spec()["expect"]) == ("wss://10.0.0.5:8081", {"echo": NONCE})
    for answer, cause in (
        (page("", 101), "ok"),
        (page("no", 404), "no_websocket"),
        (Answered("timeout", "", 101), "no_websocket"),
        (Answered("refused"), "no_websocket"),
    ):
        seen = dataclasses.replace(answer, cause=answer.cause or ("" if answer.status == 101 else "expectation"))
        assert caused(look("websocket", site, answer=lambda _ask, seen=seen: seen)) == cause  # type: ignore[misc]


def test_the_token_of_the_task_sheet() -> None:
    mine = dataclasses.replace(APP, token="/about")
    assert caused(look("own_token", mine, token="t0ken", answer=lambda ask: page("my t0ken"))) == "ok"
    assert caused(look("own_token", mine, token="t0ken", answer=lambda ask: page("his tok3n"))) == "token_missing"
    assert caused(look("own_token", mine)) == "no_task_sheet"


def test_the_token_of_somebody_else() -> None:
    site = dataclasses.replace(APP, token="/token")
    given: dict[str, t.Any] = {"token": "mine", "others": {"hers": "anna"}}
    for body, cause in (("mine", "ok"), ("mine hers", "ok"), ("hers", "token_of_another"), ("none", "token_missing")):
        outcome = look("own_token", site, answer=lambda _ask, body=body: page(body), **given)  # type: ignore[misc]
        assert caused(outcome) == cause
    assert look("own_token", site, answer=lambda _ask: page("hers"), **given).facts["whose"] == "anna"


def test_a_token_that_is_only_echoed() -> None:
    for path in ("/?q=mine", "/?q=%6dine"):
        site = dataclasses.replace(APP, token=path)
        assert caused(look("own_token", site, answer=lambda _ask: page("mine"), token="mine")) == "token_in_path"


def test_the_ports_of_the_task_sheet() -> None:
    assert caused(look("own_ports")) == "no_task_sheet"
    assert caused(look("own_ports", ports=(8081, 8083, 8090))) == "ok"
    assert caused(look("own_ports", ports=(8081, 8082))) == "other_ports"


# --- servers ------------------------------------------------------------------------------------


def changed(pid: int, **fields: t.Any) -> Facts:
    return facts([dataclasses.replace(one, **fields) if one.pid == pid else one for one in facts().processes.values()])


def test_the_front_server() -> None:
    assert caused(look("front_server", APP)) == "ok"
    direct = facts(listeners=(dataclasses.replace(APPLICATION, address="0.0.0.0", port=8081),))
    assert look("front_server", APP, seen=direct).facts["seen"] == "gunicorn"
    assert caused(look("front_server", APP, seen=direct)) == "another_front"
    assert caused(look("front_server", APP, seen=facts(listeners=()))) == "nobody_listens"


def test_the_front_server_in_a_container() -> None:
    proxy = Process(
        40, 1, "root", "docker-proxy", "docker-proxy -host-port 8081 -container-port 80", "docker.service", True, HOST
    )
    inside = Process(41, 2, "root", "nginx", "nginx: master process", "", None, CONTAINER)
    listeners = (Listener("0.0.0.0", 8081, (40,), network=HOST), Listener("0.0.0.0", 80, (41,), network=CONTAINER))
    assert caused(look("front_server", APP, seen=facts([proxy, inside], listeners))) == "ok"
    node = dataclasses.replace(inside, name="node", command="node app.js")
    assert caused(look("front_server", APP, seen=facts([proxy, node], listeners))) == "another_front"


def test_of_two_containers_with_the_same_port_the_published_one_is_meant() -> None:
    line = "docker-proxy -host-port 3000 -container-ip 172.18.0.3 -container-port 8000"
    proxy = Process(40, 1, "root", "docker-proxy", line, "docker.service", True, HOST)
    other = Process(41, 2, "root", "node", "node app.js", "", None, CONTAINER)
    mine = Process(42, 2, "1001", "gunicorn", "gunicorn app", "", None, CONTAINER + 1)
    listeners = (
        *FRONTS,
        Listener("127.0.0.1", 3000, (40,), network=HOST),
        Listener("0.0.0.0", 8000, (41,), network=CONTAINER),
        Listener("0.0.0.0", 8000, (42,), network=CONTAINER + 1),
    )
    seen = facts([proxy, other, mine], listeners)
    addresses = frozenset({(CONTAINER, "172.18.0.2"), (CONTAINER + 1, "172.18.0.3")})
    assert caused(look("users", APP, seen=dataclasses.replace(seen, addresses=addresses))) == "ok"
    swapped = frozenset({(CONTAINER, "172.18.0.3"), (CONTAINER + 1, "172.18.0.2")})
    assert caused(look("users", APP, seen=dataclasses.replace(seen, addresses=swapped))) == "works_as_root"


def test_backends_are_closed() -> None:
    assert caused(look("backends_closed")) == "ok"
    wide = facts(listeners=(*FRONTS, SSH, dataclasses.replace(APPLICATION, address="::")))
    found = look("backends_closed", seen=wide, answer=lambda ask: Answered())
    assert (caused(found), found.facts["port"], found.facts["process"]) == ("backend_open", "3000", "gunicorn")
    # Behind a firewall it may listen where it likes.
    assert caused(look("backends_closed", seen=wide, answer=lambda ask: Answered("timeout"))) == "ok"


def test_users() -> None:
    assert caused(look("users", PHP)) == caused(look("users", APP)) == "ok"
    assert caused(look("users", PHP, seen=changed(21, user="root"))) == "works_as_root"
    assert caused(look("users", APP, seen=changed(31, user="root"))) == "works_as_root"
    assert caused(look("users", APP, seen=changed(11, user="root"))) == "works_as_root"


def test_sockets() -> None:
    assert caused(look("socket_modes", PHP)) == "ok"
    wide = facts(listeners=(*FRONTS, dataclasses.replace(SOCKET, mode=0o666, open_to_all=True)))
    assert look("socket_modes", PHP, seen=wide).facts["mode"] == "0666"
    assert caused(look("socket_modes", PHP, seen=wide)) == "socket_open_to_all"
    assert caused(look("socket_modes", APP)) == "no_unix_socket"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/bin/python3 manage.py runserver 127.0.0.1:3000", "manage.py runserver"),
        ("/usr/bin/python3 /usr/bin/flask --app shop run", "flask run"),
        ("python3 -m http.server 3000", "python -m http.server"),
        ("php -S 127.0.0.1:3000", "php -S"),
        ("npm start", "npm start"),
        ("node /srv/shop/node_modules/.bin/react-scripts start", "react-scripts start"),
        ("/usr/bin/python3 /usr/bin/uvicorn app:app --reload", "--reload"),
        ("node server.js", ""),
        ("/usr/bin/python3 /usr/bin/gunicorn --chdir /srv/flask shop:runner", ""),
    ],
)
def test_development_servers(command: str, name: str) -> None:
    found = look("no_development_server", APP, seen=changed(31, command=command))
    assert caused(found) == ("development_server" if name else "ok")
    assert found.facts.get("name", "") == name


def test_a_development_server_says_so_itself_or_its_parent_does() -> None:
    werkzeug = page("shop", server="Werkzeug/2.2.2 Python/3.11.2")
    assert caused(look("no_development_server", APP, answer=lambda ask: werkzeug)) == "development_server"
    npm = Process(29, 1, "shop", "npm start", "npm start", "shop.service", True, HOST)
    seen = facts(
        [npm, *(dataclasses.replace(one, ppid=29) if one.pid == 30 else one for one in facts().processes.values())]
    )
    assert caused(look("no_development_server", APP, seen=seen)) == "development_server"


def test_a_host_that_says_that_processes_are_each_others_parents() -> None:
    circle = facts(
        [dataclasses.replace(one, ppid=31 if one.pid == 30 else one.ppid) for one in facts().processes.values()]
    )
    assert {one.pid for one in circle.family(30)} == {30, 31}
    for kind in ("users", "no_development_server", "starts_at_boot"):
        caused(look(kind, APP, seen=circle))


def test_services() -> None:
    assert caused(look("starts_at_boot", APP)) == "ok"
    assert caused(look("starts_at_boot", APP, seen=changed(31, enabled=False))) == "not_enabled"
    assert caused(look("starts_at_boot", APP, seen=changed(30, unit="session-3.scope"))) == "not_a_service"


def test_the_handler() -> None:
    assert caused(look("handler", PHP)) == "ok"

    def another(ask: Ask) -> Answered:
        return page("a static page") if ask.place == "host" else page(f"<h1>{NONCE}</h1>")

    assert caused(look("handler", PHP, answer=another)) == "direct_without_nonce"
    assert caused(look("handler", dataclasses.replace(PHP, nonce=None), answer=another)) == "other_page_direct"
    down = look("handler", PHP, answer=lambda ask: Answered("no_such_socket") if ask.place == "host" else page(NONCE))
    assert caused(down) == "no_answer_no_such_socket"
    other = look("handler", PHP, answer=lambda ask: page(NONCE, 404 if ask.place == "host" else 200))
    assert caused(other) == "other_status_direct"
    assert caused(look("handler", Site("x", 8081, "http"))) == "no_backend_in_manifest"

    def environment(ask: Ask) -> Answered:
        """A page that shows what it was asked with, which is not the same past the front server."""
        same = [f"SAME_{number}=x" for number in range(6)]
        return page("\n".join([NONCE, *same, *(f"{ask.place}_{number}=x" for number in range(5))]))

    assert caused(look("handler", PHP, answer=environment)) == "ok"
    assert caused(look("handler", dataclasses.replace(PHP, nonce=None), answer=environment)) == "other_page_direct"


def test_process_models() -> None:
    cgi = Site("old", 8083, "cgi", process="/pid.cgi")

    def stays(ask: Ask) -> Answered:
        return page("21")

    def comes_and_goes(ask: Ask) -> Answered:
        return page(str(5000 + ask.number))

    assert caused(look("process_model", PHP, answer=stays)) == "ok"
    assert caused(look("process_model", cgi, answer=comes_and_goes)) == "ok"
    assert caused(look("process_model", PHP, answer=comes_and_goes)) == "process_does_not_stay"
    assert caused(look("process_model", cgi, answer=stays)) == "cgi_process_stays"
    assert caused(look("process_model", PHP, answer=lambda ask: page("none"))) == "no_process_number"


# --- configuration ------------------------------------------------------------------------------

BY_MAP = """
map $http_upgrade $connection_upgrade { default upgrade; '' close; }
server { location / { proxy_set_header Connection $connection_upgrade; } }
"""
FOR_ALL = 'server {\n  location / {\n    # for all\n    proxy_set_header Connection "upgrade";\n  }\n}\n'


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (BY_MAP, "ok"),
        (FOR_ALL, "upgrade_for_all"),
        (FOR_ALL.replace('"upgrade"', "'Upgrade'"), "upgrade_for_all"),
        (FOR_ALL.replace("location / {", "if ($x) {"), "upgrade_for_all"),
        (FOR_ALL.replace("location /", "location /ws"), "ok"),
        (FOR_ALL.replace("    proxy_set", "    # proxy_set"), "ok"),
        ('server { location / { return 200 "proxy_set_header Connection upgrade;"; } }', "ok"),
        ("{" * 50000 + '"' * 49999, "ok"),
    ],
)
def test_upgrade(text: str, cause: str) -> None:
    found = look("upgrade_by_map", seen=facts(configuration={"/etc/nginx/sites-enabled/shop": text}))
    assert caused(found) == cause
    assert found.facts.get("line", "4") == "4"


def test_the_front_server_names_the_backend() -> None:
    files = {"/etc/nginx/sites-enabled/blog": "fastcgi_pass unix:/run/php/blog.sock;"}
    assert caused(look("joined", PHP, seen=facts(configuration=files))) == "ok"
    assert caused(look("joined", APP, seen=facts(configuration=files))) == "backend_not_in_configuration"


# --- the work -----------------------------------------------------------------------------------

WORK = {
    "README.md": "# Dynamic web\n" + "Three stacks behind nginx. " * 10 + "Start: `vagrant up`. Checked with curl.",
    "Vagrantfile": 'config.vm.network "forwarded_port", guest: 8081, host: 8081\n'
    'config.vm.network "forwarded_port", host: 8083, guest: 8083\nconfig.vm.provision "ansible"\n',
    "ansible/site.yml": "- hosts: all\n  vars:\n    db_password: '{{ vault_db_password }}'\n",
}


def work(kind: str, **edits: str | None) -> str:
    files = {**WORK, **{name.replace("__", "."): text for name, text in edits.items()}}
    return caused(
        look(kind, work={path: text for path, text in files.items() if text is not None}, stand={"starts": "vagrant"})
    )


WORKS = (
    "repository",
    "readme",
    "readme_tells_checks",
    "vagrantfile",
    "ports_forwarded",
    "ansible",
    "no_secrets",
    "no_database_root",
)


@pytest.mark.parametrize("kind", WORKS)
def test_work_that_is_complete(kind: str) -> None:
    assert work(kind) == "ok"


@pytest.mark.parametrize(
    ("kind", "edits", "cause"),
    [
        ("readme", {"README__md": None}, "no_readme"),
        ("readme", {"README__md": "my homework"}, "short_readme"),
        ("readme", {"README__md": "words " * 50}, "readme_without_start"),
        ("readme_tells_checks", {"README__md": "words " * 50}, "checks_not_described"),
        ("readme_tells_checks", {"README__md": "Проверка: открыл страницу"}, "ok"),
        ("vagrantfile", {"Vagrantfile": None}, "no_vagrantfile"),
        ("vagrantfile", {"Vagrantfile": "config.vm.box = 'debian/bookworm64'"}, "vagrantfile_without_provision"),
        ("ports_forwarded", {"Vagrantfile": '# "forwarded_port", guest: 8083, host: 8083'}, "port_not_forwarded"),
        ("ports_forwarded", {"compose__yml": "ports:\n  - '8081:80'\n", "Vagrantfile": None}, "port_not_forwarded"),
        ("ports_forwarded", {"compose__yml": "ports: \n - 127.0.0.1:8081:80\n - 8083:80\n", "Vagrantfile": None}, "ok"),
        ("ansible", {"ansible/site__yml": "all: {}"}, "no_playbook"),
        ("no_secrets", {"key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "secret_in_repository"),
        ("no_secrets", {"__env": "DB_PASSWORD=hunter22\n"}, "secret_in_repository"),
        ("no_secrets", {"__env__example": "DB_PASSWORD=hunter22\n"}, "ok"),
        ("no_secrets", {"wp-config__php": "define( 'DB_PASSWORD', 'hunter22' );"}, "secret_in_repository"),
        ("no_secrets", {"settings__py": "SECRET_KEY = 'django-insecure-1'\n"}, "secret_in_repository"),
        ("no_secrets", {"settings__py": "SECRET_KEY = os.environ['KEY']\n"}, "ok"),
        ("no_secrets", {"group_vars/all__yml": "db_password: !vault |\n  33\n"}, "ok"),
        ("no_secrets", {"group_vars/all__yml": "mysql_root_password: hunter22\n"}, "secret_in_repository"),
        ("no_secrets", {"vendor/x__env": "DB_PASSWORD=hunter22\n"}, "ok"),
        ("no_database_root", {"__env": "DB_USERNAME=root\n"}, "database_root"),
        ("no_database_root", {"app__py": "URL = 'mysql://root:x@db/shop'\n"}, "database_root"),
        ("no_database_root", {"__env": "DB_USERNAME=shop\n"}, "ok"),
    ],
)
def test_work_that_is_not(kind: str, edits: dict[str, str | None], cause: str) -> None:
    assert work(kind, **edits) == cause


def test_no_work_at_all() -> None:
    assert caused(look("repository")) == "no_repository"
    assert caused(look("repository", work={})) == "empty_repository"


POOL = (
    "pool: blog\naccepted conn:        {}\n\npid:  7\nrequests:             {}\n\npid:  8\nrequests:             {}\n"
)


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        (POOL.format(10, 4, 6), POOL.format(16, 7, 9), "ok"),
        # Connections that are kept, and a worker that has ended.
        (POOL.format(10, 4, 6), POOL.format(10, 7, 9), "ok"),
        (POOL.format(10, 4, 6), POOL.format(16, 1, 1), "ok"),
        (POOL.format(10, 4, 6), POOL.format(11, 5, 6), "not_counted"),
        (POOL.format(10, 4, 6), POOL.format(15, 6, 9), "not_counted"),
        (POOL.format(10, 4, 6), "<h1>blog</h1>", "no_status_page"),
        ("File not found.", "File not found.", "no_status_page"),
    ],
)
def test_visits_are_counted_by_the_backend(before: str, after: str, cause: str) -> None:
    def says(ask: Ask) -> Answered:
        return page(NONCE if ask.place == "controller" else before if ask.round == 10 else after)

    site = dataclasses.replace(PHP, status="/pool")
    assert caused(look("counted", site, answer=says)) == cause
    assert caused(look("counted", PHP, answer=says)) == "no_status_in_manifest"
    down = look("counted", site, answer=lambda ask: Answered("refused") if ask.place == "controller" else says(ask))
    assert caused(down) in ("not_counted", "no_status_page")


UWSGI = Site("api", 8082, "uwsgi", nonce="/?q={nonce}", backend=_endpoint.parse("uwsgi://127.0.0.1:3031"))
MASTER = Process(60, 1, "api", "uwsgi-core", "uwsgi-core --master", "api.service", True, HOST)
WORKER = dataclasses.replace(MASTER, pid=61, ppid=60)
STRANGER = dataclasses.replace(MASTER, pid=70, unit="other.service")


@pytest.mark.parametrize(
    ("before", "after", "holder", "cause"),
    [
        ("100", "105", 60, "ok"),
        # Somebody else came as well.
        ("100", "109", 60, "ok"),
        ("100", "104", 60, "not_counted"),
        ("100", "100", 60, "not_counted"),
        ("100", "3", 60, "not_counted"),
        ("100", "", 60, "no_statistics"),
        ("", "", 60, "no_statistics"),
        ("1e9", "1e10", 60, "no_statistics"),
        ("9" * 5000, "9" * 5000, 60, "no_statistics"),
        ("100", "105", 70, "statistics_of_another"),
    ],
)
@pytest.mark.parametrize("socket", ["127.0.0.1:9191", "/run/api/stats.sock"])
def test_visits_are_counted_by_uwsgi(before: str, after: str, holder: int, cause: str, socket: str) -> None:
    stats = _uwsgi_info.address(socket)
    at = Listener(stats.host or socket, stats.port, (holder,), network=HOST)
    backend = Listener("127.0.0.1", 3031, (60, 61), network=HOST)
    seen = facts([*NGINX, MASTER, WORKER, STRANGER], (*FRONTS, backend, at))
    asked: list[Ask] = []

    def says(ask: Ask) -> Answered:
        asked.append(ask)
        return page(NONCE if ask.place == "controller" else before if ask.round == 10 else after)

    site = dataclasses.replace(UWSGI, stats=stats)
    assert caused(look("counted", site, answer=says, seen=seen)) == cause
    assert [ask.spec() for ask in asked if ask.place == "host"] == [{"endpoint": stats.url, "statistics": True}] * 2
    assert caused(look("counted", UWSGI, answer=says, seen=seen)) == "no_status_in_manifest"


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        # The first look is counted in the second.
        ("Total Accesses: 10", "Total Accesses: 16", "ok"),
        ("Total Accesses: 10", "Total Accesses: 15", "not_counted"),
        ("Total Accesses: 10", "Total Accesses: 11", "not_counted"),
        ("<h1>Forbidden</h1>", "<h1>Forbidden</h1>", "no_server_status"),
    ],
)
def test_visits_are_counted_by_apache(before: str, after: str, cause: str) -> None:
    def says(ask: Ask) -> Answered:
        if ask.place == "controller":
            return page(NONCE)
        assert (ask.endpoint, ask.path, ask.host) == ("http://127.0.0.1:8081", "/server-status?auto", "localhost:8081")
        return page(f"localhost\nServerVersion: x\n{before if ask.round == 10 else after}\nTotal kBytes: 1\n")

    site = Site("old", 8081, "mod_php", front="apache", nonce="/?s={nonce}", status="/server-status")
    assert caused(look("counted", site, answer=says)) == cause


def test_the_process_is_the_backends_own() -> None:
    def says(number: int) -> t.Callable[[Ask], Answered]:
        return lambda _ask: page(str(number))

    site = dataclasses.replace(APP, process="/pid")
    assert caused(look("process_model", site, answer=says(31))) == "ok"
    assert caused(look("process_model", site, answer=says(21))) == "other_process_answers"
    module = Site("old", 8081, "mod_php", front="apache", process="/pid")
    apache = facts([*APACHE, *FPM], (Listener("0.0.0.0", 8081, (40, 41, 42), network=HOST), SOCKET))
    assert caused(look("process_model", module, answer=says(42), seen=apache)) == "ok"
    assert caused(look("process_model", module, answer=says(21), seen=apache)) == "other_process_answers"
    # In a container, another process has the same number.
    inside = [dataclasses.replace(one, network=CONTAINER) for one in GUNICORN]
    listeners = (dataclasses.replace(APPLICATION, network=CONTAINER), *FRONTS)
    contained = facts([*NGINX, *FPM, *inside], listeners)
    assert caused(look("process_model", site, answer=says(21), seen=contained)) == "ok"


# --- stacks -------------------------------------------------------------------------------------


def test_a_stream_of_events() -> None:
    assert caused(look("events", APP)) == "no_events_in_manifest"
    for tls in (False, True):
        site = dataclasses.replace(APP, events="/news", tls=tls)
        (ask,) = _kinds.KINDS["events"].asks(_kinds.Scope(Stand("s", "10.0.0.5", (site,)), site, {}, NONCE))
        assert (ask.endpoint, ask.spec().get("tls", False)) == ("sse://10.0.0.5:8081", tls)
    assert caused(look("events", site, answer=lambda _ask: page("data: x"))) == "ok"
    assert caused(look("events", site, answer=lambda _ask: Answered("timeout", "", 200))) == "no_events"


def test_a_stack_is_what_its_site_is_seen_to_be() -> None:
    def stand(ask: Ask) -> Answered:
        return page("31" if ask.path == "/pid" else NONCE + NONCE[::-1])

    wanted = {"served_by": ["http"], "front": "nginx"}
    proved = dataclasses.replace(APP, process="/pid")

    def caused_by(site: Site, options: dict[str, t.Any] | None = None) -> str:
        return caused(look("stack", options=options or wanted, answer=stand, stand={"sites": (PHP, site)}))

    assert caused_by(proved) == "ok"
    assert caused_by(proved, {"served_by": ["scgi"]}) == "no_such_stack"
    assert caused_by(proved, {"served_by": ["http"], "front": "apache"}) == "no_such_stack"
    assert caused_by(APP) == "stack_not_proved"
    assert caused_by(dataclasses.replace(proved, front="apache"), {"served_by": ["http"]}) == "stack_not_proved"
    assert caused_by(proved, {"websocket": True}) == "no_such_stack"
    assert caused_by(dataclasses.replace(proved, websocket="/talk"), {"websocket": True}) == "ok"
    # Of two, one that is right is enough.
    both = {"sites": (APP, dataclasses.replace(proved, name="other"))}
    assert caused(look("stack", options=wanted, answer=stand, stand=both)) == "ok"


# --- MPMs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "found"),
    [
        # Four connections and more: number, process, its parent, and whether it is polled for.
        ([(n, 50 + n, 40, False) for n in range(8)], "prefork"),
        ([(n, 60 + n, 50 + n, False) for n in range(8)], "itk"),
        ([(n, pid, ppid, False) for n in range(8) for pid, ppid in ((50 + n, 40), (60 + n, 50 + n))], "itk"),
        ([(n, 41 + n % 2, 40, False) for n in range(8)], "worker"),
        ([(n, 41 + n % 2, 40, True) for n in range(8)], "event"),
        ([(n, 41, 40, n > 0) for n in range(8)], "event"),
        ([(n, 41, 40, n == 0) for n in range(8)], "worker"),
        ([(n, 50 + n, 40, False) for n in range(3)], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("wanted", ["prefork", "worker", "event", "itk"])
def test_the_mpm(held: list[tuple[int, int, int, bool]], found: str | None, wanted: str) -> None:
    site = Site("old", 8083, "static", front="apache", mpm=wanted)
    seen = [Held(8083, *numbers) for numbers in held] + [Held(8081, 99, 1, 1, True)]
    alone = {"sites": (site,)}
    outcome = look("mpm", site, stand=alone, seen=facts([*APACHE, SSHD]), held=seen, staying={"old": 8})
    assert caused(outcome) == ("nobody_stays" if found is None else "ok" if found == wanted else "another_mpm")
    few = look("mpm", site, stand=alone, seen=facts(APACHE), held=seen, staying={"old": 3})
    assert caused(few) == "nobody_stays"
    assert caused(look("mpm", dataclasses.replace(site, mpm=None), held=seen)) == "no_mpm_in_manifest"


# --- changes ------------------------------------------------------------------------------------

RUN = {"code": 0, "recaps": 1, "changed": 0, "failed": 0, "tasks": []}
STOPPED = {"units": ["shop.service"], "status": 502, "others": []}


@pytest.mark.parametrize(
    ("change", "seen", "cause"),
    [
        ("second_run", RUN, "ok"),
        ("second_run", RUN | {"changed": 2, "tasks": ["a", "b"]}, "second_run_changes"),
        ("second_run", RUN | {"failed": 1, "code": 2, "tasks": ["a"]}, "second_run_failed"),
        ("second_run", RUN | {"code": 127, "recaps": 0}, "second_run_failed"),
        ("second_run", RUN | {"recaps": 0}, "second_run_says_nothing"),
        ("second_run", {"missing": True}, "no_again_in_manifest"),
        ("second_run", {"error": "no route"}, "change_failed"),
        ("reboot", {"status": {"shop": 200}}, "ok"),
        ("reboot", {"status": {"shop": 502}}, "not_back"),
        ("reboot", {"status": {"shop": None}}, "not_back"),
        ("reboot", {"status": {}}, "not_there_before"),
        ("stop_backend", {"shop": STOPPED}, "ok"),
        ("stop_backend", {"shop": STOPPED | {"status": 200}}, "answers_without_backend"),
        ("stop_backend", {"shop": STOPPED | {"status": None}}, "answers_without_backend"),
        ("stop_backend", {"shop": STOPPED | {"others": ["blog"]}}, "stops_others"),
        ("stop_backend", {}, "no_backend"),
    ],
)
def test_changes(change: str, seen: dict[str, t.Any], cause: str) -> None:
    (name,) = (one.name for one in _kinds.KINDS.values() if one.change == change)
    site = APP if _kinds.KINDS[name].about == "site" else None
    assert caused(look(name, site, changes={change: seen})) == cause
    assert caused(look(name, site)) == "not_asked_for"
