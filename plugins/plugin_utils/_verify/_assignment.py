# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Task sheets: what each student is given, from the teacher's seed and the student's name alone."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import typing as t
import unicodedata

from ...module_utils._errors import DataError
from ._report import file_name

#: Letters of a seed. Who can guess it has everybody's tokens.
SHORTEST_SEED = 16
#: Ports are of these, both included: free on Debian, and open to whoever is not root.
PORTS = (8100, 8999)
_TOKEN = 12


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What one student is given."""

    student: str
    #: Small letters and digits; it is to be on a page of the student's.
    token: str
    #: Of the sites, in the order of the sheet.
    ports: tuple[int, ...]
    #: The name of its file.
    file: str


def sheet(seed: str, student: str, sites: int = 3) -> Sheet:
    """The student's sheet; always the same, and of no use to anybody else.

    :param sites: how many ports.
    :raises DataError: the seed is too short, or there are not so many ports.
    """
    if len(seed) < SHORTEST_SEED:
        raise DataError(
            "seed", f"has {len(seed)} letters, and {SHORTEST_SEED} at least are needed: openssl rand -hex 16"
        )
    if not 0 < sites <= 100:
        raise DataError("sites", f"{sites} is not between 1 and 100")
    # One name, however it was typed.
    name = unicodedata.normalize("NFC", " ".join(student.split()))
    ports: dict[int, None] = {}
    numbers = _numbers(seed, name)
    while len(ports) < sites:
        ports[PORTS[0] + next(numbers, 0) % (PORTS[1] - PORTS[0] + 1)] = None
    token = base64.b32encode(_digest(seed, "token", name)).decode("ascii").lower()[:_TOKEN]
    return Sheet(student, token, tuple(ports), file_name(student))


def _digest(seed: str, what: str, name: str) -> bytes:
    return hmac.new(seed.encode(), f"{what}\0{name}".encode(), hashlib.sha256).digest()


def _numbers(seed: str, name: str) -> t.Iterator[int]:
    count = 0
    while True:
        yield int.from_bytes(_digest(seed, f"port {count}", name)[:8], "big")
        count += 1
