# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Four stacks serve; then something wrong arrives. It is named, the host keeps its files, and every stack serves on."""

from __future__ import annotations

import copy
import typing as t

import pytest
import testinfra
from onhost import get, main_pid

from playbooks import Run, Stand

APPLICATION = {"path": "/usr/lib", "module": "wsgiref.simple_server:demo_app"}
SITES: list[dict[str, t.Any]] = [
    {"name": "old", "stack": "apache_prefork_mod_php", "port": 8081, "root": "/srv/hello"},
    {"name": "blog", "stack": "apache_event_php_fpm", "port": 8082, "root": "/srv/hello", "user": "blog"},
    {"name": "shop", "stack": "nginx_uwsgi_monolith", "port": 8083, "user": "shop", "application": APPLICATION},
    {
        "name": "cut",
        "stack": "nginx_uwsgi_microservices",
        "port": 8084,
        "services": [
            {"name": "web", "user": "cut-web", "calls": ["catalog"], "application": APPLICATION},
            {"name": "catalog", "mount": "/catalog", "user": "cut-catalog", "application": APPLICATION},
        ],
    },
]
URLS = [*(f"http://127.0.0.1:{port}/" for port in (8081, 8082, 8083, 8084)), "http://127.0.0.1:8084/catalog/"]
UNITS = [
    "apache2@prefork",
    "apache2@event",
    "php8.2-fpm",
    "nginx",
    "uwsgi@shop",
    "uwsgi-emperor",
]


class Host:
    """The stand, and what must not change about it."""

    def __init__(self, stand: Stand, host: t.Any) -> None:
        self.stand = stand
        self.host = host

    def files(self) -> str:
        """Names, modes, owners and contents of all configuration."""
        trees = "/etc/apache2-* /etc/nginx /etc/php /etc/uwsgi /etc/systemd/system /etc/tmpfiles.d /etc/sysusers.d"
        return str(
            self.host.check_output(
                f"find {trees} -printf '%p %m %u %g %l\\n' | sort; find {trees} -type f -exec sha256sum {{}} + | sort; "
                "ls -A /etc /etc/php/*; cat /etc/passwd"
            )
        )

    def pids(self) -> dict[str, int]:
        return {unit: main_pid(self.host, unit) for unit in UNITS}

    def serving(self) -> dict[str, int]:
        return {url: get(self.host, url).status for url in URLS}


@pytest.fixture(scope="module")
def serving(new_module_host: t.Any, tmp_path_factory: pytest.TempPathFactory) -> Host:
    container = new_module_host("bad-input")
    container.shell("mkdir /srv/hello; echo '<?php echo PHP_SAPI;' > /srv/hello/index.php")
    stand = Stand(container.name, tmp_path_factory.mktemp("stand"))
    done = stand.site(SITES)
    assert done.code == 0, done.output
    return Host(stand, testinfra.get_host(f"docker://{container.name}"))


def changed(index: int, **more: t.Any) -> list[dict[str, t.Any]]:
    sites = copy.deepcopy(SITES)
    sites[index].update(more)
    return sites


def with_service(**more: t.Any) -> list[dict[str, t.Any]]:
    sites = copy.deepcopy(SITES)
    sites[3]["services"][1].update(more)
    return sites


#: What is wrong -> the sites with it, and what the message must say: the place, and the reason.
WRONG_SITES: dict[str, tuple[list[t.Any], list[str]]] = {
    "an unknown key": (changed(1, colour="red"), ["weblab_sites[1].colour: unknown key"]),
    "a wrong type deep in a site": (
        with_service(application={"path": "/usr/lib", "module": ["a", "b"]}),
        ["weblab_sites[3].services[1].application.module: a text is needed here, not a list"],
    ),
    "a socket path that the kernel cuts": (
        changed(1, socket="fastcgi+unix:///run/php/" + "x" * 100),
        ["weblab_sites[1].socket: the socket path has 109 bytes, and the kernel takes 107"],
    ),
    "two pools on one socket": (
        [
            *SITES,
            {
                "name": "two",
                "stack": "apache_event_php_fpm",
                "port": 8085,
                "root": "/srv/hello",
                "user": "two",
                "socket": "fastcgi+unix:///run/php/blog.sock",
            },
        ],
        ["weblab_sites[4].socket: the address /run/php/blog.sock is taken already by weblab_sites[1].socket"],
    ),
    "two sites on one port": (
        changed(0, port=8083),
        ["weblab_sites[2].port: the address TCP port 8083 is taken already by weblab_sites[0].port"],
    ),
    "a stack that does not exist": (changed(0, stack="lamp"), ["weblab_sites[0].stack: 'lamp' is not one of"]),
    "a missing application path": (changed(2, application={**APPLICATION, "path": "/srv/nothing"}), ["/srv/nothing"]),
    "a missing document root": (changed(0, root="/srv/nothing"), ["/srv/nothing"]),
    "an application that does not load": (
        changed(2, application={"path": "/usr/lib", "module": "no_such_module:app"}),
        ["no_such_module"],
    ),
    "a broken nginx site": (changed(2, extra="nonsense on;"), ['unknown directive "nonsense"']),
    "a broken Apache site": (changed(1, extra="Nonsense on"), ["Invalid command 'Nonsense'"]),
}


@pytest.mark.parametrize("what", list(WRONG_SITES))
def test_wrong_sites(serving: Host, what: str) -> None:
    sites, said = WRONG_SITES[what]
    files, pids = serving.files(), serving.pids()
    done = serving.stand.site(sites)
    assert done.code != 0, done.output
    for words in said:
        assert words in done.text, done.output
    assert serving.files() == files
    assert serving.pids() == pids
    assert set(serving.serving().values()) == {200}


#: Configuration that only the daemon itself can refuse, straight into its tree.
BROKEN_FILES: dict[str, tuple[dict[str, t.Any], str]] = {
    "nginx": (
        {"daemon": "nginx", "root": "/etc/nginx", "service": "nginx.service", "path": "conf.d/broken.conf"},
        "server { listen 8099; proxy_pass nowhere; }\n",
    ),
    "apache": (
        {
            "daemon": "apache",
            "root": "/etc/apache2-event",
            "service": "apache2@event.service",
            "path": "sites-enabled/broken.conf",
        },
        "<VirtualHost *:8099>\n",
    ),
    "php_fpm": (
        {
            "daemon": "php_fpm",
            "root": "/etc/php/8.2/fpm",
            "service": "php8.2-fpm.service",
            "path": "pool.d/broken.conf",
        },
        "[broken]\nuser = nobody\nlisten = /run/php/broken.sock\npm = sometimes\n",
    ),
    "uwsgi": (
        {"daemon": "uwsgi", "root": "/etc/uwsgi", "path": "vassals/broken.ini", "owner": "nobody", "group": "nogroup"},
        "[uwsgi]\nstrict = true\nnonsense = true\n",
    ),
}


@pytest.mark.parametrize("daemon", list(BROKEN_FILES))
def test_a_template_that_renders_what_the_daemon_refuses(serving: Host, daemon: str) -> None:
    arguments, content = BROKEN_FILES[daemon]
    entry = {key: arguments[key] for key in ("path", "owner", "group") if key in arguments}
    task = {key: value for key, value in arguments.items() if key not in entry}
    task["owners"] = {"somebody": [{**entry, "content": content}]}
    files, pids = serving.files(), serving.pids()
    done = serving.stand.play(
        [{"hosts": "all", "gather_facts": False, "tasks": [{"weblab.stacks.config_tree": task}]}], {}
    )
    assert done.code != 0, done.output
    assert serving.files() == files
    assert serving.pids() == pids
    assert set(serving.serving().values()) == {200}
    # The next run is green and finds nothing to do: no broken file is left for it to trip over.
    again = serving.stand.site(SITES)
    assert (again.code, again.recap("changed")) == (0, 0), again.output


def test_a_port_that_somebody_else_has(serving: Host) -> None:
    files = serving.files()
    serving.host.check_output("systemd-run --unit squatter python3 -m http.server 8095")
    try:
        serving.host.check_output("for i in $(seq 50); do ss -ltn | grep -q :8095 && exit 0; sleep 0.1; done; exit 1")
        done = serving.stand.site(changed(2, port=8095))
        assert done.code != 0
        assert "port 8095" in done.output
        assert "squatter.service" in done.output
        assert serving.files() == files
        assert set(serving.serving().values()) == {200}
    finally:
        serving.host.run("systemctl stop squatter")


def test_a_host_that_is_not_debian(serving: Host) -> None:
    files = serving.files()
    release = 'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\nVERSION="24.04 LTS"\n'
    serving.host.check_output("cp -L /etc/os-release /root/os-release")
    serving.host.check_output(f"printf '{release}' > /etc/os-release")
    try:
        done = serving.stand.site(changed(0, port=8096))
    finally:
        serving.host.check_output("cp /root/os-release /etc/os-release")
    assert done.code != 0
    assert "this host runs Ubuntu 24, and weblab.stacks is tested on Debian 12, 13 only" in done.text
    assert serving.files() == files


def test_a_second_run_changes_nothing_in_check_mode_either(serving: Host) -> None:
    for options in ((), ("--check", "--diff")):
        done = serving.stand.site(SITES, *options)
        assert (done.code, done.recap("changed")) == (0, 0), done.output


def test_a_rerun_of_one_stack_is_at_most_twelve_tasks(serving: Host) -> None:
    # The playbook for one site of one stack; what else is on this host is not its business.
    site = {**SITES[1], "name": "alone", "port": 8086, "user": "alone"}

    def stack(sites: list[dict[str, t.Any]]) -> Run:
        role = {"role": "weblab.stacks.apache_event_php_fpm", "apache_event_php_fpm_sites": sites}
        return serving.stand.play([{"hosts": "all", "gather_subset": ["hardware"], "roles": [role]}], {})

    try:
        assert stack([site]).code == 0
        done = stack([site])
        assert (done.code, done.recap("changed")) == (0, 0), done.output
        assert done.recap("ok") <= 12, done.output
    finally:
        assert stack([]).code == 0


def test_everything_is_back_after_a_reboot_without_ansible(serving: Host) -> None:
    import lab_docker

    name = serving.stand.name
    lab_docker.must(["docker", "restart", name])
    lab_docker.wait_for_systemd(name)
    serving.host.check_output("systemctl is-system-running --wait")
    assert set(serving.serving().values()) == {200}
    again = serving.stand.site(SITES)
    assert (again.code, again.recap("changed")) == (0, 0), again.output
