# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verification of a stand whose backends are containers of docker compose.

The test host has a Docker engine of its own. Two applications listen on the same port of their containers, and are
published on the host's loopback; the host's nginx is in front of both, and a third service is an nginx in a container.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import pathlib
import shutil
import typing as t

import pytest
from by_hand import ByHand, named, states
from stands import APPLICATION

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _rubric
from playbooks import Stand as Player

if t.TYPE_CHECKING:
    from conftest import NewHost

PACKAGES = "docker.io docker-compose iptables nginx-light gunicorn"
#: In a container, the engine's groups and settings of networks are mounted read-only.
WRITABLE = (
    "for at in /proc/sys $(awk '$3 == \"cgroup\" {print $2}' /proc/mounts); do mount -o remount,bind,rw $at; done"
)
#: An image of what the host has: Python with gunicorn, and nginx.
IMAGE = """\
set -e
command -v docker >/dev/null || apt-get install -y -q --no-install-recommends docker-cli >/dev/null
systemctl start docker
programs="$(readlink -f /usr/bin/python3) /usr/sbin/nginx"
{
    ldd $programs /usr/lib/python3.*/lib-dynload/*.so | grep -o '/[^ :]*[.]so[^ :]*' | grep -v lib-dynload
    ls -d /usr/lib/python3*
    echo /usr/bin/python3 /usr/bin/gunicorn /usr/sbin/nginx /etc/passwd /etc/group | tr ' ' '\\n'
} | sort -u > /tmp/image
mkdir -p /srv/image/run /srv/image/var/lib/nginx /srv/image/var/log/nginx
mkdir -m 1777 /srv/image/tmp
tar -c --dereference --exclude=__pycache__ --files-from /tmp/image 2>/dev/null | tar -x -C /srv/image
# With its directories: older engines would make them for root only.
tar -c -C /srv/image . | docker import --change 'ENV PATH=/usr/sbin:/usr/bin' - stand >/dev/null
"""
SERVICE = """\
  NAME:
    image: stand
    command: [python3, /usr/bin/gunicorn, --workers, "2", --bind, "0.0.0.0:8000", "app:application"]
    user: "1001:1001"
    working_dir: /srv
    volumes: ["./NAME.py:/srv/app.py:ro"]
    ports: ["127.0.0.1:PORT:8000"]
    restart: unless-stopped
"""
COMPOSE = (
    # Compose 1 asks for it.
    'version: "2.4"\nservices:\n'
    + SERVICE.replace("NAME", "shop").replace("PORT", "9001")
    + SERVICE.replace("NAME", "api").replace("PORT", "9002")
    + """\
  front:
    image: stand
    command: [nginx, -g, "daemon off;"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
    ports: ["8083:8080"]
    depends_on: [shop]
    restart: unless-stopped
"""
)
FRONT = """\
user www-data;
pid /tmp/nginx.pid;
events {}
http {
    access_log off;
    # The address of a container that has stopped may be silent.
    proxy_connect_timeout 2s;
    server {
        listen 8080;
        location / { proxy_pass http://shop:8000; proxy_set_header Host $http_host; }
    }
}
"""
SITE = """\
server {
    listen PORT default_server;
    location / { proxy_pass http://127.0.0.1:BACKEND; proxy_set_header Host $http_host; }
}
"""
FILES = {
    "/srv/stand/docker-compose.yml": COMPOSE,
    "/srv/stand/nginx.conf": FRONT,
    "/srv/stand/shop.py": APPLICATION.replace("NAME", "shop"),
    "/srv/stand/api.py": APPLICATION.replace("NAME", "api"),
    "/etc/nginx/sites-enabled/shop": SITE.replace("PORT", "8081").replace("BACKEND", "9001"),
    "/etc/nginx/sites-enabled/api": SITE.replace("PORT", "8082").replace("BACKEND", "9002"),
    "/etc/systemd/system/stand.service": """\
[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory=/srv/stand
ExecStart=/usr/bin/docker-compose up --detach
ExecStop=/usr/bin/docker-compose down --timeout 5
""",
}
UNITS = {"/srv/stand": "stand", "/etc/systemd": "stand", "/etc/nginx": "nginx"}
READY = "curl -sf http://127.0.0.1:8081/ && curl -sf http://127.0.0.1:8082/ && curl -sf http://127.0.0.1:8083/"
COMPOSE_FILE = "/srv/stand/docker-compose.yml"
PAGES = {"served_by": "http", "nonce": "/?q={nonce}", "process": "/pid"}
MANIFEST: dict[str, t.Any] = {
    "starts": "compose",
    "sites": [
        {"name": "shop", "port": 8081, "backend": "http://127.0.0.1:9001", **PAGES},
        {"name": "api", "port": 8082, "backend": "http://127.0.0.1:9002", **PAGES},
        {"name": "contained", "port": 8083, "backend": "http://127.0.0.1:9001", **PAGES},
    ],
}


class Mistake(t.NamedTuple):
    """An edit, the one check that names it, and the cause."""

    edit: tuple[str, str, str]
    criterion: str
    cause: str


_API = 'user: "1001:1001"\n    working_dir: /srv\n    volumes: ["./api.py'
MISTAKES = {
    "published past nginx": Mistake(
        (COMPOSE_FILE, "127.0.0.1:9002:8000", "0.0.0.0:9002:8000"), "backends_closed", "backend_open"
    ),
    "an application as root": Mistake((COMPOSE_FILE, _API, _API.replace("1001", "0")), "users", "works_as_root"),
}


def rubric() -> _rubric.Rubric:
    """The course's, of what is not handed in."""
    whole = _rubric.load("course")
    kept = [section for section in whole.sections if section.id in ("sites", "servers")]
    return dataclasses.replace(whole, sections=tuple(kept))


class Composed(ByHand):
    """Docker gives its host more addresses, one for each network of containers."""

    @property
    def address(self) -> str:
        shown = self.host.shell("ip -4 -o address show dev eth0").stdout
        return shown.split()[3].partition("/")[0]


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("compose", request.param)
    host.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {PACKAGES} >/dev/null")
    host.shell(WRITABLE)
    host.shell(IMAGE)
    host.shell("rm -f /etc/nginx/sites-enabled/default")
    made = Composed(host, tmp_path_factory.mktemp("compose"), FILES, UNITS, READY)
    made.write()
    return made


def result(document: dict[str, t.Any], criterion: str, site: str) -> dict[str, t.Any]:
    (found,) = (
        one
        for section in document["sections"]
        for judged in section["criteria"]
        if judged["id"] == criterion
        for one in judged["results"]
        if one["site"] == site
    )
    return t.cast("dict[str, t.Any]", found)


def test_a_stand_that_is_right_is_accepted(stand: ByHand) -> None:
    stand.write()
    document = stand.examine(copy.deepcopy(MANIFEST), rubric())
    assert named(document) == {}
    assert document["verdict"] == "accepted"
    found = states(document, "servers")
    assert found["starts_at_boot"] == "not_applicable"
    assert found["front_server"] == found["backends_closed"] == found["users"] == "ok"
    # The containers' own users were seen, and not those of Docker's proxies.
    assert "1001" in result(document, "users", "api")["facts"]["users"]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_by_the_check_that_is_for_it(stand: ByHand, name: str) -> None:
    mistake = MISTAKES[name]
    stand.write([mistake.edit])
    document = stand.examine(copy.deepcopy(MANIFEST), rubric())
    assert named(document) == {mistake.criterion: {mistake.cause}}


def test_a_container_is_stopped_and_started(stand: ByHand, tmp_path: pathlib.Path) -> None:
    stand.write()
    before = stand.host.shell("docker ps --quiet --no-trunc | sort").stdout
    done = Player(stand.host.name, tmp_path).play(
        "verify",
        {
            "verify_results": str(tmp_path / "results"), "verify_address": stand.address, "verify_stand": MANIFEST,
            "verify_changes": ["stop_backend"],
        },
    )  # fmt: skip
    path = tmp_path / "results" / "stand.json"
    assert path.exists(), done.output
    document = json.loads(path.read_text(encoding="utf-8"))
    assert set(named(document)) == {"repository"}, done.output
    assert states(document, "changes")["stops_alone"] == "ok"
    of_api = result(document, "stops_alone", "api")["facts"]
    assert of_api["status"] == "502"
    assert of_api["units"].startswith("docker-")
    # Two sites are made by the shop's container, and only that is stopped.
    units = {name: result(document, "stops_alone", name)["facts"]["units"] for name in ("shop", "contained")}
    assert units["shop"] == units["contained"] != of_api["units"]
    assert stand.host.shell("docker ps --quiet --no-trunc | sort").stdout == before
