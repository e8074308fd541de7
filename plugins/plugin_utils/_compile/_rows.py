# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The lab as a table: one row for every site, with its sockets and its state."""

from __future__ import annotations

import typing as t

from ...module_utils import _endpoint

#: From good to bad; a site is as bad as its worst endpoint.
_STATES = ("ok", "busy", "degraded", "down")


def lab_rows(
    endpoints: list[dict[str, t.Any]], records: list[dict[str, t.Any]], host: str, url_host: str
) -> list[dict[str, t.Any]]:
    """Return the rows of ``lab.json``.

    :param endpoints: of :func:`host_plan`.
    :param records: of ``endpoint_probe`` for the same endpoints, in the same order.
    :param url_host: name or address at which a browser reaches the host.
    """
    rows: dict[str, dict[str, t.Any]] = {}
    for planned, record in zip(endpoints, records):
        endpoint = _endpoint.parse(planned["endpoint"])
        row = rows.setdefault(
            planned["site"],
            {
                "site": planned["site"],
                "stack": planned["stack"],
                "host": host,
                "url": "",
                "state": "ok",
                "endpoints": [],
            },
        )
        if planned["role"] == "front":
            row["url"] = f"{endpoint.protocol}://{url_host}:{endpoint.port}/"
        row["state"] = max(row["state"], record["state"], key=_STATES.index)
        row["endpoints"].append(
            {
                "role": planned["role"],
                "protocol": endpoint.protocol,
                "kind": "unix" if endpoint.is_unix else "tcp",
                "address": endpoint.address,
                "state": record["state"],
                **{key: (record.get("socket") or {}).get(key) for key in ("owner", "group", "mode")},
            }
        )
    return list(rows.values())
