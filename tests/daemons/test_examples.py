# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples of the documentation run, on a host that has what they speak of.

Of every module (found by itself, so that a new one without a runnable example fails), of every page in docs/, and the
plays of the roles' pages. The filters' examples need no host, see tests/unit/test_filter_examples.py.
"""

from __future__ import annotations

import shutil
import typing as t

import pytest
from examples import MODULES, PAGES, Block, blocks, of_module

from playbooks import Run, Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

WSGI = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"shop"]
app = application
"""
#: Node.js listens where its environment says.
NODE = "require('express')().get('/', (_, answer) => answer.send('js')).listen(process.env.SOCKET);\n"
#: A chat for programs: what is said comes back; ticks of a clock; a request that is held.
CHAT = """\
import time
import uwsgi
def application(environ, start_response):
    if environ["PATH_INFO"] == "/chat":
        uwsgi.websocket_handshake(environ["HTTP_SEC_WEBSOCKET_KEY"], environ.get("HTTP_ORIGIN", ""))
        return talk()
    if environ["PATH_INFO"] == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return ticks()
    time.sleep(20)
    start_response("204 No Content", [])
    return []
def talk():
    try:
        while True:
            uwsgi.websocket_send(uwsgi.websocket_recv())
    except OSError:
        return []
def ticks():
    for number in range(20):
        yield f"data: {number}\\n\\n".encode()
        time.sleep(0.8)
"""
CHAT_SITE = """\
server {
    listen 127.0.0.1:8090;
    location / {
        proxy_pass http://127.0.0.1:8091;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
        proxy_buffering off;
    }
}
"""
SERVICES = {
    "example-mysql": "--socket-property=ListenStream=/run/mysqld/mysqld.sock true",
    "example-chat": "uwsgi --plugin python3 --wsgi-file /srv/chat.py --http-socket 127.0.0.1:8091"
    " --master --die-on-term --processes 4 --uid www-data --gid www-data",
}
WHOAMI = "<?php header('Content-Type: application/json'); echo json_encode(['sapi' => PHP_SAPI]);"
#: What the readers of the pages have written themselves, on their host.
ON_HOST = {
    "/srv/chat.py": CHAT,
    "/srv/blog/index.php": "<?php echo 'blog';",
    "/srv/blog/whoami/index.php": WHOAMI,
    "/srv/news/public/news.css": "body {}",
    "/srv/shop/index.php": "<?php echo 'shop';",
    "/srv/shop/public/index.html": "shop",
    "/srv/shop/shop/__init__.py": "",
    "/srv/shop/shop/wsgi.py": WSGI,
    "/srv/catalog/catalog.py": WSGI,
    "/srv/js/app.js": NODE,
    "/srv/reviews/reviews.py": WSGI,
    "/srv/web/web.py": WSGI,
}
#: The same, on their controller.
ON_CONTROLLER = {
    "files/shop/shop.py": WSGI,
    "templates/hello.conf.j2": "server { listen 127.0.0.1:80; server_name hello.example.org; return 200 hello; }\n",
}


class ExampleStand(Stand):
    """A host, and a directory with what a reader has on the controller."""

    host: Host

    def run(self, tasks: list[dict[str, t.Any]]) -> Run:
        # The host's address as its readers have it; the connection of the test goes another way.
        address = self.host.shell("hostname --all-ip-addresses").stdout.split()[0]
        variables = {"ansible_host": address, "ansible_docker_host": self.name}
        return self.play([{"hosts": "stand", "gather_facts": True, "tasks": tasks}], variables)

    def play_of(self, block: Block) -> Run:
        """The play, and what else its page shows as the variables of its hosts."""
        variables = {name: value for other in blocks(block.page) if other.is_data for name, value in other.data.items()}
        return self.play([{**play, "hosts": "stand"} for play in block.data], variables)


RELEASES = ["bookworm", "trixie"]


@pytest.fixture(scope="module", params=RELEASES)
def stand(
    request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory
) -> ExampleStand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("examples", request.param)
    for path, text in ON_HOST.items():
        host.run("install", "-D", "-m", "0644", "/dev/stdin", path, stdin=text)
    host.shell("install -d /srv/shop/static; useradd --system shop")
    # The program of the pages that are about programs.
    host.shell("apt-get install --yes --no-install-recommends gitweb libcgi-fast-perl")
    directory = tmp_path_factory.mktemp("controller")
    for path, text in ON_CONTROLLER.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    stand = ExampleStand(host.name, directory)
    stand.host = host
    return stand


@pytest.fixture(scope="module")
def served(stand: ExampleStand) -> ExampleStand:
    """A blog behind Apache and PHP-FPM, a shop behind nginx and uWSGI: as the pages of their roles have them."""
    for role in ("apache_event_php_fpm", "nginx_uwsgi_monolith"):
        (block,) = (block for block in blocks(f"roles/{role}/README.md") if block.is_play)
        done = stand.play_of(block)
        assert done.code == 0, done.output
    for unit, command in SERVICES.items():
        stand.host.shell(f"systemd-run --unit {unit} {command}")
    stand.host.run("tee", "/etc/nginx/sites-enabled/chat.conf", stdin=CHAT_SITE)
    stand.host.shell("systemctl reload nginx")
    return stand


def all_ran(done: Run, tasks: int) -> None:
    assert done.code == 0, done.output
    assert done.recap("skipped") == done.recap("ignored") == done.recap("rescued") == 0, done.output
    assert done.recap("ok") == tasks + 1, done.output


BLOCKS = [block for page in PAGES for block in blocks(page)]


#: Each play once: the releases take turns.
PLAYS = [
    (RELEASES[number % 2], block)
    for number, block in enumerate(block for block in BLOCKS if block.page.startswith("roles/") and block.is_play)
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("stand", "block"), PLAYS, indirect=["stand"], ids=[f"{host}-{block}" for host, block in PLAYS], scope="module"
)
def test_the_play_of_a_roles_page_runs_and_lets_go_again(stand: ExampleStand, block: Block) -> None:
    # Several pages speak of port 80.
    stand.host.shell("systemctl stop nginx apache2 'apache2@*' 2>/dev/null || true")
    done = stand.play_of(block)
    assert done.code == 0, done.output
    gone = stand.play([{**_emptied(play), "hosts": "stand"} for play in block.data], {})
    assert gone.code == 0, gone.output


def _emptied(play: dict[str, t.Any]) -> dict[str, t.Any]:
    """The play when nothing is wanted any more."""
    roles = play.get("roles", [])
    return {
        "gather_facts": True,
        "roles": [{key: [] if isinstance(value, list) else value for key, value in role.items()} for role in roles],
    }


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(served: ExampleStand, name: str) -> None:
    tasks = of_module(name)
    assert any(f"weblab.stacks.{name}" in task for task in tasks)
    all_ran(served.run(tasks), len(tasks))


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if not b.page.startswith("roles/") and (b.is_play or b.is_tasks)], ids=str
)
def test_the_example_of_a_page_runs(served: ExampleStand, block: Block) -> None:
    done = served.play_of(block) if block.is_play else served.run(block.data)
    assert done.code == 0, done.output
