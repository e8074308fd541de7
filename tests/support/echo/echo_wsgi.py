# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says what came, as echo.pl does: a WSGI application."""

from __future__ import annotations

import hashlib
import json
import typing as t
from wsgiref.validate import validator


def echo(environ: dict[str, t.Any], start_response: t.Any) -> list[bytes]:
    digest, size = hashlib.sha256(), 0
    # What the server says of the body's end is part of the contract (PEP 3333): nothing is read behind it.
    left = int(environ.get("CONTENT_LENGTH") or 0)
    if environ.get("wsgi.input_terminated"):
        left = 1 << 40
    while left:
        part = environ["wsgi.input"].read(min(left, 65536))
        if not part:
            break
        digest.update(part)
        size += len(part)
        left -= len(part)
    env = {key: value for key, value in environ.items() if isinstance(value, str)}
    answer = {"env": env, "size": size, "sha256": digest.hexdigest()}
    start_response("200 OK", [("Content-Type", "application/json"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return [json.dumps(answer).encode()]


# An environment or an order of calls that PEP 3333 does not allow is a 500.
application = validator(echo)
