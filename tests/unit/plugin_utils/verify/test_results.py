# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The directory of results: a run that goes on after it was interrupted."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _results, _rubric

RUBRIC = _rubric.load("course")


def test_a_run_knows_what_it_has_done(tmp_path: pathlib.Path) -> None:
    results = _results.Results(tmp_path / "deep" / "verify")
    results.begin()
    assert results.of_this_run("anna") is None
    results.write("anna", _results.unseen(RUBRIC, "anna", "stand_unreachable", "x"))
    results.write("boris", _results.unseen(RUBRIC, "boris", "stand_unreachable", "x"))
    found = results.of_this_run("anna")
    assert found is not None
    assert found["stand"]["host"] == "anna"
    assert results.done(["anna", "boris", "clara"]) == 2
    os.utime(tmp_path / "deep" / "verify" / "anna.json", (0, 0))
    assert results.done(["anna", "boris", "clara"]) == 1
    results.begin()
    assert results.of_this_run("anna") is None
    assert results.done(["anna", "boris"]) == 0
    # Of an earlier run, and still there.
    assert [one["stand"]["host"] for one in results.all()] == ["anna", "boris"]


def test_without_a_beginning_everything_is_of_this_run(tmp_path: pathlib.Path) -> None:
    results = _results.Results(tmp_path)
    results.write("anna", _results.unseen(RUBRIC, "anna", "no_result", "x"))
    assert results.of_this_run("anna") is not None


@pytest.mark.parametrize("text", ["{", "[]", "{}", "\xff"])
def test_what_is_no_result_is_named(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "anna.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"anna\.json"):
        _results.Results(tmp_path).all()


def test_half_of_a_document_is_never_there(tmp_path: pathlib.Path) -> None:
    results = _results.Results(tmp_path)
    results.write("anna", _results.unseen(RUBRIC, "anna", "no_result", "x"))
    before = (tmp_path / "anna.json").read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        results.write("anna", {"x": object()})
    assert (tmp_path / "anna.json").read_text(encoding="utf-8") == before
    assert json.loads(before)["verdict"] == "undecided"


def test_a_directory_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        _results.Results(tmp_path / "file" / "verify").begin()
