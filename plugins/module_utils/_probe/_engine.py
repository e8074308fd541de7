# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Probes many endpoints at once, under one deadline."""

from __future__ import annotations

import dataclasses
import math
import typing as t

from .._endpoint import EndpointError
from ..wire._http import MAX_BODY
from ._connection import tls_for
from ._parse import parse_check
from ._protocols import converse
from ._record import describe
from ._target import Run, Target

if t.TYPE_CHECKING:
    from ._check import Check
    from ._conversations import Answer, Conversation
    from ._record import Record


def probe_all(specs: t.Sequence[t.Any], timeout: float = 30.0, wait: bool = True) -> list[Record]:
    """Probe all endpoints at once and return a record for each, in their order.

    :param specs: as the module's ``endpoints``: mappings, or bare endpoints.
    :param timeout: seconds for all together.
    :param wait: try again until an endpoint is ok or the time is up; else try once.
    :raises EndpointError: a spec is wrong; nothing was probed.
    """
    return [record for record, _answer in ask_all(specs, timeout, wait)]


def ask_all(
    specs: t.Sequence[t.Any],
    timeout: float,
    wait: bool = False,
    *,
    max_body: int = MAX_BODY,
    conversation: t.Callable[[Check], Conversation] | None = None,
) -> list[tuple[Record, Answer | None]]:
    """As :func:`probe_all`, and beside each record the whole answer, up to ``max_body`` bytes of its body.

    The answer is None where no complete one came.

    :param conversation: what is said on each connection, instead of the usual of the endpoint's protocol.
    """
    if not (isinstance(timeout, (int, float)) and 0 < timeout < math.inf):
        raise EndpointError("timeout", f"{timeout} is not a finite number of seconds above zero")
    checks = [
        dataclasses.replace(_checked(spec, f"endpoints[{index}]"), max_body=max_body)
        for index, spec in enumerate(specs)
    ]
    run = Run(float(timeout), wait)
    targets = [Target(run, check, conversation or converse) for check in checks]
    for target in targets:
        target.start()
    run.loop.run(lambda: run.ended == len(targets))
    run.loop.close()
    return [t.cast("tuple[Record, Answer | None]", target.result) for target in targets]


#: The options of the module, which are those of its action plugin.
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "endpoints": {"type": "list", "elements": "raw", "required": True},
    "timeout": {"type": "float", "default": 30},
    "wait": {"type": "bool", "default": True},
    "from": {"type": "str", "choices": ["host", "controller"], "default": "host"},
}


def run_probe(options: t.Mapping[str, t.Any], check_mode: bool) -> tuple[dict[str, t.Any], str]:
    """Do what the options say; the result, and a description of what is not ok, or nothing.

    :raises EndpointError: an option is wrong.
    """
    # In check mode nothing was started that one could wait for.
    records = probe_all(options["endpoints"], options["timeout"], options["wait"] and not check_mode)
    return {"changed": False, "endpoints": [record.as_dict() for record in records]}, describe(records)


def _checked(spec: t.Any, where: str) -> Check:
    check = parse_check(spec, where)
    try:
        tls_for(check)
    except OSError as error:
        raise EndpointError(f"{where}.ca_path", f"{check.ca_path} is no file of certificates: {error}") from error
    return check
