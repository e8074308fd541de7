# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The verdict on an outcome: what is wrong and what to do about it. Pure: looks at no socket."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import socket
import typing as t

from ..wire._error import ClosedEarly, WireError

if t.TYPE_CHECKING:
    from ._check import Check
    from ._connection import Outcome
    from ._conversations import Answer
    from ._facts import Facts


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Why an endpoint is not ok; cause None: it is."""

    phase: str
    cause: str | None = None
    message: str = ""
    hint: str = ""
    #: The protocol that the peer speaks instead.
    speaks: str | None = None


def judge(check: Check, outcome: Outcome, facts: Facts) -> Verdict:
    """Say what an outcome means for a check."""
    if not outcome.done:
        return _broken(check, outcome, facts)
    return _answered(check, outcome.conversation.answer())


def is_doubtful(check: Check, outcome: Outcome, verdict: Verdict) -> bool:
    """Whether the peer may speak another protocol than the endpoint's: an answer that no peer of it would give."""
    if check.endpoint.protocol not in _SPEAKERS or verdict.phase == "connect":
        return False
    # What HTTP servers say to bytes that are not HTTP. A uwsgi answer looks the same.
    bad_request = outcome.done and outcome.conversation.answer().status == 400 and 400 not in check.expect.status
    if verdict.cause == "tls_failed":
        return "CERTIFICATE_VERIFY_FAILED" not in str(outcome.error)
    silent = verdict.cause == "timeout" and outcome.received == 0
    return bad_request or silent or verdict.cause in ("closed", "wrong_protocol")


def with_peer(check: Check, verdict: Verdict, speaks: str | None) -> Verdict:
    """The verdict when it is known which protocol the peer speaks."""
    endpoint = check.endpoint
    if speaks is None:
        return verdict
    if speaks != endpoint.protocol:
        message = f"{endpoint.address} speaks {speaks}, not {endpoint.protocol}"
        hint = f"{_SPEAKERS[speaks]}. Give both sides one protocol: this endpoint, or that listener, is wrong"
        phase = "parse" if verdict.phase in ("expect", "done") else verdict.phase
        return Verdict(phase, "wrong_protocol", message, hint, speaks)
    if verdict.cause == "wrong_protocol":  # the right protocol, badly spoken
        hint = f"the answer to {check.path or 'this request'} is broken, others are not: see the application's log"
        return dataclasses.replace(verdict, cause="application_error", hint=hint)
    return verdict


#: What listens so, for each protocol that a peer can be found to speak.
_SPEAKERS = {
    "http": "A web server listens so, or uWSGI's http-socket; front servers reach it by proxy_pass",
    "https": "A web server with TLS listens so",
    "fastcgi": "PHP-FPM listens so, or uWSGI's fastcgi-socket; front servers reach it by fastcgi_pass or proxy:fcgi",
    "uwsgi": "uWSGI's socket or uwsgi-socket listens so; front servers reach it by uwsgi_pass or proxy:uwsgi",
}


def _broken(check: Check, outcome: Outcome, facts: Facts) -> Verdict:
    error, phase = outcome.error, outcome.phase
    if isinstance(error, socket.gaierror):
        message = f"the name {check.endpoint.host} has no address: {error.strerror}"
        return Verdict("resolve", "unresolved", message, "correct the host, or write an IP address")
    if isinstance(error, TimeoutError):
        return _late(check, outcome, facts)
    if isinstance(error, (ClosedEarly, ConnectionError)) and phase != "connect":
        how = f": {error}" if isinstance(error, ClosedEarly) else ""
        where = " in the TLS handshake" if phase == "tls" else ""
        return Verdict(phase, "closed", f"the peer closed the connection{where}{how}", _closed_hint(check))
    if isinstance(error, WireError):
        return Verdict(phase, "wrong_protocol", str(error), f"see which daemon listens on {check.endpoint.address}")
    if phase == "tls":
        return Verdict(phase, "tls_failed", f"TLS failed: {error}", _tls_hint(check, str(error)))
    return _not_connected(check, phase, t.cast("OSError", error), facts)


def _late(check: Check, outcome: Outcome, facts: Facts) -> Verdict:
    queue = facts.queue
    if queue and queue["length"] and outcome.received == 0:
        message = f"{check.endpoint.address} accepts nothing: its queue of {queue['limit']} has {queue['length']}"
        if outcome.phase == "connect":
            return Verdict("connect", "backlog_full", message, _busy_hint(check))
        return Verdict(outcome.phase, "busy", message, _busy_hint(check))
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
    if check.endpoint.protocol == "fastcgi" and not (check.path or check.script_filename):
        hint = f"give a path or script_filename: not every FastCGI server answers the management query. Or {hint}"
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
    return "see the daemon's log: its worker died, it does not take this peer, or it speaks another protocol"


def _tls_hint(check: Check, error: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in error:
        return (
            f"give ca_path with the authority that signed the certificate of {check.host}, "
            "or set validate_certs to false for a lab's own certificate"
        )
    return "see the server's TLS configuration: certificate, protocols, ciphers"


def _busy_hint(check: Check) -> str:
    numbers = {"fastcgi": "pm.max_children", "uwsgi": "processes or threads"}
    number = numbers.get(check.endpoint.protocol, "their number")
    return f"all workers are busy: see what they wait for, or raise {number}; if they are idle, the daemon hangs"


def _not_connected(check: Check, phase: str, error: OSError, facts: Facts) -> Verdict:
    endpoint = check.endpoint
    text = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
        reason = f"{facts.missing} does not exist" if facts.missing else text
        hint = "start the daemon, or correct the path on one of both sides"
        if facts.missing not in (None, endpoint.unix):
            hint = f"let the daemon's unit make {facts.missing} (RuntimeDirectory= or tmpfiles.d), at every boot"
        return Verdict(phase, "no_such_socket", f"there is no socket {endpoint.address}: {reason}", hint)
    if error.errno in (errno.EACCES, errno.EPERM):
        message = f"{facts.user} (groups: {', '.join(facts.groups)}) may not connect to {endpoint.address}"
        hint = "owner and mode allow it: see the rules of AppArmor or SELinux"
        if facts.obstacle:
            message += ": {path} is {owner}:{group} {mode}".format_map(facts.obstacle)
            hint = f"let {facts.user} enter {facts.obstacle['path']}, by its group or its mode"
        if facts.obstacle and facts.obstacle["path"] == endpoint.unix:
            hint = (
                f"add {facts.user} to the group {facts.obstacle['group']}, or change who may write on the socket "
                "(PHP-FPM: listen.owner, listen.group, listen.mode; uWSGI: chown-socket, chmod-socket)"
            )
        return Verdict(phase, "permission_denied", message, hint)
    if error.errno == errno.EAGAIN and endpoint.is_unix:
        message = f"the queue of {endpoint.address} is full: it lives, and takes no more connections"
        hint = f"{_busy_hint(check)}. The backlog is at most net.core.somaxconn"
        return Verdict(phase, "backlog_full", message, hint)
    if error.errno == errno.EPROTOTYPE:
        message = f"{endpoint.address} is a socket of another type than stream"
        return Verdict(phase, "wrong_protocol", message, "correct the path: this socket is another service's")
    if endpoint.is_unix and facts.socket and not facts.is_socket:
        message = f"there is no socket {endpoint.address}: what is there is no socket"
        return Verdict(phase, "no_such_socket", message, "correct the path, or remove the file and start the daemon")
    if facts.socket and error.errno == errno.ECONNREFUSED:
        message = f"the socket file {endpoint.address} is there, but nobody listens on it"
        hint = "the daemon that made it is gone: see its log and start it; it replaces the file"
        return Verdict(phase, "stale_socket", message, hint)
    message = f"{endpoint.address} refuses the connection: {text}"
    return Verdict(phase, "refused", message, "nothing listens there: start the daemon, or correct host and port")


def _answered(check: Check, answer: Answer) -> Verdict:
    if answer.overloaded:
        message = "the application says that it is overloaded (FCGI_OVERLOADED)"
        return Verdict("receive", "busy", message, _busy_hint(check))
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
