# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with daemons, and the probe on it, run by the host's own Python."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = "/srv/collections/ansible_collections/weblab/stacks/plugins"

#: A specification on standard input, records on standard output.
PROBE = """\
import json, sys
sys.path.insert(0, "/srv/collections")
from ansible_collections.weblab.stacks.plugins.module_utils._probe import probe_all
records = probe_all(**json.load(sys.stdin))
json.dump([record.as_dict() for record in records], sys.stdout)
"""

Record = t.Dict[str, t.Any]


@dataclasses.dataclass
class Stand:
    """A host with daemons, and the probe on it."""

    host: Host

    def probe_all(self, *specs: t.Any, timeout: float = 6, wait: bool = True, user: str = "root") -> list[Record]:
        argv = ["setpriv", "--reuid", user, "--regid", user if user != "nobody" else "nogroup", "--clear-groups"]
        task = json.dumps({"specs": specs, "timeout": timeout, "wait": wait})
        records: list[Record] = json.loads(self.host.run(*argv, "python3", "/srv/probe.py", stdin=task).stdout)
        return records

    def probe(self, spec: t.Any, **options: t.Any) -> Record:
        (record,) = self.probe_all(spec, **options)
        return record

    def ask(self, script: str) -> str:
        return self.host.shell(script).stdout.strip()

    def busy(self, url: str, seconds: float, times: int = 1) -> None:
        """Keep a server busy, by a probe that nobody waits for."""
        script = {"script_filename": "/srv/sleep.php"} if url.startswith("fastcgi") else {}
        spec = {"endpoint": url, "path": f"/sleep?{seconds}", **script}
        task = json.dumps({"specs": [spec] * times, "timeout": seconds + 5, "wait": False})
        self.host.run(
            "sh", "-c", "cat > /run/p/task; python3 /srv/probe.py < /run/p/task > /dev/null 2>&1 &", stdin=task
        )
        self.ask("sleep 0.7")


def make_stand(
    host_for: NewHost, release: str, packages: str, files: t.Mapping[str, str], services: t.Mapping[str, str]
) -> Stand:
    """A new host of a release with packages, files and services; the packages' own services are off."""
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = host_for("probe", release)
    host.shell(f"apt-get install --yes --no-install-recommends {packages}")
    host.shell("systemctl disable --now apache2 nginx 'php*-fpm' fcgiwrap.socket fcgiwrap 2>/dev/null; true")
    host.shell(f"install -d -m 0755 /run/p /srv/www; chown www-data /run/p; install -d {PLUGINS}")
    subprocess.run(["docker", "cp", f"{ROOT}/plugins/.", f"{host.name}:{PLUGINS}"], check=True, capture_output=True)
    # Docker gives a container no IPv6, not even ::1.
    host.shell("mount -o remount,rw /proc/sys; echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6")
    host.shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost -keyout /srv/p.key -out /srv/p.pem"
    )
    for path, text in {"/srv/probe.py": PROBE, **files}.items():
        host.run("tee", path, stdin=text)
    fpm = host.shell("ls /usr/sbin/php-fpm* 2>/dev/null || true").stdout.split()
    for name, command in services.items():
        command = command.replace("php-fpm", fpm[0]) if fpm else command
        host.shell(f"systemd-run --quiet --unit={name} -- {command}")
    return Stand(host)


def run_module(host: str, *options: str, connection: str = "community.docker.docker", **arguments: t.Any) -> t.Any:
    """Run endpoint_probe as a task on a host, and return its exit code and what it said."""
    argv = [str(pathlib.Path(sys.executable).with_name("ansible")), "all", "--inventory", f"{host},"]
    argv += ["--connection", connection, "--module-name", "weblab.stacks.endpoint_probe"]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }
    argv += ["--args", json.dumps(arguments), *options]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
