# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Similarity of a class's repositories.

Who copied from whom is known, since the copies are made here, by other people's tools: PyYAML writes the YAML anew,
Python's ast renames.
"""

from __future__ import annotations

import ast
import html.parser
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time
import typing as t

import pytest
import yaml

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _similarity
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._text import LANGUAGES

ROOT = pathlib.Path(__file__).resolve().parents[4]
#: A class whose work is honest: programs with their playbooks, none of which is another one's.
HONEST = ["demo_board", "demo_dokuwiki", "demo_shop", "demo_whoami", "demo_wordpress"]
#: What the course hands out.
GIVEN = [str(ROOT / "roles" / name) for name in ("nginx", "php_fpm")]

Class = t.Dict[str, str]


def put(directory: pathlib.Path, files: t.Mapping[str, str]) -> str:
    for path, text in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return str(directory)


@pytest.fixture
def honest(tmp_path: pathlib.Path) -> Class:
    """Each with the roles of the course in it."""
    for name in HONEST:
        shutil.copytree(ROOT / "roles" / name, tmp_path / name / "stand")
        for role in GIVEN:
            shutil.copytree(role, tmp_path / name / "roles" / pathlib.Path(role).name)
    return {name: str(tmp_path / name) for name in HONEST}


class Renames(ast.NodeTransformer):
    """Other names for arguments and for what is assigned, in no order of the first ones."""

    def __init__(self, tree: ast.AST) -> None:
        nodes = list(ast.walk(tree))
        own = {one.id for one in nodes if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        own |= {one.arg for one in nodes if isinstance(one, ast.arg)} - {"self"}
        self.names = {name: f"thing{number}" for number, name in enumerate(sorted(own, reverse=True))}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.names.get(node.id, node.id), node.ctx), node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.copy_location(ast.arg(self.names.get(node.arg, node.arg), node.annotation), node)


def disguise(directory: pathlib.Path) -> None:
    """What somebody does to another one's work: other titles, ports, order, layout, names of variables and files."""
    chance = random.Random(7)
    for file in sorted(directory.rglob("*.yml")):
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        if isinstance(data, list):
            for number, task in enumerate(data):
                if isinstance(task, dict) and "name" in task:
                    task["name"] = f"Step number {number} of mine"
            chance.shuffle(data)
        text = yaml.safe_dump(data, sort_keys=False, indent=6, width=70)
        text = re.sub(r"\b\d{4}\b", lambda match: str(int(match[0]) + 111), text)
        (file.parent / f"my_{file.name}").write_text(f"# I did it all by myself\n{text}", encoding="utf-8")
        file.unlink()
    for file in sorted(directory.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        file.write_text(ast.unparse(Renames(tree).visit(tree)), encoding="utf-8")


def share(found: dict[str, t.Any], one: str, other: str) -> list[float]:
    (pair,) = (pair for pair in found["pairs"] if {pair["one"], pair["other"]} == {one, other})
    shares = list(pair["share"])
    return shares if pair["one"] == one else shares[::-1]


def test_those_who_only_share_what_was_handed_out_are_not_alike(honest: Class) -> None:
    found = _similarity.compare(honest, GIVEN)
    assert found["families"] == []
    assert {one["state"] for one in found["repositories"]} == {"compared"}
    assert max(max(pair["share"]) for pair in found["pairs"]) < 0.2
    # It is what is handed out that makes the difference.
    without = _similarity.compare(honest)
    assert max(max(pair["share"]) for pair in without["pairs"]) > 0.6
    assert not any(match["one"].startswith("roles/") for pair in found["pairs"] for match in pair["files"])


def test_what_was_changed_in_what_was_handed_out_is_ones_own_and_no_more(tmp_path: pathlib.Path) -> None:
    given = put(
        tmp_path / "given", {"a.yml": "".join(f"key{letter}: value{letter}\n" for letter in "abcdefghijklmnop")}
    )
    text = (tmp_path / "given" / "a.yml").read_text(encoding="utf-8")
    mine = put(tmp_path / "mine", {"b.yml": text.replace("valuef", "mine").replace("valuek", "yours")})
    (found,) = _similarity.compare({"mine": mine}, [given])["repositories"]
    assert (found["words"], found["handed_out"], found["own"]) == (32, 30, 2)


def test_titles_layout_and_spelling_make_no_difference() -> None:
    one = "- name: Put it there\n  ansible.builtin.apt:\n    name: nginx\n    update_cache: yes\n  notify: Restart it\n"
    other = '- name: Мой - "the best"\n  # mine\n  apt: {name: \'nginx\', update_cache: true}\n  notify: "Do it"\n'
    words = [_similarity._words(text, "yaml", False, 5)[0] for text in (one, other)]
    assert words[0] == words[1] == ["name", "apt", "name", "nginx", "update_cache", "true", "notify"]


def test_names_of_ones_own_make_no_difference_and_those_of_a_library_do() -> None:
    def words(text: str) -> list[str]:
        return _similarity._words(text, "python", True, 5)[0]

    one = "def total(items):\n    return db.total(sum(items), 'x') + total(items)\n"
    assert words(one) == words('def f(a):  # mine\n  return other.f(sum( a ), "yz")+f(a)\n')
    assert words(one) != words(one.replace("sum(", "max("))


def test_one_who_only_has_what_was_handed_out_has_nothing_of_his_own(tmp_path: pathlib.Path, honest: Class) -> None:
    found = _similarity.compare({**honest, "lazy": GIVEN[0]}, GIVEN)
    (lazy,) = (one for one in found["repositories"] if one["name"] == "lazy")
    assert (lazy["state"], lazy["own"]) == ("small", 0)
    assert lazy["handed_out"] > 0.9 * lazy["words"] > _similarity.SMALLEST
    assert not any("lazy" in (pair["one"], pair["other"]) for pair in found["pairs"])


@pytest.mark.parametrize("name", ["demo_board", "demo_shop", "demo_whoami"])
def test_a_disguised_copy_is_found(tmp_path: pathlib.Path, honest: Class, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(honest[name], copy)
    disguise(copy / "stand")
    found = _similarity.compare({**honest, "copy": str(copy)}, GIVEN)
    assert found["families"] == [sorted([name, "copy"])]
    assert min(share(found, name, "copy")) > 0.8
    (pair,) = (pair for pair in found["pairs"] if {pair["one"], pair["other"]} == {name, "copy"})
    # The files are those that they were made of.
    for match in pair["files"][:3]:
        assert match["one"].replace("my_", "") == match["other"].replace("my_", "")


def test_a_copy_of_a_copy_is_of_the_family_and_a_copy_with_more_around_it_too(
    tmp_path: pathlib.Path, honest: Class
) -> None:
    for name, source in (("second", honest["demo_shop"]), ("third", str(tmp_path / "second"))):
        shutil.copytree(source, tmp_path / name)
        disguise(tmp_path / name / "stand")
    shutil.copytree(ROOT / "roles" / "demo_index", tmp_path / "third" / "more")
    mine = {name: str(tmp_path / name) for name in ("second", "third")}
    found = _similarity.compare({**honest, **mine}, GIVEN)
    assert found["families"] == [["demo_shop", "second", "third"]]
    of_shop, of_third = share(found, "demo_shop", "third")
    assert of_shop > 0.8 > of_third
    assert [one["name"] for one in found["repositories"]][:3] == found["families"][0]


def test_the_figure_is_the_part_that_was_taken(tmp_path: pathlib.Path) -> None:
    """Texts of chance have nothing in common but what is put into both."""

    def text(seed: int) -> str:
        chance = random.Random(seed)
        return "".join(
            f"{word}: {word[::-1]}\n" for word in ("".join(chance.choices("abcdefgh", k=9)) for _number in range(100))
        )

    one = put(tmp_path / "one", {f"{number}.yml": text(number) for number in range(10)})
    other = put(tmp_path / "other", {f"x{number}.yml": text(number) for number in range(3, 23)})
    found = _similarity.compare({"one": one, "other": other})
    assert share(found, "one", "other") == [0.7, 0.35]
    assert found["pairs"][0]["words"] == [1400, 1400]
    assert [(match["one"], match["other"]) for match in found["pairs"][0]["files"]] == [
        (f"{number}.yml", f"x{number}.yml") for number in range(3, 10)
    ]
    assert _similarity.compare({"one": one, "other": other}, threshold=0.71)["families"] == []
    assert _similarity.compare({"one": one, "other": other}, threshold=0.7)["families"] == [["one", "other"]]
    # Half of what they share was handed out: three and a half of six and a half, of sixteen and a half.
    given = put(tmp_path / "given", {"a.yml": "".join(text(number) for number in (3, 4, 5))})
    found = _similarity.compare({"one": one, "other": other}, [given])
    assert share(found, "one", "other") == [round(4 / 7, 4), round(4 / 17, 4)]
    assert {one["name"]: one["handed_out"] for one in found["repositories"]} == {"one": 600, "other": 600}


def test_little_work_is_too_small_to_judge(tmp_path: pathlib.Path) -> None:
    tiny = "- hosts: all\n  roles: [nginx]\n  vars: {port: 8081, page: index}\n"
    repositories = {name: put(tmp_path / name, {"site.yml": tiny}) for name in ("one", "other")}
    found = _similarity.compare(repositories)
    assert [one["state"] for one in found["repositories"]] == ["small", "small"]
    assert [one["handed_out"] for one in found["repositories"]] == [0, 0]
    assert found["pairs"] == found["families"] == []
    assert "too small to judge: one, other" in _similarity.rows(found, "en")
    # The same with a word less asked for is a pair.
    words = found["repositories"][0]["own"]
    assert _similarity.compare(repositories, smallest=words)["families"] == [["one", "other"]]


@pytest.mark.parametrize(
    "path",
    [
        "node_modules/x/index.js", "a/vendor/b/c.php", ".vagrant/x.yml", "wp/wp-content/x.php", "package-lock.json",
        "pnpm-lock.yaml", "composer.lock", "app.min.js", "go.sum", "README.md", "photo.svg", "LICENSE", "notes.c.txt",
    ],
)  # fmt: skip
def test_what_is_nobodys_work_does_not_count(path: str) -> None:
    assert _similarity._kind(path) is None


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("Vagrantfile", ("ruby", False)),
        ("docker/Dockerfile.dev", ("docker", False)),
        ("Makefile", ("make", False)),
        ("templates/nginx.conf.j2", ("nginx", False)),
        ("site.yml.j2", ("yaml", False)),
        ("sites-available/example.org", ("nginx", False)),
        (".env.example", ("ini", False)),
        ("app.service", ("ini", False)),
        ("hosts", ("ini", False)),
        ("a.PY", ("python", True)),
        ("x.blade.php", ("php", True)),
        ("main.go", ("go", True)),
        ("run.sh", ("bash", False)),
        ("config.ru", ("ruby", True)),
    ],
)
def test_what_somebody_wrote_counts(path: str, kind: tuple[str, bool]) -> None:
    assert _similarity._kind(path) == kind


def test_every_lexer_is_there() -> None:
    for lexer in {kind for kind, _code in _similarity._KINDS.values()} | set(_similarity._NAMED.values()):
        words, _left, slow = _similarity._words("a = b\n" * 3, lexer, True, 10)
        assert words
        assert not slow, lexer


def test_a_minified_page_does_not_count_and_a_long_line_elsewhere_does(tmp_path: pathlib.Path) -> None:
    long = " ".join(f"word{letter}" for letter in "abcdefghijklmnop") * 200
    path = put(tmp_path, {"x.js": f"let a = '{long}'", "site.yml": f"a: {long}\n"})
    (file,) = _similarity._read(path)[0]
    assert file.path == "site.yml"


HOSTILE = [
    "<script>alert(1)<",
    "{{ 7 * 7 }}{% for x in y %}",
    '"><img src=x onerror=alert(1)>',
    "\x1b[2J\u202egnp",
    "...",
]


class Page(html.parser.HTMLParser):
    """What a browser would make of it: elements, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _value in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("language", LANGUAGES)
def test_names_of_files_and_of_students_are_texts(tmp_path: pathlib.Path, hostile: str, language: str) -> None:
    text = (ROOT / "roles" / "demo_shop" / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    tiny = {"x.yml": "a: b\n"}
    pages: list[Page] = []
    for name in (hostile, "x"):
        root = tmp_path / str(len(pages))
        repositories = {
            name: put(root / "one", {f"{name}.yml": text}),
            "other": put(root / "other", {f"d{name}/y.yml": text}),
            f"{name}tiny": put(root / "tiny", tiny),
            f"{name}gone": str(root / f"gone{name}"),
        }
        found = _similarity.compare(repositories)
        assert len(found["families"]) == 1
        assert [one["state"] for one in found["repositories"]] == ["compared", "compared", "small", "unread"]
        pages.append(Page(_similarity.page(found, language)))
        shown = "\n".join(_similarity.rows(found, language))
        assert not set(shown + pages[-1].text) & set("\x1b\u202e")
        json.dumps(found)
    assert pages[0].elements == pages[1].elements
    if "\x1b" not in hostile:
        assert hostile in pages[0].text


def test_links_are_not_followed(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret.yml"
    secret.write_text("".join(f"k{letter}: v{letter}\n" for letter in "abcdefghijklmnopqrstuvwxyz"), encoding="utf-8")
    path = put(tmp_path / "one", {"a.yml": "a: b\n"})
    os.symlink(secret, tmp_path / "one" / "b.yml")
    os.symlink(tmp_path, tmp_path / "one" / "c")
    assert [file.path for file in _similarity._read(path)[0]] == ["a.yml"]


def test_a_text_for_which_a_lexer_takes_too_long_is_compared_by_its_words(
    tmp_path: pathlib.Path, honest: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(_text: str, _lexer: str) -> t.NoReturn:
        while True:
            re.match(r"(a+)+b", "a" * 40)

    monkeypatch.setattr(_similarity, "_tokens", hangs)
    monkeypatch.setattr(_similarity, "SECONDS", 0.1)
    names = dict.fromkeys(("one", "other"), honest["demo_board"])
    begun = time.process_time()
    found = _similarity.compare(names)
    assert time.process_time() - begun < 5
    assert found["families"] == [["one", "other"]]
    assert all(one["hurried"] == one["files"] > 0 for one in found["repositories"])
    assert "not read in their language" in _similarity.page(found, "en")


def test_a_text_over_which_a_lexer_stumbles_costs_its_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumbles(_text: str, _lexer: str) -> t.NoReturn:
        raise RecursionError

    monkeypatch.setattr(_similarity, "_tokens", stumbles)
    assert _similarity._words("server { listen 80; }", "nginx", False, 5) == (["server", "listen", "0"], 5, True)


def test_a_repository_is_not_read_without_end(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_similarity, "MAX_WORDS", 50)
    path = put(
        tmp_path, {f"{name}.yml": "".join(f"{name}{key}: 1\n" for key in "abcdefghijklmnopqrst") for name in "xyz"}
    )
    found = _similarity.compare({"one": path}, smallest=1)
    assert (found["repositories"][0]["words"], found["repositories"][0]["hurried"]) == (50, 2)


def test_the_same_comes_of_the_same_whatever_the_order_and_the_process(tmp_path: pathlib.Path, honest: Class) -> None:
    found = _similarity.compare(honest, GIVEN)
    assert found == _similarity.compare(dict(reversed(list(honest.items()))), GIVEN)
    program = (
        "import json, sys\n"
        f"sys.path.insert(0, {str(ROOT / '.collections')!r})\n"
        f"from {_similarity.__name__} import compare\n"
        f"print(json.dumps(compare({honest!r}, {GIVEN!r})))\n"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        assert json.loads(done.stdout) == found


def test_what_a_teacher_has_wrong_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match=r"handed_out: .*no directory"):
        _similarity.compare({}, [str(tmp_path / "none")])
    for threshold in (0.0, 1.1, -1.0):
        with pytest.raises(DataError, match="threshold"):
            _similarity.compare({}, threshold=threshold)


def test_without_pygments_it_says_what_to_install(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygments.lexers", None)
    with pytest.raises(DataError, match="pip install pygments"):
        _similarity.compare({"one": put(tmp_path, {"a.yml": "a: b\n"})})


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_a_cell_for_every_two(tmp_path: pathlib.Path, honest: Class, language: str) -> None:
    shutil.copytree(honest["demo_shop"], tmp_path / "copy")
    found = _similarity.compare({**honest, "copy": str(tmp_path / "copy")}, GIVEN)
    text = _similarity.page(found, language)
    assert text.count("background: rgba(") == 6 * 5
    assert text.count(">\u2013</td>") == 6
    first = text[text.index("<tbody>") :].split("</tr>", 1)[0]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", first)[:2] == ["\u2013", "100"]
    assert "templates/book.html</td>" in text
    (line,) = _similarity.rows(found, language)
    assert "copy, demo_shop (100 %)" in line
