# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""What the web server was told: nginx's configuration, read as nginx reads it."""

from __future__ import annotations

import re
import typing as t

from . import Outcome, Scope, failed, kind, not_applicable, ok

#: A word in quotes, a word, or what ends a directive or begins and ends a block; comments are left out.
_TOKEN = re.compile(r"#[^\n]*|\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|([{};])|([^\s{};\"'#][^\s{};]*)")


class Directive(t.NamedTuple):
    """A directive, and the blocks that it is in, the outermost first."""

    words: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    #: Where it ends in the text.
    end: int


def directives(text: str) -> t.Iterator[Directive]:
    """All directives of an nginx file, those of blocks as well."""
    words: list[str] = []
    blocks: list[tuple[str, ...]] = []
    for token in _TOKEN.finditer(text):
        if token[0].startswith("#"):
            continue
        if token[3] == "{":
            blocks.append(tuple(words))
            words = []
        elif token[3] == "}":
            if blocks:
                blocks.pop()
            words = []
        elif token[3] == ";":
            if words:
                yield Directive(tuple(words), tuple(blocks), token.start())
            words = []
        else:
            words.append(token[1] or token[2] or token[4] or "")


@kind("stand", host=True)
def upgrade_by_map(scope: Scope) -> Outcome:
    """`Connection: upgrade` is said for WebSocket only, by a map or in a place of its own, not for all traffic."""
    files = {path: text for path, text in scope.host.configuration.items() if "nginx" in path}
    if not files:
        return not_applicable("no_nginx")
    places = {site.websocket for site in scope.stand.sites if site.websocket}
    for path, text in files.items():
        for one in directives(text):
            if one.words[:2] != ("proxy_set_header", "Connection") or "upgrade" not in [
                word.lower() for word in one.words[2:]
            ]:
                continue
            locations = [block[1:] for block in one.blocks if block[:1] == ("location",)]
            if not locations or (locations[-1][-1:] == ("/",) and "/" not in places):
                return failed(
                    "upgrade_for_all",
                    path=path,
                    line=text.count("\n", 0, one.end) + 1,
                    place=" ".join(locations[-1]) if locations else "server",
                )
    return ok()


@kind("site", host=True)
def joined(scope: Scope) -> Outcome:
    """The front server's configuration names the backend of the manifest."""
    backend = scope.site.backend
    if backend is None:
        return not_applicable("no_backend")
    if not scope.host.configuration:
        return not_applicable("no_configuration_seen")
    words = [backend.unix] if backend.unix else [f"{backend.host}:{backend.port}", f"localhost:{backend.port}"]
    for path, text in scope.host.configuration.items():
        if any(word and word in text for word in words):
            return ok(path=path)
    return failed("backend_not_in_configuration", backend=backend.url)
