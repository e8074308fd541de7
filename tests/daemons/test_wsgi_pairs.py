# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One WSGI application behind every front server and every protocol of uWSGI's, at the root and below a prefix.

Whichever way a request comes, the application is told the same, and wsgiref.validate finds nothing wrong with it.
"""

from __future__ import annotations

import itertools
import pathlib
import shutil
import subprocess
import typing as t

import pytest
import yaml
from gateway import check_paths, check_request

from playbooks import Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTOCOLS = ("uwsgi", "http", "fastcgi", "scgi")
MOUNTS = ("/", "/shop")
#: Type of a location that speaks the protocol.
TYPES = {"http": "proxy"}
PAIRS = list(itertools.product(("nginx", "apache"), PROTOCOLS, MOUNTS))
PORTS = {pair: 8400 + number for number, pair in enumerate(PAIRS)}


def name_of(mount: str) -> str:
    return "root" if mount == "/" else mount.strip("/")


def instance(mount: str) -> dict[str, t.Any]:
    listen = [{"protocol": protocol} for protocol in PROTOCOLS]
    app = {"name": name_of(mount), "user": "checked", "path": "/srv/hello", "module": "checked:application"}
    return {**app, "mount": mount, "processes": 2, "listen": listen}


def site(front: str, protocol: str, mount: str) -> dict[str, t.Any]:
    endpoint = f"{protocol}+unix:///run/uwsgi/{name_of(mount)}/www-data/{protocol}.sock"
    location = {"path": mount, "type": TYPES.get(protocol, protocol), "endpoint": endpoint}
    # Below the prefix there is nothing at the root.
    return {
        "name": f"{front}-{protocol}-{name_of(mount)}",
        "port": PORTS[front, protocol, mount],
        "locations": [location],
        "health_path": mount,
    }


def play() -> list[dict[str, t.Any]]:
    def role(name: str, **variables: t.Any) -> dict[str, t.Any]:
        include = {"ansible.builtin.include_role": {"name": f"weblab.stacks.{name}"}}
        return {"name": f"Pairs | {name}", **include, "vars": variables}

    sites = {front: [site(*pair) for pair in PAIRS if pair[0] == front] for front in ("nginx", "apache")}
    tasks = [
        role("uwsgi", uwsgi_instances=[instance(mount) for mount in MOUNTS]),
        role("nginx", nginx_sites=sites["nginx"]),
        role("apache", apache_instance="event", apache_sites=sites["apache"]),
    ]
    return [{"hosts": "all", "gather_facts": True, "gather_subset": ["hardware"], "tasks": tasks}]


class OnHost:
    """The host as the questions of onhost.py want it: shell commands, and what came of them."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def run(self, command: str) -> t.Any:
        done: subprocess.CompletedProcess[str] = self.host.shell(command, check=False)
        done.rc = done.returncode  # type: ignore[attr-defined]
        return done


def application() -> str:
    """The application that Molecule's scenarios serve."""
    (prepare,) = yaml.safe_load((ROOT / "molecule/shared/prepare.yml").read_text(encoding="utf-8"))
    (copied,) = [task for task in prepare["tasks"] if "loop" in task]
    return str(next(file["content"] for file in copied["loop"] if file["name"] == "checked.py"))


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def asked(request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> OnHost:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("pairs", request.param)
    host.shell("mkdir -p /srv/hello")
    host.run("tee", "/srv/hello/checked.py", stdin=application())
    done = Stand(host.name, tmp_path_factory.mktemp("pairs")).play(play(), {})
    assert done.code == 0, done.output
    return OnHost(host)


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_every_pair_tells_the_application_the_same(asked: OnHost, pair: tuple[str, str, str]) -> None:
    mount = pair[2].rstrip("/")
    url = f"http://127.0.0.1:{PORTS[pair]}"
    check_paths(asked, url, mount)
    # uWSGI 2.0.21, of Debian 12, does not read a body over FastCGI that comes in more than one of nginx's records.
    check_request(asked, url, mount, client=pair[1] != "http", body=20000 if pair[1] == "fastcgi" else 70000)
