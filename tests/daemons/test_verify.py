# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verification on a stand that was made by hand, and on the same stand with one mistake at a time.

The oracle is the mistake itself: each is named by exactly the checks that are for it, and the stand without mistakes by
none.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import typing as t

import pytest
import yaml
from by_hand import ByHand, named, states
from stands import API_SERVICE, BROKEN, NGINX_SHOP, PACKAGES, SHOP_PY, Broken

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _rubric
from playbooks import ROOT, Run, play
from playbooks import Stand as Player

if t.TYPE_CHECKING:
    from conftest import Host, NewHost


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("verify", request.param)
    host.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {PACKAGES} >/dev/null")
    host.shell(
        "rm -f /etc/nginx/sites-enabled/default /etc/php/*/fpm/pool.d/www.conf;"
        "for user in shop api blog; do useradd --system $user; done;"
        "systemctl disable --quiet --now uwsgi 2>/dev/null || true"
    )
    made = ByHand(host, tmp_path_factory.mktemp("verify"))
    made.write()
    made.sh("systemctl enable --quiet shop api talk")
    return made


def test_a_stand_that_is_right_is_accepted(stand: ByHand) -> None:
    stand.write()
    document = stand.verdict(Broken({}))
    assert named(document) == {}
    assert (document["verdict"], document["percent"], document["first"]) == ("accepted", 100, None)


def test_the_lecture_has_points_for_what_is_there(stand: ByHand) -> None:
    stand.write()
    document = stand.examine(stand.manifest(Broken({})), _rubric.load("lecture"))
    found = {**states(document, "stacks"), **states(document, "mpms")}
    assert {name for name, state in found.items() if state == "ok"} == {"http", "uwsgi", "nginx_php_fpm", "websocket"}
    assert document["verdict"] == "not_accepted"


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
    # The checklist grows while the stand is looked at, and nothing of it is said twice.
    lines = good.output.splitlines()
    texts = [one.text["ru"] for one in _rubric.load("course").criteria.values()]
    assert [sum(line.endswith(f"  {text}") for line in lines) for text in texts] == [1] * len(texts)
    begun = next(number for number, line in enumerate(lines) if line.startswith("Задаём вопросы"))
    assert any(line.endswith(f"  {texts[0]}") for line in lines[:begun])
    written = json.loads((tmp_path / "results" / "stand.json").read_text(encoding="utf-8"))
    assert written["verdict"] == "accepted"
    made = {path.name for path in (tmp_path / "results").glob("[!.]*")}
    assert made == {"stand.json", "stand.html", "stand.xml", "stand.txt", "class.csv", "class.html"}
    broken = BROKEN["a socket for everybody (PHP-FPM)"]
    stand.write(broken.edits)
    bad = player.play("verify", {**variables, "verify_stand": stand.manifest(broken)})
    assert bad.code != 0
    assert "/run/php/blog.sock режим 0666" in bad.text
    # The reports are there all the same.
    assert "/run/php/blog.sock" in (tmp_path / "results" / "stand.html").read_text(encoding="utf-8")


# --- a class ------------------------------------------------------------------------------------

SEED = "a-seed-of-more-than-sixteen-letters"


class Class:
    """Students: one whose stand is right, one with a wrong manifest, one who is away, two whose hosts mean harm."""

    def __init__(self, stand: ByHand, liar: Host, directory: pathlib.Path) -> None:
        self.directory = directory
        self.results = directory / "results"
        # Of the containers' own network, where nobody has it.
        away = re.sub(r"\d+\.\d+$", "255.254", stand.address)
        addresses = {"anna": stand.address, "boris": stand.address, "clara": away, "dora": stand.address, "emma": away}
        containers = {
            "anna": stand.host.name,
            "boris": stand.host.name,
            "clara": "weblab-nobody",
            "dora": liar.name,
            "emma": liar.name,
        }
        work = stand.repository(Broken({}))
        manifest = stand.manifest(Broken({}))
        for name in containers:
            shutil.copytree(work, directory / "repositories" / name)
            # Where its author says that the work is does not count.
            text = yaml.safe_dump({"verify_stand": {**manifest, "repository": "/etc"}})
            (directory / "repositories" / name / "stand.yml").write_text(text, encoding="utf-8")
        (directory / "repositories" / "boris" / "stand.yml").write_text(
            "verify_stand:\n  name: \"{{ lookup('pipe', 'touch " + str(directory / "owned") + "') }}\"\n  sites: []\n",
            encoding="utf-8",
        )
        lines = ["name,address,repository", *(f"{name},{address},{name}" for name, address in addresses.items())]
        (directory / "class.csv").write_text("\n".join(lines), encoding="utf-8")
        (directory / "class.yml").write_text("plugin: weblab.stacks.stands\ncsv: class.csv\n", encoding="utf-8")
        variables: dict[str, t.Any] = {
            "ansible_connection": "community.docker.docker",
            "ansible_docker_host": "{{ containers[inventory_hostname] }}",
            "containers": containers,
            "verify_results": str(self.results),
            "verify_timeout": 10,
            "verify_deadline": 60,
        }
        (directory / "group_vars").mkdir()
        (directory / "group_vars" / "stands.yml").write_text(yaml.safe_dump(variables), encoding="utf-8")

    def play(self, playbook: str, *options: str) -> Run:
        return play(self.directory / "class.yml", ROOT / "playbooks" / f"{playbook}.yml", *options)

    def documents(self) -> dict[str, t.Any]:
        return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in self.results.glob("*.json")}


@pytest.fixture
def course(stand: ByHand, new_host: NewHost, tmp_path: pathlib.Path) -> Class:
    stand.write()
    liar = new_host("verify-liar", "bookworm")
    made = Class(stand, liar, tmp_path)
    (tmp_path / "host_vars").mkdir()
    # Whoever runs Python there waits for ever, or is told something for ever.
    for name, does in (("dora", "sleep 600"), ("emma", "yes")):
        path = f"/usr/local/bin/python-{name}"
        liar.run("install", "-m", "0755", "/dev/stdin", path, stdin=f"#!/bin/sh\nexec {does}\n")
        (tmp_path / "host_vars" / f"{name}.yml").write_text(f"ansible_python_interpreter: {path}\n", encoding="utf-8")
    return made


def test_a_class_in_one_command(course: Class) -> None:
    key, public = course.directory / "teacher.key", course.directory / "teacher.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    done = course.play("verify", "-e", f"verify_key={key}")
    assert done.code != 0
    found = course.documents()
    assert {name: one["verdict"] for name, one in found.items()} == {
        "anna": "accepted", "boris": "undecided", "clara": "undecided", "dora": "undecided", "emma": "undecided",
    }, done.output  # fmt: skip
    problems = {name: one["problem"] and one["problem"]["cause"] for name, one in found.items()}
    assert problems == {
        "anna": None, "boris": "manifest_wrong", "clara": "stand_unreachable", "dora": "no_result",
        "emma": "stand_unreachable",
    }  # fmt: skip
    assert "MiB" in found["emma"]["problem"]["facts"]["reason"]
    assert "stand.yml:3: verify_stand.sites" in found["boris"]["problem"]["facts"]["reason"]
    assert not (course.directory / "owned").exists()
    # Every stand says when it is done, and how many are: of two at the same moment, each counts the other.
    progress = re.findall(r"\[(\d)/5\] (\w+): ", done.output)
    assert sorted(name for _number, name in progress) == ["anna", "boris", "clara", "dora", "emma"]
    assert max(number for number, _name in progress) == "5"
    assert "/5] anna: accepted, 100 %" in done.output
    table = (course.results / "class.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [",".join(line.split(",")[:3]) for line in table[1:]] == [
        "anna,accepted,100", "boris,undecided,0", "clara,undecided,0", "dora,undecided,0", "emma,undecided,0",
    ]  # fmt: skip
    for name in found:
        assert f'href="{name}.html"' in (course.results / "class.html").read_text(encoding="utf-8")
        assert (course.results / f"{name}.html").is_file()

    # Interrupted before boris was looked at: only he is, and the others' documents stay as they are.
    (course.results / "boris.json").unlink()
    again = course.play("verify", "-e", f"verify_key={key}", "-e", "verify_resume=true")
    assert again.code != 0
    later = course.documents()
    assert {name for name in found if found[name] != later[name]} == {"boris"}

    options = ["-e", f"verify_results={course.results}", "-e", f"verify_public_key={public}"]
    good = course.play("check_signature", *options)
    assert good.code == 0, good.output
    text = (course.results / "boris.json").read_text(encoding="utf-8")
    (course.results / "boris.json").write_text(text.replace("undecided", "accepted"), encoding="utf-8")
    forged = course.play("check_signature", *options)
    assert forged.code != 0
    assert "boris.json: bad" in forged.output
    assert "anna.json: good" in forged.output


def test_a_task_sheet_is_one_students_own(course: Class, stand: ByHand) -> None:
    """Each gets other ports and another token, and the page of somebody who has copied names whose work it is."""
    made = course.play("assignment", "-e", f"verify_seed={SEED}")
    assert made.code == 0, made.output
    sheets = {path.stem: path.read_text(encoding="utf-8") for path in (course.results / "sheets").iterdir()}
    assert sheets.keys() == {"anna", "boris", "clara", "dora", "emma"}
    tokens = {name: re.findall(r"\| token \| `(\w+)` \|", text)[0] for name, text in sheets.items()}
    assert len(set(tokens.values())) == 5
    # The manifest of the sheet is one.
    (skeleton,) = re.findall(r"```yaml\n(.*?)```", sheets["anna"], re.DOTALL)
    ports = [site["port"] for site in yaml.safe_load(skeleton)["verify_stand"]["sites"]]
    assert f"| ports | {', '.join(map(str, ports))} |" in sheets["anna"]

    manifest = stand.manifest(Broken({}))
    manifest["sites"][0]["token"] = "/token"
    path = course.directory / "repositories" / "anna" / "stand.yml"
    path.write_text(yaml.safe_dump({"verify_stand": manifest}), encoding="utf-8")
    for whose, cause in (("anna", ""), ("boris", "token_of_another"), ("nobody", "token_missing")):
        text = tokens.get(whose, "x")
        stand.write(
            [(SHOP_PY, 'if path == "/pid"', f'if path == "/token":\n        body = "{text}"\n    elif path == "/pid"')]
        )
        course.play("verify", "-e", f"verify_seed={SEED}", "--limit", "anna")
        missing = named(course.documents()["anna"])
        # The stand is not on the sheet's ports.
        assert missing.pop("own_ports") == {"other_ports"}
        assert missing == ({"own_token": {cause}} if cause else {})
    stand.write()


# --- what changes a stand -----------------------------------------------------------------------

PLAY = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Shop | Its motto
      ansible.builtin.copy:
        content: "cheap"
        dest: /srv/shop/motto
        mode: "0644"
    - name: Shop | Its clock
      ansible.builtin.command: date
      changed_when: CHANGED
"""


@pytest.fixture
def own_address(stand: ByHand) -> t.Iterator[str]:
    """An address of the stand that it keeps over a restart, in a network where nobody else takes it meanwhile."""
    name = stand.host.name
    try:
        for words in (f"network create {name}", f"network connect {name} {name}", f"update --restart always {name}"):
            subprocess.run(["docker", *words.split()], check=True, capture_output=True)
        field = f'{{{{(index .NetworkSettings.Networks "{name}").IPAddress}}}}'
        inspect = ["docker", "inspect", "--format", field, name]
        yield subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
    finally:
        for words in (f"update --restart no {name}", f"network disconnect --force {name} {name}", f"network rm {name}"):
            subprocess.run(["docker", *words.split()], check=False, capture_output=True)


def test_what_changes_a_stand_is_done_when_it_is_asked_for(
    stand: ByHand, own_address: str, tmp_path: pathlib.Path
) -> None:
    stand.write()
    stand.host.shell(
        "command -v ansible-playbook || apt-get install -y -q --no-install-recommends ansible-core >/dev/null"
    )
    player = Player(stand.host.name, tmp_path)

    def verdict(*changes: str, again: str = "ansible-playbook /srv/site.yml") -> dict[str, t.Any]:
        manifest = {**stand.manifest(Broken({})), "again": again}
        done = player.play(
            "verify",
            {
                "verify_results": str(tmp_path / "results"), "verify_address": own_address, "verify_stand": manifest,
                "verify_changes": list(changes),
            },
        )  # fmt: skip
        path = tmp_path / "results" / "stand.json"
        assert path.exists(), done.output
        return t.cast("dict[str, t.Any]", json.loads(path.read_text(encoding="utf-8")))

    stand.host.run("install", "-D", "-m", "0644", "/dev/stdin", "/srv/site.yml", stdin=PLAY.replace("CHANGED", "false"))
    begun = stand.host.shell("cut -d ' ' -f 22 /proc/1/stat").stdout
    assert states(verdict(), "changes") == dict.fromkeys(
        ("stops_alone", "second_run", "back_after_reboot"), "not_applicable"
    )
    assert stand.host.shell("cut -d ' ' -f 22 /proc/1/stat").stdout == begun
    assert stand.host.shell("test -e /srv/shop/motto", check=False).returncode == 1

    # The first run of the play changes something, the second nothing.
    document = verdict("second_run")
    assert named(document) == {"second_run": {"second_run_changes"}}
    (result,) = (one for one in document["sections"][-1]["criteria"] if one["id"] == "second_run")
    assert result["results"][0]["facts"] == {"changed": "1", "tasks": "Shop | Its motto"}
    document = verdict("second_run", "stop_backend", "reboot")
    assert named(document) == {}, document
    assert states(document, "changes") == dict.fromkeys(("stops_alone", "second_run", "back_after_reboot"), "ok")
    assert stand.host.shell("cut -d ' ' -f 22 /proc/1/stat").stdout != begun

    # Mistakes of each sort: a play that fails, a page that outlives its backend, a site that needs another one's
    # service, and one that is not started at boot.
    assert named(verdict("second_run", again="ansible-playbook /srv/none.yml")) == {"second_run": {"second_run_failed"}}
    assert named(verdict("second_run", again="true")) == {"second_run": {"second_run_says_nothing"}}
    stand.host.run("install", "-D", "-m", "0644", "/dev/stdin", "/srv/site.yml", stdin=PLAY.replace("CHANGED", "true"))
    assert named(verdict("second_run")) == {"second_run": {"second_run_changes"}}
    stand.write(
        [
            (
                NGINX_SHOP,
                "location / {",
                "error_page 502 =200 @copy;\n    location @copy { return 200 'a copy'; }\n    location / {",
            )
        ]
    )
    assert named(verdict("stop_backend")) == {"stops_alone": {"answers_without_backend"}}
    # Nothing is left that would start a service once more.
    assert "weblab-verify" not in stand.host.shell("systemctl list-timers --all --no-legend").stdout
    stand.write([(API_SERVICE, "[Service]", "BindsTo=shop.service\n[Service]")])
    assert named(verdict("stop_backend")) == {"stops_alone": {"stops_others"}}
    # It is as it was before.
    assert named(verdict()) == {}
    stand.write()
    stand.sh("systemctl disable --quiet api")
    document = verdict("reboot")
    assert named(document) == {"starts_at_boot": {"not_enabled"}, "back_after_reboot": {"not_back"}}
    stand.sh("systemctl enable --quiet --now api")
    assert named(verdict()) == {}
