# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What owners declare, what the ledger remembers, and the changes that follow."""

from __future__ import annotations

import dataclasses
import json
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import (
    Ledger,
    Node,
    PlanError,
    Standing,
    declare,
    diff,
    make_plan,
)

ROOT = "/etc/nginx"


def file(content: str, mode: int = 0o644, user: str = "root") -> Node:
    return Node("file", content.encode(), "", mode, user, "root")


DIRECTORY = Node("directory", b"", "", 0o755, "root", "root")


def plan(
    owners: dict[str, t.Any], live: dict[str, Node], recorded: dict[str, list[str]] | None = None
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The verbs by path, and the ledger afterwards."""
    ledger = Ledger({owner: frozenset(paths) for owner, paths in (recorded or {}).items()})
    made = make_plan(declare(owners, ROOT), owners, ledger, live.get)
    after = {owner: sorted(paths) for owner, paths in made.ledger.owners.items()}
    return {change.path: change.verb for change in made.changes}, after


A = {"path": "a.conf", "content": "a\n"}


@pytest.mark.parametrize(
    ("owners", "live", "recorded", "verbs", "after"),
    [
        pytest.param({"one": [A]}, {}, {}, {"a.conf": "added"}, {"one": ["a.conf"]}, id="new"),
        pytest.param({"one": [A]}, {"a.conf": file("a\n")}, {}, {}, {"one": ["a.conf"]}, id="adopted"),
        pytest.param(
            {"one": [A]}, {"a.conf": file("b\n")}, {}, {"a.conf": "changed"}, {"one": ["a.conf"]}, id="content"
        ),
        pytest.param(
            {"one": [A]}, {"a.conf": file("a\n", 0o600)}, {}, {"a.conf": "changed"}, {"one": ["a.conf"]}, id="mode"
        ),
        pytest.param(
            {"one": [A]}, {"a.conf": file("a\n", user="x")}, {}, {"a.conf": "changed"}, {"one": ["a.conf"]}, id="user"
        ),
        pytest.param(
            {"one": [{**A, "mode": "0640", "owner": "x"}]},
            {"a.conf": file("a\n", 0o640, "x")},
            {},
            {},
            {"one": ["a.conf"]},
            id="attributes kept",
        ),
        pytest.param({"one": []}, {"a.conf": file("a\n")}, {"one": ["a.conf"]}, {"a.conf": "removed"}, {}, id="let go"),
        pytest.param({"one": []}, {}, {"one": ["a.conf"]}, {}, {}, id="gone already"),
        pytest.param({"one": []}, {"a.conf": file("a\n")}, {}, {}, {}, id="nobody's file stays"),
        pytest.param(
            {"one": []}, {"a.conf": file("a\n")}, {"two": ["a.conf"]}, {}, {"two": ["a.conf"]}, id="other owner's stays"
        ),
        pytest.param(
            {"one": []},
            {"a.conf": file("a\n")},
            {"one": ["a.conf"], "two": ["a.conf"]},
            {},
            {"two": ["a.conf"]},
            id="shared stays with the last",
        ),
        pytest.param(
            {"one": [A], "two": [A]}, {}, {}, {"a.conf": "added"}, {"one": ["a.conf"], "two": ["a.conf"]}, id="shared"
        ),
        pytest.param(
            {"one": [A]},
            {"a.conf": file("a\n")},
            {"two": ["a.conf"]},
            {},
            {"one": ["a.conf"], "two": ["a.conf"]},
            id="shared with an owner of an earlier call",
        ),
        pytest.param(
            {"one": [{"path": "a.conf", "state": "absent"}]},
            {"a.conf": file("")},
            {},
            {"a.conf": "removed"},
            {"one": ["a.conf"]},
            id="absent",
        ),
        pytest.param({"one": [{"path": "a.conf", "state": "absent"}]}, {}, {}, {}, {}, id="absent already"),
        pytest.param(
            {"one": [{"path": "l", "link": "../x"}]},
            {"l": Node("link", target="../y")},
            {},
            {"l": "changed"},
            {"one": ["l"]},
            id="link turned",
        ),
        pytest.param(
            {"one": [{"path": "l", "link": "../x"}]},
            {"l": file("x")},
            {},
            {"l": "changed"},
            {"one": ["l"]},
            id="file to link",
        ),
        pytest.param(
            {"one": [{"path": "d", "state": "directory"}]}, {"d": DIRECTORY}, {}, {}, {"one": ["d"]}, id="directory"
        ),
        pytest.param(
            {"one": [{"path": "d", "state": "directory", "mode": "0700"}]},
            {"d": DIRECTORY},
            {},
            {"d": "changed"},
            {"one": ["d"]},
            id="directory mode",
        ),
        pytest.param(
            {"one": [{"system": "/etc/default/x", "content": ""}]},
            {},
            {"one": ["a.conf"]},
            {"/etc/default/x": "added"},
            {"one": ["/etc/default/x"]},
            id="system file",
        ),
        pytest.param(
            {"one": [{"path": "./d//a.conf", "content": ""}]},
            {},
            {},
            {"d/a.conf": "added"},
            {"one": ["d/a.conf"]},
            id="path made plain",
        ),
    ],
)
def test_changes(
    owners: dict[str, t.Any],
    live: dict[str, Node],
    recorded: dict[str, list[str]],
    verbs: dict[str, str],
    after: dict[str, list[str]],
) -> None:
    assert plan(owners, live, recorded) == (verbs, after)


@pytest.mark.parametrize(
    ("owners", "words"),
    [
        ({"one": [{**A, "link": "x"}]}, ["owners.one[0]", "exactly one"]),
        ({"one": [{"path": "a.conf"}]}, ["owners.one[0]", "exactly one"]),
        ({"one": [{**A, "system": "/etc/default/x"}]}, ["either path"]),
        ({"one": [{"content": "x"}]}, ["either path"]),
        ({"one": [{"path": "../x", "content": ""}]}, ["'../x' leaves /etc/nginx"]),
        ({"one": [{"path": "a/../../x", "content": ""}]}, ["leaves /etc/nginx"]),
        ({"one": [{"path": "/etc/passwd", "content": ""}]}, ["leaves /etc/nginx"]),
        ({"one": [{"path": ".weblab.json", "content": ""}]}, ["can be declared"]),
        ({"one": [{"path": ".", "state": "absent"}]}, ["can be declared"]),
        ({"one": [{"system": "/etc/passwd", "content": ""}]}, ["/etc/passwd", "known system directories"]),
        ({"one": [{"system": "/etc/default/../passwd", "content": ""}]}, ["without detours"]),
        ({"one": [{**A, "mode": 420}]}, ["mode 420", "in quotes"]),
        ({"one": [{**A, "mode": "0999"}]}, ["'0999'"]),
        ({"one": [{**A, "contents": ""}]}, ["unknown key 'contents'"]),
        ({"one": [{"path": "a", "state": "present"}]}, ["state 'present'"]),
        ({"one": [{"path": "a", "content": 5}]}, ["content is text, not int"]),
        ({"one": "x"}, ["owners.one is a list"]),
        ({"one": ["x"]}, ["owners.one[0] is a mapping"]),
        ({"one": [A, A]}, ["one declares a.conf twice"]),
        ({"one": [A], "two": [{**A, "content": "b"}]}, ["one and two declare a.conf differently"]),
        ({"one": [A], "two": [{"path": "a.conf", "state": "absent"}]}, ["one and two declare a.conf differently"]),
        ({"one": [{"path": "a", "content": ""}, {"path": "a/b", "content": ""}]}, ["a/b is declared inside a"]),
        ({"one": [{"path": "a\nb", "content": ""}]}, ["control character"]),
        ({"one": [{**A, "secret": True, "mode": "0644"}]}, ['mode "0644"', "every account", '"0640"']),
        ({"one": [{**A, "secret": True, "mode": "0601"}]}, ['mode "0601"']),
        ({"one": [{**A, "exclusive": True}]}, ["exclusive goes with state: directory"]),
        (
            {"one": [{"system": "/etc/default/x", "state": "directory", "exclusive": True}]},
            ["exclusive goes with state: directory and a path inside /etc/nginx"],
        ),
    ],
)
def test_refused(owners: dict[str, t.Any], words: list[str]) -> None:
    with pytest.raises(PlanError) as error:
        declare(owners, ROOT)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("owners", "live", "recorded", "words"),
    [
        ({"one": [A]}, {"a.conf": file("b\n")}, {"two": ["a.conf"]}, ["one declares a.conf", "belongs to two"]),
        ({"one": [A]}, {"a.conf": DIRECTORY}, {}, ["a.conf is a directory on the host"]),
        (
            {"one": [{"path": "d", "state": "directory"}]},
            {"d": Node("link", target="/x")},
            {},
            ["d is a link on the host"],
        ),
        ({"one": [{"path": "d", "state": "absent"}]}, {"d": DIRECTORY}, {}, ["d is a directory on the host"]),
        (
            {"one": [A]},
            {"a.conf": Node("link", target="/etc/passwd")},
            {"one": ["a.conf"]},
            ["a.conf is a symbolic link to /etc/passwd", "`replace_link: true`"],
        ),
        # Also where the content is right: it can be changed under the other name.
        (
            {"one": [A]},
            {"a.conf": dataclasses.replace(file("a\n"), links=2)},
            {},
            ["a.conf is a file with 2 names", "-samefile"],
        ),
    ],
)
def test_refused_on_this_host(
    owners: dict[str, t.Any], live: dict[str, Node], recorded: dict[str, list[str]], words: list[str]
) -> None:
    with pytest.raises(PlanError) as error:
        plan(owners, live, recorded)
    for word in words:
        assert word in str(error.value)


def test_ledger_survives_writing_and_holds_no_content() -> None:
    made = make_plan(
        declare({"one": [{**A, "content": "password", "secret": True}]}, ROOT), ["one"], Ledger(), lambda path: None
    )
    text = made.ledger.dump().decode()
    assert Ledger.parse(text, "x") == made.ledger
    assert json.loads(text)["owners"] == {"one": ["a.conf"]}
    assert "password" not in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"owners": 3}',
        '{"owners": {"x": [3]}}',
        '{"owners": {"x": ["../y"]}}',
        '{"owners": {"x": ["/y"]}}',
    ],
)
def test_damaged_ledger(text: str) -> None:
    with pytest.raises(PlanError, match=r"/etc/nginx/\.weblab\.json is damaged|\.weblab\.json: "):
        Ledger.parse(text, "/etc/nginx/.weblab.json")


def test_diff_shows_real_path_and_changed_mode() -> None:
    (change,) = make_plan(
        declare({"one": [{**A, "mode": "0600"}]}, ROOT), ["one"], Ledger(), {"a.conf": file("a\n")}.get
    ).changes
    shown = diff(change, ROOT)
    assert shown["before_header"] == shown["after_header"] == "/etc/nginx/a.conf"
    assert (shown["before"], shown["after"]) == ("# mode: 0644\na\n", "# mode: 0600\na\n")


@pytest.mark.parametrize(
    "entries", [[{**A, "content": "new password\n", "secret": True}], []], ids=["changed", "removed"]
)
def test_secret_content_is_never_shown(entries: list[t.Any]) -> None:
    ledger = Ledger({"one": frozenset({"a.conf"})}, frozenset({"a.conf"}))
    live = {"a.conf": file("old password\n")}
    (change,) = make_plan(declare({"one": entries}, ROOT), ["one"], ledger, live.get).changes
    shown = diff(change, ROOT)
    assert "password" not in json.dumps(shown)
    assert shown["before"] != shown["after"]


HOST = {
    "d": DIRECTORY,
    "d/mine": file("mine\n"),
    "d/theirs": file("theirs\n"),
    "d/foreign": file("foreign\n"),
    "d/key": file("private\n", 0o600),
    "d/deep": DIRECTORY,
    "d/deep/a": file("a\n"),
    "d/kept": DIRECTORY,
    "d/kept/theirs": file("theirs\n"),
    "d/kept/link": Node("link", target="/x"),
    "e": file("outside\n"),
}
RECORDED = Ledger({"two": frozenset({"d/theirs", "d/kept/theirs"}), "one": frozenset({"d/old"})})
MINE = {"path": "d/mine", "content": "mine\n"}


def below(path: str) -> list[str]:
    return [other for other in HOST if other.startswith(f"{path}/")]


def exclusive(value: bool) -> dict[str, tuple[str, bool]]:
    owners = {"one": [{"path": "d", "state": "directory", "exclusive": value}, MINE]}
    made = make_plan(declare(owners, ROOT), owners, RECORDED, HOST.get, below)
    return {change.path: (change.verb, change.secret) for change in made.changes}


def test_exclusive_removes_what_nobody_owns() -> None:
    assert exclusive(False) == {}
    assert exclusive(True) == {
        "d/foreign": ("removed", False),
        "d/key": ("removed", True),
        "d/deep": ("removed", False),
        "d/deep/a": ("removed", False),
        "d/kept/link": ("removed", False),
    }


def test_a_directory_that_is_let_go_stays_while_something_is_in_it() -> None:
    ledger = Ledger({"one": frozenset({"d", "d/mine"})})
    made = make_plan({}, ["one"], ledger, HOST.get, below)
    assert [change.path for change in made.changes] == ["d/mine"]
    assert made.ledger.owners == {}


def test_a_secret_file_is_closed_unless_it_says_otherwise() -> None:
    for mode, wanted in ((None, 0o600), ("0640", 0o640)):
        declared = next(iter(declare({"one": [{**A, "secret": True, "mode": mode}]}, ROOT).values()))
        assert declared.node is not None
        assert declared.node.mode == wanted


def test_the_union_of_ledgers_knows_everything() -> None:
    one = Ledger({"a": frozenset({"x", "/etc/default/x"})}, frozenset({"x"}))
    other = Ledger({"a": frozenset({"y"}), "b": frozenset({"/etc/default/y"})}, frozenset({"/etc/default/y"}))
    both = one.union(other)
    assert both.owners == {"a": {"x", "y", "/etc/default/x"}, "b": {"/etc/default/y"}}
    assert both.system().owners == {"a": {"/etc/default/x"}, "b": {"/etc/default/y"}}
    assert (both.secret, both.system().secret) == ({"x", "/etc/default/y"}, {"/etc/default/y"})


def test_what_is_not_pruned_stays_its_owners_and_goes_later() -> None:
    live = {"a.conf": file("a\n"), "old.conf": file("old\n"), "shared.conf": file("s\n")}
    ledger = Ledger({"one": frozenset(live), "two": frozenset(["shared.conf"])})
    made = make_plan(declare({"one": [A]}, ROOT), ["one"], ledger, live.get, prune=False)
    # What another owner has as well stays anyway.
    assert (made.changes, made.unpruned) == ((), ("old.conf",))
    assert "old.conf" in made.ledger.owners["one"]
    later = make_plan(declare({"one": [A]}, ROOT), ["one"], made.ledger, live.get)
    assert ([change.path for change in later.changes], later.unpruned) == (["old.conf"], ())
    assert later.ledger.owners == {"one": frozenset(["a.conf"]), "two": frozenset(["shared.conf"])}


def test_released_files_go_whoever_declared_them() -> None:
    live = {"a.conf": file("a\n"), "b.conf": file("b\n")}
    ledger = Ledger({"one": frozenset(["a.conf"]), "two": frozenset(["a.conf", "b.conf"])})
    made = make_plan({}, [], ledger, live.get, released=["a.conf", "unknown.conf"])
    assert {change.path: change.verb for change in made.changes} == {"a.conf": "removed"}
    assert made.ledger.owners == {"two": frozenset(["b.conf"])}


class Live:
    """A host that takes every plan: what is there, and what the ledger says."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = dict(nodes)
        self.ledger = Ledger()

    def apply(self, owners: dict[str, t.Any], **options: t.Any) -> dict[str, str]:
        made = make_plan(declare(owners, ROOT), owners, self.ledger, self.nodes.get, self.below, **options)
        for path in made.ledger.made:
            self.nodes.setdefault(path, DIRECTORY)
        for change in made.changes:
            if change.after is None:
                del self.nodes[change.path]
            else:
                self.nodes[change.path] = change.after
        # As it comes back from the disk.
        self.ledger = Ledger.parse(made.ledger.dump().decode(), "here") if made.ledger.owners else Ledger()
        return {change.path: change.verb for change in made.changes}

    def below(self, path: str) -> list[str]:
        return [other for other in self.nodes if other.startswith(f"{path}/")]


BEFORE = {
    "main": dataclasses.replace(file("theirs", 0o640, "web"), mtime=1),
    "link": Node("link", target="../there"),
    "same": file("same"),
    "unwanted": file("unwanted"),
    "d": Node("directory", b"", "", 0o700, "web", "web"),
    "d/theirs": file("theirs"),
    "/etc/default/x": file("theirs"),
}
OURS: list[dict[str, t.Any]] = [
    {"path": "main", "content": "ours"},
    {"path": "link", "content": "ours", "replace_link": True},
    {"path": "same", "content": "same"},
    {"path": "unwanted", "state": "absent"},
    {"path": "d", "state": "directory", "mode": "0755", "owner": "root", "group": "root"},
    {"path": "new/deep/file", "content": "ours"},
    {"system": "/etc/default/x", "content": "ours"},
]


def test_what_was_there_before_comes_back_with_the_last_owner() -> None:
    live = Live(BEFORE)
    live.apply({"one": OURS})
    assert live.nodes["main"].content == b"ours"
    assert "unwanted" not in live.nodes
    # Meanwhile somebody changes something, and another owner comes and goes.
    live.nodes["main"] = file("by hand")
    live.apply({"two": [{"path": "main", "content": "ours"}], "one": OURS})
    live.apply({"one": []})
    assert (live.nodes["main"].content, live.nodes["same"]) == (b"ours", BEFORE["same"])
    live.apply({"two": []})
    assert live.nodes == BEFORE
    assert live.nodes["main"].mtime == 1
    assert live.apply({"one": [], "two": []}) == {}


def test_what_is_only_to_be_away_has_an_owner_where_something_comes_back() -> None:
    live = Live({"a": file("a")})
    owner = {"one": [{"path": "a", "state": "absent"}, {"path": "b", "state": "absent"}]}
    live.apply(owner)
    assert live.ledger.owners == {"one": frozenset({"a"})}
    assert live.apply(owner) == {}
    # Another one that wants it away as well is no contradiction; one that wants something there is.
    assert live.apply({"two": [{"path": "a", "state": "absent"}]}) == {}
    with pytest.raises(PlanError, match="which belongs to one"):
        live.apply({"three": [{"path": "a", "content": "x"}]})


def test_a_directory_that_somebody_else_uses_stays() -> None:
    live = Live({})
    live.apply({"one": [{"path": "made/file", "content": ""}]})
    live.nodes["made/foreign"] = file("foreign")
    live.apply({"one": []})
    assert set(live.nodes) == {"made", "made/foreign"}


def test_a_ledger_keeps_what_was_before() -> None:
    ledger = Ledger(
        {"one": frozenset({"a", "/etc/default/x"})},
        originals={"a": Node("file", b"\x00\xff", "", 0o4755, "1234", "web", 5), "/etc/default/x": file("")},
        made=frozenset({"."}),
        units={"nginx.service": Standing("enabled", True)},
    )
    again = Ledger.parse(ledger.dump().decode(), "here")
    assert again == ledger
    assert again.originals["a"].mtime == 5
    # For the journal of a run: what it finds later, it may have written itself.
    system = ledger.system()
    assert set(system.originals) == {"/etc/default/x"}
    later = Ledger(originals={"/etc/default/x": file("ours")}, units={"nginx.service": Standing("disabled", False)})
    assert system.union(later).originals == system.originals
    assert system.union(later).units == ledger.units


@pytest.mark.parametrize("damage", ['"originals": {"/etc/passwd": {"kind": "file"}}', '"originals": {"../a": {}}'])
def test_a_damaged_ledger_brings_nothing_back(damage: str) -> None:
    with pytest.raises(PlanError, match="is damaged"):
        Ledger.parse(f'{{"owners": {{}}, {damage}}}', "here")
