# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every row of docs/troubleshooting.md on real daemons: broken, seen as the row says, mended as the row says.

What a row claims is read from the page, how to break a host in that way from tests/support/troubleshooting.py. curl is
the visitor, the daemons' own logs are the evidence.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import time
import typing as t

import pytest
from troubleshooting import BLOG_PHP, CASES, FILES, LIVE_PY, Case, Row, damages, pattern, rows

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = (
    "nginx-light apache2 libapache2-mod-php libapache2-mod-wsgi-py3 php-fpm uwsgi-core uwsgi-plugin-python3 fcgiwrap "
    "gunicorn python3-websockets"
)

#: Runs the probe with the host's own Python: a specification on standard input, records on standard output.
PROBE = """\
import json, sys
sys.path.insert(0, "/srv/collections")
from ansible_collections.weblab.stacks.plugins.module_utils._probe import probe_all
json.dump([record.as_dict() for record in probe_all(**json.load(sys.stdin))], sys.stdout)
"""

# Not --after-cursor: where the entry at the cursor is another unit's, systemd 252 leaves out the first one after it.
SINCE = '--cursor "$(cat /srv/cursor)"'
LOGS = {
    "nginx": f"cat /var/log/nginx/error.log; journalctl --quiet --no-pager --output cat --unit nginx {SINCE}",
    "Apache": "cat /var/log/apache2/error.log /var/log/apache2-prefork/error.log; "
    f"journalctl --quiet --no-pager --output cat --unit apache2 --unit apache2@prefork {SINCE}",
    "PHP-FPM": "cat /var/log/phpX.Y-fpm.log",
    "uWSGI": f"journalctl --quiet --no-pager --output cat --unit shop {SINCE}",
    "Emperor": f"journalctl --quiet --no-pager --output cat --unit emperor {SINCE}",
    "gunicorn": f"journalctl --quiet --no-pager --output cat --unit app {SINCE}",
    "systemd": f"journalctl --quiet --no-pager --output cat --unit app {SINCE}",
}
#: Those that some cases keep busy, and those that none does.
BUSY = ("nginx", "apache2", "phpX.Y-fpm", "shop")
UNITS = (*BUSY, "apache2@prefork", "emperor", "app")


@dataclasses.dataclass
class Stand:
    """A host with all four daemons, and what can be asked of it."""

    host: Host
    version: str
    #: Path -> what it has now.
    written: dict[str, str] = dataclasses.field(default_factory=dict)

    def ask(self, script: str) -> str:
        return self.host.shell(script.replace("X.Y", self.version), check=False).stdout.strip()

    def write(self, edits: t.Iterable[tuple[str, str, str]] = (), *, anew: bool = False) -> None:
        """Write the healthy files with these edits, and start what reads other ones than before, or is down."""
        units = set()
        texts = {name: content for name, (_path, content, _unit) in FILES.items()}
        for name, good, bad in edits:
            assert good in texts[name], f"{name} does not contain {good!r}"
            texts[name] = texts[name].replace(good, bad)
        for name, (path, _content, unit) in FILES.items():
            text = texts[name]
            if self.written.get(path) != text:
                self.host.run("tee", path.replace("X.Y", self.version), stdin=text)
                self.written[path] = text
                units.add(unit)
        states = self.ask(f"systemctl is-active {' '.join(UNITS)}").split()
        units |= {unit for unit, state in zip(UNITS, states) if state != "active" or (anew and unit in BUSY)}
        if units:
            names = " ".join(sorted(units))
            self.ask(f"systemctl daemon-reload; systemctl reset-failed {names}; systemctl restart {names}")

    def forget(self) -> None:
        """Whatever the logs say from now on is new."""
        for log in ("nginx/error.log", "apache2/error.log", "apache2-prefork/error.log", "phpX.Y-fpm.log"):
            self.ask(f": > /var/log/{log}")
        self.ask("logger mark; journalctl --sync")
        self.ask("journalctl --quiet --lines 0 --show-cursor | sed 's/^-- cursor: //' > /srv/cursor")

    def expect(self, daemon: str, line: str, times: int = 1) -> None:
        """The daemon's log has this line so many times, soon; or nothing that is a warning or worse."""
        if line == "nothing":
            assert not re.search(r"\[(\w+:)?(warn|error|crit|alert|emerg)\]", self.ask(LOGS[daemon]))
            return
        deadline = time.monotonic() + 10
        while (found := len(pattern(line).findall(log := self.ask(LOGS[daemon])))) < times:
            assert time.monotonic() < deadline, f"{daemon} says {found} times, not {times}, {line}:\n{log}"
            time.sleep(0.5)

    def visit(self, cases: t.Sequence[Case]) -> list[tuple[str, str]]:
        """The status that each visitor sees (000 without an answer), and the body; all come at once."""
        curl = "curl --silent --max-time 20 {0.curl} --output $body --write-out '%{{http_code}}' '{0.url}'; cat $body"
        with concurrent.futures.ThreadPoolExecutor() as visitors:
            answers = visitors.map(self.ask, [f"body=$(mktemp); {curl.format(case)}" for case in cases])
            return [(answer[:3], answer[3:]) for answer in answers]

    def probe(self, checks: t.Sequence[t.Any], *, timeout: float, wait: bool = False) -> list[dict[str, t.Any]]:
        """As the front server's user, who is the one that has to come through."""
        task = json.dumps({"specs": checks, "timeout": timeout, "wait": wait})
        argv = "setpriv --reuid www-data --regid www-data --init-groups python3 /srv/probe.py".split()
        return t.cast("list[dict[str, t.Any]]", json.loads(self.host.run(*argv, stdin=task).stdout))


def prepare(host: Host) -> Stand:
    host.shell(f"apt-get install --yes --no-install-recommends {PACKAGES}")
    collection = "/srv/collections/ansible_collections/weblab/stacks"
    host.shell(f"install -d /srv/www/files /srv/www/cgi /srv/shop/lib /etc/uwsgi/vassals /run/wsgi {collection}")
    plugins = f"{host.name}:{collection}/plugins"
    subprocess.run(["docker", "cp", ROOT / "plugins", plugins], check=True, capture_output=True)
    for name, subject in (("good", "localhost"), ("bad", "elsewhere.example")):
        host.shell(
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={subject} "
            f"-addext subjectAltName=DNS:{subject} -keyout /srv/{name}.key -out /srv/{name}.pem"
        )
    files = {
        "/srv/probe.py": PROBE,
        "/srv/shop/lib/prices.py": "",
        "/srv/live.py": LIVE_PY,
        "/srv/www/files/a": "file",
        "/srv/www/gone.php": BLOG_PHP,
        "/srv/www/slow.php": "<?php sleep(25);",
        "/etc/apache2/ports.conf": "",
    }
    for path, text in files.items():
        host.run("tee", path, stdin=text)
    version = host.shell("ls /etc/php").stdout.strip()
    host.shell(f"rm -f /etc/apache2/sites-enabled/* /etc/php/{version}/fpm/pool.d/*; phpdismod opcache")
    # mod_php has an Apache of its own, as its package has it: with processes, not threads.
    host.shell("sh /usr/share/doc/apache2/examples/setup-instance prefork")
    host.shell(f"a2dismod --quiet php{version} mpm_prefork")
    host.shell("a2enmod --quiet mpm_event cgid proxy_fcgi proxy_http proxy_scgi proxy_uwsgi")
    host.shell("rm /etc/apache2/mods-enabled/mpm_event.conf")
    # Debian 13's unit starts what was killed again.
    override = f"/etc/systemd/system/php{version}-fpm.service.d/override.conf"
    host.run("install", "-D", "/dev/stdin", override, stdin="[Service]\nRestart=no\n")
    host.shell("useradd --system shop; install -d -m 0700 /run/closed")
    host.shell("install -d -o shop -g www-data -m 2750 /run/catalog")
    host.shell("install -o shop -g shop /dev/null /etc/uwsgi/vassals/catalog.ini")
    host.shell("install -m 755 /dev/null /srv/www/cgi/hello.cgi")
    host.shell("systemd-run --unit live python3 /srv/live.py")
    return Stand(host, version)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    stand = prepare(new_module_host("troubleshooting", request.param))
    stand.write()
    return stand


@pytest.mark.parametrize("damaged", damages(rows()), ids=lambda damaged: re.sub("[:, ]+", "-", damaged[0].case))
def test_the_rows_are_what_happens_and_their_fix_mends_it(stand: Stand, damaged: list[Row]) -> None:
    cases = [CASES[row.case] for row in damaged]
    load = cases[0].load
    stand.write()
    stand.forget()
    stand.write(dict.fromkeys((name, *words) for case in cases for name, words in case.edits.items()))
    for command in dict.fromkeys(case.do for case in cases):
        stand.ask(f"systemctl reset-failed; {command}")  # which also forgets how often units were started of late
    stand.ask(load)

    # Of whom the log says nothing comes first, and alone.
    silent = [row for row in damaged if "nothing" in dict(row.logs).values()]
    for some in (silent, [row for row in damaged if row not in silent]):
        seen = dict(zip([row.case for row in some], stand.visit([CASES[row.case] for row in some])))
        assert {name: status for name, (status, _body) in seen.items()} == {row.case: row.visitor for row in some}, seen
        said = collections.Counter(log for row in some for log in row.logs)
        for (daemon, line), rows_of_it in said.items():
            # A front server says it of each visitor, what is behind it may have said it once, at its start.
            stand.expect(daemon, line, rows_of_it if daemon in ("nginx", "Apache") else 1)
    records = stand.probe([case.probe for case in cases], timeout=min(case.patience for case in cases))
    for row, record in zip(damaged, records):
        assert (record["state"], record["cause"]) == (row.state, row.cause), (row.case, record)
        assert row.hint in record["hint"], (row.case, record)

    for command in dict.fromkeys(case.undo for case in cases):
        stand.ask(f"systemctl reset-failed; {command}")
    stand.write(anew=bool(load))
    stand.ask(load)
    for row, record in zip(damaged, stand.probe([case.then or case.probe for case in cases], timeout=30, wait=True)):
        assert record["state"] == "ok", (row.case, record)
    assert stand.visit(cases) == [(case.status, case.body) for case in cases]
    if load:
        stand.write(anew=True)
