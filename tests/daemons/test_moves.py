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
#: Seconds for which requests may fail while a site moves, on a machine that runs three tests at once; by itself it is a
#: fraction of one. Who is let in and waits for an answer is served.
LONGEST = 3.0

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


def short_tour(count: int, turn: int) -> list[int]:
    """Every place once and back, and once more to one of them and back; other turns have other pairs."""
    stride = turn % (count - 1) + 1
    return [step * stride % count for step in (*range(count), 0, 3, 0)]


@pytest.mark.parametrize("turn", range(6))
def test_the_short_tour_comes_to_each_place_and_back(turn: int) -> None:
    way = short_tour(7, turn)
    assert way[0] == way[-1]
    assert set(way) == set(range(7))
    moves = list(zip(way, way[1:]))
    assert all(one != other for one, other in moves)
    assert len(moves) == len(set(moves))
    # The first one is reached once more, from another place.
    assert [before for before, place in zip(way, way[1:]) if place == 0] == [way[6], way[8]]


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


#: It takes minutes; the releases take turns.
@pytest.mark.parametrize(
    ("host", "family"),
    [("bookworm", "php"), ("trixie", "wsgi"), ("bookworm", "program")],
    indirect=["host"],
    ids=["bookworm-php", "trixie-wsgi", "bookworm-program"],
)
def test_a_site_moves_by_one_word(host: Host, tmp_path: pathlib.Path, family: str, pytestconfig: pytest.Config) -> None:
    stand = Stand(host.name, tmp_path)
    targets = TARGETS[family]
    turn = pytestconfig.getoption("--sample")
    way = tour(len(targets)) if turn is None else short_tour(len(targets), turn)
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
    costs = dict.fromkeys(moves, 0.0)
    for outage in seen["outages"]:
        (move,) = (
            name for name, (began, ended) in moves.items() if began < outage["ended"] and outage["began"] < ended
        )
        costs[move] += outage["ended"] - outage["began"]
        print(f"{move}: for {outage['ended'] - outage['began']:.2f} s requests failed, {outage['kinds']}")
    for move, (began, ended) in moves.items():
        longest = max((took for asked, took in seen["waits"] if began < asked < ended), default=0.0)
        print(f"{move}: a run of {ended - began:.1f} s, the longest wait for an answer {longest:.2f} s")
    assert {move: cost for move, cost in costs.items() if cost >= LONGEST} == {}
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


@pytest.mark.parametrize("host", ["trixie"], indirect=True)
def test_the_new_front_gives_an_address_back_when_the_old_one_cannot_go_on(host: Host, tmp_path: pathlib.Path) -> None:
    """The old one has its address again before it starts: both cannot have it."""
    stand = Stand(host.name, tmp_path)
    mover, stays = SITES["php"], {**SITES["php"], "name": "stays", "port": PORT + 1, "stack": "apache_event_php_fpm"}
    assert stand.site([{**mover, "stack": "apache_event_php_fpm"}, stays]).code == 0
    # What it reads without the site passes its test, and has an address that it cannot get.
    condition = f"<IfFile !/etc/apache2-event/sites-enabled/mover.conf>\nListen {PORT + 9}\n</IfFile>\n"
    host.run("tee", "/etc/apache2-event/mods-enabled/trap.conf", stdin=condition)
    holder = f"import socket, time; s = socket.create_server(('', {PORT + 9})); time.sleep(600)"
    host.run("systemd-run", "--unit=trap", "python3", "-c", holder)
    try:
        run = stand.site([{**mover, "stack": "nginx_php_fpm"}, stays])
        assert run.code != 0
        assert f"could not bind to address 0.0.0.0:{PORT + 9}" in run.text
        assert "The old configuration was restored." in run.text
        assert "apache2" in host.shell(f"ss -Hlntp 'sport = :{PORT}'").stdout
        for port in (PORT, PORT + 1):
            assert host.shell(f"curl -s http://127.0.0.1:{port}/").stdout == "fpm-fcgi mover"
    finally:
        host.shell("systemctl stop trap; rm /etc/apache2-event/mods-enabled/trap.conf")
    assert stand.site([{**mover, "stack": "nginx_php_fpm"}, stays]).code == 0
    assert "nginx" in host.shell(f"ss -Hlntp 'sport = :{PORT}'").stdout
