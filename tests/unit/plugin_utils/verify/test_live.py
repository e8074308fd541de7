# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checklist while it grows: each criterion once, as soon as it can be judged, and as the document has it."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from empty_host import Empty

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _changes, _engine, _manifest, _rubric, _text
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._evidence import Answered, Ask, Facts, Held

MANIFEST = {
    "again": "again",
    "sites": [
        {"name": "shop", "port": 8081, "served_by": "http", "backend": "http://127.0.0.1:3000", "nonce": "/?q={nonce}"},
        {"name": "old", "port": 8082, "served_by": "mod_php", "front": "apache", "mpm": "event", "process": "/pid"}
        | {"status": "/server-status"},
    ],
}
#: What needs nothing but the host and the repository, of the rubric `course`.
AT_ONCE = ["repository", "vagrantfile", "ansible", "ports_forwarded", "readme", "readme_tells_checks", "no_secrets"]
AT_ONCE += ["no_database_root", "three_sites", "own_ports", "front_server", "backends_closed", "joined", "users"]
AT_ONCE += ["socket_modes", "upgrade_by_map", "starts_at_boot"]
CHANGED = {"second_run": "second_run", "reboot": "back_after_reboot", "stop_backend": "stops_alone"}


class Hands:
    """Does nothing, and says what was asked of it."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def stop(self, unit: str) -> list[str]:
        self._said.append(f"stop {unit}")
        return [unit]

    def start(self, units: t.Sequence[str]) -> None:
        pass

    def run(self, command: str) -> tuple[int, str]:
        self._said.append("> second_run")
        return 0, "PLAY RECAP ***\nh : ok=1 changed=0 unreachable=0 failed=0"

    def reboot(self) -> None:
        self._said.append("> reboot")


class Away(Empty):
    """A host that nobody gets to."""

    def facts(self) -> Facts:
        raise _engine.NotReached("no route to it")

    def held(self, ports: t.Sequence[int]) -> list[Held]:
        raise _engine.NotReached("no route to it")


class Watched(t.NamedTuple):
    document: dict[str, t.Any]
    #: What happened, in its order: steps, questions (?), visitors who stay (=), changes (>), and ids of criteria.
    said: list[str]
    shown: list[dict[str, t.Any]]


Watch = t.Callable[..., Watched]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    def look(host: _engine.Host, *changes: str, status: int | None = 200) -> Watched:
        said: list[str] = []
        shown: list[dict[str, t.Any]] = []

        def ask(asks: t.Sequence[Ask], timeout: float) -> list[Answered]:
            said.append(f"? {asks[0].round}")
            return [Answered("", "", status, {}, ask.path.encode()) if status else Answered("refused") for ask in asks]

        @contextlib.contextmanager
        def staying(sites: t.Sequence[_manifest.Site], *_rest: object) -> t.Iterator[dict[str, int]]:
            said.append("=")
            yield {site.name: 8 for site in sites}

        def show(row: dict[str, t.Any]) -> None:
            said.append(row["id"])
            shown.append(row)

        monkeypatch.setattr(_engine, "from_controller", ask)
        monkeypatch.setattr(_engine._visitors, "staying", staying)
        stand = _manifest.parse(MANIFEST, "anna", "10.0.0.5")
        document = _engine.examine(
            _rubric.load("course"), stand, host, _engine.Given(work={}), 1.0, changes, Hands(said),
            lambda step, _number: said.append(step), show,
        )  # fmt: skip
        return Watched(document, said, shown)

    return look


def batches(said: list[str]) -> list[list[str]]:
    """The criteria that were shown together."""
    found: list[list[str]] = [[]]
    for one in said:
        if one[0] in "?=>" or one.startswith("step_"):
            found.append([])
        else:
            found[-1].append(one)
    return found


@pytest.mark.parametrize("changes", [(), ("second_run",), _changes.CHANGES])
@pytest.mark.parametrize("host", [Empty(), Away()], ids=["seen", "away"])
def test_each_criterion_is_shown_once_and_as_it_stays(watch: Watch, host: _engine.Host, changes: tuple[str]) -> None:
    got = watch(host, *changes)
    criteria = [one for section in got.document["sections"] for one in section["criteria"]]
    assert sorted(one["id"] for one in got.shown) == sorted(one["id"] for one in criteria)
    assert {one["id"]: one for one in got.shown} == {one["id"]: one for one in criteria}
    order = [one["id"] for one in criteria]
    for batch in batches(got.said):
        assert batch == sorted(batch, key=order.index)
        # What a criterion needs is judged with it or before.
        for criterion in batch:
            for needed in _rubric.load("course").criteria[criterion].needs:
                assert needed in batch or got.said.index(needed) < got.said.index(criterion)


def test_it_is_shown_as_soon_as_all_is_seen_that_it_looks_at(watch: Watch) -> None:
    said = watch(Empty(), *_changes.CHANGES).said
    assert said[0] == "step_host"
    assert said[1 : said.index("step_asks")] == AT_ONCE
    # The front page is there after the first round, the number of the process after the fourth, visits after all.
    for name, after in (("answers", "? 0"), ("no_debug_page", "? 0"), ("process_model", "? 3"), ("counted", "? 11")):
        assert said.index(after) < said.index(name), name
        assert not [one for one in said[said.index(after) + 1 : said.index(name)] if one[0] in "?=>"], name
    assert said.index("mpm") == said.index("=") + 1
    before = said[: said.index("step_changes")]
    assert set(said) - set(before) - {"step_changes"} >= set(CHANGED.values())
    assert said.index("second_run") == said.index("> second_run") + 1
    assert said.index("> second_run") < said.index("> reboot") < said.index("back_after_reboot")


def test_what_is_not_to_be_done_is_not_waited_for(watch: Watch) -> None:
    said = watch(Empty()).said
    assert said.index("second_run") < said.index("step_asks")
    assert "step_changes" not in said


def test_of_a_stand_that_cannot_be_seen_nothing_is_shown(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    shown: list[object] = []
    monkeypatch.setattr(_engine, "row", lambda *rest: shown.append(rest))
    with pytest.raises(_engine.Unreachable):
        watch(Away(), status=None)
    assert not shown


@pytest.mark.parametrize("language", _text.LANGUAGES)
@pytest.mark.parametrize("hints", _text.HINTS)
def test_line_by_line_it_is_the_final_list(watch: Watch, language: str, hints: str) -> None:
    got = watch(Empty(), *_changes.CHANGES)
    document = {**got.document, "stand": {"name": "anna"}, "problem": None}
    live = [line for row in got.shown for line in _text.checked(row, language, hints)]
    ending = _text.ending(document, language, hints)
    titles = [f"{section['title'][language]}" for section in document["sections"]]
    whole = [line for line in _text.summary(document, language, hints) if line and line not in titles]
    assert sorted(live + ending[1:]) == sorted(whole)
    assert ending[1:] == whole[-len(ending) + 1 :]
