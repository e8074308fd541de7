# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict on what was answered, and on what the host says, as tables."""

from __future__ import annotations

import errno
import json
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._probe._connection import Outcome
from ansible_collections.weblab.stacks.plugins.module_utils._probe._conversations import Answer, Conversation
from ansible_collections.weblab.stacks.plugins.module_utils._probe._facts import Facts
from ansible_collections.weblab.stacks.plugins.module_utils._probe._judge import Verdict, judge
from ansible_collections.weblab.stacks.plugins.module_utils._probe._parse import parse_check
from ansible_collections.weblab.stacks.plugins.module_utils._probe._record import CAUSES, PHASES

HTTP = {"endpoint": "http://127.0.0.1:80"}
SCRIPT = {"endpoint": "fastcgi+unix:///run/php/a.sock", "script_filename": "/srv/a.php"}
PING = {"endpoint": "fastcgi+unix:///run/php/a.sock", "path": "/fpm-ping"}


def _answered(spec: dict[str, t.Any], answer: Answer) -> Verdict:
    check = parse_check(spec)

    class Said(Conversation):
        def answer(self) -> Answer:
            return answer

    return judge(check, Outcome(Said(check), "done"), Facts())


def _expecting(**expect: t.Any) -> dict[str, t.Any]:
    return {**HTTP, "expect": expect}


@pytest.mark.parametrize(
    ("spec", "answer", "cause", "words"),
    [
        (HTTP, Answer(200), None, ""),
        (HTTP, Answer(404), None, ""),
        (HTTP, Answer(500, "Internal Server Error"), "application_error", "got HTTP 500 Internal Server Error"),
        (HTTP, Answer(502), "application_error", "does not reach its application server"),
        (HTTP, Answer(503), "application_error", "does not reach its application server"),
        (HTTP, Answer(503, headers={"retry-after": "5"}), "busy", "retry after 5"),
        (_expecting(status=[200, 204]), Answer(204), None, ""),
        (_expecting(status=500), Answer(500), None, ""),
        (_expecting(status=[200]), Answer(404), "expectation", "expected status 200, got HTTP 404"),
        (_expecting(status=[200]), Answer(403), "denied", "access rules"),
        (_expecting(body="pong"), Answer(200, body=b"ping-pong"), None, ""),
        (_expecting(body="pong"), Answer(200, body=b"ping"), "expectation", "expected 'pong' in the body, got 'ping'"),
        (_expecting(body="x"), Answer(200, body=b"a" * 9, truncated=True), "expectation", "in the first 9 bytes"),
        (_expecting(regex="^<h1>.*</h1>$"), Answer(200, body=b"<h1>Hi</h1>"), None, ""),
        (_expecting(regex="^Hi"), Answer(200, body=b"<h1>Hi</h1>"), "expectation", "a match of '^Hi'"),
        (_expecting(body="\u043f\u0440"), Answer(200, body="\u043f\u0440".encode()), None, ""),
        # What PHP-FPM says itself passes no check by accident.
        (PING, Answer(200, body=b"pong"), None, ""),
        (PING, Answer(404, body=b"File not found.\n"), "application_error", "set ping.path = /fpm-ping"),
        (SCRIPT, Answer(404, body=b"File not found.\n"), "application_error", "does not find /srv/a.php"),
        (SCRIPT, Answer(404, body=b"no such post"), None, ""),
        (SCRIPT, Answer(403, body=b"Access denied.\n"), "denied", "security.limit_extensions"),
        (SCRIPT, Answer(500, stderr="PHP Fatal error"), "application_error", "on STDERR: PHP Fatal error"),
        ({**SCRIPT, "expect": {"status": [404]}}, Answer(404, body=b"File not found.\n"), None, ""),
        (SCRIPT, Answer(overloaded=True, failure="x"), "busy", "pm.max_children"),
        (SCRIPT, Answer(200, failure="END_REQUEST has appStatus 1"), "application_error", "appStatus 1"),
    ],
)
def test_an_answer(spec: dict[str, t.Any], answer: Answer, cause: str | None, words: str) -> None:
    verdict = _answered(spec, answer)
    assert verdict.cause == cause
    assert words in f"{verdict.message}; {verdict.hint}"
    assert verdict.phase in PHASES
    assert cause is None or (cause in CAUSES and verdict.hint)


@pytest.mark.parametrize(
    ("wanted", "found", "problem"),
    [
        ({"sapi": "fpm-fcgi"}, {"sapi": "fpm-fcgi", "user": "blog"}, None),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, None),
        ([1, 2], [1, 2], None),
        ({"sapi": "fpm-fcgi"}, {"sapi": "apache2handler"}, "expected JSON.sapi 'fpm-fcgi', not 'apache2handler'"),
        ({"a": {"b": 1}}, {"a": {}}, "expected JSON.a.b, which is not there"),
        ({"a": 1}, [1], "expected JSON"),
        ([1], [1, 2], "expected JSON"),
    ],
)
def test_json_is_compared_by_what_is_asked_for(wanted: t.Any, found: t.Any, problem: str | None) -> None:
    verdict = _answered(_expecting(json=wanted), Answer(200, body=json.dumps(found).encode()))
    assert verdict.cause == ("expectation" if problem else None)
    assert (problem or "") in verdict.message


def test_what_is_not_json_is_told() -> None:
    assert "expected JSON in the body" in _answered(_expecting(json={}), Answer(200, body=b"<html>")).message


def _refused(facts: Facts) -> Verdict:
    check = parse_check({"endpoint": "fastcgi+unix:///run/php/a.sock"})
    error = OSError(errno.EACCES, "Permission denied")
    return judge(check, Outcome(Conversation(check), "connect", error), facts)


def test_permission_denied_names_who_may_and_who_asked() -> None:
    entry = {"path": "/run/php/a.sock", "owner": "blog", "group": "web", "mode": "0660"}
    verdict = _refused(Facts(obstacle=entry, user="nobody", groups=("nogroup",)))
    assert verdict.cause == "permission_denied"
    assert "nobody (groups: nogroup) may not connect to /run/php/a.sock" in verdict.message
    assert "is blog:web 0660" in verdict.message
    assert "add nobody to the group web" in verdict.hint


def test_permission_denied_names_a_closed_directory() -> None:
    entry = {"path": "/run/php", "owner": "root", "group": "root", "mode": "0700"}
    verdict = _refused(Facts(obstacle=entry, user="nobody"))
    assert "/run/php is root:root 0700" in verdict.message
    assert "let nobody enter /run/php" in verdict.hint


def test_permission_denied_by_something_else() -> None:
    assert "AppArmor" in _refused(Facts(user="nobody")).hint
