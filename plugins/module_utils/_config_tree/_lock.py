# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""One transaction at a time per tree."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

_DIRECTORY = "/run/lock/weblab.stacks"


class LockedError(Exception):
    """Another transaction does not end; the message is for the user."""


@contextlib.contextmanager
def exclusive(root: str, name: str, timeout: float) -> t.Iterator[None]:
    """Be the only transaction on ``root``; the kernel lets go when the holder dies.

    :param name: of the lock's file.
    :param timeout: seconds to wait for another one to end.
    :raises LockedError: when it does not; who holds the lock is in the message.
    """
    os.makedirs(_DIRECTORY, mode=0o755, exist_ok=True)
    path = os.path.join(_DIRECTORY, f"{name}.lock")
    deadline = time.monotonic() + timeout
    with open(path, "a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise LockedError(
                        f"Another transaction works on {root}: {file.read().strip() or 'its process'} holds {path}"
                        f" and did not end within {timeout:g} s. Nothing was changed. Wait for it, then run again."
                    ) from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n")
        file.flush()
        yield
