# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""The files of a repository, read and never run: what is no text, too large or a link is left out."""

from __future__ import annotations

import os
import pathlib
import stat

from ...module_utils._errors import DataError

#: Bounds: of a file, of all together in bytes, and of their number.
MAX_FILE = 512 * 1024
MAX_ALL = 32 * 1024 * 1024
MAX_FILES = 5000
#: Git's own files, and what npm fetches: nobody's work, and many files.
NOT_READ = (".git", "node_modules")


def read(directory: str) -> dict[str, str]:
    """Path -> text of every file below the directory.

    :raises DataError: it is not there, or larger than anybody's homework.
    """
    root = pathlib.Path(directory)
    if not root.is_dir():
        raise DataError("verify_stand.repository", f"{directory} is no directory of the controller")
    found: dict[str, str] = {}
    left = MAX_ALL
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in NOT_READ)
        for name in sorted(files):
            path = os.path.join(folder, name)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue  # a link, or closed to us
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
                    continue
                data = file.read(MAX_FILE)
            if b"\0" in data:
                continue
            left -= len(data)
            if left < 0 or len(found) == MAX_FILES:
                raise DataError(
                    "verify_stand.repository", f"{directory} has more than {MAX_FILES} files or {MAX_ALL >> 20} MiB"
                )
            # A name may be any bytes.
            shown = os.path.relpath(path, root).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            found[shown] = data.decode("utf-8", "replace")
    return found
