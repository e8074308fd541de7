# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reload or restart, by what changed: the process ids tell what was done, ss, stat and curl that it took."""

from __future__ import annotations

import dataclasses
import shutil
import time
import typing as t

import daemon_trees
import pytest
from transactions import Engine

if t.TYPE_CHECKING:
    from conftest import NewHost

PACKAGES = "nginx apache2 php-fpm uwsgi-core uwsgi-plugin-python3"
TCP = "ss --no-header --tcp --listening --numeric"
UNIX = "ss --no-header --unix --listening"

NGINX = {
    "conf.d/test.conf": "server {\n    listen 127.0.0.1:8301;\n    listen [::]:8302;\n    return 200 one;\n}\n",
    "conf.d/cache.conf": "proxy_cache_path /var/cache/nginx-one keys_zone=kept:1m;\n",
}
APACHE = {
    "apache2.conf": daemon_trees.apache_main("reload")
    + """<IfModule mpm_event_module>
ThreadLimit 8
ThreadsPerChild 4
ServerLimit 4
MaxRequestWorkers 16
StartServers 1
MinSpareThreads 1
MaxSpareThreads 16
</IfModule>
""",
    "envvars": daemon_trees.apache_envvars("reload"),
    "mods-enabled/mpm_event.load": "-> /etc/apache2/mods-available/mpm_event.load",
    "mods-enabled/authz_core.load": "-> /etc/apache2/mods-available/authz_core.load",
    "sites-enabled/test.conf": """Listen 127.0.0.1:8311
DocumentRoot /srv/www
<Directory /srv/www>
Require all granted
</Directory>
""",
}
PHP_FPM = {
    "pool.d/www.conf": "",
    "pool.d/test.conf": """[test]
user = www-data
listen = /run/php/test.sock
listen.owner = www-data
listen.mode = 0660
pm = static
pm.max_children = 2
ping.path = /ping
""",
}
APPLICATION = """[uwsgi]
strict = true
need-app = true
plugins = python3
master = true
lazy-apps = true
processes = 2
chdir = /srv/app
module = app:application
socket = /run/uwsgi/%n/front.sock
chmod-socket = 660
listen = 100
stats = /run/uwsgi/%n/stats.sock
vacuum = true
"""
UWSGI = {
    "emperor.ini": "[uwsgi]\nemperor = /etc/uwsgi/vassals\nemperor-tyrant = true\nemperor-freq = 1\n",
    "instances/shop.ini": APPLICATION,
    "vassals/web.ini": APPLICATION,
}
BASE = {"nginx": NGINX, "apache": APACHE, "php_fpm": PHP_FPM, "uwsgi": UWSGI}


@dataclasses.dataclass
class Stand:
    """One host with the four daemons."""

    engine: Engine
    php: str

    def ask(self, script: str) -> str:
        return self.engine.ask(f"{script} || true")

    def unit(self, daemon: str) -> str:
        return {
            "nginx": "nginx.service",
            "apache": "apache2@reload.service",
            "php_fpm": f"php{self.php}-fpm.service",
            "uwsgi": "uwsgi@shop.service",
            "vassal": "uwsgi-emperor.service",
        }[daemon]

    def apply(self, daemon: str, changes: t.Mapping[str, str] | None = None, drop_in: str = "") -> dict[str, t.Any]:
        """Apply the daemon's base configuration with ``changes`` to whole files."""
        vassal, daemon = daemon == "vassal", "uwsgi" if daemon == "vassal" else daemon
        files = {**BASE[daemon], **(changes or {})}
        entries: list[dict[str, t.Any]] = [self._entry(path, content) for path, content in files.items()]
        if daemon == "uwsgi":
            entries += self._uwsgi_system(drop_in, vassal)
        elif drop_in:
            entries.append({"system": f"/etc/systemd/system/{self.unit(daemon)}.d/test.conf", "content": drop_in})
        root = {"apache": "/etc/apache2-reload", "php_fpm": f"/etc/php/{self.php}/fpm"}.get(daemon, f"/etc/{daemon}")
        return self.engine.run(
            {"daemon": daemon, "root": root, "service": self.unit(daemon), "timeout": 20, "owners": {"test": entries}}
        )

    def _entry(self, path: str, content: str) -> dict[str, t.Any]:
        if not content:
            return {"path": path, "state": "absent"}
        if content.startswith("-> "):
            return {"path": path, "link": content[3:]}
        owner = {"owner": "web", "group": "web"} if path.startswith("vassals/") else {}
        if path.startswith("instances/") and "uid =" not in content:
            content += "uid = shop\ngid = shop\n"
        return {"path": path, "content": content, **owner}

    def _uwsgi_system(self, drop_in: str, vassal: bool) -> list[dict[str, t.Any]]:
        names = ("shop", "web", "other")
        files = {
            "sysusers.d/test.conf": "".join(f"u {name} -\n" for name in names),
            "tmpfiles.d/test.conf": "".join(f"d /run/uwsgi/{name} 0777 {name} {name}\n" for name in names),
            "systemd/system/uwsgi@.service": daemon_trees.uwsgi_unit("instances/%i.ini", "" if vassal else drop_in),
            "systemd/system/uwsgi-emperor.service": daemon_trees.uwsgi_unit("emperor.ini", drop_in if vassal else ""),
        }
        return [{"system": f"/etc/{path}", "content": content} for path, content in files.items()]

    def main(self, daemon: str) -> str:
        """The main process: of a vassal, its own master."""
        if daemon == "vassal":
            processes = [line.split() for line in self.ask("ps --no-headers -u web -o pid,ppid").splitlines()]
            parents = {parent for _pid, parent in processes}
            return next((pid for pid, _parent in processes if pid in parents), "")
        return self.ask(f"systemctl show --property MainPID --value {self.unit(daemon)}")

    def children(self, daemon: str) -> set[str]:
        return set(self.ask(f"ps --no-headers --ppid {self.main(daemon)} -o pid").split())


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("reload", request.param)
    host.shell(f"apt-get install --yes --no-install-recommends {PACKAGES}")
    host.shell("systemctl disable --now apache2 uwsgi 2>/dev/null; rm -f /etc/nginx/sites-enabled/default")
    host.shell("install -d /srv/app /srv/www; echo page > /srv/www/index.html")
    host.run("tee", "/srv/app/app.py", stdin="def application(e, s):\n    s('200 OK', [])\n    return [b'app']\n")
    return Stand(Engine.install(host), host.shell("ls /etc/php").stdout.strip())


class Case(t.NamedTuple):
    """A change of one file (old text, new text; no old text: added to the end), what is done, and how it shows."""

    daemon: str
    path: str
    old: str
    new: str
    action: str
    ask: str = "true"
    shows: str = ""
    #: Files that change as well.
    more: t.Mapping[str, str] = {}


SITE, MAIN, POOL = "conf.d/test.conf", "apache2.conf", "pool.d/test.conf"
CACHE = "conf.d/cache.conf"
SHOP, WEB = "instances/shop.ini", "vassals/web.ini"
CURL = "curl --silent --show-error --max-time 5"
PREFORK = {
    "mods-enabled/mpm_event.load": "",
    "mods-enabled/mpm_prefork.load": "-> /etc/apache2/mods-available/mpm_prefork.load",
}
CASES = {
    # nginx: it opens and closes sockets and changes most of their options by a reload.
    "nginx content": Case("nginx", SITE, "one", "two", "reloaded", f"{CURL} http://127.0.0.1:8301", "two"),
    "nginx port": Case("nginx", SITE, "8301", "8303", "reloaded", f"{TCP} | grep -c -e :8301 -e :8303", "1"),
    "nginx backlog": Case(
        "nginx", SITE, "8301;", "8301 backlog=77;", "reloaded", TCP + " | awk '/:8301/ {print $3}'", "77"
    ),
    "nginx reuseport": Case(
        "nginx", SITE, "8301;", "8301 reuseport;", "reloaded", f"{CURL} http://127.0.0.1:8301", "one"
    ),
    "nginx wildcard": Case(
        "nginx", SITE, "127.0.0.1:8301", "8301", "restarted", TCP + " | awk '/:8301/ {print $4}'", "0.0.0.0:8301"
    ),
    "nginx ipv6only": Case(
        "nginx", SITE, "8302;", "8302 ipv6only=off;", "restarted", f"{CURL} http://127.0.0.1:8302", "one"
    ),
    "nginx cache path": Case(
        "nginx", CACHE, "nginx-one", "nginx-two", "restarted", "stat --format %U /var/cache/nginx-two", "www-data"
    ),
    "nginx cache size": Case("nginx", CACHE, ":1m", ":2m", "reloaded"),
    # Apache
    "apache content": Case(
        "apache",
        MAIN,
        "",
        "ServerTokens Prod\n",
        "reloaded",
        f"{CURL} --head http://127.0.0.1:8311 | grep -c 2[.]4",
        "0",
    ),
    "apache port": Case(
        "apache", "sites-enabled/test.conf", "8311", "8312", "reloaded", f"{TCP} | grep -c -e :8311 -e :8312", "1"
    ),
    "apache user": Case(
        "apache",
        MAIN,
        "User www-data",
        "User nobody",
        "reloaded",
        "ps --no-headers -C apache2 -o user | sort -u",
        "nobody\nroot",
    ),
    "apache threads": Case(
        "apache",
        MAIN,
        "ThreadsPerChild 4",
        "ThreadsPerChild 8",
        "reloaded",
        "ps --no-headers -C apache2 -o nlwp | sort -n | tail -n 1 | tr -d ' '",
        "10",
    ),
    "apache module": Case(
        "apache",
        "mods-enabled/status.load",
        "",
        "-> /etc/apache2/mods-available/status.load",
        "reloaded",
        "grep -c mod_status.so /proc/$(systemctl show -P MainPID apache2@reload)/maps | sed 's/^[1-9].*/loaded/'",
        "loaded",
    ),
    "apache MPM": Case(
        "apache",
        MAIN,
        "",
        "\n",
        "restarted",
        "pgrep -c -u www-data apache2 | sed 's/^[5-9]$/prefork/'",
        "prefork",
        PREFORK,
    ),
    "apache ServerLimit": Case("apache", MAIN, "ServerLimit 4", "ServerLimit 5", "restarted"),
    "apache ThreadLimit": Case("apache", MAIN, "ThreadLimit 8", "ThreadLimit 9", "restarted"),
    "apache ListenBacklog": Case(
        "apache", MAIN, "", "ListenBacklog 77\n", "restarted", TCP + " | awk '/:8311/ {print $3}'", "77"
    ),
    "apache PidFile": Case(
        "apache",
        MAIN,
        "PidFile ${APACHE_PID_FILE}",
        "PidFile /run/apache2-reload/other.pid",
        "restarted",
        "ls /run/apache2-reload | grep pid",
        "other.pid",
    ),
    "apache envvars": Case(
        "apache",
        "envvars",
        "",
        "export APACHE_WORD=new\n",
        "restarted",
        "tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID apache2@reload)/environ | grep WORD",
        "APACHE_WORD=new",
    ),
    "apache wildcard": Case(
        "apache",
        "sites-enabled/test.conf",
        "127.0.0.1:8311",
        "8311",
        "restarted",
        f"{CURL} --output /dev/null --write-out '%{{http_code}}' http://127.0.0.2:8311/index.html",
        "200",
    ),
    # PHP-FPM: who may open a socket is changed at its file.
    "php_fpm workers": Case(
        "php_fpm", POOL, "max_children = 2", "max_children = 3", "reloaded", "pgrep -c -f 'pool tes[t]'", "3"
    ),
    "php_fpm settings": Case(
        "php_fpm", "conf.d/90-test.ini", "", "memory_limit = 99M\n", "reloaded", "pgrep -c -f 'pool tes[t]'", "2"
    ),
    "php_fpm mode": Case(
        "php_fpm",
        POOL,
        "0660",
        "0600",
        "reloaded",
        "stat --format '%a %U %G' /run/php/test.sock",
        "600 www-data www-data",
    ),
    "php_fpm owner": Case(
        "php_fpm",
        POOL,
        "listen.owner = www-data",
        "listen.owner = nobody\nlisten.group = adm",
        "reloaded",
        "stat --format '%a %U %G' /run/php/test.sock",
        "660 nobody adm",
    ),
    "php_fpm no owner": Case(
        "php_fpm",
        POOL,
        "listen.owner = www-data\n",
        "",
        "reloaded",
        "stat --format '%a %U %G' /run/php/test.sock",
        "660 root root",
    ),
    "php_fpm address": Case(
        "php_fpm",
        POOL,
        "/run/php/test.sock",
        "127.0.0.1:8321",
        "reloaded",
        "ls /run/php/test.sock 2>&1 | grep -c 'No such'",
        "1",
    ),
    "php_fpm backlog": Case(
        "php_fpm", POOL, "", "listen.backlog = 77\n", "restarted", UNIX + " | awk '/test.sock/ {print $4}'", "77"
    ),
    "php_fpm new pool": Case(
        "php_fpm",
        "pool.d/more.conf",
        "",
        "[more]\nuser = www-data\nlisten = /run/php/more.sock\npm = static\npm.max_children = 1\n",
        "reloaded",
        f"{UNIX} | grep -c more.sock",
        "1",
    ),
    # uWSGI: a reload opens and closes sockets, and keeps those that stay as they are.
    "uwsgi workers": Case("uwsgi", SHOP, "processes = 2", "processes = 3", "reloaded", "pgrep -c -u shop", "4"),
    "uwsgi new socket": Case(
        "uwsgi", SHOP, "", "http-socket = 127.0.0.1:8331\n", "reloaded", f"{CURL} http://127.0.0.1:8331", "app"
    ),
    "uwsgi address": Case(
        "uwsgi", SHOP, "%n/front.sock", "%n/other.sock", "reloaded", "ls /run/uwsgi/shop", "other.sock\nstats.sock"
    ),
    "uwsgi stats": Case(
        "uwsgi", SHOP, "stats.sock", "numbers.sock", "reloaded", f"{UNIX} | grep -c shop/numbers.sock", "1"
    ),
    "uwsgi mode": Case(
        "uwsgi",
        SHOP,
        "660",
        "600",
        "reloaded",
        "stat --format %a /run/uwsgi/shop/front.sock /run/uwsgi/shop/stats.sock",
        "600\n600",
    ),
    "uwsgi owner": Case(
        "uwsgi",
        SHOP,
        "",
        "chown-socket = nobody:adm\n",
        "reloaded",
        "stat --format '%U %G' /run/uwsgi/shop/front.sock",
        "nobody adm",
    ),
    "uwsgi protocol": Case(
        "uwsgi",
        SHOP,
        "socket = /run/uwsgi/%n/front",
        "http-socket = /run/uwsgi/%n/front",
        "restarted",
        f"{CURL} --unix-socket /run/uwsgi/shop/front.sock http://shop/",
        "app",
    ),
    "uwsgi backlog": Case(
        "uwsgi", SHOP, "listen = 100", "listen = 77", "restarted", UNIX + " | awk '/shop.front.sock/ {print $4}'", "77"
    ),
    "uwsgi account": Case("uwsgi", SHOP, "", "uid = other\ngid = other\n", "restarted", "pgrep -c -u other", "3"),
    # A vassal: the Emperor is reloaded in any case.
    "vassal workers": Case("vassal", WEB, "processes = 2", "processes = 3", "reloaded", "pgrep -c -u web", "4"),
    "vassal new socket": Case(
        "vassal", WEB, "", "http-socket = 127.0.0.1:8341\n", "reloaded", f"{CURL} http://127.0.0.1:8341", "app"
    ),
    "vassal mode": Case("vassal", WEB, "660", "600", "reloaded", "stat --format %a /run/uwsgi/web/front.sock", "600"),
    "vassal backlog": Case(
        "vassal", WEB, "listen = 100", "listen = 77", "restarted", UNIX + " | awk '/web.front.sock/ {print $4}'", "77"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=[name.replace(" ", "-") for name in CASES])
def test_what_a_change_needs(stand: Stand, case: Case) -> None:
    stand.apply(case.daemon)
    unit, main, children = stand.unit(case.daemon), stand.main(case.daemon), stand.children(case.daemon)
    emperor = stand.ask("systemctl show --property MainPID --value uwsgi-emperor.service")
    base = BASE["uwsgi" if case.daemon == "vassal" else case.daemon].get(case.path, "")
    assert case.old in base
    changes = {case.path: base.replace(case.old, case.new) if case.old else base + case.new, **case.more}

    result = stand.apply(case.daemon, changes)
    now = stand.main(case.daemon)
    # The workers before end by themselves, beside the ones that serve already.
    deadline = time.monotonic() + 20
    while stand.ask(case.ask) != case.shows or children & stand.children(case.daemon):
        assert time.monotonic() < deadline, (stand.ask(case.ask), children)
        time.sleep(0.2)
    assert (now == main) is (case.action == "reloaded"), result["reasons"]
    assert (unit in result["restarts"]) is (case.action == "restarted")
    if case.daemon == "vassal":
        assert result["actions"][unit] == "reloaded"
        assert stand.ask("systemctl show --property MainPID --value uwsgi-emperor.service") == emperor
    else:
        assert result["actions"][unit] == case.action
    if case.action == "restarted":
        assert result["restarts"][unit]["closed_ms"] > 0
        assert any(unit in warning for warning in result["warnings"])

    children = stand.children(case.daemon)
    again = stand.apply(case.daemon, changes)
    assert (again["changed"], set(again["actions"].values()), again["restarts"]) == (False, {"none"}, {})
    assert stand.main(case.daemon) == now
    assert stand.children(case.daemon) >= children


def test_a_removed_vassal_is_gone_when_the_run_ends(stand: Stand) -> None:
    stand.apply("vassal", {"vassals/other.ini": APPLICATION})
    assert stand.ask(f"{UNIX} | grep -c uwsgi/other/") == "2"
    assert stand.apply("vassal")["actions"][stand.unit("vassal")] == "reloaded"
    assert stand.ask(f"{UNIX} | grep -c uwsgi/other/; ls /run/uwsgi/other") == "0"
