# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What a configuration tree should hold, who owns it, and what has to change: pure functions.

A path is either relative to the root of the tree, or absolute (a system file). The ledger
remembers which owner declared which path, so that a path goes when its last owner lets go of it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import posixpath
import typing as t

#: The ledger's name inside the tree.
LEDGER = ".weblab.json"

#: The only places outside the tree that a transaction writes to.
SYSTEM_DIRECTORIES = (
    "/etc/sysusers.d",
    "/etc/tmpfiles.d",
    "/etc/systemd/system",
    "/etc/logrotate.d",
    "/etc/default",
    "/usr/local/sbin",
    "/etc/ansible/facts.d",
)

_KEYS = frozenset(
    ("path", "system", "content", "link", "state", "mode", "owner", "group", "secret", "exclusive", "replace_link")
)


class PlanError(ValueError):
    """A declaration that cannot be followed; the message names the place and the way out."""


@dataclasses.dataclass(frozen=True)
class Node:
    """One file, link or directory. ``None`` for mode, user or group means: whatever it is.

    ``mtime`` and ``links`` (how many names it has) are what was found on the host; nobody declares them.
    """

    kind: str
    content: bytes = b""
    target: str = ""
    mode: int | None = None
    user: str | None = None
    group: str | None = None
    mtime: int | None = dataclasses.field(default=None, compare=False)
    links: int = dataclasses.field(default=1, compare=False)

    def satisfied_by(self, live: Node | None) -> bool:
        """Does the live node already look as this one wants it?"""
        if live is None or (self.kind, self.content, self.target) != (live.kind, live.content, live.target):
            return False
        return all(
            wanted is None or wanted == found
            for wanted, found in ((self.mode, live.mode), (self.user, live.user), (self.group, live.group))
        )


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What one or more owners want at a path; ``node`` is None where the path must not exist."""

    path: str
    node: Node | None
    owners: tuple[str, ...]
    secret: bool = False
    exclusive: bool = False
    #: Whether a symbolic link may be there, which the file replaces.
    replace_link: bool = False


@dataclasses.dataclass(frozen=True)
class Change:
    """One path that has to change: None is absence."""

    path: str
    before: Node | None
    after: Node | None
    secret: bool = False

    @property
    def system(self) -> bool:
        return _is_system(self.path)

    @property
    def verb(self) -> str:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    def full(self, root: str) -> str:
        return self.path if self.system else posixpath.join(root, self.path)

    def reversed(self) -> Change:
        return dataclasses.replace(self, before=self.after, after=self.before)


class Standing(t.NamedTuple):
    """How a unit stood before anybody declared anything: what `systemctl is-enabled` says, and whether it was up."""

    enabled: str
    active: bool


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Owner -> the paths it declared; paths whose content must never be shown; and what was there before them.

    ``originals`` are the nodes that were found where an owner declared something for the first time, ``made`` the
    directories that nobody declared and that were made for what is in them (``.`` is the tree itself), ``units`` the
    units of the tree when its first owner came.
    """

    owners: t.Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    secret: frozenset[str] = frozenset()
    originals: t.Mapping[str, Node] = dataclasses.field(default_factory=dict)
    made: frozenset[str] = frozenset()
    units: t.Mapping[str, Standing] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None, where: str) -> Ledger:
        if text is None:
            return cls()
        try:
            data = json.loads(text)
            owners = {
                str(owner): frozenset(_recorded(path) for path in paths) for owner, paths in data["owners"].items()
            }
            return cls(
                owners,
                frozenset(data.get("secret", ())),
                {_recorded(path): _revived(node) for path, node in data.get("originals", {}).items()},
                frozenset(data.get("made", ())),
                {str(unit): Standing(**standing) for unit, standing in data.get("units", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(
                f"{where} is damaged ({error}): nobody knows any more which files belong to whom. Restore it from a"
                " backup, or remove it: the owners that are declared next take their files over again"
            ) from error

    def dump(self) -> bytes:
        data: dict[str, t.Any] = {
            "about": "weblab.stacks.config_tree: which owner declared which path. Do not edit.",
            "owners": {owner: sorted(paths) for owner, paths in sorted(self.owners.items())},
        }
        if self.secret:
            data["secret"] = sorted(self.secret)
        if self.originals:
            data["originals"] = {path: _kept(node) for path, node in sorted(self.originals.items())}
        if self.made:
            data["made"] = sorted(self.made)
        if self.units:
            data["units"] = {unit: standing._asdict() for unit, standing in sorted(self.units.items())}
        return (json.dumps(data, indent=1) + "\n").encode()

    @property
    def paths(self) -> frozenset[str]:
        return frozenset().union(*self.owners.values())

    def union(self, other: Ledger) -> Ledger:
        """Everything that either of the two knows."""
        owners = {
            owner: self.owners.get(owner, frozenset()) | other.owners.get(owner, frozenset())
            for owner in {**self.owners, **other.owners}
        }
        return Ledger(
            owners,
            self.secret | other.secret,
            # What was found first is what was there before.
            {**other.originals, **self.originals},
            self.made | other.made,
            {**other.units, **self.units},
        )

    def system(self) -> Ledger:
        """Only what lies outside of the tree, and how its units stood."""
        owners = {owner: frozenset(filter(_is_system, paths)) for owner, paths in self.owners.items()}
        return Ledger(
            {owner: paths for owner, paths in owners.items() if paths},
            frozenset(filter(_is_system, self.secret)),
            {path: node for path, node in self.originals.items() if _is_system(path)},
            units=self.units,
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """The changes that turn the live tree into the declared one, and the ledger afterwards."""

    changes: tuple[Change, ...]
    ledger: Ledger
    ledger_changed: bool
    #: What the named owners do not declare any more, and what stays for a later call to remove.
    unpruned: tuple[str, ...] = ()

    @property
    def tree_changes(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if not change.system)

    @property
    def system_changes(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.system)


def declare(owners: t.Mapping[str, t.Any], root: str) -> dict[str, Declaration]:
    """Read the ``owners`` option into one declaration per path, conflicts refused."""
    declared: dict[str, Declaration] = {}
    for owner, entries in owners.items():
        if not isinstance(entries, list):
            raise PlanError(f"owners.{owner} is a list of entries, not {type(entries).__name__}")
        for index, entry in enumerate(entries):
            new = _declaration(owner, entry, f"owners.{owner}[{index}]", root)
            known = declared.get(new.path)
            if known is None:
                declared[new.path] = new
            else:
                declared[new.path] = _shared(known, new)
    _refuse_files_with_children(declared)
    return declared


def make_plan(
    declared: t.Mapping[str, Declaration],
    owners: t.Iterable[str],
    ledger: Ledger,
    live: t.Callable[[str], Node | None],
    below: t.Callable[[str], t.Sequence[str]] = lambda path: (),
    root: str = "",
    *,
    prune: bool = True,
    released: t.Collection[str] = (),
) -> Plan:
    """Compare the declarations of ``owners`` with the live tree and the ledger.

    :param live: what is at a path.
    :param below: all paths below a directory.
    :param prune: whether what ``owners`` do not declare any more goes now.
    :param released: paths that go whoever declared them.
    """
    named = set(owners)
    after = {owner: paths.difference(released) for owner, paths in ledger.owners.items() if owner not in named}
    after = {owner: paths for owner, paths in after.items() if paths}
    originals = {**_found(set(declared) - ledger.paths, live), **ledger.originals}
    for declaration in declared.values():
        # What is only to be away has an owner where something is to come back.
        if declaration.node is not None or declaration.path in originals:
            for owner in declaration.owners:
                after[owner] = after.get(owner, frozenset()) | {declaration.path}
    unpruned = frozenset().union(*(paths for owner, paths in ledger.owners.items() if owner in named))
    unpruned = unpruned - frozenset().union(*after.values()) - set(declared)
    if not prune:
        for owner in named & set(ledger.owners):
            after[owner] = after.get(owner, frozenset()) | (ledger.owners[owner] & unpruned)
    kept = frozenset().union(*after.values())
    _refuse_foreign(declared, after, named, live)
    secret = {path for path in ledger.secret if path in kept} | {d.path for d in declared.values() if d.secret}
    made = (ledger.made | _missing_parents(declared, live)) & ({*_above(kept), "."} if after else set())
    new = Ledger(
        after,
        frozenset(secret & kept),
        {path: node for path, node in originals.items() if path in kept},
        made,
        ledger.units if after else {},
    )

    changes = []
    gone = (ledger.paths - kept) | _unwanted(declared, kept, below)
    for path in sorted(gone & set(originals)):
        before, original = live(path), originals[path]
        if not original.satisfied_by(before):
            hidden = path in ledger.secret or (original.mode is not None and not original.mode & 0o004)
            changes.append(Change(path, before, original, hidden))
    gone = (gone - set(originals)) | (ledger.made - made - {"."})
    for path, node in _removable(gone - set(declared), live, below).items():
        changes.append(Change(path, node, None, path in ledger.secret or _closed(path, node, ledger)))
    for declaration in declared.values():
        path, wanted = declaration.path, declaration.node
        before = live(path)
        hidden = declaration.secret or path in ledger.secret
        if wanted is None:
            if before is not None and before.kind == "directory":
                raise PlanError(f"{path} is a directory on the host; state: absent removes files and links")
            if before is not None:
                changes.append(Change(path, before, None, hidden or _closed(path, before, ledger)))
            continue
        _refuse_link(posixpath.join(root, path), before, declaration)
        if not wanted.satisfied_by(before):
            _refuse_directory_swap(path, before, wanted)
            changes.append(Change(path, before, wanted, hidden))
    return Plan(tuple(changes), new, new != ledger, () if prune else tuple(sorted(unpruned)))


def diff(change: Change, root: str) -> dict[str, str]:
    """The change in the form that Ansible's diff display takes."""
    path = change.full(root)
    return {
        "before_header": path,
        "after_header": path,
        "before": _shown(change.before, change.after, "(secret content before)\n" if change.secret else ""),
        "after": _shown(change.after, change.before, "(secret content after)\n" if change.secret else ""),
    }


def _declaration(owner: str, entry: t.Any, where: str, root: str) -> Declaration:
    if not isinstance(entry, t.Mapping):
        raise PlanError(f"{where} is a mapping with path or system, not {type(entry).__name__}")
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        raise PlanError(f"{where}: unknown key {unknown[0]!r}; an entry has {', '.join(sorted(_KEYS))}")
    if (entry.get("path") is None) == (entry.get("system") is None):
        raise PlanError(f"{where}: give either path (inside {root}) or system (outside of it)")
    given = str(entry["path"] if entry.get("path") is not None else entry["system"])
    if any(character < " " for character in given):
        raise PlanError(f"{where}: the path {given!r} has a control character in it")
    path = _inside(given, where, root) if entry.get("path") is not None else _system(given, where)
    node = _node(entry, where)
    exclusive = bool(entry.get("exclusive"))
    if exclusive and (node is None or node.kind != "directory" or _is_system(path)):
        raise PlanError(f"{where}: exclusive goes with state: directory and a path inside {root}; {path} is not that")
    replace_link = bool(entry.get("replace_link"))
    if replace_link and (node is None or node.kind != "file"):
        raise PlanError(f"{where}: replace_link goes with the content of a file; {path} is not one")
    return Declaration(path, node, (owner,), bool(entry.get("secret")), exclusive, replace_link)


def _node(entry: t.Mapping[str, t.Any], where: str) -> Node | None:
    content, link, state = entry.get("content"), entry.get("link"), entry.get("state")
    given = [name for name, value in (("content", content), ("link", link), ("state", state)) if value is not None]
    if len(given) != 1:
        raise PlanError(f"{where}: give exactly one of template, content, link, state; there is {given or 'none'}")
    if state == "absent":
        return None
    mode = _mode(entry.get("mode"), where)
    user, group = entry.get("owner"), entry.get("group")
    if state == "directory":
        return Node("directory", mode=mode, user=user, group=group)
    if state is not None:
        raise PlanError(f"{where}: state {state!r} is neither absent nor directory")
    if link is not None:
        return Node("link", target=str(link))
    if not isinstance(content, str):
        raise PlanError(f"{where}: content is text, not {type(content).__name__}")
    if mode is None:
        mode = 0o600 if entry.get("secret") else 0o644
    elif entry.get("secret") and mode & 0o007:
        raise PlanError(
            f'{where}: mode "{mode:04o}" opens a secret file to every account of the host; give it "0600", or "0640"'
            " and the group that reads it"
        )
    return Node("file", content.encode(), "", mode, user or "root", group or "root")


def _mode(value: t.Any, where: str) -> int | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        mode = int(value, 8)
    except ValueError:
        raise PlanError(f'{where}: mode {value!r} is not an octal number in quotes, like "0640"') from None
    if not 0 <= mode <= 0o7777:
        raise PlanError(f"{where}: mode {value!r} is out of range")
    return mode


def _inside(path: str, where: str, root: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise PlanError(f"{where}: {path!r} leaves {root}; path is relative to root, other places are `system`")
    clean = posixpath.normpath(path)
    if clean in (".", LEDGER):
        raise PlanError(f"{where}: {path!r} is not a path that can be declared")
    return clean


def _system(path: str, where: str) -> str:
    if ".." in path.split("/") or posixpath.normpath(path) != path:
        raise PlanError(f"{where}: write the system path {path!r} without detours")
    if not any(path.startswith(directory + "/") for directory in SYSTEM_DIRECTORIES):
        raise PlanError(f"{where}: {path} is outside of the known system directories {', '.join(SYSTEM_DIRECTORIES)}")
    return path


def _recorded(path: t.Any) -> str:
    # Whoever could write the ledger must not be able to have files removed elsewhere.
    return _system(path, LEDGER) if path.startswith("/") else _inside(path, LEDGER, "the tree")


def _shared(known: Declaration, new: Declaration) -> Declaration:
    owner = new.owners[0]
    if owner in known.owners:
        raise PlanError(f"{owner} declares {new.path} twice; one owner declares a path once")
    if known.node != new.node:
        raise PlanError(
            f"{' and '.join((*known.owners, owner))} declare {new.path} differently; give it to one of them,"
            " or let both declare the same"
        )
    return Declaration(
        known.path,
        known.node,
        (*known.owners, owner),
        known.secret or new.secret,
        known.exclusive or new.exclusive,
        known.replace_link or new.replace_link,
    )


def _refuse_files_with_children(declared: t.Mapping[str, Declaration]) -> None:
    leaves = {path for path, item in declared.items() if item.node is None or item.node.kind != "directory"}
    for path, item in declared.items():
        parent = posixpath.dirname(path)
        while parent not in ("", "/"):
            if parent in leaves and item.node is not None:
                raise PlanError(f"{path} is declared inside {parent}, which is not declared as a directory")
            parent = posixpath.dirname(parent)


def _refuse_foreign(
    declared: t.Mapping[str, Declaration],
    after: t.Mapping[str, frozenset[str]],
    named: set[str],
    live: t.Callable[[str], Node | None],
) -> None:
    # An owner that is not named in this call keeps its files: they may be shared, not changed under it.
    for owner in sorted(set(after) - named):
        for path in sorted(after[owner] & set(declared)):
            node, found = declared[path].node, live(path)
            if found is not None if node is None else not node.satisfied_by(found):
                raise PlanError(
                    f"{declared[path].owners[0]} declares {path}, which belongs to {owner} (not part of this call);"
                    f" declare both owners in one call, or let {owner} go first with `{owner}: []`"
                )


def _found(paths: t.Iterable[str], live: t.Callable[[str], Node | None]) -> dict[str, Node]:
    nodes = {path: live(path) for path in paths}
    return {path: node for path, node in nodes.items() if node is not None}


def _above(paths: t.Iterable[str]) -> set[str]:
    """All directories of the tree that these paths are in."""
    found: set[str] = set()
    for path in paths:
        parent = posixpath.dirname(path)
        while not _is_system(path) and parent:
            found.add(parent)
            parent = posixpath.dirname(parent)
    return found


def _missing_parents(declared: t.Mapping[str, Declaration], live: t.Callable[[str], Node | None]) -> frozenset[str]:
    """The directories of the tree that have to be made although nobody declares them."""
    above = _above(path for path, declaration in declared.items() if declaration.node is not None)
    return frozenset(path for path in above - set(declared) if live(path) is None)


def _kept(node: Node) -> dict[str, t.Any]:
    """An original in the form that the ledger takes."""
    data = {key: value for key, value in dataclasses.asdict(node).items() if value not in (None, "", b"")}
    data.pop("links")
    return {**data, "content": base64.b64encode(node.content).decode()} if node.kind == "file" else data


def _revived(data: t.Mapping[str, t.Any]) -> Node:
    return Node(**{**data, "content": base64.b64decode(data.get("content", ""))})


def _unwanted(
    declared: t.Mapping[str, Declaration], kept: frozenset[str], below: t.Callable[[str], t.Sequence[str]]
) -> frozenset[str]:
    """What is in the exclusive directories and belongs to nobody."""
    found: set[str] = set()
    for declaration in declared.values():
        if declaration.exclusive:
            found.update(below(declaration.path))
    return frozenset(found - kept)


def _removable(
    gone: t.AbstractSet[str], live: t.Callable[[str], Node | None], below: t.Callable[[str], t.Sequence[str]]
) -> dict[str, Node]:
    """What can go: a directory only where everything in it goes as well."""
    found: dict[str, Node] = {}
    for path in sorted(gone, reverse=True):
        node = live(path)
        if node is not None and (node.kind != "directory" or all(child in found for child in below(path))):
            found[path] = node
    return dict(sorted(found.items()))


def _closed(path: str, node: Node, ledger: Ledger) -> bool:
    # A file of somebody else's that not everybody may read: the diff must not open it.
    return path not in ledger.paths and node.mode is not None and not node.mode & 0o004


def _refuse_link(path: str, before: Node | None, declaration: Declaration) -> None:
    if before is None or declaration.node is None or declaration.node.kind != "file":
        return
    if before.kind == "link":
        if declaration.replace_link:
            return
        raise PlanError(
            f"{path} is a symbolic link to {before.target} on the host and declared as a file. Remove the link, declare"
            " it with `link`, or let the file take its place (`replace_link: true`); nothing was touched"
        )
    if before.links > 1:
        raise PlanError(
            f"{path} is a file with {before.links} names (hard links), so that it can be changed under another one."
            f" `find DIRECTORY -samefile {path}` lists them; remove the others, or this one. Nothing was touched"
        )


def _refuse_directory_swap(path: str, before: Node | None, after: Node) -> None:
    if before is not None and before.kind != after.kind and "directory" in (before.kind, after.kind):
        raise PlanError(
            f"{path} is a {before.kind} on the host and declared as a {after.kind};"
            " move it away first, nothing was touched"
        )


def _shown(node: Node | None, other: Node | None, instead: str) -> str:
    if node is None:
        return ""
    if node.kind == "file":
        text = instead or node.content.decode("utf-8", "replace")
    elif node.kind == "link":
        text = f"-> {node.target}\n"
    else:
        text = f"({node.kind})\n"
    return _attributes(node, other) + text


def _attributes(node: Node, other: Node | None) -> str:
    # Attributes are part of the diff only where they are what differs.
    lines = []
    if other is not None and other.kind == node.kind:
        for name in ("mode", "user", "group"):
            mine, its = getattr(node, name), getattr(other, name)
            if None not in (mine, its) and mine != its:
                lines.append(f"# {name}: {mine:04o}\n" if name == "mode" else f"# {name}: {mine}\n")
    return "".join(lines)


def _is_system(path: str) -> bool:
    return path.startswith("/")
