# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of what gateways say, held against its page and against itself."""

from __future__ import annotations

import collections
import itertools

from gateway import ALWAYS, DIFFERS, REQUESTS
from gateway_page import PAGE, page
from pairs import PAIRS


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: PYTHONPATH=tests/support python3 -m gateway_page"


def test_each_difference_is_one_and_no_two_contradict_each_other() -> None:
    cells = collections.Counter(
        (pair, request, entry.variable)
        for pair, request, entry in itertools.product(PAIRS, REQUESTS, DIFFERS)
        if entry.concerns(pair, request)
    )
    assert [cell for cell, entries in cells.items() if entries > 1] == []
    for entry in DIFFERS:
        assert any(entry.concerns(*place) for place in itertools.product(PAIRS, REQUESTS)), entry
        usual = {
            REQUESTS[name].expects.get(entry.variable, ALWAYS.get(entry.variable))
            for name in REQUESTS
            if any(entry.concerns(pair, name) for pair in PAIRS)
        }
        assert usual != {entry.value}, f"{entry} is what the others say, too"
