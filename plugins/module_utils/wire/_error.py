# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The one error of the codecs: the peer's bytes are not the protocol they should be."""

from __future__ import annotations


class WireError(ValueError):
    """What is wrong with the bytes, in words for the reader of a report."""


class ClosedEarly(WireError):
    """The peer closed the connection before the answer was complete."""
