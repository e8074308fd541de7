# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""More requests at a time than a pool's queue has room for: late answers, and 503 with Retry-After, but no 502."""

from __future__ import annotations

import collections
import json
import shlex
import typing as t

from onhost import run

CLIENTS, QUEUE = 1500, 1024

#: Asks CLIENTS times at once, and prints status and Retry-After of each answer.
CLIENT = """
import collections, json, resource, selectors, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
watch, seen = selectors.DefaultSelector(), collections.Counter()
for number in range(int(sys.argv[1])):
    one = socket.create_connection(("127.0.0.1", 8098))
    one.sendall(b"GET /slow.php HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    watch.register(one, selectors.EVENT_READ)
while watch.get_map():
    for key, events in watch.select():
        head = key.fileobj.recv(4096).decode("latin-1").partition("\\r\\n\\r\\n")[0].splitlines()
        after = [line for line in head if line.startswith("Retry-After:")]
        seen[" ".join([head[0].split()[1], *after] if head else ["closed"])] += 1
        watch.unregister(key.fileobj)
        key.fileobj.close()
print(json.dumps(seen))
"""


def test_too_many_requests_at_a_time_are_told_to_come_again(host: t.Any) -> None:
    script = "<?php usleep(200000); echo 'slow';"
    run(host, f"printf %s {shlex.quote(script)} >/srv/hello/slow.php")
    try:
        seen = collections.Counter(json.loads(run(host, f"timeout 60 python3 -c {shlex.quote(CLIENT)} {CLIENTS}")))
    finally:
        run(host, "rm /srv/hello/slow.php")
    assert set(seen) == {"200", "503 Retry-After: 1"}, seen
    assert CLIENTS - QUEUE <= seen["503 Retry-After: 1"] < CLIENTS, seen
