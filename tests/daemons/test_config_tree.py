# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""config_tree on real daemons. What is true afterwards is asked with curl, systemctl, ps, find and stat."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
import time
import typing as t

import daemon_trees
import pytest

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = "nginx apache2 php-fpm uwsgi-core uwsgi-plugin-python3"
#: Names, kinds, modes, owners, targets; times and sizes of what is no directory.
FIND = r"find {} \( -type d -printf '%p %m %U %G\n' \) -o -printf '%p %y %m %U %G %l %T@ %s\n' | sort"


@dataclasses.dataclass
class Stand:
    """A host, and config_tree on it."""

    host: Host
    php: str

    def apply(self, *, fails: bool = False, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        argv = [
            str(pathlib.Path(sys.executable).with_name("ansible")),
            *("all", "--inventory", f"{self.host.name},", "--connection", "community.docker.docker"),
            *("--module-name", "weblab.stacks.config_tree", "--args", json.dumps({"timeout": 10, **options})),
            *(["--check"] if check else []),
        ]
        environment = {
            **os.environ,
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        _head, _arrow, body = done.stdout.partition("=> ")
        assert body, done.stdout + done.stderr
        result: dict[str, t.Any] = json.JSONDecoder().raw_decode(body)[0]
        assert (done.returncode != 0) is fails, result
        return result

    def ask(self, script: str) -> str:
        return self.host.shell(script).stdout.strip()

    def get(self, port: int) -> str:
        return self.ask(f"curl --silent --show-error --max-time 5 http://127.0.0.1:{port}/ || echo refused")

    def pid(self, unit: str) -> int:
        return int(self.ask(f"systemctl show --property MainPID --value {unit}"))

    def state(self, unit: str) -> tuple[str, str]:
        words = self.ask(f"systemctl is-active {unit}; systemctl is-enabled {unit} 2>/dev/null || true").split()
        return words[0], words[1] if len(words) > 1 else ""

    def children(self, pid: int) -> set[str]:
        return set(self.ask(f"ps --no-headers --ppid {pid} -o pid || true").split())


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("config-tree", request.param)
    host.shell(f"apt-get install --yes --no-install-recommends {PACKAGES}")
    host.shell("systemctl disable --now apache2 uwsgi 2>/dev/null; rm -f /var/log/nginx/*")
    host.shell("install -d /srv/app; echo 'import nosuch' > /srv/app/broken.py")
    host.run("tee", "/srv/app/app.py", stdin="def application(e, s):\n    s('200 OK', [])\n    return [b'app']\n")
    version = host.shell("ls /etc/php").stdout.split()[0]
    return Stand(host, version)


# -- nginx --------------------------------------------------------------------------------------


def nginx(word: str = "one", listen: str = "8083", extra: str = "") -> dict[str, t.Any]:
    content = f'server {{\n    listen {listen};\n    {extra}\n    location / {{ return 200 "{word}"; }}\n}}\n'
    return {
        "daemon": "nginx",
        "root": "/etc/nginx",
        "service": "nginx.service",
        "owners": {
            "nginx": [{"path": "sites-enabled/default", "state": "absent"}],
            "shop": [
                {"path": "sites-available/shop.conf", "content": content},
                {"path": "sites-enabled/shop.conf", "link": "../sites-available/shop.conf"},
            ],
        },
    }


@pytest.fixture
def served(stand: Stand) -> Stand:
    """The stand with one site under nginx."""
    stand.apply(**nginx())
    assert stand.get(8083) == "one"
    return stand


def test_check_mode_writes_nothing(stand: Stand) -> None:
    before = stand.ask(FIND.format("/etc /run/lock"))
    result = stand.apply(check=True, **nginx("other"))
    assert result["changed"]
    assert result["validated"]["way"] == "namespace"
    assert result["actions"]["nginx.service"] in ("reloaded", "started")
    assert stand.ask(FIND.format("/etc /run/lock")) == before
    assert "nosuch" in stand.apply(check=True, fails=True, **nginx(extra="nosuch on;"))["msg"]


def test_reload_keeps_the_master_and_changes_the_workers(served: Stand) -> None:
    pid = served.pid("nginx")
    workers = served.children(pid)
    result = served.apply(**nginx("two"))
    assert served.get(8083) == "two"
    assert (result["actions"], result["swap"]) == ({"nginx.service": "reloaded"}, "exchange")
    assert served.pid("nginx") == pid
    assert not workers >= served.children(pid)
    again = served.apply(**nginx("two"))
    assert (again["changed"], again["actions"]) == (False, {"nginx.service": "none"})


def test_a_broken_site_never_reaches_a_live_file(served: Stand) -> None:
    before, pid = served.ask(FIND.format("/etc")), served.pid("nginx")
    result = served.apply(fails=True, **nginx("two", extra="nosuch on;"))
    assert 'unknown directive "nosuch" in /etc/nginx/sites-enabled/shop.conf:3' in result["msg"]
    assert (result["changed"], result["rolled_back"]) == (False, False)
    assert served.ask(FIND.format("/etc")) == before
    assert (served.get(8083), served.pid("nginx")) == ("one", pid)


def test_a_refused_reload_is_rolled_back_with_the_daemons_words(served: Stand) -> None:
    before = served.ask(FIND.format("/etc"))
    served.host.shell("systemd-run --unit squatter python3 -m http.server 8099")
    served.ask("until curl --silent --output /dev/null http://127.0.0.1:8099/; do sleep 0.1; done")
    try:
        result = served.apply(fails=True, **nginx("two", listen="8099"))
        assert "bind() to 0.0.0.0:8099 failed (98: Address already in use)" in result["msg"]
        assert (result["changed"], result["rolled_back"]) == (False, True)
        assert served.ask(FIND.format("/etc")) == before
        assert served.get(8083) == "one"
        named = served.apply(
            fails=True, listen=[{"endpoint": "http://0.0.0.0:8099", "what": "sites[0].port"}], **nginx("x", "8099")
        )
        assert "port 8099 (sites[0].port) is already taken by python3 (pid " in named["msg"]
        assert "squatter.service" in named["msg"]
        assert not named["rolled_back"]
    finally:
        served.host.shell("systemctl stop squatter")


def test_an_endpoint_that_does_not_answer_rolls_back(served: Stand) -> None:
    wrong = {"endpoint": "http://127.0.0.1:8083", "expect": {"body": "three"}}
    result = served.apply(fails=True, probe=[wrong], **{**nginx("two"), "timeout": 3})
    assert "http://127.0.0.1:8083" in result["msg"]
    assert (result["rolled_back"], result["probe"][0]["state"] != "ok") == (True, True)
    assert served.get(8083) == "one"
    assert not served.apply(**nginx())["changed"]


def test_what_is_missing_is_named_before_anything_is_touched(served: Stand) -> None:
    requires = [{"path": "/srv/nothing", "what": "sites[0].root"}]
    result = served.apply(fails=True, requires=requires, **nginx("two"))
    assert "/srv/nothing (sites[0].root) does not exist" in result["msg"]
    assert served.get(8083) == "one"
    assert served.apply(check=True, requires=requires, **nginx("two"))["changed"]


def test_a_single_address_for_a_wildcard_needs_a_restart(served: Stand) -> None:
    result = served.apply(**nginx("two", listen="127.0.0.1:8083"))
    assert result["actions"] == {"nginx.service": "restarted"}
    assert served.get(8083) == "two"


@pytest.mark.parametrize(
    ("damage", "action"),
    [
        ("systemctl stop nginx", "started"),
        ("systemctl disable nginx", "none"),
        ("pkill --signal KILL --parent 1 --exact nginx; systemctl is-active --quiet nginx && sleep 1; true", "started"),
        ("touch /etc/nginx/mime.types", "reloaded"),
        ("rm /run/weblab.stacks/etc-nginx.json; touch /etc/nginx/mime.types", "restarted"),
    ],
)
def test_right_files_and_a_wrong_daemon_heal(served: Stand, damage: str, action: str) -> None:
    served.host.shell(damage)
    result = served.apply(**nginx())
    assert (result["changed"], result["healed"], result["actions"]) == (True, True, {"nginx.service": action})
    assert result["files"] == {"added": [], "changed": [], "removed": []}
    assert served.get(8083) == "one"
    assert served.state("nginx") == ("active", "enabled")
    assert not served.apply(**nginx())["changed"]


def test_a_restart_by_hand_is_no_change(served: Stand) -> None:
    served.host.shell("systemctl restart nginx")
    assert not served.apply(**nginx())["changed"]


def test_a_hand_made_edit_is_put_right_and_foreign_files_stay(served: Stand) -> None:
    served.host.shell("echo '# mine' >> /etc/nginx/sites-available/shop.conf; echo > /etc/nginx/conf.d/mine.conf")
    result = served.apply(**nginx())
    assert result["files"]["changed"] == ["/etc/nginx/sites-available/shop.conf"]
    assert served.ask("ls /etc/nginx/conf.d/mine.conf; grep -c mine /etc/nginx/sites-available/shop.conf || true") == (
        "/etc/nginx/conf.d/mine.conf\n0"
    )


def test_the_files_of_an_owner_go_with_it(served: Stand) -> None:
    gone = {**nginx(), "owners": {"shop": []}}
    assert served.apply(**gone)["files"]["removed"] == [
        "/etc/nginx/sites-available/shop.conf",
        "/etc/nginx/sites-enabled/shop.conf",
    ]
    assert served.get(8083) == "refused"
    # There is no other server in this nginx.
    assert served.ask("systemctl is-active nginx; ls -A /etc | grep weblab || true") == "inactive"


def test_without_a_namespace_the_test_runs_before_the_reload(served: Stand) -> None:
    served.host.shell("mv /usr/bin/unshare /usr/bin/unshare.off")
    try:
        before, pid = served.ask(FIND.format("/etc")), served.pid("nginx")
        result = served.apply(fails=True, **nginx("two", extra="nosuch on;"))
        assert (result["validated"]["way"], result["rolled_back"]) == ("swapped", True)
        assert served.ask(FIND.format("/etc")) == before
        assert (served.get(8083), served.pid("nginx")) == ("one", pid)
        assert served.apply(**nginx("two"))["validated"]["way"] == "swapped"
        assert served.get(8083) == "two"
    finally:
        served.host.shell("mv /usr/bin/unshare.off /usr/bin/unshare")


# -- Apache -------------------------------------------------------------------------------------


def apache(
    mpm: str = "event", site: str = "Listen 8181\nDocumentRoot /var/www/html\n", extra: str = ""
) -> dict[str, t.Any]:
    modules = (f"mpm_{mpm}", "authz_core")
    return {
        "daemon": "apache",
        "root": "/etc/apache2-blog",
        "service": "apache2@blog.service",
        "owners": {
            "apache": [
                {"path": "apache2.conf", "content": daemon_trees.apache_main("blog") + extra},
                {"path": "envvars", "content": daemon_trees.apache_envvars("blog")},
                *(
                    {"path": f"mods-enabled/{name}.load", "link": f"/etc/apache2/mods-available/{name}.load"}
                    for name in modules
                ),
            ],
            "blog": [{"path": "sites-enabled/blog.conf", "content": site}] if site else [],
        },
    }


def test_apache_instance_from_its_first_file_to_its_last(stand: Stand) -> None:
    unit = "apache2@blog.service"
    created = stand.apply(**apache())
    assert (created["swap"], created["actions"]) == ("create", {unit: "started"})
    assert "404" in stand.get(8181) or "html" in stand.get(8181)
    assert stand.state(unit) == ("active", "enabled")

    pid = stand.pid(unit)
    assert stand.apply(**apache(extra="KeepAlive Off\n"))["actions"] == {unit: "reloaded"}
    assert stand.pid(unit) == pid

    changed = stand.apply(**apache("prefork"))
    assert changed["reasons"] == {unit: "the MPM changes from mpm_event to mpm_prefork"}
    assert "prefork" in stand.ask("APACHE_CONFDIR=/etc/apache2-blog apache2ctl -V | grep MPM")
    assert stand.pid(unit) not in (0, pid)

    refused = stand.apply(fails=True, **apache("prefork", extra="Nosuch On\n"))
    assert "Invalid command 'Nosuch'" in refused["msg"]

    empty = stand.apply(**apache("prefork", site=""))
    assert empty["actions"] == {unit: "stopped"}
    assert stand.state(unit) == ("inactive", "disabled")

    gone = stand.apply(**{**apache(), "owners": {"apache": [], "blog": []}})
    assert gone["swap"] == "remove"
    assert stand.ask("ls -A /etc | grep -E 'blog|weblab' || true") == ""
    assert not stand.apply(**{**apache(), "owners": {"apache": [], "blog": []}})["changed"]


def test_apache_that_cannot_start_leaves_nothing(stand: Stand) -> None:
    stand.apply(**nginx())
    result = stand.apply(fails=True, **apache(site="Listen 8083\nDocumentRoot /var/www/html\n"))
    assert "could not bind to address" in result["msg"]
    assert "restored and serves" not in result["msg"]
    assert stand.ask("ls -A /etc | grep -E 'blog|weblab' || true") == ""
    assert stand.state("apache2@blog.service")[0] == "inactive"
    assert stand.get(8083) == "one"


# -- PHP-FPM ------------------------------------------------------------------------------------


def test_php_fpm_reload_restart_and_no_pool(stand: Stand) -> None:
    unit = f"php{stand.php}-fpm.service"

    def options(mode: str = "0660", children: int = 2, pools: int = 1, extra: str = "") -> dict[str, t.Any]:
        pool = textwrap.dedent(f"""
            [blog]
            user = www-data
            listen = /run/php/$pool.sock
            listen.owner = www-data
            listen.mode = {mode}
            pm = static
            pm.max_children = {children}
            {extra}
            """)
        return {
            "daemon": "php_fpm",
            "root": f"/etc/php/{stand.php}/fpm",
            "owners": {
                "php_fpm": [{"path": "pool.d/www.conf", "state": "absent"}],
                "blog": [{"path": "pool.d/blog.conf", "content": pool}][:pools],
            },
        }

    assert stand.apply(**options())["changed"]
    pid = stand.pid(unit)
    assert stand.apply(**options(children=3))["actions"] == {unit: "reloaded"}
    assert (stand.pid(unit), len(stand.children(pid))) == (pid, 3)
    assert not stand.apply(**options(children=3))["changed"]

    more = options(children=3)
    more["owners"]["more"] = [
        {
            "path": "pool.d/more.conf",
            "content": "[more]\nuser = www-data\nlisten = /run/php/more.sock\npm = static\npm.max_children = 1\n",
        }
    ]
    assert stand.apply(**more)["actions"] == {unit: "reloaded"}
    assert stand.ask("ls /run/php/more.sock")
    assert stand.apply(**{**more, "owners": {"more": []}})["actions"] == {unit: "reloaded"}
    assert stand.ask("ls /run/php/more.sock 2>/dev/null || true") == ""

    assert stand.apply(**options("0600", 3))["actions"] == {unit: "reloaded"}
    assert stand.ask("stat --format '%F %a' /run/php/blog.sock") == "socket 600"

    assert "unknown entry 'bogus'" in stand.apply(fails=True, **options(extra="bogus = 1"))["msg"]
    assert stand.apply(**options(pools=0))["actions"] == {unit: "stopped"}
    assert stand.state(unit) == ("inactive", "disabled")
    assert not stand.apply(**options(pools=0))["changed"]
    assert stand.apply(**options())["actions"] == {unit: "started"}


# -- uWSGI --------------------------------------------------------------------------------------


def uwsgi(
    changes: t.Mapping[str, str] | None = None,
    instances: t.Sequence[str] = ("shop",),
    vassals: t.Sequence[str] = ("web", "cat"),
) -> dict[str, t.Any]:
    """One instance and an Emperor with vassals; ``changes`` are lines for single applications."""

    def ini(name: str) -> str:
        lines = textwrap.dedent(f"""\
            [uwsgi]
            strict = true
            need-app = true
            plugins = python3
            master = true
            lazy-apps = true
            chdir = /srv/app
            socket = /run/uwsgi/{name}/front.sock
            stats = /run/uwsgi/{name}/stats.sock
            vacuum = true
            """)
        if name in instances:
            lines += f"uid = {name}\ngid = {name}\n"
        change = (changes or {}).get(name, "")
        return lines + ("" if "module" in change else "module = app:application\n") + change

    names = [*instances, *vassals]
    return {
        "daemon": "uwsgi",
        "root": "/etc/uwsgi",
        "owners": {
            "uwsgi": [
                {"system": "/etc/sysusers.d/weblab-test.conf", "content": "".join(f"u {name} -\n" for name in names)},
                {
                    "system": "/etc/tmpfiles.d/weblab-test.conf",
                    "content": "".join(f"d /run/uwsgi/{name} 0750 {name} {name}\n" for name in names),
                },
                {
                    "system": "/etc/systemd/system/uwsgi@.service",
                    "content": daemon_trees.uwsgi_unit("instances/%i.ini"),
                },
                {
                    "system": "/etc/systemd/system/uwsgi-emperor.service",
                    "content": daemon_trees.uwsgi_unit("emperor.ini"),
                },
                {
                    "path": "emperor.ini",
                    "content": "[uwsgi]\nemperor = /etc/uwsgi/vassals\nemperor-tyrant = true\nemperor-freq = 1\n",
                },
            ],
            "apps": [
                *({"path": f"instances/{name}.ini", "content": ini(name)} for name in instances),
                *(
                    {"path": f"vassals/{name}.ini", "content": ini(name), "owner": name, "group": name}
                    for name in vassals
                ),
            ],
        },
    }


@pytest.fixture
def applications(stand: Stand) -> Stand:
    stand.apply(**uwsgi())
    return stand


def workers(stand: Stand, name: str, processes: int = 1) -> dict[str, set[str]]:
    """The master and its workers, by the account they run as, once there is one master that has all of them.

    It starts them one after the other and serves from the first on: a busy machine shows the moment between.
    """
    deadline = time.monotonic() + 30
    while True:
        table: dict[str, set[str]] = {}
        for line in stand.ask(f"ps --no-headers -u {name} -o pid,ppid || true").splitlines():
            pid, parent = line.split()
            table.setdefault(parent, set()).add(pid)
        masters = {pid: table[pid] for pids in table.values() for pid in pids if pid in table}
        if [len(pids) for pids in masters.values()] == [processes]:
            return masters
        assert time.monotonic() < deadline, table
        time.sleep(0.2)


def test_uwsgi_runs_each_application_as_its_account(applications: Stand) -> None:
    for name in ("shop", "web", "cat"):
        assert workers(applications, name)
        assert applications.ask(f"stat --format '%F %U' /run/uwsgi/{name}/front.sock") == f"socket {name}"
    result = applications.apply(**uwsgi())
    assert (result["changed"], set(result["actions"].values())) == (False, {"none"})


@pytest.mark.parametrize(
    ("name", "unit"), [("shop", "uwsgi@shop.service"), ("web", "uwsgi-emperor.service")], ids=["instance", "vassal"]
)
def test_uwsgi_reload_leaves_the_other_applications_alone(applications: Stand, name: str, unit: str) -> None:
    before = {app: workers(applications, app) for app in ("shop", "web", "cat")}
    result = applications.apply(**uwsgi({name: "processes = 3\n"}))
    assert result["actions"][unit] == "reloaded"
    after = {app: workers(applications, app, 3 if app == name else 1) for app in before}
    assert after[name].keys() == before[name].keys()
    for other in {"shop", "web", "cat"} - {name}:
        assert after[other] == before[other]


@pytest.mark.parametrize("name", ["shop", "web"], ids=["instance", "vassal"])
def test_uwsgi_mode_of_a_socket(applications: Stand, name: str) -> None:
    cat = workers(applications, "cat")
    applications.apply(**uwsgi({name: "chmod-socket = 600\n"}))
    assert applications.ask(f"stat --format %a /run/uwsgi/{name}/front.sock") == "600"
    assert workers(applications, "cat") == cat


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("module = broken:application\n", "No module named 'nosuch'"),
        ("vaccuum = true\n", "unknown config directive: vaccuum"),
    ],
)
@pytest.mark.parametrize("name", ["shop", "web"], ids=["instance", "vassal"])
def test_uwsgi_dry_run_stops_what_would_not_start(applications: Stand, name: str, line: str, word: str) -> None:
    before, running = applications.ask(FIND.format("/etc")), workers(applications, name)
    result = applications.apply(fails=True, **uwsgi({name: line}))
    assert word in result["msg"]
    assert not result["rolled_back"]
    assert applications.ask(FIND.format("/etc")) == before
    assert workers(applications, name) == running


@pytest.mark.parametrize(
    ("damage", "action"),
    [
        ("touch /etc/systemd/system/uwsgi@.service", "restarted"),
        ("touch /etc/uwsgi/instances/shop.ini", "reloaded"),
        ("systemctl stop uwsgi@shop; rm -r /run/uwsgi/shop", "started"),
    ],
)
def test_uwsgi_heals(applications: Stand, damage: str, action: str) -> None:
    applications.host.shell(damage)
    result = applications.apply(**uwsgi())
    assert (result["healed"], result["actions"]) == (
        True,
        {"uwsgi-emperor.service": "none", "uwsgi@shop.service": action},
    )
    assert not applications.apply(**uwsgi())["changed"]


def test_uwsgi_that_cannot_open_its_socket_is_rolled_back(applications: Stand) -> None:
    cat = workers(applications, "cat")
    # The instance goes in the same transaction, and has to come back with the rest.
    result = applications.apply(fails=True, **uwsgi({"web": "socket = /root/web.sock\n"}, instances=[]))
    assert "bind(): Permission denied" in result["msg"]
    assert result["rolled_back"], result["msg"]
    assert workers(applications, "web")
    assert workers(applications, "shop")
    assert applications.state("uwsgi@shop") == ("active", "enabled")
    assert workers(applications, "cat") == cat
    assert not applications.apply(**uwsgi())["changed"]


def test_an_emperor_that_is_quicker_than_the_run_is_believed(applications: Stand) -> None:
    """It looks into its directory every second by itself, here always before the run gets to it."""
    slow = '#!/bin/sh\ncase $1 in show) sleep 2;; esac\nexec /usr/bin/systemctl "$@"\n'
    applications.host.run("install", "/dev/stdin", "/usr/local/bin/systemctl", stdin=slow)
    try:
        applications.apply(**uwsgi({"web": "http-socket = 127.0.0.1:8201\n"}))
        assert applications.get(8201) == "app"
        closed = [{"endpoint": "http://127.0.0.1:9"}]
        result = applications.apply(fails=True, probe=closed, timeout=10, **uwsgi())
        assert result["rolled_back"], result["msg"]
        assert applications.get(8201) == "app"
    finally:
        applications.host.run("rm", "/usr/local/bin/systemctl")


def test_uwsgi_on_tcp_is_tested_beside_the_one_that_runs(applications: Stand) -> None:
    applications.apply(**uwsgi({"web": "http-socket = 127.0.0.1:8201\n"}))
    assert applications.get(8201) == "app"
    applications.apply(**uwsgi({"web": "http-socket = 127.0.0.1:8201\nprocesses = 2\n"}))
    assert applications.get(8201) == "app"


def test_uwsgi_applications_come_and_go(applications: Stand) -> None:
    result = applications.apply(**uwsgi(vassals=["web"], instances=[]))
    assert result["actions"] == {"uwsgi-emperor.service": "reloaded", "uwsgi@shop.service": "stopped"}
    applications.ask("for i in $(seq 50); do pgrep -u cat,shop >/dev/null || exit 0; sleep 0.1; done; exit 1")
    assert applications.ask("ls /run/uwsgi/cat /run/uwsgi/shop 2>/dev/null | grep sock || true") == ""

    gone = {**uwsgi(), "owners": {"uwsgi": [], "apps": []}}
    assert applications.apply(**gone)["swap"] == "remove"
    left = "ls -d /etc/uwsgi /etc/systemd/system/uwsgi* /etc/systemd/system/*/uwsgi* 2>/dev/null || true"
    assert applications.ask(left) == ""
    assert applications.ask("pgrep --exact uwsgi || true") == ""


# -- a file system that cannot exchange directories ----------------------------------------------


def test_stepwise_where_directories_cannot_be_exchanged(stand: Stand) -> None:
    """On overlayfs a directory of the image's layers cannot be renamed."""
    before = stand.ask(FIND.format("/etc/skel"))
    content = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    options: dict[str, t.Any] = {
        "daemon": "generic",
        "root": "/etc/skel",
        "service": "demo.service",
        "validate": ["grep", "-q", "good", "/etc/skel/word"],
        "reload": ["true"],
    }
    unit = {"system": "/etc/systemd/system/demo.service", "content": content}

    def owners(word: str) -> dict[str, t.Any]:
        return {"demo": [unit, {"path": "word", "content": word}]}

    result = stand.apply(owners=owners("good\n"), **options)
    if result["swap"] == "exchange":
        pytest.skip("this host's file system can exchange any directory")
    assert (result["swap"], result["actions"]) == ("stepwise", {"demo.service": "started"})
    assert stand.ask("cat /etc/skel/word; systemctl is-active demo") == "good\nactive"
    stand.apply(fails=True, owners=owners("bad\n"), **options)
    stand.apply(fails=True, owners=owners("good and wrong\n"), **{**options, "reload": ["false"]})
    assert stand.ask("cat /etc/skel/word; systemctl is-active demo") == "good\nactive"
    stand.apply(owners={"demo": []}, **{**options, "validate": ["true"]})
    assert [line.split()[0] for line in stand.ask(FIND.format("/etc/skel")).splitlines()] == [
        line.split()[0] for line in before.splitlines()
    ]
