# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a stand's host is asked: of uWSGI's statistics, the number of requests comes back and nothing else."""

from __future__ import annotations

import base64
import json
import socket
import threading
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.module_utils._stand_info import stand_info

STATS = {"version": "2", "workers": [{"requests": 7, "cores": [{"vars": ["HTTP_COOKIE=secret"]}]}, {"requests": 35}]}


def server(said: bytes) -> str:
    """The endpoint of one who says this to the first who connects, without being asked."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as client:
            client.sendall(said)

    threading.Thread(target=serve, daemon=True).start()
    return f"tcp://127.0.0.1:{listening.getsockname()[1]}"


def asked(*requests: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return t.cast("list[dict[str, t.Any]]", stand_info(requests, 10, facts=False)["answers"])


def test_a_stats_server_is_asked_beside_others() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"
    stats, web, bare = (server(said) for said in (json.dumps(STATS).encode(), page, b""))
    found = asked({"endpoint": web.replace("tcp", "http")}, {"endpoint": stats, "statistics": True}, {"endpoint": bare})
    assert [base64.b64decode(one["body"]) for one in found] == [b"page", b"42", b""]
    assert [one["cause"] for one in found] == [None] * 3
    assert "secret" not in json.dumps(found)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"", "closed"),
        (b"SSH-2.0-x\r\n", "wrong_protocol"),
        (b"{}", "wrong_protocol"),
        (b'{"workers": [{"requests": "secret"}]}', "wrong_protocol"),
        (b'{"workers": ' + b"[" * 100_000, "wrong_protocol"),
    ],
)
def test_what_is_no_stats_server_has_no_number(said: bytes, cause: str) -> None:
    (found,) = asked({"endpoint": server(said), "statistics": True})
    assert (found["cause"], found["status"], found["body"]) == (cause, None, "")
    assert found["message"]
    assert "secret" not in json.dumps(found)


def test_a_stats_server_has_no_protocol_of_its_own() -> None:
    with pytest.raises(DataError, match=r"requests\[0\].endpoint: a stats server"):
        asked({"endpoint": "http://127.0.0.1:9", "statistics": True})
