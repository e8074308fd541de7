# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a WSGI application is told of a request, whichever servers it came through.

The application is checked.py of molecule/shared/prepare.yml, inside of wsgiref.validate: an environment or an order of
calls that PEP 3333 does not allow is a 500.
"""

from __future__ import annotations

import typing as t

from onhost import get

#: What is asked for -> PATH_INFO, QUERY_STRING.
PATHS = {
    "/": ("/", ""),
    "/?": ("/", ""),
    "/a/b?x=1&y=%20": ("/a/b", "x=1&y=%20"),
    "/a/": ("/a/", ""),
    "/caf%C3%A9/a%20b": ("/caf\u00e9/a b", ""),
    "/a+b;c=d/%25/e%22f": ('/a+b;c=d/%/e"f', ""),
    "/a?b?c=%2F": ("/a", "b?c=%2F"),
}


def check_paths(host: t.Any, url: str, mount: str = "") -> None:
    """The path arrives decoded, the query as it is."""
    wrong = {}
    for path, (path_info, query) in PATHS.items():
        answer = get(host, f"{url}{mount}{path}")
        found = answer.json() if answer.status == 200 else answer.status
        keys = ("script_name", "path_info", "query")
        if not isinstance(found, dict) or tuple(found[key] for key in keys) != (mount, path_info, query):
            wrong[path] = found
    assert wrong == {}


def check_request(host: t.Any, url: str, mount: str = "", *, client: bool = True, body: int = 70000) -> None:
    """Host with port, credentials, the client (which HTTP has only in a header), the method and the body arrive."""
    port, page = url.rpartition(":")[2], f"{url}{mount}/"
    found = get(host, page, "--user", "a:b", "--header", "Host: shop.example.org:81", "--data", "x" * body).json()
    expected = {
        "method": "POST",
        "host": "shop.example.org:81",
        "authorization": "Basic YTpi",
        **({"remote": "127.0.0.1"} if client else {}),
        "scheme": "http",
        "content_type": "application/x-www-form-urlencoded",
        "body": body,
    }
    arrived = {key: found[key] for key in expected}
    assert arrived == expected, arrived
    assert get(host, page).json()["host"] == f"127.0.0.1:{port}"
    assert get(host, page, "--head").status == 200
