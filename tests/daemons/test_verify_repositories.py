# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A class of repositories: each is brought up on a host of its own, looked at, and the host removed.

The oracle is Docker's own list of what was made and what was removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import shutil
import subprocess
import typing as t

import pytest
import yaml
from by_hand import named
from stands import FILES, MANIFEST, PACKAGES, REPOSITORY

from playbooks import ROOT, Run, play

PHP = "8.2"
AGAIN = "cd /vagrant && ansible-playbook -c local -i localhost, site.yml"
#: The stand of the other tests, as a student would have Ansible make it.
SITE: list[dict[str, t.Any]] = [
    {
        "hosts": "all",
        "tasks": [
            {"name": "Packages", "apt": {"name": PACKAGES.split(), "install_recommends": False}},
            {"name": "Users", "user": {"name": "{{ item }}", "system": True, "create_home": False}}
            | {"loop": ["shop", "api", "blog"]},
            {"name": "What the packages bring", "file": {"path": "{{ item }}", "state": "absent"}}
            | {"loop": ["/etc/nginx/sites-enabled/default", f"/etc/php/{PHP}/fpm/pool.d/www.conf"]},
            {"name": "Files", "copy": {"src": "files/", "dest": "/", "mode": "0644", "directory_mode": "0755"}}
            | {"register": "files"},
            {"name": "Units", "systemd": {"daemon_reload": True}, "when": "files.changed"},
            {"name": "Services", "systemd": {"name": "{{ item }}", "state": "restarted", "enabled": True}}
            | {"loop": ["shop", "api", "talk", f"php{PHP}-fpm", "nginx"], "when": "files.changed"},
        ],
    }
]  # fmt: skip


class Class:
    """A directory with a table, and a repository for each name."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.results = directory / "results"
        self.names: list[str] = []
        (directory / "class.yml").write_text("plugin: weblab.stacks.stands\ncsv: class.csv\n", encoding="utf-8")

    def add(self, name: str, again: str | None, files: t.Mapping[str, str], **variables: t.Any) -> pathlib.Path:
        self.names.append(name)
        repository = self.directory / "repositories" / name
        manifest = {**MANIFEST, **({"again": again} if again else {})}
        for path, text in {**REPOSITORY, **files, "stand.yml": yaml.safe_dump({"verify_stand": manifest})}.items():
            (repository / path).parent.mkdir(parents=True, exist_ok=True)
            (repository / path).write_text(text, encoding="utf-8")
        (self.directory / "host_vars").mkdir(exist_ok=True)
        (self.directory / "host_vars" / f"{name}.yml").write_text(yaml.safe_dump(variables), encoding="utf-8")
        table = ["name,repository", *(f"{one},{one}" for one in self.names)]
        (self.directory / "class.csv").write_text("\n".join(table), encoding="utf-8")
        return repository

    def container(self, name: str) -> str:
        return "weblab-stand-" + hashlib.sha256(f"{self.results}/{name}".encode()).hexdigest()[:16]

    def play(self, *options: str) -> Run:
        variables = ["-e", f"verify_results={self.results}", "-e", "verify_bring_up=true"]
        return play(self.directory / "class.yml", ROOT / "playbooks" / "verify.yml", *variables, *options)

    def document(self, name: str) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads((self.results / f"{name}.json").read_text(encoding="utf-8")))

    def reason(self, name: str) -> tuple[str, str]:
        problem = self.document(name)["problem"]
        return problem["cause"], problem["facts"]["reason"]


@contextlib.contextmanager
def watched() -> t.Iterator[dict[str, list[str]]]:
    """What happens to stands' hosts meanwhile: event -> names, once it is over. Docker remembers few events."""
    filters = "--filter type=container --filter event=create --filter event=destroy".split()
    shown = ["--format", "{{.Action}} {{.Actor.Attributes.name}}"]
    found: dict[str, list[str]] = {"create": [], "destroy": []}
    with subprocess.Popen(["docker", "events", *filters, *shown], stdout=subprocess.PIPE, text=True) as docker:
        try:
            yield found
        finally:
            docker.terminate()
            for line in docker.stdout or ():
                event, name = line.split()
                if name.startswith("weblab-stand-"):
                    found[event].append(name)


@pytest.fixture
def course(tmp_path: pathlib.Path) -> t.Iterator[Class]:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    made = Class(tmp_path)
    yield made
    for name in made.names:
        subprocess.run(["docker", "rm", "-f", "-v", made.container(name)], check=False, capture_output=True)


def test_each_repository_is_brought_up_looked_at_and_removed(course: Class, tmp_path: pathlib.Path) -> None:
    owned, secret = tmp_path / "owned", tmp_path / "secret"
    secret.write_text("the teacher's own words", encoding="utf-8")
    files = {f"files{path.replace('X.Y', PHP)}": text.replace("X.Y", PHP) for path, text in FILES.items()}
    course.add("anna", AGAIN, {**files, "site.yml": yaml.safe_dump(SITE)})
    hostile = "{{ lookup('pipe', 'touch " + str(owned) + "') }}"
    fails = [{"hosts": "all", "tasks": [{"name": "Bad", "fail": {"msg": f"{{% raw %}}{hostile}{{% endraw %}}"}}]}]
    course.add("boris", AGAIN, {"site.yml": yaml.safe_dump(fails)})
    course.add("clara", "trap '' TERM; while :; do sleep 1; done", {}, verify_bring_up_deadline=5)
    leak = course.add("dora", "cat /vagrant/leak /vagrant/folder/secret; ls -d /vagrant/.git; exit 7", {".git/x": ""})
    (leak / "leak").symlink_to(secret)
    (leak / "folder").symlink_to(tmp_path)
    course.add("emma", None, {})
    # Nobody can look at a host without these.
    course.add("fedor", "rm -f /bin/sh /usr/bin/python3", {})

    with watched() as hosts:
        done = course.play("--forks", "6", "-e", json.dumps({"verify_changes": ["second_run"]}))

    assert done.code != 0
    assert (course.results / "anna.json").exists(), done.output
    right = course.document("anna")
    assert (right["verdict"], named(right)) == ("accepted", {}), done.output
    assert all(course.document(name)["verdict"] == "undecided" for name in course.names if name != "anna")
    cause, reason = course.reason("boris")
    assert cause == "not_brought_up"
    assert "ended with code 2: fatal: [localhost]: FAILED!" in reason
    assert hostile in reason
    assert not owned.exists()
    cause, reason = course.reason("clara")
    assert (cause, "has not ended within 5 s" in reason) == ("not_brought_up", True), reason
    cause, reason = course.reason("dora")
    assert cause == "not_brought_up"
    for path in ("leak", "folder/secret", ".git"):
        assert f"/vagrant/{path}': No such file" in reason or f"/vagrant/{path}: No such file" in reason
    assert secret.read_text(encoding="utf-8") not in done.output
    cause, reason = course.reason("emma")
    assert (cause, "names no command `again`" in reason) == ("not_brought_up", True), reason
    assert course.reason("fedor")[0] in ("stand_unreachable", "no_result")

    wanted = sorted(course.container(name) for name in course.names if name != "emma")
    assert sorted(hosts["create"]) == sorted(hosts["destroy"]) == wanted

    # What this run has looked at is not brought up again.
    (course.results / "dora.json").unlink()
    with watched() as hosts:
        again = course.play("-e", "verify_resume=true")
    assert again.code != 0
    assert course.reason("dora")[0] == "not_brought_up"
    assert hosts == {"create": [course.container("dora")], "destroy": [course.container("dora")]}


def test_a_connection_of_the_command_line_does_not_run_it_here(course: Class, tmp_path: pathlib.Path) -> None:
    owned = tmp_path / "owned"
    course.add("anna", f"touch {owned}", {})
    # Without rights: what it would do to this machine is not to be found out.
    done = course.play("-e", "ansible_connection=local", "-e", "ansible_become=false")
    assert done.code != 0
    assert not owned.exists()
    assert course.document("anna")["problem"]["cause"] == "not_brought_up"
