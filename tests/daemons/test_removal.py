# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection put on a host goes again: a site, a stack, everything; then the host is as it was before.

The oracle is find, sha256sum, systemctl and ss, asked before the first site came and after the last one has gone.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import typing as t

import clients
import pytest

from playbooks import Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

PHP = {"root": "/srv/site", "index": ["index.php"]}
WSGI = {"application": {"path": "/srv/site", "module": "app:application"}}
PROGRAM = {"scripts": [{"path": "/", "script": "/srv/site/app.cgi"}]}
#: Every stack, some of them twice: with another front server or socket, and beside a neighbour in the same daemon.
SITES: list[dict[str, t.Any]] = [
    {"stack": "apache_prefork_mod_php", **PHP},
    {"stack": "apache_event_php_fpm", **PHP, "user": "eventer"},
    {"stack": "apache_worker_php_fpm", **PHP, "user": "worker", "socket": "tcp"},
    {"stack": "apache_itk_mod_php", **PHP, "user": "itker"},
    {"stack": "nginx_php_fpm", **PHP, "user": "php-one", "pm": "ondemand"},
    {"stack": "nginx_php_fpm", **PHP, "user": "php-two"},
    {"stack": "reverse_proxy", **PHP, "user": "cached", "cache": {"valid": {200: "1m"}}, "backend_cache": {}},
    {"stack": "nginx_uwsgi_monolith", **WSGI, "user": "uwsgi-one"},
    {"stack": "nginx_uwsgi_monolith", **WSGI, "user": "uwsgi-two"},
    {
        "stack": "nginx_uwsgi_microservices",
        "services": [
            {"name": "web", "user": "web", **WSGI},
            {"name": "part", "user": "part", "mount": "/part", **WSGI},
        ],
    },
    {"stack": "apache_uwsgi", **WSGI, "user": "proxied"},
    {"stack": "apache_mod_wsgi", **WSGI, "user": "modwsgi"},
    {"stack": "apache_mod_perl", "scripts": [{"path": "/", "script": "/srv/site/app.pl"}]},
    {"stack": "scgi", **WSGI, "user": "scgi"},
    {"stack": "cgi", **PROGRAM, "front": "prefork"},
    {"stack": "cgi", **PROGRAM, "front": "nginx", "user": "wrapped"},
    {"stack": "fastcgi", **PROGRAM, "front": "nginx", "user": "fast"},
    {"stack": "fastcgi", **PROGRAM, "front": "fcgid"},
    {
        "stack": "nginx_app",
        "user": "app",
        "directory": "/srv/site",
        "activation": "systemd",
        "command": ["/usr/bin/gunicorn", "app:application"],
    },
]
for number, site in enumerate(SITES):
    site.update(name=f"site-{number}", port=8300 + number)

PACKAGES = (
    "nginx libnginx-mod-http-cache-purge apache2 libapache2-mod-php libapache2-mod-fcgid libapache2-mod-perl2"
    " libapache2-mod-wsgi-py3 libapache2-mpm-itk php-fpm uwsgi-core uwsgi-plugin-python3"
    " fcgiwrap multiwatch libfcgi-perl gunicorn"
)
ECHO = pathlib.Path(__file__).resolve().parents[1] / "support/echo"
FILES = {"index.php": "echo.php", "app.py": "echo_wsgi.py", "app.cgi": "echo.pl", "app.pl": "echo.pl"}
#: What may differ afterwards, and why; and PID files, one of which `nginx -t` makes.
MAY_DIFFER = (
    "/run/lock",  # who held the lock on a tree last; gone with the next boot
    "/run/systemd",  # systemd's own notes
    "/run/log",
    "/run/udev",
    "/run/utmp",
    "/run/ansible",
    "/etc/passwd-",  # shadow's copies of the accounts before its last change
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/.pwd.lock",
    "/var/lib/systemd",  # which units deb-systemd-helper has seen, timers' stamps
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/lib/php/sessions",
    "/var/cache/apt",
    "/var/cache/debconf",
)
LOOK = f"""
prune='-name *.pid -o {" -o ".join(f"-path {path}" for path in MAY_DIFFER)}'
set -f
for place in /etc /run /srv /usr/lib/systemd /usr/local /var/cache /var/lib; do
    find $place -xdev \\( $prune \\) -prune -o ! -type d -printf '%p %y %m %u:%g %l\\n' -o -printf '%p %y %m %u:%g\\n'
    find $place -xdev \\( $prune \\) -prune -o -type f -exec sha256sum {{}} +
done
systemctl list-unit-files --no-legend --plain | awk '{{print $1, $2}}'
systemctl list-units --all --no-legend --plain --type=service,socket | awk '{{print $1, $3}}' |
    grep -vE '^(user|systemd|apt-|session)'
ss -Hlntx | awk '{{print $1, $5}}'
"""


def look(host: Host) -> set[str]:
    """Files with their attributes and digests, units with their states, sockets."""
    return set(host.shell(LOOK).stdout.splitlines())


def answers(host: Host, sites: t.Iterable[dict[str, t.Any]]) -> dict[str, str]:
    """What curl gets from each site."""
    script = "; ".join(
        f"echo {site['name']} $(curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{site['port']}/)"
        for site in sites
    )
    found = (line.partition(" ") for line in host.shell(script).stdout.splitlines())
    return {name: status for name, _blank, status in found}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request: pytest.FixtureRequest, new_module_host: NewHost) -> Host:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    made = new_module_host("removal", request.param)
    made.shell(f"apt-get update -q && apt-get install -y -q --no-install-recommends {PACKAGES}")
    # What somebody had here before: daemons in different states, a changed file, an account.
    made.shell("systemctl disable --now apache2; systemctl reset-failed; systemctl enable --now nginx")
    made.shell("systemctl disable --now fcgiwrap.socket; echo '# mine' >>/etc/nginx/nginx.conf")
    made.shell("useradd --system --comment mine scgi; mkdir /srv/site")
    for name, program in FILES.items():
        made.run("tee", f"/srv/site/{name}", stdin=(ECHO / program).read_text(encoding="utf-8"))
    made.shell("chmod 0755 /srv/site/app.cgi")
    return made


#: Some sites that go, and for each a neighbour in the same daemons.
GOING = {"site-4": 5, "site-7": 8, "site-14": 0, "site-17": 1}


def test_a_host_is_as_it_was_before_the_first_site(host: Host, tmp_path: pathlib.Path) -> None:
    stand = Stand(host.name, tmp_path)
    before = look(host)
    run = stand.site(SITES)
    assert run.code == 0, run.output[-4000:]
    assert set(answers(host, SITES).values()) == {"200"}

    # Sites go by one line each, and nobody else notices.
    sites = [{**site, "state": "absent"} if site["name"] in GOING else site for site in SITES]
    sites[4] = {"name": "site-4", "state": "absent"}
    with contextlib.ExitStack() as stack:
        seen = [stack.enter_context(clients.running(host, "steady", SITES[place]["port"])) for place in GOING.values()]
        run = stand.site(sites)
    host.shell("rm /run/steady.stop")
    assert run.code == 0, run.output[-4000:]
    assert [visitor["outages"] for visitor in seen] == [[]] * len(seen)
    assert all(visitor["requests"] for visitor in seen)
    names = " ".join(f"-e {name}[^0-9]" for name in GOING)
    assert host.shell(f"grep -rIl {names} /etc /run/php /run/uwsgi; ss -Hlntx | grep {names}", check=False).stdout == ""
    accounts = host.shell("cut -d: -f1 /etc/passwd").stdout.split()
    assert {"php-two", "uwsgi-two"} <= set(accounts)
    assert not {"php-one", "uwsgi-one"} & set(accounts)

    # A component that is in use stays, and a stack goes with what only it used.
    rest = [site for site in SITES if site["name"] not in GOING]
    run = stand.play("site", {"weblab_sites": rest, "nginx_state": "absent"})
    assert run.code != 0
    assert "nginx_php_fpm needs nginx, and nginx_state is absent" in run.text
    role = {"role": "weblab.stacks.nginx", "nginx_owner": "somebody", "nginx_state": "absent"}
    run = stand.play([{"hosts": "all", "gather_subset": ["hardware"], "roles": [role]}], {})
    assert run.code != 0
    assert "/etc/nginx cannot go: it is still used by weblab_sites" in run.text
    absent = {"weblab_sites": rest, "apache_worker_php_fpm_state": "absent"}
    run = stand.play("site", absent)
    assert run.code == 0, run.output[-4000:]
    assert host.shell("ls -d /etc/apache2-*").stdout.split() == [
        f"/etc/apache2-{mpm}" for mpm in ("event", "itk", "prefork")
    ]
    stays = [site for site in rest if site["stack"] != "apache_worker_php_fpm"]
    assert set(answers(host, stays).values()) == {"200"}

    # Without sites nothing is served, and what a component has for all of them waits for the next one.
    run = stand.site([])
    assert run.code == 0, run.output[-4000:]
    assert set(answers(host, SITES).values()) == {"000"}
    assert "mine" not in host.shell("cat /etc/nginx/nginx.conf").stdout

    # And everything goes: first it is only shown.
    empty = look(host)
    everything: dict[str, t.Any] = {"weblab_sites": SITES, "weblab_state": "absent"}
    run = stand.play("site", everything, "--check", "--diff")
    assert run.code == 0, run.output[-4000:]
    assert "+# mine" in run.output
    assert {line for line in look(host) ^ empty if "/run/weblab.stacks" not in line} == set()
    run = stand.play("site", everything)
    assert run.code == 0, run.output[-4000:]
    after = look(host)
    assert (sorted(after - before), sorted(before - after)) == ([], [])
    again = stand.play("site", everything)
    assert (again.code, again.recap("changed")) == (0, 0), again.output


@pytest.mark.parametrize("host", ["trixie"], indirect=True)
def test_packages_go_where_that_is_wanted(host: Host, tmp_path: pathlib.Path) -> None:
    run = Stand(host.name, tmp_path).play("site", {"weblab_state": "absent", "packages_purge": True})
    assert run.code == 0, run.output[-4000:]
    there = host.shell("dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'").stdout
    kept = [line for line in there.splitlines() if line.split()[0] in PACKAGES.split() and line.endswith(" installed")]
    assert [
        line for line in kept if line.split()[0] not in ("fcgiwrap", "multiwatch", "libfcgi-perl", "gunicorn")
    ] == []
    assert host.shell("ls -d /etc/nginx /etc/apache2", check=False).stdout == ""
