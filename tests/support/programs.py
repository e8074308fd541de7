# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a program behind a gateway finds, whichever front server it is: RFC 3875 as a table, asked with curl."""

from __future__ import annotations

import typing as t

from onhost import get, run

#: Path behind the program's own -> what it finds. The program is at /echo.
REQUESTS: dict[str, dict[str, str]] = {
    "": {"PATH_INFO": "", "QUERY_STRING": ""},
    "/": {"PATH_INFO": "/", "QUERY_STRING": ""},
    "/a/b.c": {"PATH_INFO": "/a/b.c", "QUERY_STRING": ""},
    "/a%20b/%D0%B6": {"PATH_INFO": "/a b/ж", "QUERY_STRING": ""},
    "?x=1&y=%20%2F+z": {"PATH_INFO": "", "QUERY_STRING": "x=1&y=%20%2F+z"},
    "/p?q": {"PATH_INFO": "/p", "QUERY_STRING": "q"},
    "/a%3Fb%23c%25d?e": {"PATH_INFO": "/a?b#c%d", "QUERY_STRING": "e"},
}


def echo(host: t.Any, url: str, *options: str) -> dict[str, t.Any]:
    """Ask the echo program."""
    answer = get(host, url, *options)
    assert answer.status == 200, f"{url}: {answer.status} {answer.body[:300]}"
    return t.cast("dict[str, t.Any]", answer.json())


def check_variables(host: t.Any, port: int, rest: str) -> None:
    """The variables of one of REQUESTS, and those that are always the same."""
    options = ("--user", "a:b", "--header", "Proxy: http://evil.example", "--header", "X-Own: Wert")
    env = echo(host, f"http://localhost:{port}/echo{rest}", *options)["env"]
    # JSON of bytes: the program does not know of UTF-8.
    found = {key: env.get(key, "").encode("latin-1").decode() for key in ("PATH_INFO", "QUERY_STRING")}
    assert found == REQUESTS[rest]
    expected = {
        "SCRIPT_NAME": "/echo",
        "SCRIPT_FILENAME": "/srv/programs/echo",
        "REQUEST_URI": f"/echo{rest}",
        "REQUEST_METHOD": "GET",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_PORT": str(port),
        "HTTP_HOST": f"localhost:{port}",
        "HTTP_AUTHORIZATION": "Basic YTpi",
        "HTTP_X_OWN": "Wert",
        "REMOTE_ADDR": "127.0.0.1",
    }
    assert {key: env.get(key) for key in expected} == expected
    assert not env.get("HTTP_PROXY")
    assert not env.get("HTTPS")


def check_body(host: t.Any, port: int, size: int, *options: str) -> dict[str, t.Any]:
    """A body of ``size`` bytes arrives whole; returns what the program says."""
    run(host, f"head -c {size} /dev/urandom > /tmp/body-{size}")
    try:
        sum_ = run(host, f"md5sum /tmp/body-{size}").split()[0]
        upload = ("--data-binary", f"@/tmp/body-{size}", "--max-time", "60", "--header", "Expect:")
        answer = echo(host, f"http://localhost:{port}/echo", *upload, *options)
        assert (answer["size"], answer["md5"]) == (size, sum_)
        assert answer["env"]["REQUEST_METHOD"] == "POST"
        return answer
    finally:
        run(host, f"rm /tmp/body-{size}")
