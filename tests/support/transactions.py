# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""config_tree's engine on a test host without Ansible in between, so that a test can do anything to its process."""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import subprocess
import tarfile
import typing as t

if t.TYPE_CHECKING:
    from conftest import Host

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = "/srv/collections/ansible_collections/weblab/stacks/plugins"
SWEEP = pathlib.Path(__file__).with_name("fault_sweep.py")

#: Options on standard input, the result on standard output; as the module does it.
DRIVER = """\
import dataclasses, importlib, json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, "/srv/collections")
engine = "ansible_collections.weblab.stacks.plugins.module_utils._config_tree."
part = lambda name: importlib.import_module(engine + name)
daemons, uwsgi, transaction = part("_daemons"), part("_uwsgi"), part("_transaction")
errors = part("_plan").PlanError, part("_tree").TreeError, part("_service").ServiceError
options = json.load(sys.stdin)
name, service = options.pop("daemon"), options.pop("service", None)
profiles = {"nginx": daemons.Nginx, "apache": daemons.Apache, "php_fpm": daemons.PhpFpm, "uwsgi": uwsgi.Uwsgi}
daemon = profiles.get(name, daemons.Daemon)(
    options["root"], service, options.pop("validate", ()), options.pop("reload", ())
)
result, message = transaction.Result(), ""
try:
    run = transaction.Transaction(transaction.Request(**options), daemon)
    result = run.result
    run.run()
except (transaction.TransactionError, *errors) as error:
    message = str(error) or "no words"
print(json.dumps({**dataclasses.asdict(result), "msg": message}))
"""


@dataclasses.dataclass
class Engine:
    """The engine on one host."""

    host: Host

    @classmethod
    def install(cls, host: Host) -> Engine:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(ROOT / "plugins/module_utils", "module_utils", filter=_no_caches)
        host.shell(f"mkdir -p {PLACE}")
        done = subprocess.run(
            ["docker", "exec", "-i", host.name, "tar", "-x", "-C", PLACE],
            input=packed.getvalue(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        host.run("tee", "/srv/driver.py", stdin=DRIVER)
        host.run("tee", "/srv/sweep.py", stdin=SWEEP.read_text("utf-8"))
        return cls(host)

    def run(self, options: dict[str, t.Any], *wrap: str, fails: bool | None = False) -> dict[str, t.Any]:
        """The result; ``fails`` is None where the process may have been killed, which gives an empty one."""
        done = self.host.run(*wrap, "python3", "/srv/driver.py", stdin=json.dumps(options), check=False)
        if fails is None and not done.stdout:
            return {}
        assert done.stdout, done.stderr
        result: dict[str, t.Any] = json.loads(done.stdout)
        assert fails is None or bool(result["msg"]) is fails, result
        return result

    def start(self, options: dict[str, t.Any]) -> subprocess.Popen[str]:
        """The same beside what the test does; end it with `finish`."""
        process = subprocess.Popen(
            ["docker", "exec", "-i", self.host.name, "python3", "/srv/driver.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(options))
        process.stdin.close()
        process.stdin = None
        return process

    def sweep(self, **task: t.Any) -> dict[str, t.Any]:
        done = self.host.run("python3", "/srv/sweep.py", stdin=json.dumps(task), check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        found: dict[str, t.Any] = json.loads(done.stdout)
        return found

    def ask(self, script: str) -> str:
        return self.host.shell(script).stdout.strip()


def finish(process: subprocess.Popen[str]) -> dict[str, t.Any]:
    output, errors = process.communicate(timeout=120)
    assert output, errors
    result: dict[str, t.Any] = json.loads(output)
    return result


def _no_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.endswith("__pycache__") else entry
