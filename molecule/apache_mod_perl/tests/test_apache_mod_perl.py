# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from onhost import get, main_pid, run

URL = "http://127.0.0.1:8097"


def ask(host: t.Any, path: str, *options: str) -> t.Any:
    return get(host, URL + path, "--header", "Accept: application/json", *options).json()


def test_the_instance_is_prefork_with_the_module(host: t.Any) -> None:
    modules = set(re.findall(r"^ (\w+)_module", run(host, "apache2ctl-prefork -M"), flags=re.MULTILINE))
    assert {"mpm_prefork", "perl"} <= modules
    assert not {"cgi", "cgid", "mpm_event", "proxy"} & modules
    done = host.run("apache2ctl-prefork -t")
    assert (done.rc, done.stderr.strip()) == (0, "Syntax OK")


@pytest.mark.parametrize("path", ["/whoami", "/scripts/whoami.cgi"])
def test_the_script_runs_in_apaches_own_processes(host: t.Any, path: str) -> None:
    answer = ask(host, path)
    assert (answer["sapi"], answer["user"]) == ("mod_perl", "www-data")
    assert answer["ppid"] == main_pid(host, "apache2@prefork.service")


def test_processes_come_again_and_count_their_requests(host: t.Any) -> None:
    # One connection is one process: it has compiled the script once, and keeps its variables.
    many = run(host, f"curl -s -H 'Accept: application/json' {' '.join([f'{URL}/whoami'] * 5)}")
    pids = re.findall(r'"pid": (\d+)', many)
    counts = [int(count) for count in re.findall(r'"requests": (\d+)', many)]
    assert len(pids) == 5
    assert len(set(pids)) == 1
    assert counts == list(range(counts[0], counts[0] + 5))


def test_what_cgi_says_reaches_the_script(host: t.Any) -> None:
    answer = ask(host, "/whoami/caf%C3%A9/a%20b?nonce=n1&x=1")
    assert (answer["script_name"], answer["path_info"], answer["nonce"]) == ("/whoami", "/caf\u00e9/a b", "n1")
    assert answer["site"] == 'deep "blue"'
    assert answer["peer"].startswith("127.0.0.1:")


@pytest.mark.parametrize("path", ["/whoamix", "/scripts/", "/scripts/missing.cgi"])
def test_what_is_no_script_is_not_found_and_never_source(host: t.Any, path: str) -> None:
    answer = get(host, URL + path)
    assert answer.status in (403, 404)
    assert "#!/usr/bin/perl" not in answer.body


def test_a_script_that_does_not_compile_is_500_and_never_source(host: t.Any) -> None:
    run(host, "echo 'my $secret = \"xyzzy\"; this is no Perl' > /srv/weblab/whoami-cgi/broken.cgi")
    try:
        answer = get(host, f"{URL}/scripts/broken.cgi")
        assert answer.status == 500
        assert "xyzzy" not in answer.body
        assert "syntax error" in run(host, "tail -n 20 /var/log/apache2-prefork/demo.error.log")
    finally:
        run(host, "rm /srv/weblab/whoami-cgi/broken.cgi")


def test_a_changed_script_is_compiled_again(host: t.Any) -> None:
    path = "/srv/weblab/whoami-cgi/new.cgi"

    def install(word: str, age: str) -> None:
        lines = f'print "Content-Type: text/plain\\n\\n{word}";'
        run(host, f"echo '{lines}' > {path} && touch -d '{age}' {path}")

    install("one", "2 hours ago")
    try:
        assert get(host, f"{URL}/scripts/new.cgi").body == "one"
        install("two", "1 hour ago")
        assert {get(host, f"{URL}/scripts/new.cgi").body for _attempt in range(20)} == {"two"}
    finally:
        run(host, f"rm {path}")


def test_static_files_are_apaches_own(host: t.Any) -> None:
    answer = get(host, f"{URL}/doc/base-files/copyright")
    assert (answer.status, answer.headers["cache-control"]) == (200, "max-age=3600")
    assert get(host, f"{URL}/plain.txt").body == "plain\n"


def test_gitweb_runs_unchanged(host: t.Any) -> None:
    git = "http://127.0.0.1:8098"
    listed = get(host, f"{git}/?a=project_index").body.split()[::2]
    assert listed
    for project in listed:
        page = get(host, f"{git}/{project}/shortlog")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert f"{git}/" in page.body or "shortlog" in page.body
    style = get(host, f"{git}/static/gitweb.css")
    assert (style.status, style.headers["content-type"]) == (200, "text/css")


def test_two_sites_with_the_same_interpreter_do_not_mix(host: t.Any) -> None:
    # Package variables of both live in one process: each script is compiled into a package of its own.
    for _attempt in range(10):
        assert "gitweb" in get(host, "http://127.0.0.1:8098/").body
        assert ask(host, "/whoami")["sapi"] == "mod_perl"
