# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every pair of a front server and a gateway tells a program the same of a request, but for what the table says.

The table is in tests/support/gateway.py, and docs/gateways.md shows it. The oracles are curl and sha256sum.
"""

from __future__ import annotations

import dataclasses
import shutil
import typing as t

import gateway
import pairs
import pytest

from playbooks import Stand

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

PREPARE = f"""
chmod 0755 /srv/echo/*.pl
apt-get install -y -q libfcgi-perl
for size in {" ".join(map(str, pairs.SIZES.values()))}; do head -c $size /dev/urandom > /srv/echo/body-$size; done
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={pairs.HOST} -addext subjectAltName=DNS:{pairs.HOST} \
    -keyout {pairs.KEY} -out {pairs.CERTIFICATE} 2>&1
cp {pairs.CERTIFICATE} /usr/local/share/ca-certificates/echo.crt
update-ca-certificates
"""


@dataclasses.dataclass(frozen=True)
class Lab:
    """A host with all pairs."""

    host: Host
    tls: bool
    hostname: str
    #: Digest of a body -> what it is called.
    sums: dict[str, str]

    def ask(self, config: str) -> dict[str, tuple[str, str]]:
        done = self.host.run("curl", "--config", "-", stdin=config, check=False)
        return gateway.answers(done.stdout)


#: What is on one release in the clear is on the other one over TLS.
@pytest.fixture(scope="module", params=[("bookworm", False), ("trixie", True)], ids=["bookworm-http", "trixie-https"])
def lab(request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    release, tls = request.param
    host = new_module_host("gateways", release)
    host.shell("mkdir -p /srv/echo/public")
    for path, program in pairs.FILES.items():
        host.run("tee", path, stdin=(pairs.ECHO / program).read_text(encoding="utf-8"))
    host.shell(PREPARE)
    plays, variables = pairs.playbook(tls=tls)
    run = Stand(host.name, tmp_path_factory.mktemp("gateways")).play(plays, variables)
    assert run.code == 0, run.output[-6000:]
    names = {f"/srv/echo/body-{size}": name for name, size in pairs.SIZES.items()}
    lines = host.run("sha256sum", *names).stdout.splitlines()
    sums = {digest: names[path] for digest, path in (line.split() for line in lines)}
    return Lab(host, tls, host.run("hostname").stdout.strip(), sums)


@pytest.mark.parametrize("name", pairs.PAIRS)
def test_the_program_is_told_what_the_table_says(lab: Lab, name: str) -> None:
    pair = pairs.PAIRS[name]
    wrong = {}
    for mount in pair.mounts:
        requests = gateway.asked(pair, mount)
        answers = lab.ask(gateway.curl_config(pair, mount, requests, tls=lab.tls))
        for request in requests:
            expected = gateway.expected(pair, mount, request, tls=lab.tls, hostname=lab.hostname)
            found = gateway.found(expected, *answers.get(request, ("none", "")), lab.sums)
            differs = {
                key: (found.get(key), value) for key, value in expected.items() if found.get(key, "nothing") != value
            }
            if differs:
                wrong[mount, request] = differs
    assert wrong == {}, "found, expected"
