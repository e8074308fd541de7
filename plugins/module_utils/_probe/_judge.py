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
from ._streams import is_event_stream

if t.TYPE_CHECKING:
    from ._check import Check
    from ._connection import Outcome
    from ._conversations import Answer
    from ._facts import Facts
    from ._identify import Peer


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
    if check.absent:
        return _absence(check, outcome, facts)
    if not outcome.done:
        return _broken(check, outcome, facts)
    return _answered(check, outcome, facts)


def is_doubtful(check: Check, outcome: Outcome, verdict: Verdict) -> bool:
    """Whether the peer may speak another protocol than the endpoint's: an answer that no peer of it would give."""
    if check.endpoint.protocol not in _FAMILIES or check.absent or verdict.phase == "connect" or verdict.speaks:
        return False
    # What HTTP servers say to bytes that are not HTTP, and WebSocket servers to who wants no WebSocket.
    status = outcome.conversation.answer().status if outcome.done else None
    refused = status in (400, 426) and status not in check.expect.status
    if verdict.cause == "tls_failed":
        return "CERTIFICATE_VERIFY_FAILED" not in str(outcome.error)
    silent = verdict.cause == "timeout" and outcome.received == 0
    return refused or silent or verdict.cause in ("closed", "wrong_protocol")


def with_peer(check: Check, verdict: Verdict, peer: Peer | None) -> Verdict:
    """The verdict when it is known which protocol the peer speaks."""
    if peer is None:
        return verdict
    phase = "parse" if verdict.phase in ("expect", "done") else verdict.phase
    if peer.greeting is not None:
        text = re.search(rb"[\x20-\x7e]{4,}", peer.greeting)
        words = text[0].decode("ascii") if text else repr(peer.greeting)
        message = f"{check.endpoint.address} greets with {words!r}, and a server of {_spoken(check)} waits to be asked"
        return Verdict(phase, "wrong_protocol", message, f"see which daemon listens on {check.endpoint.address}")
    wanted = _FAMILIES[check.endpoint.protocol]
    # An answer to a refused upgrade or stream is HTTP, and has been judged as such.
    close = peer.protocol == "http" and wanted in ("ws", "sse") and verdict.phase == "expect"
    if check.encrypted != peer.tls or not (peer.protocol == wanted or close):
        return _speaks(check, phase, t.cast("str", peer.name))
    if verdict.cause == "wrong_protocol":  # the right protocol, badly spoken
        hint = f"the answer to {check.path or 'this request'} is broken, others are not: see the application's log"
        return dataclasses.replace(verdict, cause="application_error", hint=hint)
    return verdict


def _speaks(check: Check, phase: str, other: str, why: str = "") -> Verdict:
    message = f"{check.endpoint.address} speaks {other}, not {_spoken(check)}{why}"
    hint = f"{_SPEAKERS[other]}. Give both sides one protocol: this endpoint, or that listener, is wrong"
    if check.endpoint.protocol in ("sse", "long_polling") and check.encrypted != (other in ("https", "wss")):
        hint = f"set tls to {'false' if check.tls else 'true'} for this endpoint, or correct its address"
    return Verdict(phase, "wrong_protocol", message, hint, other)


def _spoken(check: Check) -> str:
    return f"{check.endpoint.protocol} with TLS" if check.tls else check.endpoint.protocol


#: protocol -> what a peer is found to speak when it is right, with or without TLS
_FAMILIES = {
    "http": "http",
    "https": "http",
    "long_polling": "http",
    "ws": "ws",
    "wss": "ws",
    "sse": "sse",
    "fastcgi": "fastcgi",
    "scgi": "scgi",
    "uwsgi": "uwsgi",
}
#: What listens so, for each protocol that a peer can be found to speak.
_SPEAKERS = {
    "http": "A web server listens so, or uWSGI's http-socket; front servers reach it by proxy_pass",
    "https": "A web server with TLS listens so",
    "ws": "An application answers so who wants a WebSocket; front servers reach it by proxy_pass with Upgrade",
    "wss": "A web server with TLS answers so who wants a WebSocket",
    "sse": "An application answers so with a stream of events; front servers reach it by proxy_pass without buffering",
    "fastcgi": "PHP-FPM listens so, or uWSGI's fastcgi-socket; front servers reach it by fastcgi_pass or proxy:fcgi",
    "scgi": "uWSGI's scgi-socket listens so; front servers reach it by scgi_pass or proxy:scgi",
    "uwsgi": "uWSGI's socket or uwsgi-socket listens so; front servers reach it by uwsgi_pass or proxy:uwsgi",
}
_STREAM_HINT = (
    "a proxy that keeps events until it has many. nginx: proxy_buffering off (fastcgi_, scgi_ or uwsgi_buffering off, "
    "by the gateway), or the header X-Accel-Buffering: no; Apache: flushpackets=on"
)
_UPGRADE_HINT = (
    "the wish to upgrade did not reach the application. nginx: proxy_http_version 1.1, proxy_set_header Upgrade "
    "$http_upgrade, proxy_set_header Connection upgrade; Apache: ProxyPass with upgrade=websocket"
)


def _absence(check: Check, outcome: Outcome, facts: Facts) -> Verdict:
    """The verdict on an endpoint that shall not be there."""
    verdict = None if outcome.done else _broken(check, outcome, facts)
    if verdict and verdict.cause in ("no_such_socket", "stale_socket"):
        return Verdict("done")
    if verdict and getattr(outcome.error, "errno", None) == errno.ECONNREFUSED:
        return Verdict("done")
    if verdict and verdict.cause != "backlog_full":
        return verdict
    who = ""
    if facts.peer:
        who = " (user {user}, process {pid})".format_map(facts.peer)
    message = f"expected nobody to listen on {check.endpoint.address}, and it takes connections{who}"
    return Verdict("expect", "expectation", message, "stop the daemon, and the socket unit that would start it again")


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
    answer = outcome.conversation.answer()
    if check.endpoint.protocol in _PLAIN and is_event_stream(answer.headers):
        return _speaks(check, outcome.phase, "sse", ": the answer is a stream of events, which does not end")
    where = {
        "resolve": f"the name server did not answer for {check.endpoint.host}",
        "connect": f"{check.endpoint.address} did not take the connection",
        "tls": "the TLS handshake did not end",
        "send": "the request was not taken",
    }.get(outcome.phase)
    if where is None:
        size = f"after {outcome.received} bytes" if outcome.received else "at all"
        where = f"the connection was accepted, but no complete answer came {size}"
        where = outcome.conversation.missing() or where
    hint = {
        "resolve": "correct the host, or write an IP address",
        "connect": "a packet filter drops the packets, or the host is off",
    }.get(outcome.phase, "the application hangs, or the timeout is too short: see its log and its processes")
    if outcome.phase == "receive":
        hint = _patience_hint(check, answer) or hint
    if check.endpoint.protocol == "fastcgi" and not (check.path or check.script_filename):
        hint = f"give a path or script_filename: not every FastCGI server answers the management query. Or {hint}"
    return Verdict(outcome.phase, "timeout", f"timeout: {where}", hint)


#: Protocols whose answer has an end.
_PLAIN = ("http", "https", "long_polling")


def _patience_hint(check: Check, answer: Answer) -> str:
    protocol = check.endpoint.protocol
    if protocol == "sse":
        return f"the application sends too few events in this time, or there is {_STREAM_HINT}"
    if protocol == "long_polling":
        return "give hold, and a request that is held so long is ok; or wait longer than the application does"
    if protocol in ("ws", "wss") and answer.status == 101:
        return "the application does not answer so, or a proxy passes on the handshake alone: see their logs"
    return ""


def _closed_hint(check: Check) -> str:
    if check.endpoint.protocol == "uwsgi":
        return (
            "uWSGI closes so when the application raised an exception before it answered (a traceback in uWSGI's log), "
            "when the plugin for the request is missing (unavailable modifier requested: set plugins = python3), "
            "when the request is larger than buffer-size (invalid request block size), "
            "or when the worker was ended (harakiri, killed by signal)"
        )
    if check.endpoint.protocol == "scgi":
        return "the application died before it answered, or does not take SCGI: see its log"
    if check.endpoint.protocol == "fastcgi":
        allowed = "" if check.endpoint.is_unix else "this address is not in listen.allowed_clients, or "
        return (
            f"{allowed}the worker died: see PHP-FPM's log (exited on signal, request_terminate_timeout); "
            "where it is not PHP, the program ended before its answer was whole: see what it said last"
        )
    return "see the daemon's log: its worker died, it does not take this peer, or it speaks another protocol"


def _tls_hint(check: Check, error: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in error:
        return (
            f"give ca_path with the authority that signed the certificate of {check.host}, "
            "or set validate_certs to false for a lab's own certificate"
        )
    return "see the server's TLS configuration: certificate, protocols, ciphers"


def _busy_hint(check: Check) -> str:
    numbers = {"fastcgi": "pm.max_children", "uwsgi": "processes or threads", "scgi": "processes or threads"}
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
            group = facts.obstacle["group"]
            way = f"let the group {group} write" if group in facts.groups else f"add {facts.user} to the group {group}"
            hint = (
                f"{way}, or change who may write on the socket "
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


def _answered(check: Check, outcome: Outcome, facts: Facts) -> Verdict:
    answer = outcome.conversation.answer()
    if answer.overloaded:
        message = "the application says that it is overloaded (FCGI_OVERLOADED)"
        return Verdict("receive", "busy", message, _busy_hint(check))
    if answer.failure:
        return Verdict("receive", "application_error", answer.failure, "see the application's log")
    if answer.held and facts.queue and facts.queue["length"]:
        message = f"nobody has taken the request: {facts.queue['length']} connections wait to be accepted"
        return Verdict("receive", "busy", message, _busy_hint(check))
    verdict = None
    if answer.status is not None and not answer.held:
        verdict = (
            _unexpected_status(check, answer)
            or _unexpected_header(check, answer)
            or _unexpected_body(check, answer)
            or _unexpected_events(check, answer)
        )
    return verdict or _unexpected_time(check, outcome) or _unexpected_peer(check, facts) or Verdict("done")


def _unexpected_status(check: Check, answer: Answer) -> Verdict | None:
    status = t.cast("int", answer.status)
    usual = _USUAL.get(check.endpoint.protocol, ())
    wanted = check.expect.status or usual
    trouble = _fpm_trouble(check, answer)
    upgrade = answer.headers.get("upgrade", "").lower()
    if status == 426 and upgrade == "websocket" and check.endpoint.protocol in _HTTP and status not in wanted:
        return _speaks(check, "parse", "wss" if check.encrypted else "ws", ": it demands to be upgraded")
    if status in wanted or (not wanted and status < 500 and not trouble):
        stream = answer.events or status not in usual or is_event_stream(answer.headers)
        return None if check.endpoint.protocol != "sse" or stream else _no_stream(check, answer)
    if check.endpoint.protocol in _UPGRADED and status < 300 and not check.expect.status:
        other = "sse" if is_event_stream(answer.headers) and not check.encrypted else _web(check)
        return _speaks(check, "parse", other, f": it answers the handshake with HTTP {status}")
    got = f"HTTP {status} {answer.reason}".rstrip()
    if answer.stderr:
        got += f", and on STDERR: {answer.stderr.strip()}"
    cause, hint = trouble or _status_trouble(check, answer)
    expected = "the answer of a script" if trouble else "a status below 500"
    if wanted:
        expected = f"status {' or '.join(map(str, wanted))}"
    return Verdict("expect", cause, f"expected {expected}, got {got}", hint)


_HTTP = ("http", "https", "long_polling", "sse")
_UPGRADED = ("ws", "wss")
#: The status that a protocol demands by itself.
_USUAL = {"ws": (101,), "wss": (101,), "sse": (200,)}


def _no_stream(check: Check, answer: Answer) -> Verdict:
    kind = answer.headers.get("content-type", "of no type")
    why = f": the answer is {kind}, not text/event-stream"
    verdict = _speaks(check, "parse", _web(check), why)
    hint = "correct the path, or let the application send Content-Type: text/event-stream"
    return dataclasses.replace(verdict, hint=hint)


def _web(check: Check) -> str:
    return "https" if check.encrypted else "http"


def _unexpected_header(check: Check, answer: Answer) -> Verdict | None:
    for name, wanted in check.expect.header.items():
        found = answer.headers.get(name)
        pattern = None if isinstance(wanted, str) else wanted
        if found is not None and (pattern.search(found) if pattern else found == wanted):
            continue
        expected = f"a match of {pattern.pattern!r}" if pattern else repr(wanted)
        got = "it is not there" if found is None else f"got {found[:80]!r}"
        hint = "another server answers, or it is configured otherwise: see the headers in the record"
        return Verdict("expect", "expectation", f"expected {expected} in the header {name}, {got}", hint)
    return None


def _unexpected_events(check: Check, answer: Answer) -> Verdict | None:
    events, expect = answer.events, check.expect
    if events is None:
        return None
    if events.count < expect.events:
        message = f"expected {expect.events} events, and the stream ended after {events.count}"
        return Verdict("expect", "expectation", message, "see the application's log: a stream goes on until one leaves")
    if expect.interval is not None and min(events.gaps) < expect.interval:
        gap = f"{min(events.gaps):.3f} s"
        message = f"expected at least {expect.interval:g} s from one event to the next, got {gap}"
        return Verdict("expect", "expectation", message, f"the application sends faster, or there is {_STREAM_HINT}")
    return None


def _unexpected_time(check: Check, outcome: Outcome) -> Verdict | None:
    if check.expect.time is None:
        return None
    least, most = check.expect.time
    took = outcome.latency.get("send", 0.0) + outcome.latency.get("receive", 0.0)
    if least <= took <= most:
        return None
    expected = f"at most {most:g} s" if took > most else f"at least {least:g} s"
    hint = "see what the application waits for" if took > most else "something answers in the application's place"
    return Verdict("expect", "expectation", f"expected an answer after {expected}, it took {took:.3f} s", hint)


def _unexpected_peer(check: Check, facts: Facts) -> Verdict | None:
    wanted, peer = check.expect.peer, facts.peer
    if wanted is None or (peer and str(wanted) in (peer["user"], str(peer["uid"]))):
        return None
    found = (
        "the kernel does not tell who" if peer is None else "{user} (uid {uid}, process {pid}) does".format_map(peer)
    )
    hint = "another daemon has taken the socket, or another user has started it; systemd's own sockets are root's"
    message = f"expected {wanted} to listen on {check.endpoint.address}, {found}"
    return Verdict("expect", "expectation", message, hint)


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


def _status_trouble(check: Check, answer: Answer) -> tuple[str, str]:
    status = t.cast("int", answer.status)
    protocol = check.endpoint.protocol
    if status in (401, 403, 407):
        rules = "access rules for this path and address" + (", and for the origin" if protocol in _UPGRADED else "")
        return "denied", f"the server refuses this request: see its {rules}"
    if status in (400, 426) and protocol in _UPGRADED:
        return "expectation", _UPGRADE_HINT
    if status in (502, 504) and protocol in ("long_polling", "sse", "ws", "wss"):
        return "application_error", (
            "the front server does not reach the application, or did not wait so long for it: see its error log; raise "
            "proxy_read_timeout (nginx, 504) or ProxyTimeout (Apache, 502) above the time between two answers"
        )
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
    seen = "in the first event" if answer.events else seen
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
