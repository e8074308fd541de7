# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A page, and a stream of events that holds its worker: the application of the experiment as WSGI has it."""

from __future__ import annotations

import time
import typing as t

#: Seconds after which a stream ends whoever forgot it.
_LONGEST = 60


def application(environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> t.Iterable[bytes]:
    if environ["PATH_INFO"] != "/events":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"an ordinary page\n"]
    start_response(
        "200 OK",
        [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")],
    )
    return _events()


def _events() -> t.Iterator[bytes]:
    for second in range(_LONGEST):
        yield b"data: %d\n\n" % second
        time.sleep(1)
