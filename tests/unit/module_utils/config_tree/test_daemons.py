# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which units a tree has, and which changes a reload cannot apply."""

from __future__ import annotations

import os
import pathlib
import time
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Apache, Daemon, Nginx, PhpFpm
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._service import Process, Running
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import Tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._uwsgi import Uwsgi

DAEMONS: dict[str, Daemon] = {
    "nginx": Nginx("/etc/nginx", "nginx.service"),
    "apache": Apache("/etc/apache2-blog", "apache2@blog.service"),
    "php_fpm": PhpFpm("/etc/php/8.2/fpm", None),
    "uwsgi": Uwsgi("/etc/uwsgi", None),
}
POOL = "[blog]\nlisten = /run/php/$pool.sock\nlisten.mode = 0660\npm = static\n"
INI = "[uwsgi]\nsocket = /run/uwsgi/%n/front.sock\nchmod-socket = 660\nuid = shop\nworkers = 2\n"


def tree(base: pathlib.Path, files: dict[str, str]) -> Tree:
    for path, content in files.items():
        target = base / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    return Tree(str(base))


@pytest.mark.parametrize(
    ("daemon", "files", "units"),
    [
        ("nginx", {}, {"nginx.service": False}),
        ("nginx", {"nginx.conf": "http {}", "sites-available/a": "server {"}, {"nginx.service": False}),
        ("nginx", {"nginx.conf": "http {\n  server {\n"}, {"nginx.service": True}),
        ("nginx", {"nginx.conf": "", "sites-enabled/a": "server {"}, {"nginx.service": True}),
        ("nginx", {"nginx.conf": "", "stream/tcp/a": "server {"}, {"nginx.service": True}),
        ("nginx", {"sites-enabled/a": "server {"}, {"nginx.service": False}),
        ("apache", {"sites-available/a.conf": ""}, {"apache2@blog.service": False}),
        ("apache", {"sites-enabled/a.conf": ""}, {"apache2@blog.service": True}),
        ("apache", {"sites-enabled/a.conf.dpkg-old": ""}, {"apache2@blog.service": False}),
        ("php_fpm", {"php-fpm.conf": "[global]\n"}, {"php8.2-fpm.service": False}),
        ("php_fpm", {"pool.d/a.conf": "; [blog]\n"}, {"php8.2-fpm.service": False}),
        ("php_fpm", {"pool.d/a.conf": POOL}, {"php8.2-fpm.service": True}),
        ("uwsgi", {}, {}),
        ("uwsgi", {"instances/shop.ini": INI}, {"uwsgi@shop.service": True}),
        ("uwsgi", {"emperor.ini": ""}, {"uwsgi-emperor.service": False}),
        ("uwsgi", {"emperor.ini": "", "vassals/a.ini": INI}, {"uwsgi-emperor.service": True}),
    ],
)
def test_units(tmp_path: pathlib.Path, daemon: str, files: dict[str, str], units: dict[str, bool]) -> None:
    assert DAEMONS[daemon].units(tree(tmp_path, files)) == units


@pytest.mark.parametrize(
    ("daemon", "unit", "old", "new", "word"),
    [
        # nginx
        ("nginx", "", {"sites-enabled/a": "listen 80;"}, {"sites-enabled/a": "listen 81;"}, ""),
        ("nginx", "", {"sites-enabled/a": "listen 80;"}, {"sites-enabled/a": " listen 0.0.0.0:80 ssl;"}, ""),
        ("nginx", "", {"sites-enabled/a": "listen 80;"}, {"sites-enabled/a": "listen 127.0.0.1:80;"}, "port 80 moves"),
        ("nginx", "", {"conf.d/a.conf": "listen 127.0.0.1:80;"}, {"conf.d/a.conf": "listen *:80;"}, "port 80 moves"),
        ("nginx", "", {"conf.d/a.conf": "# listen 80;"}, {"conf.d/a.conf": "listen 127.0.0.1:80;"}, ""),
        ("nginx", "", {"conf.d/a.conf": "listen unix:/run/a;"}, {"conf.d/a.conf": "listen unix:/run/b;"}, ""),
        ("nginx", "", {"conf.d/a.conf": "listen 80;"}, {"conf.d/a.conf": "listen 80 backlog=9 reuseport;"}, ""),
        *(
            ("nginx", "", {"conf.d/a.conf": f"listen {old};"}, {"conf.d/a.conf": f"listen {new};"}, word)
            for old, new, word in (
                ("[::]:80", "[::]:80 ipv6only=off", "ipv6only of [::]:80"),
                ("[::]:80 ssl ipv6only=off", "[::]:80", "ipv6only of [::]:80"),
                ("[::]:80", "[::]:80 ipv6only=on", ""),
            )
        ),
        *(
            ("nginx", "", {"sites-enabled/a": f"{old};\n"}, {"sites-enabled/a": f"{new};\n"}, word)
            for old, new, word in (
                ("proxy_cache_path /a keys_zone=z:1m", "proxy_cache_path /b keys_zone=z:1m", "z changes from /a to /b"),
                ("proxy_cache_path /a keys_zone=z:1m", "proxy_cache_path /b keys_zone=z:1024K", "z changes from /a"),
                ("proxy_cache_path /a keys_zone=z:1m", "proxy_cache_path /b keys_zone=z:2m", ""),
                ("proxy_cache_path /a keys_zone=z:1m", "proxy_cache_path /b keys_zone=y:1m", ""),
                ("proxy_cache_path /a keys_zone=z:1m", "fastcgi_cache_path /b keys_zone=z:1m", ""),
                ("uwsgi_cache_path /a keys_zone=z:1m", "uwsgi_cache_path /a/\n keys_zone=z:1m max_size=9m", ""),
                ("scgi_cache_path /a keys_zone=z:1m", "scgi_cache_path /a keys_zone=z:1m levels=1:2", "/a levels=1:2"),
                ("limit_req_zone $a zone=z:1m rate=1r/s", "limit_req_zone $b zone=z:1m rate=1r/s", "from $a to $b"),
                ("limit_req_zone $a zone=z:1m rate=1r/s", "limit_req_zone $a zone=z:1m rate=2r/s", ""),
                ("limit_conn_zone $a zone=z:1m", "limit_conn_zone $b zone=z:1m", "limit_conn_zone of z"),
            )
        ),
        # Apache
        *(
            ("apache", "", {"apache2.conf": f"{name} a"}, {"apache2.conf": f"  {name} b"}, name.lower())
            for name in ("ThreadLimit", "ScoreBoardFile", "PidFile", "ListenCoresBucketsRatio", "SendBufferSize")
        ),
        (
            "apache",
            "",
            {"mods-enabled/mpm_event.load": ""},
            {"mods-enabled/mpm_prefork.load": ""},
            "from mpm_event to mpm_prefork",
        ),
        ("apache", "", {"mods-enabled/a.load": ""}, {"mods-enabled/b.load": ""}, ""),
        ("apache", "", {"apache2.conf": ""}, {"mods-enabled/fcgid.load": ""}, "mod_fcgid is loaded"),
        ("apache", "", {"mods-enabled/fcgid.load": ""}, {"mods-enabled/cgid.load": ""}, "mod_cgid is loaded"),
        ("apache", "", {"mods-enabled/fcgid.load": ""}, {"apache2.conf": ""}, ""),
        ("apache", "", {"mods-enabled/fcgid.load": ""}, {"mods-enabled/fcgid.load": "", "apache2.conf": "x"}, ""),
        (
            "apache",
            "",
            {"mods-enabled/m.conf": "ServerLimit 4"},
            {"mods-enabled/m.conf": "serverlimit 5"},
            "serverlimit",
        ),
        ("apache", "", {"apache2.conf": ""}, {"apache2.conf": "ListenBacklog 100"}, "listenbacklog"),
        ("apache", "", {"apache2.conf": "MaxRequestWorkers 4"}, {"apache2.conf": "MaxRequestWorkers 5"}, ""),
        ("apache", "", {"envvars": "a"}, {"envvars": "b"}, "envvars"),
        ("apache", "", {"ports.conf": "Listen 80"}, {"ports.conf": "Listen 127.0.0.1:80"}, "port 80 moves"),
        ("apache", "", {"ports.conf": "Listen 80"}, {"ports.conf": "Listen 80\nListen 81"}, ""),
        ("apache", "", {"sites-available/a.conf": "ServerLimit 4"}, {}, ""),
        # PHP-FPM
        ("php_fpm", "", {"pool.d/a.conf": POOL}, {"pool.d/a.conf": POOL + "pm.max_children = 5\n"}, ""),
        ("php_fpm", "", {"pool.d/a.conf": POOL}, {"pool.d/a.conf": POOL.replace("0660", "0600")}, ""),
        ("php_fpm", "", {"pool.d/a.conf": POOL}, {"pool.d/a.conf": POOL + "listen.owner = x\nlisten.group = y"}, ""),
        ("php_fpm", "", {"pool.d/a.conf": POOL}, {"pool.d/a.conf": POOL + "listen.acl_users = x"}, "listen.acl_users"),
        (
            "php_fpm",
            "",
            {"pool.d/a.conf": POOL + "listen.acl_groups = x"},
            {"pool.d/a.conf": POOL.replace("0660", "0600") + "listen.acl_groups = x"},
            "listen.mode of /run/php/blog.sock",
        ),
        ("php_fpm", "", {"pool.d/a.conf": POOL}, {"pool.d/a.conf": POOL + "listen.backlog = 9"}, "listen.backlog"),
        (
            "php_fpm",
            "",
            {"pool.d/a.conf": POOL},
            {"pool.d/b.conf": POOL.replace("[blog]", "[new]") + "listen.group = x"},
            "",
        ),
        ("php_fpm", "", {"pool.d/a.conf": POOL}, {}, ""),
        # uWSGI
        ("uwsgi", "uwsgi@a.service", {"instances/a.ini": INI}, {"instances/a.ini": INI.replace("= 2", "= 3")}, ""),
        *(
            ("uwsgi", "uwsgi@a.service", {"instances/a.ini": INI}, {"instances/a.ini": new}, word)
            for new, word in (
                (INI.replace("660", "666"), ""),
                (INI.replace("660", "rw"), "chmod-socket"),
                (INI.replace("chmod-socket = 660\n", ""), "chmod-socket"),
                (INI + "chown-socket = shop:www-data", ""),
                (INI + "http-socket = :80\nstats = /run/uwsgi/%n/stats.sock", ""),
                (INI.replace("front.sock", "other.sock") + "listen = 9", ""),
                (INI.replace("socket =", "http-socket =", 1), "http-socket"),
                (INI + "http = :80", "http"),
            )
        ),
        (
            "uwsgi",
            "uwsgi@a.service",
            {"instances/a.ini": INI + "http-socket = :80"},
            {"instances/a.ini": INI + "http-socket = 127.0.0.1:80"},
            "http-socket",
        ),
        ("uwsgi", "uwsgi@a.service", {"instances/a.ini": INI}, {"instances/a.ini": INI + "listen = 9"}, "listen"),
        ("uwsgi", "uwsgi@a.service", {"instances/a.ini": INI}, {"instances/a.ini": INI.replace("shop", "www")}, "uid"),
        ("uwsgi", "uwsgi-emperor.service", {"emperor.ini": "a"}, {"emperor.ini": "b"}, "emperor.ini changed"),
        ("uwsgi", "uwsgi-emperor.service", {"vassals/a.ini": INI}, {"vassals/a.ini": INI + "listen = 9"}, ""),
    ],
)
def test_restart_only_where_a_reload_cannot_apply_the_change(
    tmp_path: pathlib.Path, daemon: str, unit: str, old: dict[str, str], new: dict[str, str], word: str
) -> None:
    profile = DAEMONS[daemon]
    before = profile.facts(unit, tree(tmp_path / "old", old))
    after = profile.facts(unit, tree(tmp_path / "new", new))
    reason = profile.restart_reason(unit, before, after)
    assert word in reason if word else reason == ""


@pytest.mark.parametrize(
    ("unit", "path", "belongs"),
    [
        ("uwsgi@a.service", "instances/a.ini", True),
        ("uwsgi@a.service", "instances/ab.ini", False),
        ("uwsgi@a.service", "vassals/a.ini", False),
        ("uwsgi-emperor.service", "emperor.ini", True),
        ("uwsgi-emperor.service", "vassals/a.ini", True),
        ("uwsgi-emperor.service", "instances/a.ini", False),
    ],
)
def test_uwsgi_files_belong_to_their_unit(unit: str, path: str, belongs: bool) -> None:
    assert DAEMONS["uwsgi"].belongs(unit, path) is belongs


def process(pid: int, title: str = "", stack: int = 0) -> Process:
    return Process(pid, 1, pid, stack, title)


OLD = Running(process(1), frozenset({process(2, "nginx: worker process")}))
LEAVING = process(2, "nginx: worker process is shutting down")


@pytest.mark.parametrize(
    ("now", "word"),
    [
        (Running(), "main process"),
        (OLD, "old workers"),
        (Running(process(1), frozenset({LEAVING})), "no worker"),
        (Running(process(1), frozenset({process(3, "nginx: worker process is shutting down")})), "no worker"),
        (Running(process(1), frozenset({process(3, "nginx: cache manager process")})), "no worker"),
        # One that crashed was replaced.
        (Running(process(1), OLD.children | {process(3, "nginx: worker process")}), "old workers"),
        (Running(process(1), frozenset({LEAVING, process(3, "nginx: worker process")})), ""),
    ],
)
def test_nginx_is_live_with_new_workers_only(now: Running, word: str) -> None:
    missing = DAEMONS["nginx"].pending("nginx.service", Tree("/"), [], OLD, now)
    assert word in missing if word else missing == ""


def born(at: float, pid: int = 3) -> Process:
    return Process(pid, 1, round((at - UP_SINCE) * os.sysconf("SC_CLK_TCK")), 0)


UP_SINCE = time.time() - float(pathlib.Path("/proc/uptime").read_text().split()[0])
SIGNAL = time.time() - 10
APACHE = Running(process(1), frozenset({process(2)}), pipes={"pipe:[7]": SIGNAL - 100})


@pytest.mark.parametrize(
    ("children", "pipes", "word"),
    [
        ({process(2)}, {"pipe:[7]": SIGNAL - 100}, "has not read"),
        # A busy Apache has new children all the time.
        ({process(2), born(SIGNAL)}, {"pipe:[7]": SIGNAL - 100}, "has not read"),
        ({process(2)}, {"pipe:[8]": SIGNAL}, "no worker"),
        ({process(2), born(SIGNAL - 1)}, {"pipe:[8]": SIGNAL}, "no worker"),
        ({process(2), born(SIGNAL + 1)}, {"pipe:[8]": SIGNAL}, ""),
        ({born(SIGNAL + 1)}, {"pipe:[7]": SIGNAL - 100, "pipe:[8]": SIGNAL}, ""),
    ],
)
def test_apache_is_live_with_a_child_of_its_new_generation(
    children: set[Process], pipes: dict[str, float], word: str
) -> None:
    now = Running(process(1), frozenset(children), pipes=pipes)
    missing = DAEMONS["apache"].pending("apache2@blog.service", Tree("/"), [], APACHE, now)
    assert word in missing if word else missing == ""


@pytest.mark.parametrize(
    ("stack", "titles", "word"),
    [
        (0, ["php-fpm: pool blog"], "has not loaded"),
        (1, [], "pool blog has no worker"),
        (1, ["php-fpm: pool blogs"], "pool blog has no worker"),
        (1, ["php-fpm: pool blog"], ""),
    ],
)
def test_php_fpm_is_live_after_it_executed_itself(
    tmp_path: pathlib.Path, stack: int, titles: list[str], word: str
) -> None:
    lazy = POOL.replace("[blog]", "[lazy]").replace("static", "ondemand")
    live = tree(tmp_path, {"pool.d/a.conf": POOL, "pool.d/b.conf": lazy})
    now = Running(process(1, stack=stack), frozenset(process(9, title) for title in titles))
    missing = DAEMONS["php_fpm"].pending("php8.2-fpm.service", live, [], Running(process(1)), now)
    assert word in missing if word else missing == ""


def test_php_fpm_accepts_comments_and_quotes(tmp_path: pathlib.Path) -> None:
    pool = '[a] ; first\nlisten = "/run/a.sock" ; here\n;listen = /run/b.sock\nlisten.mode = 0660\n'
    facts: dict[str, t.Any] = DAEMONS["php_fpm"].facts("", tree(tmp_path, {"pool.d/a.conf": pool}))
    assert facts == {"sockets": {"/run/a.sock": {"listen.mode": "0660"}}}
