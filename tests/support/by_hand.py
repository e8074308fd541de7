# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand that somebody has configured by hand on a test host, and what the verification says of it."""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import subprocess
import typing as t

from stands import FILES, MANIFEST, REPOSITORY, UNITS, Broken

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _engine, _manifest, _rubric, _work
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._evidence import Answered, Ask, Facts, Held
from playbooks import ROOT

if t.TYPE_CHECKING:
    from conftest import Host

PLUGINS = "ansible_collections/weblab/stacks/plugins"
#: Runs the module's engine with the host's own Python.
LOOK = """\
import json, sys
sys.path.insert(0, "/srv/collections")
from ansible_collections.weblab.stacks.plugins.module_utils._stand_info import stand_info
json.dump(stand_info(**json.load(sys.stdin)), sys.stdout)
"""


class ByHand:
    """A host with the stand, and the way to it that the engine wants."""

    def __init__(
        self,
        host: Host,
        directory: pathlib.Path,
        files: t.Mapping[str, str] = FILES,
        units: t.Mapping[str, str] = UNITS,
        ready: str = "ls /run/shop/gunicorn.sock",
    ) -> None:
        """The stand of these files, which is there once the command succeeds."""
        self.host = host
        self.directory = directory
        self._files = files
        self._units = units
        self._ready = ready
        archive = subprocess.run(
            ["tar", "-c", "--dereference", "--exclude=__pycache__", "-C", ROOT / ".collections", PLUGINS],
            capture_output=True, check=True,
        )  # fmt: skip
        host.shell("mkdir -p /srv/collections")
        unpack = ["docker", "exec", "-i", host.name, "tar", "-x", "-C", "/srv/collections"]
        subprocess.run(unpack, input=archive.stdout, check=True)
        self.php = host.shell("ls /etc/php").stdout.strip()
        self._now: dict[str, str] = {}

    @property
    def address(self) -> str:
        """Which may be another one after a restart."""
        return self.host.shell("hostname --all-ip-addresses").stdout.split()[0]

    def write(self, edits: t.Iterable[tuple[str, str, str]] = ()) -> None:
        """Write the files of the right stand with these edits, and start what reads other ones than before."""
        texts = dict(self._files)
        for path, good, bad in edits:
            assert good in texts[path], f"{path} does not have {good!r}"
            texts[path] = texts[path].replace(good, bad)
        units = []
        for path, text in texts.items():
            if self._now.get(path) != text:
                self.host.run("install", "-D", "-m", "0644", "/dev/stdin", self.on(path), stdin=text)
                self._now[path] = text
                units += [unit for front, unit in self._units.items() if path.startswith(front)]
        if units:
            names = " ".join(dict.fromkeys(units))
            # Without the second, systemd takes so many restarts for a crash loop.
            self.sh(f"systemctl daemon-reload; systemctl reset-failed {names}; systemctl restart {names}")
            self.sh(f"for n in $(seq 50); do {self._ready} >/dev/null 2>&1 && break; sleep 0.1; done")

    def sh(self, script: str) -> None:
        self.host.shell(self.on(script))

    def on(self, text: str) -> str:
        return text.replace("X.Y", self.php)

    def look(
        self, requests: list[dict[str, t.Any]], facts: bool, connections: t.Sequence[int] = ()
    ) -> dict[str, t.Any]:
        given = json.dumps({"requests": requests, "timeout": 10, "facts": facts, "connections": connections})
        return t.cast("dict[str, t.Any]", json.loads(self.host.run("python3", "-c", LOOK, stdin=given).stdout))

    def facts(self) -> Facts:
        return Facts.of(self.look([], True))

    def ask(self, asks: t.Sequence[Ask]) -> list[Answered]:
        return [
            Answered(
                "" if one["status"] is not None else one["cause"] or "closed", one["message"], one["status"],
                {name.lower(): value for name, value in one["headers"].items()}, base64.b64decode(one["body"]),
            )
            for one in self.look([ask.spec() for ask in asks], False)["answers"]
        ]  # fmt: skip

    def held(self, ports: t.Sequence[int]) -> list[Held]:
        return [Held.of(one) for one in self.look([], False, ports)["connections"]]

    def manifest(self, broken: Broken) -> dict[str, t.Any]:
        changes = dict(broken.manifest)
        found: dict[str, t.Any] = {**json.loads(json.dumps(MANIFEST)), "repository": str(self.repository(broken))}
        found["sites"][0].update(broken.site)
        found["sites"] = [
            {key: value for key, value in site.items() if value is not None}
            for site in found["sites"]
            if site["name"] != changes.get("without")
        ]
        for site in found["sites"]:
            for key in ("backend", "status"):
                if f"{key} of {site['name']}" in changes:
                    site[key] = changes[f"{key} of {site['name']}"]
        if "repository" in changes:
            del found["repository"]
        return found

    def repository(self, broken: Broken) -> pathlib.Path:
        work = dict(REPOSITORY)
        for path, good, bad in broken.work:
            text = work.get(path, "")
            assert good in ("", "*") or good in text, f"{path} does not have {good!r}"
            work[path] = bad if good in ("", "*") else text.replace(good, bad)
        directory = self.directory / "work"
        shutil.rmtree(directory, ignore_errors=True)
        for path, text in work.items():
            if text:
                (directory / path).parent.mkdir(parents=True, exist_ok=True)
                (directory / path).write_text(text, encoding="utf-8")
        return directory

    def verdict(self, broken: Broken) -> dict[str, t.Any]:
        return self.examine(self.manifest(broken), _rubric.load("course"))

    def examine(self, manifest: dict[str, t.Any], rubric: _rubric.Rubric) -> dict[str, t.Any]:
        stand = _manifest.parse(manifest, "byhand", self.address)
        given = _engine.Given(work=_work.read(stand.repository) if stand.repository else None)
        return _engine.examine(rubric, stand, self, given, timeout=10)


def states(document: dict[str, t.Any], section: str) -> dict[str, str]:
    """Criterion -> its state, of one section."""
    (found,) = (one for one in document["sections"] if one["id"] == section)
    return {one["id"]: one["state"] for one in found["criteria"]}


def named(document: dict[str, t.Any]) -> dict[str, set[str]]:
    """Criterion -> causes, of all that is not as it should be. What was skipped is named by what it needs."""
    return {
        one["id"]: {result["cause"] for result in one["results"] if result["state"] in ("failed", "unknown")}
        for section in document["sections"]
        for one in section["criteria"]
        if one["state"] in ("failed", "unknown")
    }
