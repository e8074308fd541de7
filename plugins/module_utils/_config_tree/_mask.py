# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Keep the words of secret files out of what others say: daemons quote the line that they do not understand."""

from __future__ import annotations

import re
import typing as t

INSTEAD = "(secret)"
#: A word of so many letters is hidden also as a part of another word.
_LONG = 8
_SHORTEST = 4
_EDGES = "\"'=;:,{}()<>[]|&@/\\"
_PARTS = re.compile(rf"[\s{re.escape(_EDGES)}]+")


class Mask:
    """Hides every word of ``secret`` that does not stand in ``public`` as well."""

    def __init__(self, secret: t.Iterable[str], public: t.Iterable[str]) -> None:
        words = _words(secret)
        if words:
            words -= _words(public)
        # The longest first: a part of a word must not save the rest of it.
        parts = [_pattern(word) for word in sorted(words, key=lambda word: (-len(word), word))]
        self._pattern = re.compile("|".join(parts)) if parts else None

    def text(self, text: str) -> str:
        return self._pattern.sub(INSTEAD, text) if self._pattern else text

    def value(self, value: t.Any) -> t.Any:
        """The same for every text in nested data."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, t.Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value


def _words(texts: t.Iterable[str]) -> set[str]:
    found: set[str] = set()
    for text in texts:
        for word in text.split():
            found.update((word, word.strip(_EDGES), *_PARTS.split(word)))
    return {word for word in found if len(word) >= _SHORTEST}


def _pattern(word: str) -> str:
    escaped = re.escape(word)
    return escaped if len(word) >= _LONG else rf"(?<!\w){escaped}(?!\w)"
