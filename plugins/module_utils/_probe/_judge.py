# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The verdict on an outcome: what is wrong and what to do about it. Pure: looks at no socket."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import socket
import typing as t

from ..wire._error import ClosedEarly, WireError

if t.TYPE_CHECKING:
    from ._check import Check
    from ._connection import Outcome
    from ._conversations import Answer


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Why an endpoint is not ok; cause None: it is."""

    phase: str
    cause: str | None = None
    message: str = ""
    hint: str = ""


def judge(check: Check, outcome: Outcome) -> Verdict:
    """Say what an outcome means for a check."""
    if not outcome.done:
        return _broken(check, outcome)
    return _answered(check, outcome.conversation.answer())


def _broken(check: Check, outcome: Outcome) -> Verdict:
    error, phase = outcome.error, outcome.phase
    if isinstance(error, socket.gaierror):
        message = f"the name {check.endpoint.host} has no address: {error.strerror}"
        return Verdict("resolve", "unresolved", message, "correct the host, or write an IP address")
    if isinstance(error, TimeoutError):
        return _late(check, outcome)
    if isinstance(error, (ClosedEarly, ConnectionError)) and phase != "connect":
        how = str(error) if isinstance(error, ClosedEarly) else "the peer reset the connection"
        return Verdict(phase, "closed", f"closed by the peer: {how}", _closed_hint(check))
    if isinstance(error, WireError):
        return Verdict(phase, "wrong_protocol", str(error), f"see which daemon listens on {check.endpoint.address}")
    if phase == "tls":
        return Verdict(phase, "tls_failed", f"TLS failed: {error}", _tls_hint(check, str(error)))
    return _not_connected(check, phase, t.cast("OSError", error))


def _late(check: Check, outcome: Outcome) -> Verdict:
    where = {
        "resolve": f"the name server did not answer for {check.endpoint.host}",
        "connect": f"{check.endpoint.address} did not take the connection",
        "tls": "the TLS handshake did not end",
        "send": "the request was not taken",
    }.get(outcome.phase)
    if where is None:
        size = f"after {outcome.received} bytes" if outcome.received else "at all"
        where = f"the connection was accepted, but no complete answer came {size}"
    hint = {
        "resolve": "correct the host, or write an IP address",
        "connect": "a packet filter drops the packets, or the host is off",
    }.get(outcome.phase, "the application hangs, or the timeout is too short: see its log and its processes")
    return Verdict(outcome.phase, "timeout", f"timeout: {where}", hint)


def _closed_hint(check: Check) -> str:
    if check.endpoint.protocol == "uwsgi":
        return (
            "uWSGI closes so when the application raised an exception before it answered (a traceback in uWSGI's log), "
            "when the plugin for the request is missing (unavailable modifier requested: set plugins = python3), "
            "or when the request is larger than buffer-size (invalid request block size)"
        )
    if check.endpoint.protocol == "fastcgi":
        allowed = "" if check.endpoint.is_unix else "this address is not in listen.allowed_clients, or "
        return f"{allowed}the worker died: see PHP-FPM's log (exited on signal, request_terminate_timeout)"
    return "see the daemon's log: its worker died, or it does not take this peer"


def _tls_hint(check: Check, error: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in error:
        return (
            f"give ca_path with the authority that signed the certificate of {check.host}, "
            "or set validate_certs to false for a lab's own certificate"
        )
    return "see the server's TLS configuration: certificate, protocols, ciphers"


def _not_connected(check: Check, phase: str, error: OSError) -> Verdict:
    endpoint = check.endpoint
    text = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
        message = f"there is no socket {endpoint.address}: {text}"
        return Verdict(
            phase, "no_such_socket", message, "start the daemon, or correct the path on one of the two sides"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        message = f"the kernel refuses {_who()} the socket {endpoint.address}"
        hint = "give the socket the group of who asks, and that group the right to write"
        return Verdict(phase, "permission_denied", message, hint)
    if error.errno == errno.EAGAIN and endpoint.is_unix:
        message = f"the queue of {endpoint.address} is full: the daemon lives, and takes no more connections"
        hint = "all workers are busy: raise their number, or the backlog (and net.core.somaxconn, which bounds it)"
        return Verdict(phase, "backlog_full", message, hint)
    if error.errno == errno.EPROTOTYPE:
        message = f"{endpoint.address} is a socket of another type than stream"
        return Verdict(phase, "wrong_protocol", message, "correct the path: this socket is another service's")
    if error.errno == errno.ETIMEDOUT:
        return Verdict(phase, "timeout", f"timeout: {text}", "a packet filter drops the packets, or the host is off")
    if endpoint.is_unix and error.errno == errno.ECONNREFUSED:
        message = f"the socket file {endpoint.address} is there, but nobody listens on it"
        hint = "the daemon that made it is gone: see its log and start it; it replaces the file"
        return Verdict(phase, "stale_socket", message, hint)
    message = f"{endpoint.address} refuses the connection: {text}"
    return Verdict(phase, "refused", message, "nothing listens there: start the daemon, or correct host and port")


def _who() -> str:
    return f"uid {os.geteuid()}"


def _answered(check: Check, answer: Answer) -> Verdict:
    if answer.overloaded:
        hint = "all workers are busy: raise their number"
        return Verdict("receive", "busy", "the application says that it is overloaded (FCGI_OVERLOADED)", hint)
    if answer.failure:
        hint = "see the application's log"
        return Verdict("receive", "application_error", f"the application failed: {answer.failure}", hint)
    if answer.status is None:
        return Verdict("done")
    return _unexpected_status(check, answer) or _unexpected_body(check, answer) or Verdict("done")


def _unexpected_status(check: Check, answer: Answer) -> Verdict | None:
    status = t.cast("int", answer.status)
    wanted = check.expect.status
    trouble = _fpm_trouble(check, answer)
    if status in wanted or (not wanted and status < 500 and not trouble):
        return None
    got = f"HTTP {status} {answer.reason}".rstrip()
    if answer.stderr:
        got += f", and on STDERR: {answer.stderr.strip()}"
    cause, hint = trouble or _status_trouble(answer)
    expected = "the answer of a script" if trouble else "a status below 500"
    if wanted:
        expected = f"status {' or '.join(map(str, wanted))}"
    return Verdict("expect", cause, f"expected {expected}, got {got}", hint)


def _fpm_trouble(check: Check, answer: Answer) -> tuple[str, str] | None:
    """PHP-FPM's own errors; they come with a status below 500."""
    if check.endpoint.protocol != "fastcgi":
        return None
    if answer.status == 404 and answer.body.startswith(b"File not found."):
        if check.script_filename:
            hint = (
                f"PHP-FPM does not find {check.script_filename}: correct SCRIPT_FILENAME, or let the pool's user "
                "read the file and enter its directories (chroot and open_basedir count too)"
            )
        else:
            hint = f"PHP-FPM takes {check.path} for a script: set ping.path = {check.path} in the pool and reload it"
        return "application_error", hint
    if answer.status == 403 and answer.body.startswith(b"Access denied."):
        return "denied", (
            f"security.limit_extensions of the pool does not allow {check.script_filename or check.path}: "
            "send a .php script, or the front server passes what is none"
        )
    return None


def _status_trouble(answer: Answer) -> tuple[str, str]:
    status = t.cast("int", answer.status)
    if status in (401, 403, 407):
        return "denied", "the server refuses this request: see its access rules for this path and address"
    if status == 503 and "retry-after" in answer.headers:
        return "busy", f"the server asks to retry after {answer.headers['retry-after']}"
    if status in (502, 503, 504):
        return "application_error", (
            "the front server does not reach its application server: probe the socket behind it, read the error log"
        )
    if status >= 500:
        return "application_error", "the application failed: see its log and the server's error log"
    return "expectation", "correct the path and the host of the check, or the configuration"


def _unexpected_body(check: Check, answer: Answer) -> Verdict | None:
    expect = check.expect
    text = answer.body.decode("utf-8", "replace")
    seen = f"in the first {len(answer.body)} bytes of the body" if answer.truncated else "in the body"
    problem = None
    if expect.body is not None and expect.body not in text:
        problem = f"expected {expect.body!r} {seen}"
    elif expect.regex is not None and not re.search(expect.regex, text):
        problem = f"expected a match of {expect.regex!r} {seen}"
    elif expect.json is not None:
        try:
            problem = _difference(expect.json, json.loads(text))
        except ValueError as error:
            problem = f"expected JSON {seen}: {error}"
    if problem is None:
        return None
    hint = "another site or an old version answers, or the check is wrong: see the body in the record"
    return Verdict("expect", "expectation", f"{problem}, got {text[:80]!r}", hint)


def _difference(wanted: t.Any, found: t.Any, where: str = "JSON") -> str | None:
    """Where ``found`` lacks what is ``wanted``; a mapping may have more keys."""
    if isinstance(wanted, t.Mapping) and isinstance(found, dict):
        for key, value in wanted.items():
            if key not in found:
                return f"expected {where}.{key}, which is not there"
            difference = _difference(value, found[key], f"{where}.{key}")
            if difference:
                return difference
        return None
    return None if wanted == found else f"expected {where} {wanted!r}, not {found!r}"
