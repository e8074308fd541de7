# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Probes many endpoints at once, under one deadline."""

from __future__ import annotations

import typing as t

from .._endpoint import EndpointError
from ._check import Check, parse_check
from ._connection import tls_for
from ._target import Run, Target

if t.TYPE_CHECKING:
    from ._record import Record


def probe_all(specs: t.Sequence[t.Any], timeout: float = 30.0, wait: bool = True) -> list[Record]:
    """Probe all endpoints at once and return a record for each, in their order.

    :param specs: as the module's ``endpoints``: mappings, or bare endpoints.
    :param timeout: seconds for all together.
    :param wait: try again until an endpoint is ok or the time is up; else try once.
    :raises EndpointError: a spec is wrong; nothing was probed.
    """
    if timeout <= 0:
        raise EndpointError("timeout", f"{timeout} is not a number of seconds above zero")
    checks = [_checked(spec, f"endpoints[{index}]") for index, spec in enumerate(specs)]
    run = Run(timeout, wait)
    targets = [Target(run, check) for check in checks]
    for target in targets:
        target.start()
    run.loop.run(lambda: run.ended == len(targets))
    run.loop.close()
    return [t.cast("Record", target.record) for target in targets]


def _checked(spec: t.Any, where: str) -> Check:
    check = parse_check(spec, where)
    try:
        tls_for(check)
    except OSError as error:
        raise EndpointError(f"{where}.ca_path", f"{check.ca_path} is no file of certificates: {error}") from error
    return check
