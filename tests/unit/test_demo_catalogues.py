# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every text that a visitor of the lab's applications sees exists in every language."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROLES = Path(__file__).resolve().parents[2] / "roles"
LANGUAGES = ("en", "ru")
CATALOGUES = sorted(ROLES.glob("demo_*/files/lang"))


def _texts(catalogue: Path, language: str) -> dict[str, str]:
    return dict(_flat("", json.loads((catalogue / f"{language}.json").read_text("utf-8"))))


def _flat(prefix: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(f"{prefix}.{key}", inner)]
    if isinstance(value, list):
        return [pair for number, inner in enumerate(value) for pair in _flat(f"{prefix}[{number}]", inner)]
    return [(prefix, str(value))]


def test_there_are_catalogues() -> None:
    assert CATALOGUES


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parents[1].name)
def test_every_language_has_every_text(catalogue: Path) -> None:
    assert sorted(path.stem for path in catalogue.glob("*.json")) == sorted(LANGUAGES)
    english = _texts(catalogue, "en")
    for language in LANGUAGES:
        texts = _texts(catalogue, language)
        assert sorted(texts) == sorted(english), language
        assert not [key for key, text in texts.items() if not text.strip()], language


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parents[1].name)
def test_placeholders_agree(catalogue: Path) -> None:
    english, russian = _texts(catalogue, "en"), _texts(catalogue, "ru")
    for key, text in english.items():
        assert re.findall(r"\{\w+\}", text) == re.findall(r"\{\w+\}", russian[key]), key


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parents[1].name)
def test_russian_is_russian(catalogue: Path) -> None:
    """A sentence that was copied instead of translated: words of the same script only."""
    same = {"lang", "script_name", "path_info"}
    untranslated = [
        key
        for key, text in _texts(catalogue, "ru").items()
        if re.search(r"[a-z]{4,} [a-z]{2,} [a-z]", text) and not re.search("[\u0400-\u04ff]", text)
        if key.rpartition(".")[2] not in same
    ]
    assert not untranslated


@pytest.mark.parametrize("language", LANGUAGES)
def test_shop_uses_every_text_and_no_other(language: str) -> None:
    shop = ROLES / "demo_shop" / "files"
    texts = json.loads((shop / "lang" / f"{language}.json").read_text("utf-8"))["texts"]
    used = {
        key
        for template in (shop / "shop" / "templates").glob("*.html")
        for key in re.findall(r"\bt\.(\w+)", template.read_text("utf-8"))
    }
    used |= {
        key
        for module in (shop / "shop").glob("*/views.py")
        for key in re.findall(r'TEXTS\["(\w+)"\]', module.read_text("utf-8"))
    }
    assert set(texts) == used
