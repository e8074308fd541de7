# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""A repository on its way to a host of its own: packed here, unpacked and run there."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import stat
import tarfile
import typing as t

from ...module_utils._errors import DataError

#: Where Vagrant has the directory of the Vagrantfile.
PLACE = "/vagrant"
#: On the host: the archive, and what the command said. Not below /tmp, which is memory there.
ARCHIVE, LOG = "/var/tmp/weblab-repository.tar", "/var/log/weblab-again.log"
#: Bounds of what is sent: bytes of all together, and number of files, links and directories.
MAX_ALL = 256 * 1024 * 1024
MAX_ENTRIES = 20_000
#: Letters of the command's last words that are told.
MAX_WORDS = 300


def pack(directory: str, target: t.IO[bytes]) -> None:
    """Write everything below the directory to an archive, without git's own files.

    Links stay links and are not followed here: where they lead is a path of the host on which they are unpacked.

    :raises DataError: there is more than anybody's homework, or it cannot be read.
    """
    root = pathlib.Path(directory)
    left, entries = MAX_ALL, 0
    try:
        # In this format a name is the bytes that it is.
        with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for folder, names, files in os.walk(root):
                names[:] = sorted(name for name in names if name != ".git")
                for name in [*names, *sorted(files)]:
                    left -= _add(archive, os.path.join(folder, name), root)
                    entries += 1
                    if left < 0 or entries > MAX_ENTRIES:
                        problem = f"{directory} has more than {MAX_ENTRIES} files or {MAX_ALL >> 20} MiB"
                        raise DataError("verify_repository", problem)
    except OSError as error:
        raise DataError("verify_repository", f"{error.filename or directory}: {error.strerror}") from error


def _add(archive: tarfile.TarFile, path: str, root: pathlib.Path) -> int:
    """Its size; nothing of what is neither a file, a link nor a directory."""
    name = os.path.relpath(path, root)
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode):
        archive.addfile(_owned_by_root(archive.gettarinfo(path, name)))
        return 0
    if not stat.S_ISREG(status.st_mode):
        return 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        info = archive.gettarinfo(arcname=name, fileobj=file)
        if info is None or info.size > MAX_ALL:
            return info.size if info else 0
        archive.addfile(_owned_by_root(info), file)
        return info.size


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def unpack() -> str:
    """The host's command that unpacks the archive."""
    return f"mkdir -p {PLACE} && tar -x -C {PLACE} -f {ARCHIVE} && rm {ARCHIVE}"


def bounded(command: str, seconds: int) -> str:
    """The host's command that runs this one for so long, and ends with its code and its last words.

    They go through a file: what the command leaves running may keep a pipe open for ever.
    """
    run = f"timeout --kill-after=10 {seconds} sh -c {shlex.quote(command)} </dev/null >{LOG} 2>&1"
    return f"{run}; code=$?; tail -c 20000 {LOG}; exit $code"


def why(command: str, code: int, output: str, seconds: int) -> str:
    """What to say of a command that did not end well."""
    shown = f"`{command[:100]}`"
    if code in (124, 137):
        return f"{shown} has not ended within {seconds} s (verify_bring_up_deadline)"
    words = re.findall(r"^(?:fatal|failed|ERROR!|\[ERROR\]).*", output, re.MULTILINE)
    said = words[-1][:MAX_WORDS] if words else output.strip()[-MAX_WORDS:]
    return f"{shown} ended with code {code}: {said or 'it said nothing'}"
