# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The tree on disk: read it, copy it, change the copy, exchange the two."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import fnmatch
import grp
import hashlib
import os
import pwd
import re
import shutil
import stat
import time
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import (
    LEDGER,
    SYSTEM_DIRECTORIES,
    Change,
    Node,
)

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
#: The file system cannot exchange these two directories (overlayfs lower layers, mount points, old kernels).
_NO_EXCHANGE = (errno.EXDEV, errno.EBUSY, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
#: A file on its way: hidden, and with the tilde that programs which read whole directories pass over.
_TEMPORARY = re.compile(r"\..*\.weblab-(\d+)~")


class TreeError(Exception):
    """The tree cannot be read or changed; the message names the path and the way out."""


class Tree:
    """Reads below one directory; paths are relative to it."""

    def __init__(self, base: str) -> None:
        self.base = base

    def paths(self, pattern: str) -> list[str]:
        """The existing paths that match ``directory/pattern``, sorted; dangling links do not count."""
        directory, name = os.path.split(pattern)
        try:
            names = os.listdir(os.path.join(self.base, directory))
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = (os.path.join(directory, item) for item in sorted(fnmatch.filter(names, name)))
        return [path for path in found if not os.path.basename(path).startswith(".")]

    def read(self, path: str) -> str:
        """The text of a file; empty when there is none."""
        try:
            with open(os.path.join(self.base, path), encoding="utf-8", errors="replace") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ""

    def exists(self, path: str) -> bool:
        return os.path.lexists(os.path.join(self.base, path))

    def node(self, path: str) -> Node | None:
        """What is at ``path`` (relative, or absolute for a system file), without following links."""
        for parent in _parents(path):
            if os.path.islink(os.path.join(self.base, parent)):
                raise TreeError(
                    f"{os.path.join(self.base, parent)} is a symbolic link; writing {path} through it could leave"
                    f" {os.path.dirname(parent) or self.base}. Replace it by a directory, nothing was touched"
                )
        full = os.path.join(self.base, path)
        try:
            info = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        owner = {"user": _user(info.st_uid), "group": _group(info.st_gid), "mode": stat.S_IMODE(info.st_mode)}
        if stat.S_ISLNK(info.st_mode):
            return Node("link", target=os.readlink(full))
        if stat.S_ISDIR(info.st_mode):
            return Node("directory", **owner)  # type: ignore[arg-type]
        if stat.S_ISREG(info.st_mode):
            with open(full, "rb") as file:
                found = {"mtime": info.st_mtime_ns, "links": info.st_nlink}
                return Node("file", file.read(), **owner, **found)  # type: ignore[arg-type]
        raise TreeError(f"{full} is neither a file, a link nor a directory; move it away first, nothing was touched")

    def below(self, path: str) -> list[str]:
        """Every path below a directory; links are not followed."""
        found = []
        for directory, names, files in os.walk(os.path.join(self.base, path)):
            inside = directory if path.startswith("/") else os.path.relpath(directory, self.base)
            found += [os.path.join(inside, name) for name in (*names, *files)]
        return found

    def empty(self) -> bool:
        """Nothing but directories is left (and the ledger, if nobody owns anything)."""
        return not any(self.fingerprint().values())

    def fingerprint(self) -> dict[str, tuple[int, ...]]:
        """Path -> what the kernel changes whenever somebody writes there; the ledger is left out."""
        found: dict[str, tuple[int, ...]] = {}
        pending = [""]
        while pending:
            directory = pending.pop()
            try:
                entries = os.scandir(os.path.join(self.base, directory))
            except (FileNotFoundError, NotADirectoryError):
                continue
            with entries:
                for entry in entries:
                    path = os.path.join(directory, entry.name)
                    if path != LEDGER:
                        found[path] = _stamp(entry.stat(follow_symlinks=False))
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path)
                        found[path] = ()
        return found


def fingerprint_of(paths: t.Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The same for single files given by absolute path."""
    found = {}
    for path in paths:
        try:
            found[path] = _stamp(os.lstat(path))
        except FileNotFoundError:
            found[path] = ()
    return found


def digest(fingerprint: t.Mapping[str, tuple[int, ...]]) -> str:
    # Without the change time: a copy that nobody changed has a new one.
    return hashlib.sha256(repr(sorted((path, stamp[:-1]) for path, stamp in fingerprint.items())).encode()).hexdigest()


def newest(fingerprint: t.Mapping[str, tuple[int, ...]]) -> float:
    """When the youngest of the files was written, in seconds since the epoch."""
    return max((stamp[4] for stamp in fingerprint.values() if stamp), default=0) / 1e9


def stage(live: str, staged: str) -> None:
    """Copy the live tree beside itself: modes, owners, links and modification times stay as they are."""
    if not os.path.isdir(live):
        os.makedirs(staged)
        os.chmod(staged, 0o755)
        return
    for directory, names, files in os.walk(live):
        relative = os.path.relpath(directory, live)
        target = os.path.normpath(os.path.join(staged, relative))
        os.mkdir(target)
        for name in files + [name for name in names if os.path.islink(os.path.join(directory, name))]:
            _copy(os.path.join(directory, name), os.path.join(target, name))
    # Directories last: filling them changed their times.
    for directory, _names, _files in os.walk(live, topdown=False):
        _copy_attributes(directory, os.path.normpath(os.path.join(staged, os.path.relpath(directory, live))))


def apply(base: str, changes: t.Sequence[Change], done: t.Callable[[Change], object] = lambda change: None) -> None:
    """Make the changes below ``base`` (or at their absolute paths), each file atomically.

    All new files are written before the first one takes its place: a full disk is met before anything has changed.

    :param done: told every change that has been made.
    """
    kept = [change for change in changes if change.after is not None]
    gone = sorted((change for change in changes if change.after is None), key=lambda item: item.path, reverse=True)
    for change in [item for item in gone if any(other.path.startswith(f"{item.path}/") for other in kept)]:
        # A file makes room for a directory.
        remove_empty(os.path.join(base, change.path))
        done(change)
        gone.remove(change)
    new = [*_missing_parents(base, kept), *kept]
    files = [change for change in new if change.after is not None and change.after.kind != "directory"]
    ready: dict[str, str] = {}
    try:
        for change in sorted(set(new) - set(files), key=lambda item: item.path):
            _put_directory(os.path.join(base, change.path), t.cast(Node, change.after))
            done(change)
        for change in files:
            path = os.path.join(base, change.path)
            ready[path] = _temporary(path)
            _prepare(path, ready[path], t.cast(Node, change.after))
        for change in gone:
            remove_empty(os.path.join(base, change.path))
            done(change)
        for change in sorted(files, key=lambda item: item.path):
            path = os.path.join(base, change.path)
            os.replace(ready[path], path)
            del ready[path]
            done(change)
    finally:
        for temporary in ready.values():
            remove_empty(temporary)


def write(path: str, node: Node) -> None:
    """Create or replace one file, link or directory; a reader sees the old or the new, never a part."""
    apply("/", [Change(path, None, node)])


def remove_temporary(directory: str) -> None:
    """Remove the files on their way that processes left there which are dead by now."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        match = _TEMPORARY.fullmatch(name)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            remove_empty(os.path.join(directory, name))


def touch(path: str) -> None:
    """Make the modification time newer by at least one whole second than it was."""
    info = os.stat(path)
    os.utime(path, ns=(info.st_atime_ns, max(time.time_ns(), info.st_mtime_ns + 10**9)))


def sync(path: str) -> None:
    """Everything below reaches the disk before the swap: a power cut leaves whole trees only."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not hasattr(_libc, "syncfs"):
            os.sync()
        elif _libc.syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """The names in the directory reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(one: str, other: str) -> bool:
    """Exchange two paths in one step; False where the file system cannot."""
    if not hasattr(_libc, "renameat2"):
        return False
    if _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), one, None, other)


def remove(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)


def remove_empty(path: str) -> None:
    """Remove a file, a link or an empty directory; what is not there or not empty is left."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


_libc = ctypes.CDLL(None, use_errno=True)


def _parents(path: str) -> list[str]:
    """The directories above a path that must be none but directories, the innermost first."""
    found = []
    parent = os.path.dirname(path)
    while parent and (not path.startswith("/") or parent.startswith(SYSTEM_DIRECTORIES)):
        found.append(parent)
        parent = os.path.dirname(parent)
    return found


def _temporary(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name[:200]}.weblab-{os.getpid()}~")


def _missing_parents(base: str, changes: t.Iterable[Change]) -> list[Change]:
    """The directories that nobody declares and that the changes need."""
    declared = {change.path for change in changes}
    missing: dict[str, Change] = {}
    for path in sorted(declared):
        parent = os.path.dirname(path)
        while parent not in ("", "/") and parent not in declared and not os.path.lexists(os.path.join(base, parent)):
            missing[parent] = Change(parent, None, Node("directory", mode=0o755))
            parent = os.path.dirname(parent)
    return list(missing.values())


def _put_directory(path: str, node: Node) -> None:
    if os.path.isdir(path):
        _set_attributes(path, path, node)
        return
    # It gets its mode and owner before it gets its name.
    temporary = _temporary(path)
    os.mkdir(temporary, 0o700)
    try:
        _set_attributes(path, temporary, dataclasses.replace(node, mode=0o755 if node.mode is None else node.mode))
        os.rename(temporary, path)
    except BaseException:
        remove_empty(temporary)
        raise


def _prepare(path: str, temporary: str, node: Node) -> None:
    """The new file or link under another name, complete but for the last step."""
    if node.kind == "link":
        os.symlink(node.target, temporary)
        return
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(node.content)
            _set_attributes(path, temporary, node)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # A write that fails does not say where.
        error.filename = error.filename or path
        raise
    if node.mtime is not None:
        os.utime(temporary, ns=(node.mtime, node.mtime))
    else:
        _later_than(path, temporary)


def _stamp(info: os.stat_result) -> tuple[int, ...]:
    # Staging gives a file with several names one more, which the kernel counts as a change.
    changed = 0 if stat.S_ISREG(info.st_mode) and info.st_nlink > 1 else info.st_ctime_ns
    return (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, changed)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def user_id(name: str) -> int | None:
    """The number of a user, None when there is no such user."""
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def group_id(name: str) -> int | None:
    """The number of a group, None when there is no such group."""
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _set_attributes(shown: str, path: str, node: Node) -> None:
    user = -1 if node.user is None else user_id(node.user)
    group = -1 if node.group is None else group_id(node.group)
    if user is None:
        raise TreeError(f"{shown} shall belong to the user {node.user}, who does not exist on this host")
    if group is None:
        raise TreeError(f"{shown} shall belong to the group {node.group}, which does not exist on this host")
    os.chown(path, user, group)
    if node.mode is not None:
        os.chmod(path, node.mode)


def _later_than(old: str, new: str) -> None:
    # Daemons that watch modification times (the uWSGI Emperor) compare whole seconds.
    try:
        before = os.lstat(old).st_mtime_ns
    except FileNotFoundError:
        return
    if os.stat(new).st_mtime_ns // 10**9 <= before // 10**9:
        os.utime(new, ns=(before + 10**9, before + 10**9))


def _copy(source: str, target: str) -> None:
    info = os.lstat(source)
    if stat.S_ISREG(info.st_mode) and info.st_nlink > 1 and _linked(source, target):
        return
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(info.st_mode):
        shutil.copyfile(source, target)
    else:
        raise TreeError(
            f"{source} is no file, link or directory; a configuration tree holds nothing else. Move it away"
        )
    _copy_attributes(source, target)


def _linked(source: str, target: str) -> bool:
    """A file with other names keeps them; False on another file system, where the copy is only looked at."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _copy_attributes(source: str, target: str) -> None:
    info = os.lstat(source)
    os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    shutil.copystat(source, target, follow_symlinks=False)
