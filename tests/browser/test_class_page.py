# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages of a class and of a stand in Debian's Chromium: sorted, on a phone, on paper, and obeyed by nobody.

Screenshots are left in WEBLAB_ARTEFACTS, by default .lab/artefacts.
"""

from __future__ import annotations

import copy
import os
import pathlib
import typing as t

import pytest
from empty_host import Empty

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import (
    _engine,
    _manifest,
    _report,
    _results,
    _rubric,
)

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARTEFACTS = pathlib.Path(os.environ.get("WEBLAB_ARTEFACTS", ROOT / ".lab" / "artefacts"))
EVIL = "<img src=x onerror='window.executed = true'><script>window.executed = true</script>"
#: Name -> percent and verdict. A name is longer than a phone is wide.
CLASS = {
    "petrov": (9.5, "not_accepted"),
    "ivanova": (100, "accepted"),
    EVIL: (61.54, "not_accepted"),
    "sidorov-" + "x" * 90: (0, "undecided"),
    "orlova": (110, "accepted"),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The pages as verify_report writes them."""
    made = tmp_path_factory.mktemp("class")
    stand = _manifest.parse({"sites": [{"name": "shop", "port": 1, "served_by": "http"}]}, "x", "127.0.0.1")
    looked_at = _engine.examine(_rubric.load("course"), stand, Empty(), timeout=2)
    documents = []
    for number, (name, (percent, verdict)) in enumerate(CLASS.items()):
        document = _results.stamped(copy.deepcopy(looked_at), name, f"host{number}", ["shop"])
        document.update(percent=percent, verdict=verdict)
        documents.append(document)
        (made / f"host{number}.html").write_text(_report.page(document, "en", "fix"), encoding="utf-8")
    (made / "class.html").write_text(_report.overview(documents, "en"), encoding="utf-8")
    return made


@pytest.fixture
def page(browser: Browser) -> t.Iterator[Page]:
    context = browser.new_context()
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    executed = opened.evaluate("() => window.executed")
    context.close()
    assert not problems
    assert executed is None


def column(page: Page, number: int) -> list[str]:
    return [text.strip() for text in page.locator(f"#class tbody td:nth-child({number})").all_inner_texts()]


def test_a_click_sorts_the_class(page: Page, directory: pathlib.Path) -> None:
    page.goto(f"file://{directory}/class.html")
    assert column(page, 1) == list(CLASS)
    page.get_by_role("button", name="%").click()
    assert [float(text) for text in column(page, 3)] == [0, 9.5, 61.54, 100, 110]
    page.get_by_role("button", name="%").click()
    assert [float(text) for text in column(page, 3)] == [110, 100, 61.54, 9.5, 0]
    assert page.get_by_role("columnheader", name="%").get_attribute("aria-sort") == "descending"
    # By the keyboard as well.
    page.get_by_role("button", name="stand").press("Enter")
    assert column(page, 1) == sorted(CLASS, key=lambda name: name.lstrip("<"))
    assert page.get_by_role("columnheader", name="%").get_attribute("aria-sort") is None
    page.get_by_role("link", name="petrov").click()
    assert page.get_by_role("heading", level=1).inner_text() == "petrov"


@pytest.mark.parametrize("name", ["class", "host2"])
def test_it_is_read_on_a_phone_and_on_paper(page: Page, directory: pathlib.Path, name: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.goto(f"file://{directory}/{name}.html")
    # A phone, and A4 at 96 dpi without its margins.
    for media, width in (("screen", 360), ("print", 700)):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(media="print" if media == "print" else "screen")
        wide, seen = page.evaluate("() => [document.scrollingElement.scrollWidth, window.innerWidth]")
        assert wide <= seen, f"{name} is {wide} wide on {seen}"
        page.screenshot(path=ARTEFACTS / f"verify-{name}-{media}.png", full_page=True)
    assert page.pdf(format="A4").startswith(b"%PDF-")
