# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures, with OpenSSL as the other side: what we sign it takes, and what it signs we take."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _results, _rubric, _signature


def openssl(*words: str | pathlib.Path) -> int:
    return subprocess.run(["openssl", *words], capture_output=True, check=False).returncode


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> tuple[str, str]:
    key, public = tmp_path / "teacher.key", tmp_path / "teacher.pub"
    assert openssl("genpkey", "-algorithm", "ed25519", "-out", key) == 0
    assert openssl("pkey", "-in", key, "-pubout", "-out", public) == 0
    return str(key), str(public)


def test_openssl_takes_what_we_sign(tmp_path: pathlib.Path, keys: tuple[str, str]) -> None:
    key, public = keys
    results = _results.Results(tmp_path / "results", key)
    results.write("anna", _results.unseen(_rubric.load("course"), "anna", "no_result", "x"))
    path = tmp_path / "results" / "anna.json"
    check = f"pkeyutl -verify -rawin -pubin -inkey {public} -in {path} -sigfile {path}.sig".split()
    assert openssl(*check) == 0
    assert _signature.check(path, public) == "good"
    path.write_text(path.read_text(encoding="utf-8").replace("undecided", "accepted"), encoding="utf-8")
    assert openssl(*check) != 0
    assert _signature.check(path, public) == "bad"


def test_we_take_what_openssl_signs(tmp_path: pathlib.Path, keys: tuple[str, str]) -> None:
    key, public = keys
    path = tmp_path / "anna.json"
    path.write_text("{}", encoding="utf-8")
    assert _signature.check(path, public) == "missing"
    assert openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", path, "-out", f"{path}.sig") == 0
    assert _signature.check(path, public) == "good"


def test_a_signature_of_an_earlier_document_does_not_stay(tmp_path: pathlib.Path, keys: tuple[str, str]) -> None:
    document = _results.unseen(_rubric.load("course"), "anna", "no_result", "x")
    _results.Results(tmp_path, keys[0]).write("anna", document)
    _results.Results(tmp_path).write("anna", document)
    assert _signature.check(tmp_path / "anna.json", keys[1]) == "missing"


def test_what_is_no_key_is_named_with_how_one_is_made(tmp_path: pathlib.Path, keys: tuple[str, str]) -> None:
    path = tmp_path / "anna.json"
    path.write_text("{}", encoding="utf-8")
    other = tmp_path / "rsa.key"
    locked = tmp_path / "locked.key"
    assert openssl("genpkey", "-algorithm", "rsa", "-out", other) == 0
    assert openssl("pkey", "-in", keys[0], "-aes256", "-passout", "pass:x", "-out", locked) == 0
    for key in (str(other), str(locked), keys[1], str(path), str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(DataError, match="openssl genpkey"):
            _signature.sign(path, key)
    for key in (str(other), keys[0], str(path), str(tmp_path / "none")):
        with pytest.raises(DataError, match="openssl genpkey"):
            _signature.check(path, key)
