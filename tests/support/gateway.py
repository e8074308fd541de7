# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a program behind a gateway is told of a request: one table for every pair of a front server and a gateway.

docs/gateways.md shows it, see gateway_page.py.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
import typing as t

from pairs import HOST, SIZES, Pair

#: The client has another address than the servers of the same host.
CLIENT = "127.0.0.2"

#: Variable -> value, or None where there is no such variable. "status" and "body" are of the answer and of the request.
Values = t.Dict[str, t.Optional[str]]


@dataclasses.dataclass(frozen=True)
class Request:
    """A request, and what the program finds beside what it always finds."""

    #: Behind the mount.
    path: str
    expects: Values = dataclasses.field(default_factory=dict)
    #: What curl is told, as words.
    options: tuple[str, ...] = ()
    #: Whether the answer has a body to read.
    answered: bool = True


def _body(name: str, *more: str) -> Request:
    expects: Values = {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(SIZES[name]),
        "CONTENT_TYPE": "application/octet-stream",
        "body": name,
    }
    options = (
        f"data-binary=@/srv/echo/body-{SIZES[name]}",
        "header=Content-Type: application/octet-stream",
        "header=Expect:",
    )
    return Request("/", expects, (*options, *more))


#: What the program finds, unless the request says otherwise.
ALWAYS: Values = {
    "status": "200",
    "SCRIPT_NAME": "{mount}",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "{uri}",
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": HOST,
    "SERVER_PORT": "{port}",
    "REMOTE_ADDR": CLIENT,
    "REMOTE_USER": None,
    "HTTP_HOST": f"{HOST}:{{port}}",
    "HTTPS": "{https}",
    "wsgi.url_scheme": "{scheme}",
    "CONTENT_TYPE": None,
    "CONTENT_LENGTH": None,
    "HTTP_CONTENT_TYPE": None,
    "HTTP_CONTENT_LENGTH": None,
    "HTTP_AUTHORIZATION": None,
    "HTTP_PROXY": None,
    "HTTP_X_FORWARDED_PROTO": None,
    "HTTP_X_FORWARDED_FOR": None,
    "body": "empty",
}
#: WSGI says the scheme in its own way, and does not know the others.
NOT_OF = {
    "cgi": ("wsgi.url_scheme",),
    "php": ("wsgi.url_scheme",),
    "wsgi": ("HTTPS", "REQUEST_URI", "GATEWAY_INTERFACE"),
    "http": ("HTTPS", "REQUEST_URI", "GATEWAY_INTERFACE"),
}
REQUESTS: dict[str, Request] = {
    "the mount": Request("", {"PATH_INFO": ""}),
    "a slash": Request("/"),
    "a path": Request("/a/b.c", {"PATH_INFO": "/a/b.c"}),
    "a slash at the end": Request("/a/", {"PATH_INFO": "/a/"}),
    "blanks and UTF-8": Request("/a%20b/%D0%B6", {"PATH_INFO": "/a b/\u0436"}),
    "what URLs reserve": Request("/a%3Fb%23c%25d?e", {"PATH_INFO": "/a?b#c%d", "QUERY_STRING": "e"}),
    "what URLs allow": Request("/a+b;c=d&e/%22f", {"PATH_INFO": '/a+b;c=d&e/"f'}),
    "a line break": Request("/a%0Ab", {"PATH_INFO": "/a\nb"}),
    "an encoded slash": Request("/a%2Fb", {"PATH_INFO": "/a/b"}),
    "double slashes": Request("//a//b", {"PATH_INFO": "/a/b"}),
    "dots": Request("/a/./b/../c", {"PATH_INFO": "/a/c"}),
    "an empty query": Request("/?"),
    "a query": Request("/?x=1&y=%20%2F+z", {"QUERY_STRING": "x=1&y=%20%2F+z"}),
    "a query with ?": Request("/a?b?c=%2F", {"PATH_INFO": "/a", "QUERY_STRING": "b?c=%2F"}),
    "a password": Request("/", {"HTTP_AUTHORIZATION": "Basic YTpi"}, ("user=a:b",)),
    "a token": Request("/", {"HTTP_AUTHORIZATION": "Bearer t"}, ("header=Authorization: Bearer t",)),
    "another host": Request(
        "/",
        {"HTTP_HOST": "other.example:81", "SERVER_NAME": "other.example"},
        ("header=Host: other.example:81",),
    ),
    "own headers": Request(
        "/", {"HTTP_X_OWN": "value", "HTTP_X_UNDER": None}, ("header=X-Own: value", "header=X_Under: value")
    ),
    "a header Proxy": Request("/", {}, ("header=Proxy: http://evil.example",)),
    "forged headers": Request("/", {}, ("header=X-Forwarded-For: 203.0.113.9", "header=X-Forwarded-Proto: https")),
    "a forged X-Forwarded-SSL": Request("/", {}, ("header=X-Forwarded-SSL: on",)),
    "HEAD": Request("/", {}, ("head",), answered=False),
    **{f"a body: {name}": _body(name) for name in SIZES},
    "a body in chunks": _body("64 KiB", "header=Transfer-Encoding: chunked"),
}


@dataclasses.dataclass(frozen=True)
class Differs:
    """What some pairs say otherwise, and why. It is asserted as well: a difference that goes away is news."""

    pairs: tuple[str, ...]
    requests: tuple[str, ...]
    variable: str
    value: str | None
    why: str

    def concerns(self, pair: str, request: str) -> bool:
        return _fits(pair, self.pairs) and _fits(request, self.requests)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern fits, and none of those with ``!``."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns) and not any(
        fnmatch.fnmatch(name, pattern[1:]) for pattern in patterns if pattern.startswith("!")
    )


ALL = ("*",)
APACHE = ("prefork *", "itk *", "worker *", "event *", "nginx+*")
#: Apache tells its programs, and PHP.
APACHES_OWN = ("prefork *", "itk *", "worker *", "event php *", "event cgi *", "event fcgid *", "nginx+*")
UNTOUCHED = ("*", "!* http *", "!nginx+*")

DIFFERS = (
    Differs(
        APACHES_OWN,
        ("the mount",),
        "PATH_INFO",
        None,
        "Apache leaves out what would be empty; to CGI, both are the same (RFC 3875, 4.1)",
    ),
    Differs(
        APACHE,
        ("an encoded slash",),
        "status",
        "404",
        "`AllowEncodedSlashes` is off, Apache's default: no program gets to see a path that means two things",
    ),
    Differs(
        ("nginx http *",),
        ("double slashes",),
        "PATH_INFO",
        "//a//b",
        "nginx chooses the location by the path without them, and sends an HTTP server the path as it came",
    ),
    Differs(
        ("nginx http gunicorn-*",),
        ("dots",),
        "PATH_INFO",
        "/a/./b/../c",
        "the same; gunicorn leaves the dots, uWSGI resolves them",
    ),
    Differs(
        (*APACHE, "!event http *", "nginx http gunicorn-unix"),
        ("another host",),
        "SERVER_PORT",
        "81",
        "Apache believes the port in Host (`UseCanonicalName Off`), and so does gunicorn, whose Unix socket has none",
    ),
    Differs(
        ("* fcgid *", "* scgi *"),
        ("*", "!a body*"),
        "CONTENT_LENGTH",
        "0",
        "SCGI demands the variable, and mod_fcgid always has it",
    ),
    Differs(
        ("prefork cgi *", "event cgi *", "* perl *", "prefork php *", "itk php *"),
        ("a body in chunks",),
        "CONTENT_LENGTH",
        None,
        "the program reads the body while it comes, up to its end; nobody knows the length before",
    ),
    Differs(
        ("event uwsgi *", "event scgi *", "event wsgi *"),
        ("a body in chunks",),
        "status",
        "411",
        "mod_proxy_uwsgi, mod_proxy_scgi and mod_wsgi refuse a body whose length is not said",
    ),
    Differs(
        UNTOUCHED,
        ("forged headers",),
        "HTTP_X_FORWARDED_FOR",
        "203.0.113.9",
        "a header as others are. REMOTE_ADDR is the client; a program must not believe this one",
    ),
    Differs(
        (*UNTOUCHED, "!* uwsgi *", "!* scgi *"),
        ("forged headers",),
        "HTTP_X_FORWARDED_PROTO",
        "https",
        "likewise. uWSGI believes it: where it is behind uwsgi or SCGI, the front servers keep the header back",
    ),
    Differs(
        ("* fastcgi uwsgi",),
        ("forged headers", "a forged X-Forwarded-SSL"),
        "wsgi.url_scheme",
        "https",
        "uWSGI believes both headers, and over FastCGI no front server knows that it is uWSGI; do not use it so",
    ),
    Differs(
        ("* http *", "nginx+*"),
        ALL,
        "HTTP_X_FORWARDED_PROTO",
        "{scheme}",
        "HTTP has no other place for it. What a client sends under this name does not get through",
    ),
    Differs(
        ("* http *",),
        ALL,
        "HTTP_X_FORWARDED_FOR",
        CLIENT,
        "the same. Apache behind nginx takes it as REMOTE_ADDR (mod_remoteip), and out of the request",
    ),
    Differs(("* http gunicorn-unix",), ALL, "REMOTE_ADDR", "", "who asks is nginx, over a socket without addresses"),
    Differs(("* http gunicorn-tcp",), ALL, "REMOTE_ADDR", "127.0.0.1", "who asks is nginx"),
    Differs(("* http uwsgi",), ALL, "REMOTE_ADDR", "0.0.0.0", "uWSGI's word for a Unix socket"),
    Differs(("* http gunicorn-tcp",), ALL, "SERVER_NAME", "127.0.0.1", "gunicorn says where itself listens"),
    Differs(("* http gunicorn-tcp",), ALL, "SERVER_PORT", "{backend}", "gunicorn says where itself listens"),
    Differs(("* http uwsgi",), ALL, "SERVER_NAME", "{hostname}", "uWSGI says the host's own name"),
    Differs(("* http uwsgi",), ALL, "SERVER_PORT", "80", "uWSGI's word for a Unix socket"),
    Differs(
        ("event http *",),
        ("own headers",),
        "HTTP_X_UNDER",
        "value",
        "mod_proxy_http passes a header with an underscore on; everywhere else it is dropped, since a program that has"
        " headers as variables takes it for the one with a hyphen",
    ),
)

#: What comes of these depends on how many bytes are there at that moment: nobody is asked.
UNSTEADY = Differs(
    ("nginx fastcgi uwsgi",),
    ("a body: 64 KiB", "a body: 100 MiB", "a body in chunks"),
    "status",
    None,
    "uWSGI fails now and then, with a 502, at bodies above 32 KiB in nginx's large records; Apache's are smaller",
)


def expected(pair: Pair, mount: str, name: str, *, tls: bool, hostname: str) -> Values:
    """Return what the program finds, the differences of the pair included."""
    request = REQUESTS[name]
    values = {**ALWAYS, **request.expects}
    values.update({entry.variable: entry.value for entry in DIFFERS if entry.concerns(pair.name, name)})
    if values["status"] != "200" or not request.answered:
        return {"status": values["status"]}
    filled = {
        "mount": mount,
        "uri": f"{mount}{request.path}",
        "port": pair.port,
        "backend": pair.port + 1000,
        "hostname": hostname,
        "scheme": "https" if tls else "http",
    }
    # Not str.format: a path may have braces.
    text = {
        key: re.sub(r"\{(\w+)\}", lambda name: str(filled[name[1]]), value or "")
        for key, value in values.items()
        if key != "HTTPS"
    }
    found: Values = {key: None if values[key] is None else value for key, value in text.items()}
    found["HTTPS"] = "on" if tls else None
    return {key: value for key, value in found.items() if key not in NOT_OF[pair.kind]}


def asked(pair: Pair, mount: str) -> list[str]:
    """Return the names of the requests that make sense there. Bodies are sent to the first mount only."""
    names = [name for name in REQUESTS if not UNSTEADY.concerns(pair.name, name)]
    # Without a prefix, no path is shorter than "/".
    names = [name for name in names if mount or name != "the mount"]
    return [name for name in names if mount == pair.mounts[0] or not name.startswith("a body")]


def curl_config(pair: Pair, mount: str, names: list[str], *, tls: bool) -> str:
    """Return the requests as a configuration file of curl's, whose answers come one after the other."""
    scheme = "https" if tls else "http"
    blocks = []
    for name in names:
        target = f"{mount}{REQUESTS[name].path}" or "/"
        options = (
            f"url={scheme}://{HOST}:{pair.port}",
            f"resolve={HOST}:{pair.port}:127.0.0.1",
            # As it is: curl would take dots and empty queries away.
            f"request-target={target}",
            f"interface={CLIENT}",
            "silent",
            "show-error",
            "http1.1",
            "max-time=60",
            f"write-out=\n@@ %{{http_code}} {name}\n",
            *REQUESTS[name].options,
        )
        words = (option.partition("=") for option in options)
        blocks.append("\n".join(f"{word} = {json.dumps(value)}" if value else word for word, _equals, value in words))
    return "\nnext\n".join(blocks) + "\n"


def answers(text: str) -> dict[str, tuple[str, str]]:
    """Return status and body of each answer, by the name of its request."""
    parts = re.split(r"\n@@ (\d+) (.*)\n", text)
    return {name: (status, body) for body, status, name in zip(parts[::3], parts[1::3], parts[2::3])}


def found(keys: t.Iterable[str], status: str, body: str, sums: t.Mapping[str, str]) -> Values:
    """Return what the program says it found of ``keys``.

    :param sums: digest of a body -> what it is called.
    """
    values: Values = {"status": status}
    try:
        answer = json.loads(body)
    except ValueError:
        return values
    values["body"] = sums.get(answer["sha256"], f"another one, of {answer['size']} bytes")
    for key in keys:
        value = answer["env"].get(key)
        # The bytes of a variable come as characters of Latin-1.
        values.setdefault(key, None if value is None else value.encode("latin-1").decode(errors="backslashreplace"))
    return {key: values[key] for key in keys}
