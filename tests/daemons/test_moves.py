# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site moves from one stack to another by one word of its description, while somebody visits it all the time.

A tour without detours has every pair of a family's stacks once, in one direction. What a stack leaves behind shows when
the site comes back to a stack from another one than before: the host then has to look as it did the last time.
"""

from __future__ import annotations

import shutil
import typing as t

import clients
import pytest

from playbooks import Stand

if t.TYPE_CHECKING:
    import pathlib

    from conftest import Host, NewHost

PORT = 8300
#: The longest time without an answer, as a part of the run: for all of it the site would be gone if it was stopped
#: first. A run takes some four seconds on a machine that does nothing else, so that less than one is left.
LONGEST = 0.2

PHP = '<?php echo php_sapi_name(), " ", posix_getpwuid(posix_geteuid())["name"];'
WSGI = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""
#: One request as CGI; as FastCGI, one after the other.
PROGRAM = """#!/usr/bin/perl
sub answer { print "Content-Type: text/plain\\r\\n\\r\\nserved" }
if (-S STDIN && !getpeername STDIN) {
    require FCGI;
    my $request = FCGI::Request();
    answer() while $request->Accept() >= 0;
} else {
    answer();
}
"""
SITES: dict[str, dict[str, t.Any]] = {
    "php": {"name": "mover", "port": PORT, "root": "/srv/mover", "index": ["index.php"], "user": "mover"},
    "wsgi": {
        "name": "mover",
        "port": PORT,
        "user": "mover",
        "application": {"path": "/srv/mover", "module": "app:application"},
    },
    "program": {"name": "mover", "port": PORT, "scripts": [{"path": "/", "script": "/srv/mover/app.cgi"}]},
}
#: Stack, and what else is another word.
TARGETS: dict[str, list[dict[str, str]]] = {
    "php": [
        {"stack": "apache_prefork_mod_php"},
        {"stack": "apache_event_php_fpm"},
        {"stack": "apache_event_php_fpm", "socket": "tcp"},
        {"stack": "nginx_php_fpm"},
        {"stack": "apache_worker_php_fpm"},
        {"stack": "apache_itk_mod_php"},
        {"stack": "reverse_proxy"},
    ],
    "wsgi": [
        {"stack": "nginx_uwsgi_monolith"},
        {"stack": "nginx_uwsgi_monolith", "socket": "tcp"},
        {"stack": "nginx_uwsgi_microservices"},
        {"stack": "apache_uwsgi"},
        {"stack": "apache_uwsgi", "socket": "tcp"},
        {"stack": "apache_mod_wsgi"},
        {"stack": "scgi"},
    ],
    "program": [
        {"stack": "cgi", "front": "prefork"},
        {"stack": "cgi", "front": "event"},
        {"stack": "cgi", "front": "nginx"},
        {"stack": "fastcgi", "front": "nginx"},
        {"stack": "fastcgi", "front": "apache"},
        {"stack": "fastcgi", "front": "fcgid"},
        {"stack": "apache_mod_perl"},
    ],
}
TREES = "/etc/apache2* /etc/nginx /etc/php /etc/uwsgi /etc/app-service /etc/systemd/system /etc/*.d /run/php /run/uwsgi"


def tour(count: int) -> list[int]:
    """Every pair of ``count`` places once, and back to the first: an Eulerian circuit. An even number has none."""
    left = {place: [other for other in range(count) if other != place] for place in range(count)}
    way, stack = [], [0]
    while stack:
        here = stack[-1]
        if left[here]:
            stack.append(left[here].pop())
            left[stack[-1]].remove(here)
        else:
            way.append(stack.pop())
    return way


def test_the_tour_has_every_pair_once() -> None:
    way = tour(7)
    assert way[0] == way[-1]
    pairs = [frozenset(pair) for pair in zip(way, way[1:])]
    assert len(pairs) == len(set(pairs)) == 7 * 6 / 2


def traces(host: Host) -> str:
    """Everything on the host that has to do with the site: files, sockets, units, and who listens on its ports."""
    units = "'*apache2*' '*php*' nginx.service '*uwsgi*' 'app@*'"
    return host.shell(
        f"find {TREES} -name '*mover*' 2>/dev/null | sort; grep -rIl mover {TREES} 2>/dev/null | sort; "
        f"systemctl list-units --plain --no-legend --type=service,socket --state=active {units} | cut -d' ' -f1; "
        f"ss -Hlntx | grep -E 'mover|:{PORT}|:{PORT + 1000}' | awk '{{print $5}}' | sort"
    ).stdout


def uptime(host: Host) -> float:
    """Seconds of the host's monotonic clock."""
    return float(host.shell("cut -d' ' -f1 /proc/uptime").stdout)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request: pytest.FixtureRequest, new_module_host: NewHost) -> Host:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    made = new_module_host("moves", request.param)
    made.shell("mkdir -p /srv/mover; chmod 0755 /srv/mover")
    made.run("tee", "/srv/mover/index.php", stdin=PHP)
    made.run("tee", "/srv/mover/app.py", stdin=WSGI)
    made.run("tee", "/srv/mover/app.cgi", stdin=PROGRAM)
    made.shell("chmod 0755 /srv/mover/app.cgi; apt-get install -y -q libfcgi-perl")
    return made


#: It takes minutes: PHP there and back, the others once.
@pytest.mark.parametrize(
    ("host", "family", "way"),
    [
        ("bookworm", "php", tour(len(TARGETS["php"]))),
        ("trixie", "php", tour(len(TARGETS["php"]))[::-1]),
        ("trixie", "wsgi", tour(len(TARGETS["wsgi"]))),
        ("bookworm", "program", tour(len(TARGETS["program"]))),
    ],
    indirect=["host"],
    ids=["bookworm-php", "trixie-php-back", "trixie-wsgi", "bookworm-program"],
)
def test_a_site_moves_by_one_word(host: Host, tmp_path: pathlib.Path, family: str, way: list[int]) -> None:
    stand = Stand(host.name, tmp_path)
    targets = TARGETS[family]
    sites = [{**SITES[family], **target} for target in targets]
    names = [" ".join(target.values()) for target in targets]
    first, *way = way
    run = stand.site([sites[first]])
    assert run.code == 0, run.output[-4000:]
    looks = {first: traces(host)}
    moves: dict[str, tuple[float, float]] = {}
    with clients.running(host, "steady", PORT) as seen:
        before = first
        for place in way:
            move = f"{names[before]} -> {names[place]}"
            began = uptime(host)
            run = stand.site([sites[place]])
            assert run.code == 0, f"{move}: {run.output[-4000:]}"
            moves[move] = began, uptime(host)
            if place not in looks:
                again = stand.site([sites[place]])
                assert (again.code, again.recap("changed")) == (0, 0), f"{names[place]}: {again.output[-4000:]}"
            assert looks.setdefault(place, traces(host)) == traces(host), move
            before = place
    costs, failed = dict.fromkeys(moves, 0.0), dict.fromkeys(moves, 0)
    for outage in seen["outages"]:
        (move,) = (
            name for name, (began, ended) in moves.items() if began < outage["ended"] and outage["began"] < ended
        )
        costs[move] += outage["ended"] - outage["began"]
        failed[move] += sum(outage["kinds"].values())
    for move, (began, ended) in moves.items():
        print(
            f"{move}: {failed[move]} requests failed, {costs[move]:.2f} s without an answer,"
            f" of a run of {ended - began:.1f} s"
        )
    assert {move for move, (began, ended) in moves.items() if costs[move] >= LONGEST * (ended - began)} == set()
    assert seen["requests"] > 100


@pytest.mark.parametrize("host", ["trixie"], indirect=True)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"extra": "Nonsense on"}, "Nonsense"),
        # Everything is well until the new front is asked.
        ({"health_path": "/nothing.php", "extra": "Redirect 503 /nothing.php"}, "503"),
    ],
    ids=["refused", "found live"],
)
def test_a_move_that_fails_leaves_the_site_where_it_was(
    host: Host, tmp_path: pathlib.Path, wrong: dict[str, str], said: str
) -> None:
    stand = Stand(host.name, tmp_path)
    before, after = {**SITES["php"], "stack": "nginx_php_fpm"}, {**SITES["php"], "stack": "apache_event_php_fpm"}
    assert stand.site([before]).code == 0
    run = stand.site([{**after, **wrong}])
    assert run.code != 0
    assert said in run.text
    assert "nginx" in host.shell(f"ss -Hlntp 'sport = :{PORT}'").stdout
    assert host.shell(f"curl -s http://127.0.0.1:{PORT}/").stdout == "fpm-fcgi mover"
    # The next run finds everything as it needs it.
    assert stand.site([after]).code == 0
    assert "apache2" in host.shell(f"ss -Hlntp 'sport = :{PORT}'").stdout
