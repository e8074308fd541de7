# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every row of docs/troubleshooting.md on real daemons: broken, seen as the row says, mended as the row says.

What a row claims is read from the page, how to break a host in that way from tests/support/troubleshooting.py. curl is
the visitor, the daemons' own logs are the evidence.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import time
import types
import typing as t

import pytest
from troubleshooting import BLOG_PHP, CASES, FILES, LIVE_PY, Case, Row, damages, pattern, rows

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = "nginx-light apache2 php-fpm uwsgi-core uwsgi-plugin-python3 python3-websockets"

#: Runs the probe with the host's own Python: a specification on standard input, records on standard output.
PROBE = """\
import json, sys
sys.path.insert(0, "/srv/collections")
from ansible_collections.weblab.stacks.plugins.module_utils._probe import probe_all
json.dump([record.as_dict() for record in probe_all(**json.load(sys.stdin))], sys.stdout)
"""

SINCE = '--after-cursor "$(cat /srv/cursor)"'
LOGS = {
    "nginx": f"cat /var/log/nginx/error.log; journalctl --quiet --no-pager --output cat --unit nginx {SINCE}",
    "Apache": f"cat /var/log/apache2/error.log; journalctl --quiet --no-pager --output cat --unit apache2 {SINCE}",
    "PHP-FPM": "cat /var/log/phpX.Y-fpm.log",
    "uWSGI": f"journalctl --quiet --no-pager --output cat --unit shop {SINCE}",
}
UNITS = ("nginx", "apache2", "phpX.Y-fpm", "shop")


@dataclasses.dataclass
class Stand:
    """A host with all four daemons, and what can be asked of it."""

    host: Host
    version: str
    #: Path -> what it has now.
    written: dict[str, str] = dataclasses.field(default_factory=dict)

    def ask(self, script: str) -> str:
        return self.host.shell(script.replace("X.Y", self.version), check=False).stdout.strip()

    def write(self, edits: t.Mapping[str, tuple[str, str]] = types.MappingProxyType({}), *, anew: bool = False) -> None:
        """Write the healthy files with these edits, and start what reads other ones than before, or is down."""
        units = set()
        for name, (path, content, unit) in FILES.items():
            good, bad = edits.get(name, ("", ""))
            assert good in content, f"{name} does not contain {good!r}"
            text = content.replace(good, bad) if good else content
            if self.written.get(path) != text:
                self.host.run("tee", path.replace("X.Y", self.version), stdin=text)
                self.written[path] = text
                units.add(unit)
        states = self.ask(f"systemctl is-active {' '.join(UNITS)}").split()
        units |= {unit for unit, state in zip(UNITS, states) if state != "active" or anew}
        if units:
            names = " ".join(sorted(units))
            self.ask(f"systemctl daemon-reload; systemctl reset-failed {names}; systemctl restart {names}")

    def forget(self) -> None:
        """Whatever the logs say from now on is new."""
        self.ask(": > /var/log/nginx/error.log; : > /var/log/apache2/error.log; : > /var/log/phpX.Y-fpm.log")
        self.ask("journalctl --quiet --lines 0 --show-cursor | sed 's/^-- cursor: //' > /srv/cursor")

    def expect(self, daemon: str, line: str) -> None:
        """The daemon's log has this line, soon; or nothing that is a warning or worse."""
        if line == "nothing":
            assert not re.search(r"\[(\w+:)?(warn|error|crit|alert|emerg)\]", self.ask(LOGS[daemon]))
            return
        deadline = time.monotonic() + 10
        while not (found := pattern(line).search(log := self.ask(LOGS[daemon]))) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert found, f"{daemon} says:\n{log}"

    def visit(self, case: Case) -> tuple[str, str]:
        """The status that the visitor sees (000 without an answer), and the body."""
        curl = f"curl --silent --max-time 20 {case.curl} --output /srv/body --write-out '%{{http_code}}' '{case.url}'"
        return self.ask(f": > /srv/body; {curl}"), self.ask("cat /srv/body")

    def probe(self, check: t.Any, *, timeout: float, wait: bool = False) -> dict[str, t.Any]:
        """As the front server's user, who is the one that has to come through."""
        task = json.dumps({"specs": [check], "timeout": timeout, "wait": wait})
        argv = "setpriv --reuid www-data --regid www-data --init-groups python3 /srv/probe.py".split()
        (record,) = json.loads(self.host.run(*argv, stdin=task).stdout)
        return t.cast("dict[str, t.Any]", record)


def prepare(host: Host) -> Stand:
    host.shell(f"apt-get install --yes --no-install-recommends {PACKAGES}")
    host.shell("install -d /srv/www/files /srv/shop/lib /etc/uwsgi /srv/collections/ansible_collections/weblab/stacks")
    plugins = f"{host.name}:/srv/collections/ansible_collections/weblab/stacks/plugins"
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
    host.shell(
        f"rm -f /etc/apache2/sites-enabled/* /etc/apache2/mods-enabled/mpm_event.conf /etc/php/{version}/fpm/pool.d/*"
    )
    # Debian 13's unit starts what was killed again.
    override = f"/etc/systemd/system/php{version}-fpm.service.d/override.conf"
    host.run("install", "-D", "/dev/stdin", override, stdin="[Service]\nRestart=no\n")
    host.shell("useradd --system shop; phpdismod opcache; a2enmod --quiet proxy_fcgi proxy_uwsgi proxy_http")
    host.shell("systemd-run --unit live python3 /srv/live.py")
    return Stand(host, version)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    stand = prepare(new_module_host("troubleshooting", request.param))
    stand.write()
    return stand


@pytest.mark.parametrize("damaged", damages(rows()), ids=lambda damaged: damaged[0].case)
def test_the_rows_are_what_happens_and_their_fix_mends_it(stand: Stand, damaged: list[Row]) -> None:
    case = CASES[damaged[0].case]
    stand.write()
    stand.forget()
    stand.write(case.edits)
    stand.ask(case.do or "true")
    stand.ask(case.load or "true")

    seen = {row.case: stand.visit(CASES[row.case]) for row in damaged}
    assert {name: status for name, (status, _body) in seen.items()} == {row.case: row.visitor for row in damaged}, seen
    for row in damaged:
        for daemon, line in row.logs:
            stand.expect(daemon, line)
    for row in damaged:
        record = stand.probe(CASES[row.case].probe, timeout=case.patience)
        assert (record["state"], record["cause"]) == (row.state, row.cause), record
        assert row.hint in record["hint"], record

    stand.ask(case.undo or "true")
    stand.write(anew=bool(case.load))
    stand.ask(case.load or "true")
    for row in damaged:
        mended = CASES[row.case]
        assert stand.visit(mended) == (mended.status, mended.body)
        record = stand.probe(mended.then or mended.probe, timeout=30, wait=True)
        assert record["state"] == "ok", record
    if case.load:
        stand.write(anew=True)
