# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The map of a class's repositories in Debian's Chromium: drawn, on a phone, on paper, and obeyed by nobody.

Screenshots are left in WEBLAB_ARTEFACTS, by default .lab/artefacts.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _similarity

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARTEFACTS = pathlib.Path(os.environ.get("WEBLAB_ARTEFACTS", ROOT / ".lab" / "artefacts"))
SCRIPT = "<script>window.executed = true<"
IMAGE = "<img src=x onerror='window.executed = true'>"
SUM = "{{ 7*7 }}"
#: Who has a copy, in a file with such a name; the last has a name that is longer than a phone is wide.
CLASS = {"anna": "demo_shop", IMAGE: "demo_shop", "boris": "demo_board", "clara-" + "x" * 90: "demo_wordpress"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    made = tmp_path_factory.mktemp("similarity")
    repositories = {}
    for number, (name, role) in enumerate(CLASS.items()):
        directory = made / str(number)
        shutil.copytree(ROOT / "roles" / role, directory)
        repositories[name] = str(directory)
    # More of a class, so that the map is wide.
    for number in range(12):
        (made / f"more{number}").mkdir()
        text = "".join(f"key{chr(97 + number)}{a}{b}: value{b}{a}\n" for a in "abcdefghij" for b in "abcdefghij")
        (made / f"more{number}" / "a.yml").write_text(text, encoding="utf-8")
        repositories[f"student{number:02}"] = str(made / f"more{number}")
    for number, ending in ((0, SCRIPT), (1, SUM)):
        (book,) = (made / str(number)).rglob("book.html")
        book.rename(book.with_name(f"{ending}book.html"))
    repositories["gone"] = str(made / "none" / SCRIPT)
    page = made / "similarity.html"
    page.write_text(_similarity.page(_similarity.compare(repositories), "en"), encoding="utf-8")
    return page


@pytest.fixture
def page(browser: Browser, file: pathlib.Path) -> t.Iterator[Page]:
    context = browser.new_context()
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text))
    opened.goto(f"file://{file}")
    yield opened
    executed = opened.evaluate("() => window.executed")
    context.close()
    assert not problems
    assert executed is None


def test_the_map_is_drawn_and_a_family_named(page: Page) -> None:
    rows = page.locator(".matrix tbody tr")
    number = len(CLASS) + 12
    assert rows.count() == number
    assert page.locator(".matrix tbody td").count() == number**2
    names = [text.split(" ", 1)[1] for text in page.locator(".matrix tbody th").all_inner_texts()]
    assert set(names) == {*CLASS, *(f"student{one:02}" for one in range(12))}
    # Families come first, and so their cells are beside each other.
    assert set(names[:2]) == {"anna", IMAGE}
    cells = rows.nth(0).locator("td")
    assert cells.nth(0).inner_text() == "\u2013"
    assert int(cells.nth(1).inner_text()) >= 99
    # Whoever is alike is dark, with letters that can be read on it; whoever is not is light.
    colours = [cells.nth(index).evaluate("one => getComputedStyle(one).backgroundColor") for index in (1, number - 1)]
    alpha = [float(colour.rstrip(")").split(",")[3]) if colour.startswith("rgba") else 1 for colour in colours]
    assert alpha[0] > 0.9
    assert alpha[1] < 0.4
    assert cells.nth(1).evaluate("one => getComputedStyle(one).color") == "rgb(255, 255, 255)"
    family = page.get_by_role("heading", name="Families").locator("xpath=following-sibling::ol/li")
    assert family.all_inner_texts() == [", ".join(sorted(["anna", IMAGE]))]


def test_names_are_texts(page: Page) -> None:
    assert page.locator("script, img").count() == 0
    pair = page.locator("h3").locator("xpath=following-sibling::table[1]")
    found = pair.first.locator("tbody td").all_inner_texts()
    for name in (SCRIPT, SUM):
        assert any(text.endswith(f"/{name}book.html") for text in found), found
    assert "49book" not in page.content()
    assert f"none/{SCRIPT} is no directory" in page.locator("body").inner_text()


def test_it_is_read_on_a_phone_and_on_paper(page: Page) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    # A phone, and A4 on its side at 96 dpi without its margins.
    for media, width in (("screen", 360), ("print", 1020)):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(media="print" if media == "print" else "screen")
        wide, seen = page.evaluate("() => [document.scrollingElement.scrollWidth, window.innerWidth]")
        assert wide <= seen, f"{wide} wide on {seen}"
        page.screenshot(path=ARTEFACTS / f"similarity-{media}.png", full_page=True)
        # The map can be moved on a phone, and is whole on paper.
        inner, outer, moved = page.locator(".matrix").evaluate(
            "map => { map.scrollLeft = 9999; return [map.scrollWidth, map.clientWidth, map.scrollLeft] }"
        )
        assert inner <= outer or (media == "screen" and moved >= inner - outer - 1)
        # No figure is broken in two.
        broken = page.locator("td.number, .matrix td").evaluate_all(
            "cells => cells.filter(one => { const text = document.createRange(); text.selectNodeContents(one);"
            " return text.getClientRects().length > 1 }).length"
        )
        assert broken == 0
        # A name beside it leaves room for figures.
        box = page.locator(".matrix tbody th").last.bounding_box()
        assert box is not None
        assert box["width"] <= width * 0.6
    assert page.pdf(format="A4", landscape=True).startswith(b"%PDF-")
