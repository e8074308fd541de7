# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write docs/gateways.md from the table of gateway.py: ``PYTHONPATH=tests/support python3 -m gateway_page``."""

from __future__ import annotations

import typing as t

from gateway import ALL, ALWAYS, CLIENT, DIFFERS, REQUESTS, UNSTEADY, Request
from pairs import HOST, PAIRS, ROOT

PAGE = ROOT / "docs" / "gateways.md"

TEXT = """\
# What a program is told of a request

Between a front server and a program there is a gateway: CGI, FastCGI, SCGI, uwsgi, HTTP, or a module inside the
server. All of them hand over the same things, the variables of CGI ([RFC 3875](https://www.rfc-editor.org/rfc/rfc3875))
and a body, and a program should not notice which one it is. This page says what arrives with the roles of this
collection, and where servers differ. It is the table of a test that asks every pair, on Debian 12 in the clear and on
Debian 13 over TLS: what is written here was seen.

## The pairs

A pair is named after the front server, the gateway, and what is behind it. Apache goes by its MPM: `prefork`, `itk`,
`worker`, `event`; `nginx+event` is nginx before an Apache. The program is at the root of the site, below a prefix, or
both; PHP has its script in the root directory and in an alias. WSGI programs run inside of `wsgiref.validate`.

{pairs}

## What arrives of every request

The client is {client}, and calls the host {host}.

{always}

A WSGI program has `wsgi.url_scheme`, and neither needs nor always finds HTTPS, REQUEST_URI and GATEWAY_INTERFACE.

## What arrives of some requests

{requests}

Bodies are compared by their SHA-256. The sites have `max_body_mb: 100`, and 100 MiB arrive.

## Where servers differ

In the names, `*` stands for anything. *None*: there is no such variable. *status* is what the client gets.

{differs}

Not asked, since it is a matter of chance: {unsteady}.
{why}. No role puts up such a pair; over its own protocol, SCGI and HTTP, uWSGI reads bodies of any size.
"""


def _code(value: str | None) -> str:
    if value is None:
        return "none"
    words = {"{scheme}": "`http` or `https`", "{backend}": "the backend's port", "{hostname}": "the host's own name"}
    text = value.replace("\n", "\\n")
    return words.get(value, f"`{text}`") if value else "empty"


def _table(*rows: t.Sequence[str]) -> str:
    head, *rest = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join([head, "|---" * len(rows[0]) + "|", *rest])


def _names(patterns: tuple[str, ...]) -> str:
    if patterns == ALL:
        return "all"
    but = [f"`{pattern[1:]}`" for pattern in patterns if pattern.startswith("!")]
    fits = [f"`{pattern}`" for pattern in patterns if not pattern.startswith("!")]
    return ", ".join(fits).replace("`*`", "all") + (f" but {', '.join(but)}" if but else "")


def _headers(request: Request) -> str:
    options = [option.partition("=") for option in request.options]
    return ", ".join(f"`{value}`" for word, _equals, value in options if word == "header" and not value.endswith(":"))


def _found(request: Request) -> str:
    return ", ".join(f"{key} {_code(value)}" for key, value in request.expects.items() if key != "body")


def _always(value: str | None) -> str:
    words = {
        "{mount}": "where the program is",
        "{uri}": "path and query as they came",
        "{port}": "the site's port",
        "{https}": "`on` over TLS, else none",
    }
    return words.get(value or "", _code(value).replace("{port}", "PORT"))


def page() -> str:
    """Return the page as it has to be."""
    pairs = [
        (f"`{pair.name}`", str(pair.site.get("stack") or pair.site["component"]), " and ".join(map(_code, pair.mounts)))
        for pair in PAIRS.values()
    ]
    always = [(key, _always(value)) for key, value in ALWAYS.items() if key not in ("status", "body")]
    requests = [
        (name, _code(request.path), _headers(request), _found(request))
        for name, request in REQUESTS.items()
        if request.answered
    ]
    differs = [
        (_names(entry.pairs), _names(entry.requests), entry.variable, _code(entry.value), entry.why)
        for entry in DIFFERS
    ]
    return TEXT.format(
        client=CLIENT,
        host=HOST,
        pairs=_table(("Pair", "Role", "SCRIPT_NAME"), *pairs),
        always=_table(("Variable", "Value"), *always),
        requests=_table(("Request", "Path behind the program's", "Header", "What the program finds"), *requests),
        differs=_table(("Pairs", "Requests", "Variable", "Value", "Why"), *differs),
        unsteady=f"{_names(UNSTEADY.requests)} of {_names(UNSTEADY.pairs)}",
        why=UNSTEADY.why,
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
