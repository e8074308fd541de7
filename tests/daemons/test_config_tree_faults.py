# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""config_tree under faults, on daemons that serve meanwhile.

strace kills the process at a system call or has the call fail; disks are full or read-only, reloads hang. What is true
then is said by find, sha256sum, stat, curl, cgi-fcgi and systemctl.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
import typing as t

import daemon_trees
import lab_docker
import pytest
import transactions

if t.TYPE_CHECKING:
    from conftest import NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = "nginx apache2 php-fpm uwsgi-core uwsgi-plugin-python3 libfcgi-bin strace"
#: What the tests do not need, so that there are fewer files to strike at.
SLIM = (
    "cd /etc/nginx && rm -rf koi-* win-utf *_params fastcgi.conf snippets/* modules-available modules-enabled/*"
    " sites-enabled/default"
)
SECRET = "hunter2-Kjw83hdkQ"

Options = t.Dict[str, t.Any]


@dataclasses.dataclass
class Stand:
    """A host with all daemons, and the engine on it."""

    engine: transactions.Engine
    release: str
    php: str

    def ask(self, script: str) -> str:
        return self.engine.ask(script)

    def run(self, options: Options, *wrap: str, fails: bool | None = False) -> dict[str, t.Any]:
        return self.engine.run(options, *wrap, fails=fails)

    def get(self, port: int = 8083) -> str:
        return self.ask(f"curl --silent --max-time 5 --retry 5 --retry-connrefused http://127.0.0.1:{port}/ || true")

    def becomes(self, word: str) -> None:
        """A generic daemon is told to reload; when it has done so is its own matter."""
        self.ask(f"for i in $(seq 100); do {CURL.format(8091)} | grep -qx {word} && exit; sleep 0.1; done; exit 1")

    def pid(self, unit: str) -> int:
        return int(self.ask(f"systemctl show --property MainPID --value {unit}"))


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("config-tree-faults", request.param)
    host.shell(f"apt-get install --yes --no-install-recommends {PACKAGES}")
    host.shell("systemctl disable --now apache2 uwsgi 2>/dev/null; rm -f /etc/php/*/fpm/pool.d/www.conf")
    host.shell(SLIM)
    host.shell("install -d /srv/app /srv/none; echo '<?php echo getenv(\"WORD\");' > /srv/app/word.php")
    application = "import os\ndef application(e, s):\n    s('200 OK', [])\n    return [os.environ['WORD'].encode()]\n"
    host.run("tee", "/srv/app/app.py", stdin=application)
    version = host.shell("ls /etc/php").stdout.split()[0]
    return Stand(transactions.Engine.install(host), request.param, version)


# -- four daemons, each with something that can be asked which state it serves ------------------------


def nginx(word: str = "one", *more: t.Any, extra: str = "", **options: t.Any) -> Options:
    content = f'server {{ listen 8083; {extra} location / {{ return 200 "{word}"; }} }}\n'
    return {
        "daemon": "nginx",
        "root": "/etc/nginx",
        "service": "nginx.service",
        "timeout": 15,
        "owners": {
            "shop": [
                {"path": "sites-available/shop.conf", "content": content},
                {"path": "sites-enabled/shop.conf", "link": "../sites-available/shop.conf"},
                *more,
            ]
        },
        **options,
    }


def around(word: str) -> list[Options]:
    """Everything that a transaction can have beside plain files; some of it is in one state only."""
    return [
        {"path": "secret.conf", "content": f"# {word}\n", "secret": True},
        {"path": f"snippets/{word}", "state": "directory", "mode": "0750", "group": "www-data"},
        {"path": f"snippets/{word}/only.conf", "content": word},
        {"system": "/etc/logrotate.d/fault", "content": f"# {word}\n"},
        {"system": f"/etc/systemd/system/fault-{word}.service", "content": "[Service]\nExecStart=/bin/true\n"},
        {"system": "/etc/tmpfiles.d/fault.conf", "content": "d /run/fault 0755\n"},
    ]


def apache(word: str = "one", *, site: bool = True, extra: str = "", mode: str = "0644") -> Options:
    content = f"Listen 8181\nDocumentRoot /srv/none\nErrorDocument 404 {word}\n{extra}"
    return {
        "daemon": "apache",
        "root": "/etc/apache2-blog",
        "service": "apache2@blog.service",
        "timeout": 15,
        "owners": {
            "apache": [
                {"path": "apache2.conf", "content": daemon_trees.apache_main("blog")},
                {"path": "envvars", "content": daemon_trees.apache_envvars("blog")},
                *(
                    {"path": f"mods-enabled/{name}.load", "link": f"/etc/apache2/mods-available/{name}.load"}
                    for name in ("mpm_event", "authz_core")
                ),
                {"system": "/etc/logrotate.d/fault-blog", "content": f"# {word}\n"},
            ],
            "blog": [{"path": "sites-enabled/blog.conf", "content": content, "mode": mode}] if site else [],
        },
    }


def php_fpm(stand: Stand, word: str = "one", *, pool: bool = True, extra: str = "", mode: str = "0644") -> Options:
    content = textwrap.dedent(f"""
        [blog]
        user = www-data
        listen = /run/php/blog.sock
        pm = static
        pm.max_children = 1
        env[WORD] = {word}
        """)
    return {
        "daemon": "php_fpm",
        "root": f"/etc/php/{stand.php}/fpm",
        "service": f"php{stand.php}-fpm.service",
        "timeout": 15,
        "owners": {
            "blog": [
                {"path": "pool.d/blog.conf", "content": content + extra, "mode": mode},
                {"system": "/etc/logrotate.d/fault-php", "content": f"# {word}\n"},
            ][: 2 * pool]
        },
    }


def uwsgi(word: str = "one", *, vassals: t.Sequence[str] = ("web",), instance: bool = True) -> Options:
    units = {"uwsgi@": "instances/%i.ini", "uwsgi-emperor": "emperor.ini"}

    def ini(name: str, port: int) -> str:
        return textwrap.dedent(f"""\
            [uwsgi]
            strict = true
            need-app = true
            plugins = python3
            master = true
            lazy-apps = true
            chdir = /srv/app
            module = app:application
            http-socket = 127.0.0.1:{port}
            stats = /run/uwsgi/{name}/stats.sock
            env = WORD={word}
            """)

    return {
        "daemon": "uwsgi",
        "root": "/etc/uwsgi",
        "timeout": 15,
        "owners": {
            "uwsgi": [
                {"system": "/etc/sysusers.d/fault.conf", "content": "u web -\nu shop -\n"},
                {
                    "system": "/etc/tmpfiles.d/fault-uwsgi.conf",
                    "content": "d /run/uwsgi/web 0750 web web\nd /run/uwsgi/shop 0750 shop shop\n",
                },
                *(
                    {"system": f"/etc/systemd/system/{name}.service", "content": daemon_trees.uwsgi_unit(file)}
                    for name, file in units.items()
                ),
                {
                    "path": "emperor.ini",
                    "content": "[uwsgi]\nemperor = /etc/uwsgi/vassals\nemperor-tyrant = true\nemperor-freq = 1\n",
                },
            ],
            "apps": [
                *(
                    {"path": f"vassals/{name}.ini", "content": ini(name, 8201), "owner": name, "group": name}
                    for name in vassals
                ),
                *(
                    [{"path": "instances/shop.ini", "content": ini("shop", 8202) + "uid = shop\ngid = shop\n"}]
                    if instance
                    else []
                ),
            ],
        },
    }


CURL = "curl --silent --max-time 5 http://127.0.0.1:{}/"
FASTCGI = "SCRIPT_FILENAME=/srv/app/word.php REQUEST_METHOD=GET cgi-fcgi -bind -connect /run/php/blog.sock | tail -n 1"


def tree(stand: Stand, root: str = "/etc/nginx") -> str:
    return stand.ask(
        f"find {root} -printf '%P %y %m %U %G %l\\n' | sort; find {root} -type f -exec sha256sum {{}} + | sort"
    )


def leftovers(stand: Stand) -> str:
    return stand.ask("find / -xdev -name '*.weblab-*' -not -path '/proc/*'; find /run /tmp -name '*.weblab-*'")


# -- killed, and calls that fail ------------------------------------------------------------------------


@pytest.fixture
def nginx_only(stand: Stand) -> Stand:
    stand.run(nginx())
    stand.ask("find /etc/nginx -mindepth 1 -newer /etc/nginx/mime.types -name 'foreign*' -delete")
    return stand


def test_killed_at_every_step(nginx_only: Stand) -> None:
    """Full on one release; on the other every third step, for what its Python and systemd do otherwise."""
    states = {word: nginx(word, *around(word)) for word in ("one", "two")}
    step = 1 if nginx_only.release == "bookworm" else 3
    found = nginx_only.engine.sweep(states=states, ask=CURL.format(8083), strikes=[["signal=SIGKILL", "all", "", step]])
    assert found["failures"] == []
    # Both sides of the exchange were met, and nearly every strike hit.
    assert found["seen"]["killed old"] > 60 / step
    assert found["seen"]["killed new"] > 15 / step
    assert found["seen"].get("done new", 0) < 15


def test_every_call_that_changes_something_fails_once(nginx_only: Stand) -> None:
    states = {word: nginx(word, *around(word)) for word in ("one", "two")}
    step = 2 if nginx_only.release == "bookworm" else 5
    found = nginx_only.engine.sweep(
        states=states,
        ask=CURL.format(8083),
        strikes=[
            ["error=ENOSPC", "calls", "", step],
            ["error=ENOSPC", "files", r"O_CREAT|^write\([^1]", step],
            ["error=EIO", "calls", "sync|rename|sendfile", step],
        ],
    )
    assert found["failures"] == []
    assert found["seen"]["failed old"] > 60 / step


def test_a_disk_that_does_not_take_it(nginx_only: Stand) -> None:
    """What has not reached the disk is no success, also where the kernel would go on."""
    states = {word: nginx(word, *around(word)) for word in ("one", "two")}
    strikes = [["error=EIO", "calls", "sync", 1]]
    found = nginx_only.engine.sweep(states=states, ask=CURL.format(8083), strikes=strikes)
    assert found["failures"] == []
    assert found["seen"].keys() == {"failed old"}


@pytest.mark.parametrize("daemon", ["apache", "php_fpm", "uwsgi"])
def test_other_daemons_killed(stand: Stand, daemon: str) -> None:
    states, ask = {
        "apache": ({word: apache(word) for word in ("one", "two")}, CURL.format(8181)),
        "php_fpm": ({word: php_fpm(stand, word) for word in ("one", "two")}, FASTCGI),
        "uwsgi": ({word: uwsgi(word, instance=word == "one") for word in ("one", "two")}, CURL.format(8201)),
    }[daemon]
    found = stand.engine.sweep(states=states, ask=ask, strikes=[["signal=SIGKILL", "all", "", 9]])
    assert found["failures"] == []
    assert found["seen"]["killed old"]


def test_killed_while_a_tree_comes_or_goes(stand: Stand) -> None:
    states = {"none": {**apache(), "owners": {"apache": [], "blog": []}}, "one": apache()}
    ask = CURL.format(8181) + " || echo none"
    found = stand.engine.sweep(states=states, ask=ask, strikes=[["signal=SIGKILL", "all", "", 6]])
    assert found["failures"] == []
    assert found["seen"]["killed old"]


def test_killed_while_a_daemon_gets_back_what_it_had(stand: Stand) -> None:
    nobody = {**nginx(), "owners": {"shop": []}, "state": "absent"}
    stand.run(nobody)
    site = "server { listen 8084; location / { return 200 theirs; } }"
    stand.ask(f"echo '{site}' >/etc/nginx/sites-enabled/theirs; systemctl enable nginx; systemctl restart nginx")
    states = {"theirs": nobody, "one": nginx("one", {"path": "sites-enabled/theirs", "state": "absent"})}
    ask = f"{CURL.format(8083)} || {CURL.format(8084)}"
    found = stand.engine.sweep(states=states, ask=ask, strikes=[["signal=SIGKILL", "all", "", 6]])
    assert found["failures"] == []
    assert found["seen"]["killed old"]
    stand.run(nobody)
    assert stand.ask("systemctl is-enabled nginx; systemctl is-active nginx").split() == ["enabled", "active"]
    stand.ask("rm /etc/nginx/sites-enabled/theirs; systemctl disable --now nginx")


def test_killed_where_the_tree_cannot_be_exchanged(nginx_only: Stand) -> None:
    """A mount point: files are replaced one by one, and the next run finishes it or takes it back."""
    nginx_only.ask("mount --bind /etc/nginx /etc/nginx")
    try:
        states = {word: nginx(word, *around(word)) for word in ("one", "two")}
        result = nginx_only.run(states["two"])
        assert result["swap"] == "stepwise"
        assert "one by one" in result["warnings"][0]
        found = nginx_only.engine.sweep(
            states=states,
            ask=CURL.format(8083),
            stepwise=True,
            strikes=[
                ["signal=SIGKILL", "calls", "rename|unlink|rmdir|mkdir", 2],
                ["error=ENOSPC", "calls", "rename|unlink|rmdir|mkdir|sync", 3],
            ],
        )
        assert found["failures"] == []
        assert found["seen"]["killed mixture"]
        assert nginx_only.run(nginx())["swap"] == "stepwise"
    finally:
        nginx_only.ask("umount /etc/nginx")


def calls(stand: Stand, options: Options) -> tuple[collections.Counter[str], collections.Counter[str]]:
    """How often a run calls what: before the exchange, and in all."""
    stand.run(options, "strace", "-qq", "-o", "/srv/strace.log", "--trace=rename,renameat2,fsync,vfork")
    log = stand.ask("grep -o -E '^[a-z0-9]+[(]|EXCHANGE' /srv/strace.log | tr -d '('").split()
    return collections.Counter(log[: log.index("EXCHANGE")]), collections.Counter(log)


def kill(stand: Stand, options: Options, name: str, number: int) -> None:
    inject = f"--inject={name}:signal=SIGKILL:when={number}"
    assert stand.run(options, "strace", "-qq", "-o", "/dev/null", inject, fails=None) == {}


def test_a_unit_that_a_killed_run_should_have_stopped(stand: Stand) -> None:
    stand.run(uwsgi())
    before, _total = calls(stand, uwsgi(instance=False))
    stand.run(uwsgi())
    kill(stand, uwsgi(instance=False), "vfork", before["vfork"] + 1)
    state = "systemctl is-active uwsgi@shop; systemctl is-enabled uwsgi@shop; true"
    assert stand.ask(state) == "active\nenabled"
    said = stand.run({**uwsgi(instance=False), "check": True})["actions"]
    done = stand.run(uwsgi(instance=False))
    assert done["actions"]["uwsgi@shop.service"] == "stopped"
    assert (done["actions"], done["files"]["removed"], done["healed"]) == (said, [], True)
    assert stand.ask(state) == "inactive\ndisabled"
    assert not stand.run(uwsgi(instance=False))["changed"]
    assert leftovers(stand) == ""


def test_check_mode_that_is_killed_leaves_nothing_for_long(nginx_only: Stand) -> None:
    kill(nginx_only, {**nginx("two"), "check": True}, "vfork", 3)
    assert "/run/weblab.stacks/.etc-nginx.weblab-" in leftovers(nginx_only)
    nginx_only.run(nginx("two"))
    assert leftovers(nginx_only) == ""


def test_reboot_after_a_kill_without_a_next_run(nginx_only: Stand) -> None:
    engine, host = nginx_only.engine, nginx_only.engine.host
    states = {word: nginx(word, *around(word)) for word in ("one", "two")}
    whole = {}
    for word, options in (*states.items(), *states.items()):
        engine.run(options)
        whole[word] = tree(nginx_only)
    engine.run(states["one"])
    before, total = calls(nginx_only, states["two"])
    # A system file takes its place, the daemon's test, the exchange ...
    strikes = [("rename", 1), ("vfork", before["vfork"]), ("renameat2", 1)]
    # ... and after it the disk, the first and the last program.
    strikes += [("fsync", before["fsync"] + 1), ("vfork", before["vfork"] + 1), ("vfork", total["vfork"])]
    served = set()
    for name, number in strikes:
        engine.run(states["one"])
        kill(nginx_only, states["two"], name, number)
        lab_docker.must(["docker", "restart", host.name])
        lab_docker.wait_for_systemd(host.name)
        word = nginx_only.get()
        assert word in whole, (name, number)
        assert tree(nginx_only) == whole[word], (name, number)
        served.add(word)
        engine.run(states["one"])
        assert (nginx_only.get(), tree(nginx_only), leftovers(nginx_only)) == ("one", whole["one"], "")
    assert served == {"one", "two"}


# -- disks ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(nginx_only: Stand) -> t.Iterator[Stand]:
    """nginx's tree on a file system of its own that is soon full."""
    nginx_only.ask("mkdir /srv/small && mount -t tmpfs -o size=256k tmpfs /srv/small")
    nginx_only.ask("mv /etc/nginx /srv/small/ && ln -s /srv/small/nginx /etc/nginx && systemctl reload nginx")
    yield nginx_only
    nginx_only.ask("mount -o remount,rw /srv/small; rm -f /srv/small/fill /etc/nginx; mv /srv/small/nginx /etc/nginx")
    nginx_only.ask("umount -l /srv/small; rmdir /srv/small; systemctl reload nginx")


def test_a_full_disk_changes_nothing(small_disk: Stand) -> None:
    large = {"path": "large.conf", "content": "# large\n" * 2000}
    before = tree(small_disk)
    failed = 0
    # From nothing free to enough: the disk gets full at ever other steps.
    for free in range(0, 120, 8):
        small_disk.ask("dd if=/dev/zero of=/srv/small/fill bs=1k 2>/dev/null || true")
        small_disk.ask(f"truncate --size=-{free}K /srv/small/fill")
        result = small_disk.run(nginx("two", large), fails=None)
        if not result["msg"]:
            assert small_disk.get() == "two"
            small_disk.ask("rm /srv/small/fill")
            small_disk.run(nginx())
            break
        failed += 1
        assert "No space left on device" in result["msg"]
        assert "free space or inodes there (`df -h /srv/small/nginx" in result["msg"]
        assert "Nothing was changed" in result["msg"]
        assert (result["changed"], small_disk.get(), tree(small_disk)) == (False, "one", before)
        assert leftovers(small_disk) == ""
    assert failed > 3
    assert small_disk.get() == "one"


def test_a_read_only_file_system_changes_nothing(small_disk: Stand) -> None:
    before = tree(small_disk)
    small_disk.ask("mount -o remount,ro /srv/small")
    result = small_disk.run(nginx("two"), fails=True)
    assert "Read-only file system" in result["msg"]
    assert "Mount it read-write (`findmnt --target /srv/small/nginx`" in result["msg"]
    assert "Nothing was changed" in result["msg"]
    assert (result["changed"], small_disk.get(), tree(small_disk)) == (False, "one", before)
    small_disk.ask("mount -o remount,rw /srv/small")
    assert small_disk.run(nginx("two"))["changed"]


def test_a_read_only_tree_changes_nothing(nginx_only: Stand) -> None:
    before = tree(nginx_only)
    nginx_only.ask("mount --bind /etc/nginx /etc/nginx && mount -o remount,bind,ro /etc/nginx")
    try:
        system = {"system": "/etc/logrotate.d/fault", "content": "# x\n"}
        result = nginx_only.run(nginx("two", system), fails=True)
        assert "Read-only file system" in result["msg"]
        assert "restored" in result["msg"]
        assert (result["changed"], nginx_only.get(), tree(nginx_only)) == (False, "one", before)
        assert nginx_only.ask("ls /etc/logrotate.d/fault 2>/dev/null || true") == leftovers(nginx_only) == ""
    finally:
        nginx_only.ask("umount /etc/nginx")
    assert not nginx_only.run(nginx())["changed"]


def test_a_note_that_cannot_be_written_is_a_warning(nginx_only: Stand) -> None:
    """Where it is noted what a daemon has loaded: that the note is missing costs a reload, and no configuration."""
    nginx_only.ask("mount -t tmpfs -o ro tmpfs /run/weblab.stacks")
    try:
        result = nginx_only.run(nginx("two"))
        assert "Read-only file system" in result["warnings"][0]
        assert "/run/weblab.stacks" in result["warnings"][0]
        assert nginx_only.get() == "two"
    finally:
        nginx_only.ask("umount /run/weblab.stacks")
    nginx_only.run(nginx())
    assert not nginx_only.run(nginx())["changed"]


# -- a daemon that does not do as it is told -------------------------------------------------------------


@pytest.fixture
def own_web(stand: Stand) -> t.Iterator[Stand]:
    """An nginx under a unit of its own, as somebody else would run it; its reload hangs when told so."""
    unit = """
        [Service]
        Type=forking
        ExecStart=/usr/sbin/nginx -c /srv/web/nginx.conf
        ExecReload=/bin/sh -c 'test ! -e /run/hang || sleep 1000; kill -HUP $MAINPID'
        PIDFile=/run/web.pid
        """
    stand.engine.host.run("tee", "/run/systemd/system/web.service", stdin=textwrap.dedent(unit))
    stand.ask("systemctl daemon-reload; systemctl reset-failed web 2>/dev/null || true")
    stand.run(web())
    yield stand
    stand.ask("rm -f /run/hang; systemctl stop web; rm -r /srv/web /run/systemd/system/web.service")
    stand.ask("systemctl daemon-reload")


def web(word: str = "one", *more: t.Any, **options: t.Any) -> Options:
    content = f"""
        pid /run/web.pid;
        events {{}}
        http {{ server {{ listen 8091; location / {{ return 200 "{word}"; }} }} }}
        """
    return {
        "daemon": "generic",
        "root": "/srv/web",
        "service": "web.service",
        "validate": ["nginx", "-t", "-c", "/srv/web/nginx.conf"],
        "timeout": 4,
        "owners": {"web": [{"path": "nginx.conf", "content": content}, *more]},
        **options,
    }


def test_a_reload_that_hangs(own_web: Stand) -> None:
    before = tree(own_web, "/srv/web")
    own_web.ask("touch /run/hang")
    result = own_web.run(web("two"), fails=True)
    assert "systemctl reload web.service: no end after 4 s" in result["msg"]
    assert "The old configuration was restored and serves" in result["msg"]
    assert (result["rolled_back"], own_web.get(8091), tree(own_web, "/srv/web")) == (True, "one", before)
    assert own_web.ask("pgrep -f '[s]leep 1000' || true") == ""
    assert own_web.ask("systemctl is-active web; systemctl list-jobs --no-legend") == "active"
    own_web.ask("rm /run/hang")
    assert own_web.run(web("two"))["actions"] == {"web.service": "reloaded"}
    own_web.becomes("two")


def test_a_reload_command_that_hangs(own_web: Stand) -> None:
    hangs = ["sh", "-c", "echo I wait; sleep 1001 & sleep 1001; true"]
    result = own_web.run(web("two", reload=hangs), fails=True)
    assert "I wait" in result["msg"]
    assert "no end after 4 s" in result["msg"]
    assert (result["rolled_back"], own_web.get(8091)) == (True, "one")
    assert own_web.ask("pgrep -f '[s]leep 1001' || true") == ""


def test_a_reload_command_that_fails(own_web: Stand) -> None:
    result = own_web.run(web("two", reload=["sh", "-c", "echo not today; exit 3"]), fails=True)
    assert "not today" in result["msg"]
    assert (result["rolled_back"], own_web.get(8091)) == (True, "one")


def test_a_daemon_that_ignores_its_reload(nginx_only: Stand) -> None:
    before, pid = tree(nginx_only), nginx_only.pid("nginx")
    nginx_only.ask(f"kill -STOP {pid}")
    result = nginx_only.run(nginx("two"), fails=True)
    assert f"its main process {pid} is held" in result["msg"]
    assert "The old configuration was restored and serves" in result["msg"]
    assert (result["rolled_back"], nginx_only.get(), tree(nginx_only)) == (True, "one", before)
    assert nginx_only.ask(f"ps --no-headers -o stat {nginx_only.pid('nginx')}")[0] == "S"
    assert not nginx_only.run(nginx())["changed"]


def test_apache_that_dies_of_its_reload(stand: Stand) -> None:
    """A port that is taken: Apache ends itself when it cannot bind while it reloads."""
    stand.run(nginx())
    stand.run(apache())
    before = tree(stand, "/etc/apache2-blog")
    result = stand.run(apache("two", extra="Listen 8083\n"), fails=True)
    assert "could not bind to address" in result["msg"]
    assert (result["rolled_back"], stand.get(8181), stand.get(8083)) == (True, "one", "one")
    assert tree(stand, "/etc/apache2-blog") == before
    assert not stand.run(apache())["changed"]


def test_php_fpm_that_dies_of_its_reload(stand: Stand) -> None:
    stand.run(php_fpm(stand))
    root = f"/etc/php/{stand.php}/fpm"
    before = tree(stand, root)
    result = stand.run(
        php_fpm(stand, "two", extra="[b]\nuser=www-data\nlisten=/run/no/b.sock\npm=ondemand\npm.max_children=1"),
        fails=True,
    )
    assert "/run/no/b.sock" in result["msg"]
    assert (result["rolled_back"], stand.ask(FASTCGI), tree(stand, root)) == (True, "one", before)
    assert not stand.run(php_fpm(stand))["changed"]


@pytest.mark.parametrize("daemon", ["apache", "php_fpm", "uwsgi"])
def test_an_endpoint_that_does_not_answer_rolls_back(stand: Stand, daemon: str) -> None:
    one, two, endpoint, ask = {
        "apache": (apache("one"), apache("two"), "http://127.0.0.1:8181/", CURL.format(8181)),
        "php_fpm": (php_fpm(stand, "one"), php_fpm(stand, "two"), "fastcgi+unix:///run/php/blog.sock", FASTCGI),
        "uwsgi": (uwsgi("one"), uwsgi("two"), "http://127.0.0.1:8201/", CURL.format(8201)),
    }[daemon]
    check: Options = {"endpoint": endpoint, "expect": {"body": "three"}}
    if daemon == "php_fpm":
        check["script_filename"] = "/srv/app/word.php"
    stand.run(one)
    before = tree(stand, one["root"])
    result = stand.run({**two, "probe": [check], "timeout": 6}, fails=True)
    assert "these endpoints do not answer" in result["msg"]
    assert (result["rolled_back"], stand.ask(ask), tree(stand, one["root"])) == (True, "one", before)


# -- other people's files, and other runs ----------------------------------------------------------------


def test_exclusive_directory(nginx_only: Stand) -> None:
    nginx_only.ask("mkdir -p /etc/nginx/own/deep /etc/nginx/own/theirs; cd /etc/nginx/own; echo foreign > deep/a.conf")
    nginx_only.ask("cd /etc/nginx/own; ln -s ../nginx.conf link; umask 077; echo private words > key")
    theirs = {"mail": [{"path": "own/theirs/mail.conf", "content": "# mail\n"}]}
    nginx_only.run({**nginx(), "owners": theirs})
    mine = [{"path": "own", "state": "directory"}, {"path": "own/mine.conf", "content": "# mine\n"}]
    assert nginx_only.run(nginx("one", *mine))["files"]["removed"] == []
    exclusive = nginx("one", {**mine[0], "exclusive": True}, mine[1])
    result = nginx_only.run(exclusive)
    assert result["files"]["removed"] == [f"/etc/nginx/own/{name}" for name in ("deep", "deep/a.conf", "key", "link")]
    shown = {item["before_header"]: item["before"] for item in result["diff"]}
    assert shown["/etc/nginx/own/deep/a.conf"] == "foreign\n"
    assert "private words" not in json.dumps(result)
    assert nginx_only.ask("cd /etc/nginx; find own | sort") == "own\nown/mine.conf\nown/theirs\nown/theirs/mail.conf"
    assert not nginx_only.run(exclusive)["changed"]
    nginx_only.run({**nginx(), "owners": {"mail": [], "shop": nginx()["owners"]["shop"]}})


@pytest.mark.parametrize(
    ("damage", "entry", "words"),
    [
        ("ln -s /etc/passwd {}/a", {"path": "a", "content": "x"}, ["/etc/nginx/a is a symbolic link to /etc/passwd"]),
        ("ln /srv/victim {}/a", {"path": "a", "content": "x"}, ["/etc/nginx/a is a file with 2 names", "-samefile"]),
        ("mkdir {}/a", {"path": "a", "content": "x"}, ["a is a directory on the host"]),
        ("ln -s /srv {}/a", {"path": "a/victim", "content": "x"}, ["/etc/nginx/a is a symbolic link"]),
        ("ln -s /srv {}/a", {"path": "a/b/victim", "content": "x"}, ["/etc/nginx/a is a symbolic link"]),
        ("true", {"path": "../victim", "content": "x"}, ["'../victim' leaves /etc/nginx"]),
        ("true", {"path": "/srv/victim", "content": "x"}, ["'/srv/victim' leaves /etc/nginx"]),
        ("true", {"system": "/srv/victim", "content": "x"}, ["/srv/victim is outside of the known system directories"]),
        ("true", {"path": "a\nb", "content": "x"}, ["control character"]),
        (
            "ln -s /srv /etc/systemd/system/a.service.d",
            {"system": "/etc/systemd/system/a.service.d/victim", "content": "x"},
            ["/etc/systemd/system/a.service.d is a symbolic link"],
        ),
        (
            "ln -s /srv/victim /etc/logrotate.d/a",
            {"system": "/etc/logrotate.d/a", "content": "x"},
            ["/etc/logrotate.d/a is a symbolic link to /srv/victim"],
        ),
    ],
)
def test_what_would_write_elsewhere_is_refused(
    nginx_only: Stand, damage: str, entry: Options, words: list[str]
) -> None:
    nginx_only.ask("echo untouched > /srv/victim")
    nginx_only.ask(damage.format("/etc/nginx"))
    try:
        before = tree(nginx_only)
        for check in (True, False):
            result = nginx_only.run({**nginx("two", entry), "check": check}, fails=True)
            for word in words:
                assert word in result["msg"]
        assert tree(nginx_only) == before
        assert (nginx_only.ask("cat /srv/victim"), nginx_only.get()) == ("untouched", "one")
    finally:
        nginx_only.ask("rm -rf /etc/nginx/a /etc/systemd/system/a.service.d /etc/logrotate.d/a /srv/victim")


def test_a_file_takes_the_place_of_a_link_where_it_says_so(nginx_only: Stand) -> None:
    nginx_only.ask("echo untouched > /srv/victim; ln -s /srv/victim /etc/nginx/a")
    result = nginx_only.run(nginx("one", {"path": "a", "content": "x", "replace_link": True}))
    (shown,) = (item for item in result["diff"] if item["after_header"] == "/etc/nginx/a")
    assert (shown["before"], shown["after"]) == ("-> /srv/victim\n", "x")
    assert (
        nginx_only.ask("stat -c %F /etc/nginx/a; cat /etc/nginx/a; echo; cat /srv/victim")
        == "regular file\nx\nuntouched"
    )
    nginx_only.run(nginx("one"))


def test_foreign_links_stay_what_they_are(nginx_only: Stand) -> None:
    nginx_only.ask("echo shared > /srv/shared; ln /srv/shared /etc/nginx/hard; ln -s /nowhere /etc/nginx/soft")
    try:
        assert nginx_only.run(nginx("two"))["swap"] == "exchange"
        assert nginx_only.ask("test /srv/shared -ef /etc/nginx/hard; stat --format %h /srv/shared") == "2"
        assert nginx_only.ask("readlink /etc/nginx/soft") == "/nowhere"
        gone = nginx("two", {"path": "soft", "state": "absent"}, {"path": "hard", "state": "absent"})
        assert sorted(nginx_only.run(gone)["files"]["removed"]) == ["/etc/nginx/hard", "/etc/nginx/soft"]
        assert nginx_only.ask("cat /srv/shared; stat --format %h /srv/shared") == "shared\n1"
    finally:
        nginx_only.ask("rm -f /srv/shared /etc/nginx/hard /etc/nginx/soft")


def test_a_change_by_hand_is_shown_and_put_back(nginx_only: Stand) -> None:
    before = tree(nginx_only)
    nginx_only.ask("cd /etc/nginx/sites-available; echo '# by hand' >> shop.conf; chmod 0600 shop.conf")
    result = nginx_only.run(nginx())
    assert result["files"]["changed"] == ["/etc/nginx/sites-available/shop.conf"]
    (shown,) = result["diff"]
    assert "# by hand\n" in shown["before"]
    assert "# mode: 0600\n" in shown["before"]
    assert "# by hand" not in shown["after"]
    assert tree(nginx_only) == before


def test_two_owners_at_once(own_web: Stand) -> None:
    """The second waits for the first; both end up in the tree, and nobody's files are lost."""
    slow = ["sh", "-c", "sleep 2; systemctl reload web"]
    first = own_web.engine.start(web("two", reload=slow, timeout=15))
    own_web.ask("until grep -q process /run/lock/weblab.stacks/srv-web.lock; do sleep 0.05; done")
    mail = {"mail": [{"path": "mail.conf", "content": "# mail\n"}]}
    second = own_web.run({**web(timeout=30), "owners": mail})
    assert (transactions.finish(first)["msg"], second["files"]["added"]) == ("", ["/srv/web/mail.conf"])
    own_web.becomes("two")
    assert own_web.ask("cat /srv/web/mail.conf") == "# mail"
    assert not own_web.run(web("two"))["changed"]
    assert own_web.run({**web(), "owners": {"mail": []}})["files"]["removed"] == ["/srv/web/mail.conf"]
    clash = own_web.run({**web(), "owners": {"mail": [{"path": "nginx.conf", "content": "# x\n"}]}}, fails=True)
    assert "mail declares nginx.conf, which belongs to web" in clash["msg"]


def test_a_second_run_that_does_not_want_to_wait(own_web: Stand) -> None:
    slow = ["sh", "-c", "while test ! -e /run/go; do sleep 0.1; done; systemctl reload web"]
    first = own_web.engine.start(web("two", reload=slow, timeout=60))
    try:
        own_web.ask("until pgrep -f 'test ! -e /run/[g]o' >/dev/null; do sleep 0.05; done")
        result = own_web.run(web("three", timeout=0.5), fails=True)
        assert "Another transaction works on /srv/web: process " in result["msg"]
        assert "did not end within 0.5 s. Nothing was changed" in result["msg"]
        # Check mode writes nothing, so that it need not wait.
        assert own_web.run(web("three", timeout=0.5, check=True))["changed"]
    finally:
        own_web.ask("touch /run/go")
        assert transactions.finish(first)["msg"] == ""
        own_web.ask("rm /run/go")
    own_web.becomes("two")


# -- secrets ---------------------------------------------------------------------------------------------


def ansible(stand: Stand, options: Options, *arguments: str, code: int = 0) -> str:
    """Everything that Ansible prints for one task."""
    argv = [
        str(pathlib.Path(sys.executable).with_name("ansible")),
        *("all", "--inventory", f"{stand.engine.host.name},", "--connection", "community.docker.docker"),
        *("--module-name", "weblab.stacks.config_tree", "--args", json.dumps(options), *arguments),
    ]
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


def test_a_secret_stays_one(nginx_only: Stand) -> None:
    def options(text: str) -> Options:
        include = "include secret.conf;"
        return nginx("one", {"path": "secret.conf", "content": text, "secret": True}, extra=include)

    good, other = f'set $key "{SECRET}";\n', f'set $key "{SECRET}-other";\n'
    said = ansible(nginx_only, options(good), "-vvvv", "--diff")
    assert "(secret content after)" in said
    said += ansible(nginx_only, options(other), "-vvvv", "--diff", "--check")
    said += ansible(nginx_only, options(other), "-vvvv", "--diff")
    # nginx quotes the word that it does not know.
    broken = ansible(nginx_only, options(f"{SECRET} on;\n"), "-vvvv", "--diff", code=2)
    assert 'unknown directive \\"(secret)\\"' in broken.replace('\\\\"', '\\"') or 'directive "(secret)"' in broken
    said += broken + ansible(nginx_only, options(f"{SECRET} on;\n"), "-vvvv", "--diff", "--check", code=2)
    said += ansible(nginx_only, nginx(), "-vvvv", "--diff")
    for line in said.splitlines():
        # Ansible repeats its own command line, which is this test's and not the task's.
        if "--args" not in line:
            assert SECRET not in line
    nginx_only.run(options(good))
    assert nginx_only.ask("stat --format '%a %U' /etc/nginx/secret.conf") == "600 root"
    assert nginx_only.ask(f"grep -rl {SECRET} /etc /tmp /run /root /var/log 2>/dev/null") == "/etc/nginx/secret.conf"
    assert nginx_only.ask(f"journalctl --no-pager | grep -c {SECRET} || true") == "0"


def test_a_secret_that_everybody_could_read_is_refused(nginx_only: Stand) -> None:
    entry = {"path": "secret.conf", "content": f"# {SECRET}\n", "secret": True, "mode": "0644"}
    result = nginx_only.run(nginx("two", entry), fails=True)
    assert 'mode "0644" opens a secret file to every account' in result["msg"]
    assert SECRET not in json.dumps(result)
    assert nginx_only.get() == "one"


def test_nobody_looks_into_a_tree_that_is_being_built(own_web: Stand) -> None:
    """The test command is a moment in the middle: what does another account see then?"""
    look = (
        "id -u; for place in /srv/.web.weblab-* /run/weblab.stacks/.srv-web.weblab-*; do"
        " test -e $place && stat --format %a $place && ls $place/tree; done; cat /srv/web/secret"
    )
    validate = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", f"{look}; true"]
    entry = {"path": "secret", "content": SECRET, "secret": True}
    for check in (True, False):
        result = own_web.run(web("one", entry, validate=validate, check=check))
        lines = result["validated"]["output"].splitlines()
        assert lines[:2] == ["65534", "700"]
        assert "Permission denied" in lines[2]
        assert "Permission denied" in lines[3]
    own_web.run(web())


def test_modes_and_owners_come_before_names(nginx_only: Stand) -> None:
    entries = [
        {"path": "secret.conf", "content": "# x\n", "secret": True, "owner": "www-data"},
        {"path": "closed", "state": "directory", "mode": "0700", "owner": "www-data"},
        {"system": "/etc/logrotate.d/fault", "content": "# x\n", "secret": True},
    ]
    calls = "openat,mkdir,chown,fchown,lchown,fchownat,chmod,fchmod,fchmodat,rename,renameat,renameat2"
    wrap = ("strace", "-qq", "-o", "/srv/strace.log", "-e", f"trace={','.join('?' + c for c in calls.split(','))}")
    nginx_only.run(nginx("one", *entries), *wrap)
    lines = nginx_only.ask("grep -v ENOENT /srv/strace.log").splitlines()
    nginx_only.run(nginx())

    def where(verb: str, *words: str) -> list[int]:
        return [n for n, line in enumerate(lines) if verb in line.partition("(")[0] and all(w in line for w in words)]

    # The file outside of the tree: born closed, gets its owner and mode, then its name, and then nothing more.
    (born,) = where("openat", "/etc/logrotate.d/.fault.weblab-", "O_CREAT|O_EXCL", "0600")
    (named,) = where("rename", '"/etc/logrotate.d/fault")')
    assert [n for n in where("chown", "/.fault.weblab-") if born < n < named]
    assert [n for n in where("chmod", "/.fault.weblab-") if born < n < named]
    assert not where("ch", '"/etc/logrotate.d/fault"')
    # The tree: everything happens in a closed directory until the exchange.
    closed = where("mkdir", "/etc/.nginx.weblab-", "0700")[0]
    (exchanged,) = where("renameat2", "/etc/nginx", "RENAME_EXCHANGE")
    built = where("ch", "/etc/.nginx.weblab-")
    assert len(built) > 10
    assert all(closed < number < exchanged for number in built)
    assert not where("ch", '"/etc/nginx')


# -- check mode, and how little it takes -------------------------------------------------------------------


def test_check_mode_says_what_the_run_then_does(stand: Stand) -> None:
    stand.run(nginx())
    stand.ask("mkdir -p /etc/nginx/own; echo x > /etc/nginx/own/foreign.conf")
    stand.run({**apache(), "owners": {"apache": [], "blog": []}})
    stand.run({**php_fpm(stand), "owners": {"blog": []}})
    stand.run({**uwsgi(), "owners": {"uwsgi": [], "apps": []}})
    stand.ask("userdel web 2>/dev/null; userdel shop 2>/dev/null; rm -rf /run/uwsgi; true")
    exclusive = {"path": "own", "state": "directory", "exclusive": True}
    runs = [
        nginx("two", *around("two")),
        nginx("two", {"path": "secret.conf", "content": "# y\n", "secret": True}, exclusive),
        nginx("two", extra="client_max_body_size 3m;"),
        {**nginx(), "owners": {"shop": []}},
        apache(),
        apache("two"),
        apache("two", mode="0640"),
        apache("two", site=False),
        {**apache(), "owners": {"apache": [], "blog": []}},
        php_fpm(stand),
        php_fpm(stand, "two"),
        php_fpm(stand, "two", mode="0640"),
        php_fpm(stand, "two", extra="listen.mode = 0600"),
        php_fpm(stand, pool=False),
        uwsgi(),
        uwsgi("two"),
        uwsgi("two", instance=False),
        uwsgi("two", vassals=[], instance=False),
        {**uwsgi(), "owners": {"uwsgi": [], "apps": []}},
    ]
    for options in runs:
        said = stand.run({**options, "check": True})
        done = stand.run(options)
        assert said["changed"] and done["changed"]
        for key in ("files", "diff", "actions", "reasons", "healed"):
            assert said[key] == done[key], (options["root"], key)
        assert not stand.run({**options, "check": True})["changed"]
    assert leftovers(stand) == ""


def test_one_command_on_the_host(nginx_only: Stand) -> None:
    many = [{"path": f"many/{number}.conf", "content": f"# {number}\n"} for number in range(1000)]
    for _round in range(2):
        said = ansible(nginx_only, nginx("one", *many), "-vvv")
        assert sum(" EXEC " in line for line in said.splitlines()) == 1, said[:3000]
    assert '"changed": false' in said or "changed: false" in said
    nginx_only.run(nginx())
