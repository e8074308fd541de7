# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""What is seen when something is done to the stand, which is done only where it was asked for."""

from __future__ import annotations

import typing as t

from . import Outcome, Scope, failed, kind, not_applicable, ok, unknown


def _seen(scope: Scope, change: str) -> t.Mapping[str, t.Any] | Outcome:
    if change not in scope.changes:
        return not_applicable("not_asked_for", change=change)
    seen = scope.changes[change]
    return unknown("change_failed", change=change, reason=seen["error"]) if "error" in seen else seen


@kind("site", host=True, change="stop_backend")
def stops_alone(scope: Scope) -> Outcome:
    """Without its backend the site gives 502, 503 or 504, and every other site still answers."""
    seen = _seen(scope, "stop_backend")
    if isinstance(seen, Outcome):
        return seen
    mine = seen.get(scope.site.name)
    if mine is None:
        return not_applicable("no_backend")
    units = ", ".join(mine["units"])
    if mine["status"] not in (502, 503, 504):
        return failed("answers_without_backend", units=units, status=mine["status"] or "-")
    if mine["others"]:
        return failed("stops_others", units=units, others=", ".join(mine["others"]))
    return ok(units=units, status=mine["status"])


@kind("stand", change="second_run")
def second_run(scope: Scope) -> Outcome:
    """Ansible, run again on the stand as it is, changes nothing."""
    seen = _seen(scope, "second_run")
    if isinstance(seen, Outcome):
        return seen
    if "missing" in seen:
        return not_applicable("no_again_in_manifest")
    tasks = ", ".join(seen["tasks"]) or "-"
    if seen["code"] or seen["failed"]:
        return failed("second_run_failed", code=seen["code"], tasks=tasks)
    if not seen["recaps"]:
        return unknown("second_run_says_nothing")
    return failed("second_run_changes", changed=seen["changed"], tasks=tasks) if seen["changed"] else ok()


@kind("site", change="reboot")
def back_after_reboot(scope: Scope) -> Outcome:
    """The site is back after a restart of its host, without anybody's help."""
    seen = _seen(scope, "reboot")
    if isinstance(seen, Outcome):
        return seen
    if scope.site.name not in seen["status"]:
        return not_applicable("not_there_before")
    status = seen["status"][scope.site.name]
    return ok(status=status) if status is not None and status < 400 else failed("not_back", status=status or "-")
