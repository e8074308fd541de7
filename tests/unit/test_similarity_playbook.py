# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The class's repositories compared by Ansible, as a teacher does, with repositories that mean harm among them."""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import shutil
import typing as t

import pytest
import yaml

from playbooks import ROOT, Run, play

#: Another repository's work may not be read through a link.
SECRET = "secret_of_the_teacher"
TASKS = "roles/demo_shop/tasks"


def run(directory: pathlib.Path, **variables: t.Any) -> Run:
    given = {
        "similarity_repositories": str(directory / "repositories"), "similarity_results": str(directory / "results"),
        **variables,
    }  # fmt: skip
    return play(directory / "nobody", ROOT / "playbooks" / "similarity.yml", "-e", json.dumps(given))


def renamed(text: str) -> str:
    """The program with other names for its variables."""
    words = dict.fromkeys(re.findall(r"^ +(\w{3,}) = ", text, re.MULTILINE))
    for number, word in enumerate(words):
        text = re.sub(rf"(?<![\w.'\"]){word}\b(?!=)", f"thing{number}", text)
    return text


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "nobody").write_text("", encoding="utf-8")
    repositories = tmp_path / "repositories"
    given = ROOT / "roles" / "nginx"
    for name, role in (("anna", "demo_shop"), ("boris", "demo_shop"), ("clara", "demo_board")):
        shutil.copytree(ROOT / "roles" / role, repositories / name / "work")
        shutil.copytree(given, repositories / name / "given")
    shutil.copytree(given, repositories / "dora" / "given")
    chance = random.Random(3)
    for file in (repositories / "boris" / "work").rglob("*.yml"):
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        if isinstance(data, list):
            chance.shuffle(data)
        file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    for file in (repositories / "boris" / "work").rglob("*.py"):
        file.write_text(renamed(file.read_text(encoding="utf-8")), encoding="utf-8")
    return tmp_path


def document(directory: pathlib.Path) -> dict[str, t.Any]:
    path = directory / "results" / "similarity" / "similarity.json"
    return t.cast("dict[str, t.Any]", json.loads(path.read_text(encoding="utf-8")))


def test_a_class_is_compared(directory: pathlib.Path) -> None:
    done = run(directory, similarity_handed_out=[str(ROOT / "roles" / "nginx")], similarity_language="ru")
    assert done.code == 0, done.output
    assert done.recap("changed") == 0
    found = document(directory)
    assert found["families"] == [["anna", "boris"]]
    assert {one["name"]: one["state"] for one in found["repositories"]} == {
        "anna": "compared", "boris": "compared", "clara": "compared", "dora": "small",
    }  # fmt: skip
    shares = {(pair["one"], pair["other"]): pair["share"] for pair in found["pairs"]}
    assert shares.keys() == {("anna", "boris"), ("anna", "clara"), ("boris", "clara")}
    assert min(shares["anna", "boris"]) > 0.8
    assert max(shares["anna", "clara"] + shares["boris", "clara"]) < 0.3
    # The page has the same figures, and so has the console.
    page = (directory / "results" / "similarity" / "similarity.html").read_text(encoding="utf-8")
    first = page[page.index("<tbody>") :].split("</tr>", 1)[0]
    percents = [str(int(shares["anna", name][0] * 100)) for name in ("boris", "clara")]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", first) == ["\u2013", *percents]
    assert re.search(r"группа 1: anna, boris \(\d+ %\)", done.output), done.output
    assert '<html lang="ru">' in page
    # With a threshold above all of them there is no family, and the documents are of this run.
    again = run(directory, similarity_handed_out=[str(ROOT / "roles" / "nginx")], similarity_threshold=1)
    assert again.code == 0
    assert document(directory)["families"] == []


def test_what_means_harm_is_bounded_and_costs_nobody_else(directory: pathlib.Path) -> None:
    repositories = directory / "repositories"
    outside = directory / "outside"
    outside.mkdir()
    (outside / "site.yml").write_text("".join(f"{SECRET}{letter}: x\n" for letter in "abcdefgh"), encoding="utf-8")
    anna = repositories / "anna"
    # Links out of the repository, and a whole repository that is one.
    os.symlink(outside / "site.yml", anna / "link.yml")
    os.symlink(outside, anna / "linked")
    os.symlink("/dev/zero", anna / "endless.yml")
    os.mkfifo(anna / "waits.yml")
    os.symlink(outside, repositories / "link")
    (anna / "binary.yml").write_bytes(bytes(range(256)) * 100)
    (anna / "latin.yml").write_bytes(b"key: caf\xe9\n" * 20)
    with open(anna / "large.yml", "wb") as file:
        file.write(b"key: value\n" * (50 * 1024 * 1024 // 11))
    (repositories / "file").write_text("no repository", encoding="utf-8")
    # Of many files, none of which is large.
    many = repositories / "many"
    many.mkdir()
    for number in range(5001):
        (many / f"{number}.yml").write_text("a: b\n", encoding="utf-8")
    empty = repositories / "empty {{ 7 * 7 }}"
    empty.mkdir()
    done = run(directory, similarity_handed_out=[str(ROOT / "roles" / "nginx")])
    assert done.code == 0, done.output
    found = document(directory)
    assert found["families"] == [["anna", "boris"]]
    states = {one["name"]: one["state"] for one in found["repositories"]}
    assert {name: state for name, state in states.items() if state != "compared"} == {
        "dora": "small", "empty {{ 7 * 7 }}": "small", "many": "unread",
    }  # fmt: skip
    (unread,) = (one for one in found["repositories"] if one["state"] == "unread")
    assert "more than 5000 files or 32 MiB" in unread["problem"]
    text = (directory / "results" / "similarity" / "similarity.html").read_text(encoding="utf-8")
    assert SECRET not in json.dumps(found) + text + done.output
    files = {match["one"] for pair in found["pairs"] for match in pair["files"]}
    assert not {"link.yml", "linked/site.yml", "endless.yml", "waits.yml", "binary.yml", "large.yml"} & files


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"similarity_repositories": "{none}"}, "there is none"),
        ({"similarity_handed_out": ["{none}"]}, "no directory"),
        ({"similarity_threshold": 1.5}, "threshold"),
        ({"similarity_threshold": "much"}, "threshold"),
        ({"similarity_language": "de"}, "language"),
        ({"similarity_results": "{file}"}, "{file}"),
    ],
)  # fmt: skip
def test_what_a_teacher_has_wrong_is_named(directory: pathlib.Path, variables: dict[str, t.Any], message: str) -> None:
    file = directory / "file"
    file.write_text("x", encoding="utf-8")
    given = json.loads(json.dumps(variables).replace("{none}", str(directory / "none")).replace("{file}", str(file)))
    done = run(directory, **given)
    assert done.code != 0
    assert message.replace("{file}", str(file)) in done.text
    assert "Traceback" not in done.output
    assert not (directory / "results" / "similarity" / "similarity.json").exists()


def test_a_repository_that_is_no_directory_is_named(directory: pathlib.Path) -> None:
    """The action is given its directories by name; one that cannot be read is a result."""
    (directory / "file").write_text("x", encoding="utf-8")
    repositories = {"anna": str(directory / "repositories" / "anna"), "none": str(directory / "none")}
    repositories["file"] = str(directory / "file")
    task = {"weblab.stacks.verify_similarity": {"repositories": repositories, "results": str(directory / "results")}}
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    (directory / "play.json").write_text(json.dumps(plays), encoding="utf-8")
    done = play(directory / "nobody", directory / "play.json")
    assert done.code == 0, done.output
    problems = {one["name"]: one["problem"] for one in document(directory)["repositories"]}
    assert problems["anna"] == ""
    for name in ("none", "file"):
        assert f"{directory / name} is no directory" in problems[name]
