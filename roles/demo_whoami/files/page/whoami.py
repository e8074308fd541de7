# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who served me: a plain WSGI callable that tells about the process that answers.

The keys are the same as those of index.php; the role's README documents them.
Standard library only. What cannot be known is None, never a guess.
"""

from __future__ import annotations

import grp
import html
import json
import os
import pathlib
import platform
import pwd
import socket
import threading
import time
import typing as t
import urllib.parse

Facts = dict[str, t.Any]
Environ = dict[str, t.Any]

_HERE = pathlib.Path(__file__).resolve().parent
_count_lock = threading.Lock()
_count = 0


def _read(path: str) -> str | None:
    """A small file of /proc, or None where the kernel does not let us."""
    try:
        return pathlib.Path(path).read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip() or None
    except OSError:
        return None


def _status(field: str) -> str | None:
    for line in (_read("/proc/self/status") or "").splitlines():
        key, _colon, value = line.partition(":")
        if key == field:
            return value.strip()
    return None


def _uwsgi() -> t.Any:
    """The module that uWSGI puts into its interpreter, or None in any other server."""
    try:
        import uwsgi  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return None
    return uwsgi


def _name(address: t.Any) -> str | None:
    if isinstance(address, bytes):
        address = os.fsdecode(address)
    if isinstance(address, str):
        return address or None
    if isinstance(address, tuple):
        host = f"[{address[0]}]" if ":" in str(address[0]) else str(address[0])
        return f"{host}:{address[1]}"
    return None


def _connection(server: t.Any) -> socket.socket | None:
    """The connection that this request came through, as a copy that may be closed."""
    try:
        return socket.socket(fileno=os.dup(server.connection_fd()))
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def _socket(environ: Environ, server: t.Any) -> tuple[str | None, str | None]:
    """The local socket and how we know: from the kernel, or declared by the configuration."""
    connection = _connection(server) if server else None
    if connection is not None:
        with connection:
            try:
                name = _name(connection.getsockname())
            except OSError:
                name = None
        if name:
            return name, "kernel"
    declared = os.environ.get("WEBLAB_SOCKET") or environ.get("WEBLAB_SOCKET")
    return (str(declared), "configuration") if declared else (None, None)


def _gateway(environ: Environ, server: t.Any, address: str | None) -> str:
    if server:
        for protocol in ("http", "fastcgi", "scgi"):
            sockets = server.opt.get(f"{protocol}-socket", [])
            if address in map(_text, sockets if isinstance(sockets, list) else [sockets]):
                return protocol
        return "uwsgi"
    if "mod_wsgi.version" in environ:
        return "mod_wsgi"
    # An ASGI server that passes on what it was sent: SCGI's first words are the length of the body and this one.
    sent = environ.get("asgi.scope", {}).get("extensions", {}).get("environ", {})
    return "scgi" if "SCGI" in sent else "wsgi"


def _text(value: t.Any) -> str | None:
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    return str(value) if value not in (None, "") else None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def facts(environ: Environ) -> Facts:
    """What this process knows about itself and about the request in `environ`."""
    global _count
    with _count_lock:
        _count += 1
        count = _count
    server = _uwsgi()
    address, source = _socket(environ, server)
    options = getattr(server, "opt", {}) if server else {}
    query = urllib.parse.parse_qs(str(environ.get("QUERY_STRING", "")))
    client = _text(environ.get("REMOTE_ADDR"))
    port = _text(environ.get("REMOTE_PORT"))
    gateway = _gateway(environ, server, address)
    if gateway == "http" and address and address.startswith("/"):
        client = None  # uWSGI writes 0.0.0.0 for the client of a Unix socket, which has no address.
    threads = _status("Threads")
    return {
        "site": os.environ.get("WEBLAB_SITE") or environ.get("WEBLAB_SITE"),
        "stack": os.environ.get("WEBLAB_STACK") or environ.get("WEBLAB_STACK"),
        "language": f"Python {platform.python_version()}",
        "server_software": _text(environ.get("SERVER_SOFTWARE")),
        "sapi": f"uWSGI {_text(getattr(server, 'version', None))}" if server else "WSGI",
        "gateway": gateway,
        "mpm": os.environ.get("WEBLAB_MPM") or environ.get("WEBLAB_MPM"),
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "thread": threading.get_native_id(),
        "threads": int(threads) if threads else None,
        "worker": server.worker_id() if server else None,
        "pool": _text(options.get("procname-prefix-spaced", options.get("procname-prefix"))),
        "requests": count,
        "process": _read("/proc/self/cmdline"),
        "parent": _read(f"/proc/{os.getppid()}/comm"),
        "user": _user(os.geteuid()),
        "uid": os.geteuid(),
        "group": _group(os.getegid()),
        "peer": (f"{client}:{port}" if port else client) if client else None,
        "socket": address,
        "socket_known_from": source,
        "hostname": socket.gethostname(),
        "script_name": str(environ.get("SCRIPT_NAME", "")),
        "path_info": str(environ.get("PATH_INFO", "")),
        "nonce": query.get("nonce", [""])[0][:64] or None,
        "time": round(time.time(), 3),
    }


def wants_json(environ: Environ) -> bool:
    wanted = urllib.parse.parse_qs(str(environ.get("QUERY_STRING", ""))).get("format", [""])[0]
    return wanted == "json" or (wanted != "html" and "application/json" in str(environ.get("HTTP_ACCEPT", "")))


def _messages() -> dict[str, str]:
    try:
        return t.cast("dict[str, str]", json.loads((_HERE / "messages.json").read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def page(found: Facts) -> str:
    """The facts for people: page.html is shared with index.php."""
    messages = _messages()
    template = (_HERE / "page.html").read_text("utf-8")
    rows = "".join(
        "<tr><th scope=row>{}</th><td>{}</td></tr>\n".format(
            html.escape(messages.get(key, key)),
            f"<em>{html.escape(messages.get('unknown', 'unknown'))}</em>"
            if value is None
            else f"<code>{html.escape(str(value))}</code>",
        )
        for key, value in found.items()
    )
    parts = {
        "rows": rows,
        "lang": html.escape(messages.get("lang", "en")),
        "title": html.escape(messages.get("title", "Who served me")),
        "lead": html.escape(messages.get("lead", "")),
    }
    for name, part in parts.items():
        template = template.replace("{{" + name + "}}", part)
    return template


def application(environ: Environ, start_response: t.Callable[..., t.Any]) -> list[bytes]:
    found = facts(environ)
    if wants_json(environ):
        kind, body = "application/json", json.dumps(found, ensure_ascii=False).encode()
    else:
        kind, body = "text/html; charset=utf-8", page(found).encode()
    start_response(
        "200 OK",
        [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Vary", "Accept"),
            ("X-Content-Type-Options", "nosniff"),
        ],
    )
    return [body]
