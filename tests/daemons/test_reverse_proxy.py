# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What nginx and Apache keep, for whom and how long, asked with curl and counted in the backend's own log."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import shutil
import time
import typing as t
import urllib.parse
import uuid

import pytest

from playbooks import Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

#: Answers as it is asked to; each run of it has an id of its own.
SCRIPT = r"""<?php
usleep((int) (1e6 * ($_GET['sleep'] ?? 0)));
http_response_code((int) ($_GET['status'] ?? 200));
foreach ((array) ($_GET['header'] ?? []) as $line) {
    header($line, false);
}
if (isset($_GET['etag'])) {
    header('ETag: "same"');
    if (($_SERVER['HTTP_IF_NONE_MATCH'] ?? '') === '"same"') {
        http_response_code(304);
        exit;
    }
}
$body = str_repeat('.', (int) ($_GET['size'] ?? 0)) . uniqid('id', true) . ' ' . json_encode($_SERVER);
if (isset($_GET['length'])) {
    header('Content-Length: ' . strlen($body));
}
echo $body;
"""
SITES: list[dict[str, t.Any]] = [
    {
        "name": "kept",
        "stack": "reverse_proxy",
        "port": 8106,
        "root": "/srv/kept",
        "user": "kept",
        "cache": {"valid": {200: "1h", 404: "1h"}, "cookies": ["session_"]},
    },
    {
        "name": "memory",
        "stack": "reverse_proxy",
        "port": 8107,
        "root": "/srv/kept",
        "backend": "prefork",
        "cache": {"enabled": False},
        "static": {"suffixes": []},
        "backend_cache": {"mb": 4, "max_kb": 200},
        "index": ["page.php"],
        "front_controller": "/page.php",
    },
    {
        "name": "files",
        "stack": "reverse_proxy",
        "port": 8109,
        "root": "/srv/kept",
        "user": "kept",
        "cache": {"enabled": False},
        "static": {"suffixes": []},
        "backend_cache": {},
        "index": ["page.php"],
        "front_controller": "/page.php",
    },
    {"name": "strict", "stack": "reverse_proxy", "port": 8108, "root": "/srv/kept", "backend": "prefork", "cache": {}},
]


#: After so many seconds, nginx (which counts whole ones) and OPcache no longer take what was good for one for new.
TOO_OLD = 3


class Answer(t.NamedTuple):
    status: int
    headers: dict[str, str]
    body: str

    @property
    def kept(self) -> str:
        return self.headers.get("x-cache-status", "")

    @property
    def run(self) -> str:
        """Which run of the script wrote it."""
        return re.search(r"id[0-9a-f.]+", self.body)[0]  # type: ignore[index]


class Lab:
    """A host with the stack."""

    def __init__(self, host: Host, stand: Stand) -> None:
        self.host = host
        self.stand = stand

    def page(self, *headers: str, **query: t.Any) -> str:
        """The path of a page that nobody has asked for yet, and what it shall answer."""
        words = [("n", uuid.uuid4().hex), *query.items(), *(("header[]", header) for header in headers)]
        return f"/page.php?{urllib.parse.urlencode(words)}"

    def get(self, path: str, *options: str, port: int = 8106) -> Answer:
        words = ["curl", "--silent", "--show-error", "--include", "--max-time", "20", *options]
        text = self.host.run(*words, f"http://127.0.0.1:{port}{path}").stdout.replace("\r\n", "\n")
        head, _blank, body = text.partition("\n\n")
        lines = [line.partition(":") for line in head.splitlines()[1:]]
        headers = {name.strip().lower(): value.strip() for name, _colon, value in lines}
        return Answer(int(text.split()[1]), headers, body)

    def asked(self, path: str, instance: str = "event", site: str = "kept") -> list[str]:
        """What Apache wrote about these requests, one line each."""
        log = self.host.shell(f"cat /var/log/apache2-{instance}/{site}-*.access.log").stdout
        return [line for line in log.splitlines() if f" {path} HTTP" in line]


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def lab(request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("proxy", request.param)
    host.shell("install -d /srv/kept && head -c 100000 /dev/urandom | base64 > /srv/kept/big.css")
    host.run("tee", "/srv/kept/page.php", stdin=SCRIPT)
    stand = Stand(host.name, tmp_path_factory.mktemp("stand"))
    first = stand.site(SITES)
    assert first.code == 0, first.output
    return Lab(host, stand)


def test_the_second_run_changes_nothing(lab: Lab) -> None:
    for options in ((), ("--check",)):
        again = lab.stand.site(SITES, *options)
        assert (again.code, again.recap("changed")) == (0, 0), again.output


# -- what is kept, and what is nobody else's ---------------------------------------------------------------------


def test_an_answer_without_a_word_about_its_age_is_kept(lab: Lab) -> None:
    path = lab.page()
    answers = [lab.get(path) for _visitor in range(3)]
    assert [answer.kept for answer in answers] == ["MISS", "HIT", "HIT"]
    assert len({answer.run for answer in answers}) == 1
    assert len(lab.asked(path)) == 1


@pytest.mark.parametrize(
    "header",
    [
        "Set-Cookie: session_a=b",
        "Cache-Control: private",
        "Cache-Control: no-store",
        "Cache-Control: no-cache",
        "Cache-Control: max-age=0",
        "Expires: Thu, 01 Jan 1970 00:00:00 GMT",
        "Vary: *",
        "Vary: X-Kind, *",
    ],
)
def test_what_is_one_visitors_is_never_anothers(lab: Lab, header: str) -> None:
    path = lab.page(header)
    answers = [lab.get(path) for _visitor in range(3)]
    assert "HIT" not in [answer.kept for answer in answers]
    assert len({answer.run for answer in answers}) == 3


def test_what_says_itself_how_old_it_may_be_is_kept_for_that_long(lab: Lab) -> None:
    path = lab.page("Cache-Control: max-age=1")
    first = lab.get(path)
    deadline = time.monotonic() + 20
    while lab.get(path).run == first.run:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_an_error_is_not_kept_and_a_404_is(lab: Lab) -> None:
    error, missing = lab.page(status=500), lab.page(status=404)
    assert len({lab.get(error).run for _visitor in range(2)}) == 2
    assert len({lab.get(missing).run for _visitor in range(2)}) == 1


@pytest.mark.parametrize(
    "option",
    ["-HCookie: session_id=7", "-HCookie: a=b; session_=1", "-ua:b", "-HAuthorization: 0"],
)
def test_a_visitor_who_is_somebody_neither_reads_nor_fills_the_cache(lab: Lab, option: str) -> None:
    path = lab.page()
    assert [lab.get(path, option).kept for _visitor in range(2)] == ["BYPASS", "BYPASS"]
    everybody = lab.get(path)
    assert everybody.kept == "MISS"
    own = lab.get(path, option)
    assert (own.kept, own.run != everybody.run) == ("BYPASS", True)
    assert lab.get(path).run == everybody.run


def test_a_cookie_that_says_nothing_of_the_visitor_reads_the_cache(lab: Lab) -> None:
    path = lab.page()
    first = lab.get(path)
    assert lab.get(path, "-HCookie: visits=3; my_session_=4").run == first.run


def test_by_default_every_cookie_is_somebody(lab: Lab) -> None:
    path = lab.page()
    assert lab.get(path, port=8108).kept == "MISS"
    assert lab.get(path, port=8108).kept == "HIT"
    assert lab.get(path, "-HCookie: visits=3", port=8108).kept == "BYPASS"


def test_what_a_visitor_sends_reaches_the_application(lab: Lab) -> None:
    path = lab.page()
    first = lab.get(path)
    sent = lab.get(path, "--data", "a=b")
    assert (sent.run != first.run, '"REQUEST_METHOD":"POST"' in sent.body) == (True, True)
    assert lab.get(path).run == first.run


def test_each_kind_of_visitor_gets_his_own_kind(lab: Lab) -> None:
    path = lab.page("Vary: X-Kind")
    runs = {kind: lab.get(path, f"-HX-Kind: {kind}").run for kind in ("a", "b")}
    assert len(set(runs.values())) == 2
    for kind, run in runs.items():
        again = lab.get(path, f"-HX-Kind: {kind}")
        assert (again.kept, again.run) == ("HIT", run)


def test_one_kept_answer_serves_those_who_take_gzip_and_those_who_do_not(lab: Lab) -> None:
    path = lab.page("Content-Type: text/html", size=2000)
    plain = lab.get(path)
    packed = lab.get(path, "--compressed", "-HAccept-Encoding: gzip")
    assert (packed.kept, packed.body, packed.headers["content-encoding"]) == ("HIT", plain.body, "gzip")


def test_names_have_answers_of_their_own(lab: Lab) -> None:
    path = lab.page()
    runs = {lab.get(path, f"-HHost: {name}").run for name in ("a.example", "b.example", "a.example:8106")}
    assert len(runs) == 3


def test_a_header_that_is_not_part_of_the_key_does_not_reach_the_application(lab: Lab) -> None:
    path = lab.page()
    first = lab.get(path, "-HX-Forwarded-Host: evil.example", "-HX-Forwarded-Proto: https")
    assert "evil.example" not in first.body
    assert '"HTTPS"' not in first.body


# -- parts, conditions, other methods ------------------------------------------------------------------------------


def test_a_part_is_cut_from_the_whole_that_is_kept(lab: Lab) -> None:
    def part(path: str) -> Answer:
        return lab.get(path, "--range", "0-9", port=8108)

    path = lab.page("Accept-Ranges: bytes", size=100, length=1)
    # Whoever is first may get the whole, which RFC 9110 allows; the backend is asked for nothing less.
    first = part(path)
    second, whole = part(path), lab.get(path, port=8108)
    assert "HTTP_RANGE" not in whole.body
    assert (second.status, second.body, second.kept) == (206, "." * 10, "HIT")
    assert (whole.status, whole.kept, whole.body[:100]) == (200, "HIT", "." * 100)
    assert (first.status, first.body) in ((206, second.body), (200, whole.body))
    assert len(lab.asked(path, "prefork", "strict")) == 1
    assert lab.get(path, "--range", "100000-", port=8108).status == 416
    # Of what does not offer parts, everybody gets the whole.
    silent = lab.page(size=100, length=1)
    assert [part(silent).status for _visitor in range(2)] == [200, 200]


def test_head_is_answered_from_what_get_has_left_and_the_other_way_round(lab: Lab) -> None:
    path = lab.page()
    assert lab.get(path, "--head").kept == "MISS"
    answer = lab.get(path)
    assert (answer.kept, bool(answer.body)) == ("HIT", True)
    assert lab.get(path, "--head").headers["x-cache-status"] == "HIT"


def test_who_has_it_already_gets_304(lab: Lab) -> None:
    path = lab.page(etag=1)
    assert lab.get(path, '-HIf-None-Match: "same"').status == 304
    assert lab.get(path).kept == "HIT"
    assert lab.get(path, '-HIf-None-Match: "same"').status == 304
    assert lab.get(path, '-HIf-None-Match: "other"').status == 200
    assert [line.split('"')[2].split()[0] for line in lab.asked(path)] == ["200"]


def test_what_has_not_changed_is_not_sent_again_by_the_backend(lab: Lab) -> None:
    path = lab.page("Cache-Control: max-age=1", etag=1)
    first = lab.get(path)
    deadline = time.monotonic() + 20
    while len(lab.asked(path)) < 2:
        assert time.monotonic() < deadline
        assert lab.get(path).run == first.run
        time.sleep(0.2)
    assert [line.split('"')[2].split()[0] for line in lab.asked(path)][:2] == ["200", "304"]


# -- many at once, and a backend that is down -----------------------------------------------------------------------


def test_a_herd_makes_one_request(lab: Lab) -> None:
    path = lab.page(sleep=1)
    url = shlex.quote(f"http://127.0.0.1:8106{path}")
    runs = lab.host.shell(
        f"for number in $(seq 40); do curl --silent --max-time 20 {url} & done | grep -o 'id[0-9a-f.]*' | sort -u; wait"
    ).stdout.split()
    assert len(runs) == 1
    assert len(lab.asked(path)) == 1


def test_the_old_answer_is_served_while_one_request_renews_it(lab: Lab) -> None:
    path = lab.page("Cache-Control: max-age=1", sleep=1)
    first = lab.get(path)
    time.sleep(TOO_OLD)
    url = shlex.quote(f"http://127.0.0.1:8106{path}")
    runs = lab.host.shell(
        f"for number in $(seq 20); do curl --silent --max-time 20 {url} & done | grep -o 'id[0-9a-f.]*' | sort -u; wait"
    ).stdout.split()
    assert runs == [first.run]
    assert len(lab.asked(path)) <= 2
    deadline = time.monotonic() + 20
    while lab.get(path).run == first.run:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_old_answers_are_served_while_apache_is_down_and_new_ones_when_it_is_back(lab: Lab) -> None:
    path, unknown = lab.page("Cache-Control: max-age=1"), lab.page()
    first = lab.get(path)
    time.sleep(TOO_OLD)
    lab.host.shell("systemctl stop apache2@event.service")
    try:
        answers = [lab.get(path) for _visitor in range(3)]
        assert {(answer.status, answer.run) for answer in answers} == {(200, first.run)}
        assert {answer.kept for answer in answers} <= {"STALE", "UPDATING"}
        assert lab.get(unknown).status == 502
        assert lab.get(unknown, port=8108).status == 200
    finally:
        lab.host.shell("systemctl start apache2@event.service")
    assert lab.get(unknown).status == 200
    deadline = time.monotonic() + 20
    while lab.get(path).run == first.run:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("status", [500, 503])
def test_an_old_answer_is_better_than_an_error(lab: Lab, status: int) -> None:
    script = f"/broken-{uuid.uuid4().hex}.php"
    lab.host.run("tee", f"/srv/kept{script}", stdin="<?php header('Cache-Control: max-age=1'); echo 'id1';")
    path = f"{script}?kept"
    assert lab.get(path).body == "id1"
    lab.host.run("tee", f"/srv/kept{script}", stdin=f"<?php http_response_code({status}); echo 'broken';")
    time.sleep(TOO_OLD)
    assert [lab.get(path).body for _visitor in range(3)] == ["id1"] * 3
    assert lab.get(f"{script}?not-kept").status == status


# -- purge ----------------------------------------------------------------------------------------------------------


def test_purge_removes_one_answer(lab: Lab) -> None:
    path, other = lab.page(), lab.page()
    before = [lab.get(path), lab.get(other)]
    assert lab.get(path, "--request", "PURGE").status == 200
    after = lab.get(path)
    assert (after.kept, after.run != before[0].run) == ("MISS", True)
    assert lab.get(other).run == before[1].run
    assert lab.get(lab.page(), "--request", "PURGE").status in (404, 412)


def test_purge_is_refused_from_elsewhere(lab: Lab) -> None:
    path = lab.page()
    first = lab.get(path)
    assert lab.get(path, "--request", "PURGE", "--interface", "127.0.0.8").status == 403
    assert lab.get(path).run == first.run


def test_all_kinds_of_an_answer_go_with_their_files(lab: Lab) -> None:
    path = lab.page("Vary: X-Kind")
    runs = {kind: lab.get(path, f"-HX-Kind: {kind}").run for kind in ("a", "b")}
    lab.host.shell(
        f"grep --recursive --files-with-matches --text --null {shlex.quote(f'^KEY: http://127.0.0.1:8106{path}$')}"
        " /var/cache/nginx-kept | xargs --null rm"
    )
    for kind, run in runs.items():
        again = lab.get(path, f"-HX-Kind: {kind}")
        assert (again.kept, again.run != run) == ("MISS", True)


# -- the directory, the memory ---------------------------------------------------------------------------------------


def test_a_cache_that_moves_or_grows_is_applied(lab: Lab) -> None:
    def main() -> str:
        return lab.host.shell("systemctl show --property MainPID --value nginx.service").stdout.strip()

    path = lab.page()
    before, first = main(), lab.get(path)
    larger = [{**SITES[0], "cache": {**SITES[0]["cache"], "keys_mb": 8}}, *SITES[1:]]
    assert lab.stand.site(larger).code == 0
    assert main() == before
    assert lab.get(path).run == first.run
    moved = [{**SITES[0], "cache": {**larger[0]["cache"], "path": "/var/cache/other"}}, *SITES[1:]]
    run = lab.stand.site(moved)
    assert run.code == 0, run.output
    assert main() != before
    assert lab.get(path).run != first.run
    assert lab.host.shell(f"grep -rlaF {shlex.quote(path)} /var/cache/other | wc -l").stdout.strip() == "1"
    assert lab.host.shell("stat --format '%U %a' /var/cache/other").stdout.strip() == "www-data 700"
    assert lab.stand.site(SITES).code == 0


def test_one_word_moves_a_site_to_the_other_apache(lab: Lab) -> None:
    kept = lab.page()
    first = lab.get(kept)
    for sites, instance in (([{**SITES[0], "backend": "prefork"}, *SITES[1:]], "prefork"), (SITES, "event")):
        run = lab.stand.site(sites)
        assert run.code == 0, run.output
        again = lab.stand.site(sites)
        assert (again.code, again.recap("changed")) == (0, 0), again.output
        path = lab.page()
        assert lab.get(path).kept == "MISS"
        assert len(lab.asked(path, instance)) == 1
        # nginx's cache is none of the Apaches'.
        assert lab.get(kept).run == first.run


def test_a_lost_directory_comes_back_with_the_host(lab: Lab) -> None:
    lab.host.shell("rm -r /var/cache/nginx-kept && systemd-tmpfiles --create")
    path = lab.page()
    assert [lab.get(path).kept for _visitor in range(2)] == ["MISS", "HIT"]


def test_a_file_is_not_opened_for_every_request(lab: Lab) -> None:
    lab.host.shell(
        "rm -f /tmp/opened; echo old > /srv/kept/style.css; apt-get install --yes --no-install-recommends inotify-tools"
    )
    watch = "inotifywait --quiet --monitor --event open --outfile /tmp/opened /srv/kept/style.css"
    lab.host.shell(
        f"systemd-run --quiet --unit watch {watch}; timeout 20 sh -c 'until pgrep -x inotifywait; do sleep 0.1; done'"
    )
    for _visitor in range(40):
        assert lab.get("/style.css").body == "old\n"
    lab.host.shell("cat /srv/kept/style.css")
    opened = int(lab.host.shell("systemctl stop watch; grep -c OPEN /tmp/opened").stdout)
    # By hand, and twice by each worker: before it is known that somebody asks again, and after that.
    workers = int(lab.host.shell("pgrep -c -f 'nginx: worker'").stdout)
    assert 1 < opened <= 1 + 2 * workers
    lab.host.shell("echo new > /srv/kept/new.css && mv /srv/kept/new.css /srv/kept/style.css")
    deadline = time.monotonic() + 40
    while lab.get("/style.css").body != "new\n":
        assert time.monotonic() < deadline
        time.sleep(0.5)


# -- Apache's own memory ---------------------------------------------------------------------------------------------


def test_apache_keeps_what_says_its_length_and_how_old_it_may_be(lab: Lab) -> None:
    said, silent = lab.page("Cache-Control: max-age=600", length=1), lab.page(length=1)
    assert len({lab.get(said, port=8107).run for _visitor in range(3)}) == 1
    assert len({lab.get(silent, port=8107).run for _visitor in range(3)}) == 3
    large = lab.page("Cache-Control: max-age=600", size=190_000, length=1)
    assert len({lab.get(large, port=8107).run for _visitor in range(3)}) == 1


@pytest.mark.parametrize("port", [8107, 8109])
def test_the_pages_of_one_script_are_kept_apart(lab: Lab, port: int) -> None:
    query = lab.page("Cache-Control: max-age=600", length=1).partition("?")[2]
    # Two by the front controller, one by the index, and the script itself.
    paths = [f"{path}?{query}" for path in ("/one", "/two", "/", "/page.php")]
    first, again = ([lab.get(path, port=port) for path in paths] for _visitor in range(2))
    for answers in (first, again):
        assert [json.loads(answer.body.partition(" ")[2])["REQUEST_URI"] for answer in answers] == paths
    # PHP-FPM's pages come without their length, and are not kept.
    assert ([answer.run for answer in again] == [answer.run for answer in first]) == (port == 8107)


@pytest.mark.parametrize("port", [8107, 8109])
def test_apache_has_the_last_files_in_memory(lab: Lab, port: int) -> None:
    answers = [lab.get("/big.css", port=port) for _visitor in range(3)]
    assert [answer.headers["x-cache"].split()[0] for answer in answers][1:] == ["HIT", "HIT"]
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize("header", ["Set-Cookie: a=b", "Cache-Control: private", "Cache-Control: no-store"])
def test_apache_keeps_nothing_of_one_visitors(lab: Lab, header: str) -> None:
    path = lab.page("Expires: Thu, 01 Jan 2099 00:00:00 GMT", header, length=1)
    assert len({lab.get(path, port=8107).run for _visitor in range(3)}) == 3


def test_apaches_memory_outlives_a_change(lab: Lab) -> None:
    path = lab.page("Cache-Control: max-age=600", length=1)
    lab.get(path, port=8107)
    lab.host.shell("systemctl reload apache2@prefork.service")
    assert lab.get(path, port=8107).status == 200
    assert len({lab.get(path, port=8107).run for _visitor in range(3)}) == 1


# -- the other gateways ----------------------------------------------------------------------------------------------

#: Answers through whichever socket it is asked.
APPLICATION = """\
import uuid
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("ETag", '"same"')])
    asked = [environ.get(name, "") for name in ("HTTP_IF_NONE_MATCH", "HTTP_RANGE")]
    return [f"id{uuid.uuid4().hex}. {asked}".encode()]
"""
#: Port of a site -> what stands behind it.
GATEWAYS = {
    8111: {"type": "uwsgi", "endpoint": "uwsgi+unix:///run/uwsgi/kept/www-data/uwsgi.sock"},
    8112: {"type": "scgi", "endpoint": "scgi+unix:///run/uwsgi/kept/www-data/scgi.sock"},
    8113: {"type": "fastcgi", "endpoint": "fastcgi+unix:///run/uwsgi/kept/www-data/fastcgi.sock"},
    8114: {"type": "proxy", "endpoint": "http+unix:///run/uwsgi/kept/www-data/http.sock"},
    8115: {"type": "php", "endpoint": "fastcgi+unix:///run/php/kept-gateway.sock"},
}


@pytest.fixture(scope="module")
def gateways(lab: Lab) -> Lab:
    """nginx alone, with a cache before an application on each kind of socket."""
    lab.host.run("install", "-D", "-m", "0644", "/dev/stdin", "/srv/gateways/app.py", stdin=APPLICATION)
    sites = [
        {
            "name": f"kept-{location['type']}",
            "port": port,
            "root": "/srv/kept",
            "cache": {"valid": {200: "1s"}},
            "locations": [{"path": "/", "cache": True, **location}],
        }
        for port, location in GATEWAYS.items()
    ]
    application = {"name": "kept", "user": "kept-app", "path": "/srv/gateways", "module": "app", "processes": 2}
    listen = [{"protocol": protocol} for protocol in ("uwsgi", "scgi", "fastcgi", "http")]
    roles = [
        {
            "role": "weblab.stacks.php_fpm",
            "php_fpm_owner": "gateways",
            "php_fpm_pools": [{"name": "kept-gateway", "user": "kept-app"}],
        },
        {
            "role": "weblab.stacks.uwsgi",
            "uwsgi_owner": "gateways",
            "uwsgi_instances": [{**application, "listen": listen}],
        },
        {"role": "weblab.stacks.nginx", "nginx_owner": "gateways", "nginx_sites": sites},
    ]
    run = lab.stand.play([{"hosts": "stand", "roles": roles}], {})
    assert run.code == 0, run.output
    return lab


@pytest.mark.parametrize("port", GATEWAYS, ids=lambda port: GATEWAYS[port]["type"])
def test_answers_of_every_gateway_are_kept(gateways: Lab, port: int) -> None:
    def get(path: str, *options: str) -> Answer:
        return gateways.get(path, *options, port=port)

    path, unit = f"/page.php?{uuid.uuid4().hex}", "uwsgi@kept"
    if GATEWAYS[port]["type"] == "php":
        path, unit = gateways.page(), f"php{gateways.host.shell('ls /etc/php').stdout.strip()}-fpm"
    # Whatever part the first one asks for, the whole is kept.
    first = get(path, '-HIf-None-Match: "same"', "-HRange: bytes=0-1")
    kept = get(path)
    assert (first.kept, kept.status) == ("MISS", 200)
    assert '"same"' not in kept.body.partition(" ")[2]
    assert get(path, "-HCookie: a=b").kept == "BYPASS"
    assert get(path, "-HCookie: a=b").run != kept.run
    gateways.host.shell(f"systemctl stop {unit}")
    try:
        time.sleep(TOO_OLD)
        assert {(answer.status, answer.run) for answer in (get(path) for _visitor in range(3))} == {(200, kept.run)}
        assert get(f"{path}-never-asked").status == 502
        assert get(path, "--request", "PURGE").status == 200
        assert get(path).status == 502
    finally:
        gateways.host.shell(f"systemctl start {unit}")
    assert get(path).kept == "MISS"


# -- https in front --------------------------------------------------------------------------------------------------


def test_behind_tls_the_application_knows_that_it_is_https(lab: Lab, tmp_path: pathlib.Path) -> None:
    lab.host.shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=kept.example"
        " -addext subjectAltName=DNS:kept.example -keyout /etc/kept.key -out /etc/kept.crt 2>&1"
        " && cp /etc/kept.crt /usr/local/share/ca-certificates/ && update-ca-certificates"
    )
    secure = {**SITES[0], "name": "secure", "port": 8443, "user": "secure", "server_names": ["kept.example"]}
    secure["tls"] = {"certificate": "/etc/kept.crt", "key": "/etc/kept.key"}
    run = lab.stand.site([*SITES, secure])
    assert run.code == 0, run.output
    text = lab.host.shell(
        "curl --silent --insecure --resolve kept.example:8443:127.0.0.1 https://kept.example:8443/page.php?n=tls"
    ).stdout
    seen = json.loads(text.partition(" ")[2])
    assert (seen["HTTPS"], seen["HTTP_HOST"], seen["SERVER_NAME"]) == ("on", "kept.example:8443", "kept.example")
    lab.host.shell("install -d /srv/kept/sub && echo index > /srv/kept/sub/index.html")
    moved = lab.host.shell(
        "curl --silent --insecure --include --resolve kept.example:8443:127.0.0.1 https://kept.example:8443/sub"
    ).stdout
    assert re.search(r"(?mi)^location: https://kept\.example:8443/sub/\r?$", moved), moved
    plain = lab.get("/sub")
    assert plain.headers["location"] == "http://127.0.0.1:8106/sub/"
    named = lab.get("/sub", "-HHost: www.example")
    assert named.headers["location"] == "http://www.example/sub/"
    assert lab.stand.site(SITES).code == 0
