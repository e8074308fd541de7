# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that reads the code instead of running it. `make lint` is this file."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(sys.executable).parent


def call(*argv: str | pathlib.Path, cwd: pathlib.Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", **environment}
    return subprocess.run(
        argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip


def clean(*argv: str | pathlib.Path, cwd: pathlib.Path = ROOT, **environment: str) -> str:
    done = call(*argv, cwd=cwd, **environment)
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, argv))} ({done.returncode}):\n{done.stdout[-20000:]}", pytrace=False)
    return done.stdout


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """The files under version control (and those that are about to be) where Ansible's tools want a collection."""
    target = tmp_path / "ansible_collections" / "weblab" / "stacks"
    listed = clean("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if name.startswith(".collections/") or not source.exists():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / name, follow_symlinks=False)
    return target


def test_ansible_test_sanity(tree: pathlib.Path) -> None:
    home = ROOT / ".lab" / "ansible-test"
    home.mkdir(parents=True, exist_ok=True)
    argv = ("ansible-test", "sanity", "--local", "--color", "no", "--python", f"3.{sys.version_info.minor}")
    done = call(*argv, cwd=tree, HOME=str(home))
    wanted = re.search(r"bootstrap script can be manually downloaded and saved to: (\S+)", done.stdout)
    if wanted:
        shutil.copy(pathlib.Path(__file__).with_name("get_pip.py"), wanted[1])
        done = call(*argv, cwd=tree, HOME=str(home))
    ran = re.findall(r'^Running sanity test "([\w-]+)"', done.stdout, flags=re.MULTILINE)
    assert done.returncode == 0, done.stdout[-20000:]
    assert {"validate-modules", "pylint", "import", "pep8", "yamllint", "ansible-doc"} <= set(ran)


def test_ansible_lint() -> None:
    clean("ansible-lint", "--nocolor")


def test_ruff() -> None:
    clean("ruff", "check", ".")


def test_mypy() -> None:
    clean("mypy")


def test_changelog_fragments() -> None:
    clean("antsibull-changelog", "lint")


def test_documentation_of_every_plugin_and_role() -> None:
    for kind, folder in (("module", "modules"), ("filter", "filter"), ("lookup", "lookup"), ("test", "test")):
        for path in sorted((ROOT / "plugins" / folder).glob("[!_]*.*")):
            # A file of filters has a page for each of them.
            if path.suffix == (".yml" if kind == "filter" else ".py"):
                assert "EXAMPLES" in clean("ansible-doc", "-t", kind, f"weblab.stacks.{path.stem}"), path
    for path in sorted((ROOT / "roles").iterdir()):
        text = clean("ansible-doc", "-t", "role", f"weblab.stacks.{path.name}")
        assert "ENTRY POINT" in text, f"{path.name} has no meta/argument_specs.yml"


def test_built_collection_installs_and_runs_by_name(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    clean("ansible-galaxy", "collection", "build", "--output-path", tmp_path / "built", cwd=tree)
    [archive] = (tmp_path / "built").glob("weblab-stacks-*.tar.gz")
    installed = tmp_path / "installed"
    clean("ansible-galaxy", "collection", "install", "--offline", "-p", installed, archive, cwd=tmp_path)
    content = {path.name for path in (installed / "ansible_collections" / "weblab" / "stacks").iterdir()}
    assert not content & {".collections", ".git", ".lab", ".venv"}, content
    assert {"README.md", "LICENSE", "docs", "plugins", "roles", "playbooks"} <= content
    for playbook in sorted((ROOT / "playbooks").glob("*.yml")):
        clean(
            "ansible-playbook", "--syntax-check", "-i", "localhost,", f"weblab.stacks.{playbook.stem}",
            cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed),
        )  # fmt: skip
