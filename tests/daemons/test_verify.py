# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verification on a stand that was made by hand, and on the same stand with one mistake at a time.

The oracle is the mistake itself: each is named by exactly the checks that are for it, and the stand without mistakes by
none.
"""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from stands import BROKEN, FILES, MANIFEST, PACKAGES, REPOSITORY, UNITS, Broken

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _engine, _manifest, _rubric, _work
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._evidence import Answered, Ask, Facts
from playbooks import Stand as Player

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]

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

    def __init__(self, host: Host, directory: pathlib.Path) -> None:
        self.host = host
        self.directory = directory
        self.php = host.shell("ls /etc/php").stdout.strip()
        self.address = host.shell("hostname --all-ip-addresses").stdout.split()[0]
        self._now: dict[str, str] = {}

    def write(self, edits: t.Iterable[tuple[str, str, str]] = ()) -> None:
        """Write the files of the right stand with these edits, and start what reads other ones than before."""
        texts = dict(FILES)
        for path, good, bad in edits:
            assert good in texts[path], f"{path} does not have {good!r}"
            texts[path] = texts[path].replace(good, bad)
        units = []
        for path, text in texts.items():
            if self._now.get(path) != text:
                self.host.run("install", "-D", "-m", "0644", "/dev/stdin", self.on(path), stdin=text)
                self._now[path] = text
                units += [unit for front, unit in UNITS.items() if path.startswith(front)]
        if units:
            self.sh(f"systemctl daemon-reload; systemctl restart {' '.join(dict.fromkeys(units))}")
            self.sh("for n in $(seq 50); do ls /run/shop/gunicorn.sock >/dev/null 2>&1 && break; sleep 0.1; done")

    def sh(self, script: str) -> None:
        self.host.shell(self.on(script))

    def on(self, text: str) -> str:
        return text.replace("X.Y", self.php)

    def look(self, requests: list[dict[str, t.Any]], facts: bool) -> dict[str, t.Any]:
        given = json.dumps({"requests": requests, "timeout": 10, "facts": facts})
        return t.cast("dict[str, t.Any]", json.loads(self.host.run("python3", "-c", LOOK, stdin=given).stdout))

    def facts(self) -> Facts | None:
        return Facts.of(self.look([], True))

    def ask(self, asks: t.Sequence[Ask]) -> list[Answered]:
        return [
            Answered(
                "" if one["status"] is not None else one["cause"] or "closed", one["message"], one["status"],
                {name.lower(): value for name, value in one["headers"].items()}, base64.b64decode(one["body"]),
            )
            for one in self.look([ask.spec() for ask in asks], False)["answers"]
        ]  # fmt: skip

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
            site["backend"] = changes.get(f"backend of {site['name']}", site["backend"])
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
        stand = _manifest.parse(self.manifest(broken), "byhand", self.address)
        given = _engine.Given(work=_work.read(stand.repository) if stand.repository else None)
        return _engine.examine(_rubric.load("course"), stand, self, given, timeout=10)


def named(document: dict[str, t.Any]) -> dict[str, set[str]]:
    """Criterion -> causes, of all that is not as it should be. What was skipped is named by what it needs."""
    return {
        one["id"]: {result["cause"] for result in one["results"] if result["state"] in ("failed", "unknown")}
        for section in document["sections"]
        for one in section["criteria"]
        if one["state"] in ("failed", "unknown")
    }


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("verify", request.param)
    host.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {PACKAGES} >/dev/null")
    archive = subprocess.run(
        ["tar", "-c", "--dereference", "--exclude=__pycache__", "-C", ROOT / ".collections", PLUGINS],
        capture_output=True, check=True,
    )  # fmt: skip
    host.shell("mkdir -p /srv/collections")
    subprocess.run(
        ["docker", "exec", "-i", host.name, "tar", "-x", "-C", "/srv/collections"], input=archive.stdout, check=True
    )
    host.shell(
        "rm -f /etc/nginx/sites-enabled/default /etc/php/*/fpm/pool.d/www.conf;"
        "for user in shop api blog; do useradd --system $user; done;"
        "systemctl disable --quiet --now uwsgi 2>/dev/null || true"
    )
    made = ByHand(host, tmp_path_factory.mktemp("verify"))
    made.write()
    made.sh("systemctl enable --quiet shop api")
    return made


def test_a_stand_that_is_right_is_accepted(stand: ByHand) -> None:
    stand.write()
    document = stand.verdict(Broken({}))
    assert named(document) == {}
    assert (document["verdict"], document["percent"], document["first"]) == ("accepted", 100, None)


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_named_by_the_checks_that_are_for_it(stand: ByHand, name: str) -> None:
    broken = BROKEN[name]
    stand.write(broken.edits)
    try:
        if broken.do:
            stand.sh(broken.do)
        document = stand.verdict(broken)
    finally:
        if broken.undo:
            stand.sh(broken.undo)
    found = named(document)
    assert set(found) == set(broken.named), found
    for criterion, cause in broken.named.items():
        assert not cause or cause in found[criterion]
    assert document["verdict"] == "not_accepted"
    assert document["first"]["criterion"] in broken.named


def test_the_playbook_says_it_in_the_readers_language(stand: ByHand, tmp_path: pathlib.Path) -> None:
    stand.write()
    player = Player(stand.host.name, tmp_path)
    variables = {"verify_results": str(tmp_path / "results"), "verify_address": stand.address, "verify_language": "ru"}
    good = player.play("verify", {**variables, "verify_stand": stand.manifest(Broken({}))})
    assert good.code == 0, good.output
    assert "stand: принято, 100 %" in good.output
    written = json.loads((tmp_path / "results" / "stand.json").read_text(encoding="utf-8"))
    assert written["verdict"] == "accepted"
    made = {path.name for path in (tmp_path / "results").iterdir()}
    assert made == {"stand.json", "stand.html", "stand.xml", "stand.txt", "class.csv", "class.html"}
    broken = BROKEN["a socket for everybody (PHP-FPM)"]
    stand.write(broken.edits)
    bad = player.play("verify", {**variables, "verify_stand": stand.manifest(broken)})
    assert bad.code != 0
    assert "/run/php/blog.sock режим 0666" in bad.text
    # The reports are there all the same.
    assert "/run/php/blog.sock" in (tmp_path / "results" / "stand.html").read_text(encoding="utf-8")
