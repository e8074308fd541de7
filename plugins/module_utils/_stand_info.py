# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""What a host shows of a stand: processes, listening sockets, the web servers' files, and answers to requests.

It reads, and asks what it is told to ask; nothing is changed, and no program of the stand is run. Containers on the
host are seen as well: their processes are the host's, in other namespaces.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import grp
import os
import pwd
import re
import stat
import typing as t

from . import _endpoint, _uwsgi_info
from ._command import run
from ._errors import DataError
from ._probe import ask_all
from ._probe._protocols import converse
from ._sockets import Listener, descriptors, tcp, unix

if t.TYPE_CHECKING:
    from ._probe import Record
    from ._probe._check import Check
    from ._probe._conversations import Answer, Conversation

#: Bounds of what is returned, whatever the host says.
MAX_PROCESSES = 4000
MAX_COMMAND = 400
MAX_FILE = 64 * 1024
MAX_FILES = 300
MAX_BODY = 64 * 1024
MAX_CONNECTIONS = 1000

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "requests": {"type": "list", "elements": "dict", "default": []},
    "timeout": {"type": "float", "default": 20},
    "facts": {"type": "bool", "default": True},
    "connections": {"type": "list", "elements": "int", "default": []},
}

#: The programs whose files say what is joined with what, and where those are.
_FILES = {
    "nginx": ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d", "/etc/nginx/sites-enabled"),
    **dict.fromkeys(
        # mod_perl writes the whole path, of which the kernel keeps 15 letters.
        ("apache2", "/usr/sbin/apach"),
        (
            "/etc/apache2",
            "/etc/apache2-prefork",
            "/etc/apache2-event",
            "/etc/apache2-worker",
            "/etc/apache2-itk",
        ),
    ),
    "httpd": ("/usr/local/apache2/conf",),
    "lighttpd": ("/etc/lighttpd/lighttpd.conf", "/etc/lighttpd/conf-enabled"),
    "caddy": ("/etc/caddy",),
}
#: A line for each hierarchy of control groups; on some hosts only the last has units.
_UNIT = re.compile(r"/([^/\n]+\.(?:service|scope))$", re.MULTILINE)
#: Docker makes a group of its own where it was not told to leave that to systemd.
_CONTAINER = re.compile(r"/docker/([0-9a-f]{64})$", re.MULTILINE)
#: Addresses of a network, as the kernel shows where it sends packets (IPv4 only, as Docker's are).
_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
_NOT_READ = ("mods-available", "sites-available", "conf-available", "mods-enabled")


@dataclasses.dataclass
class Seen:
    """A process, and the network that it is in."""

    pid: int
    ppid: int
    user: str
    name: str
    command: str
    unit: str
    network: int
    enabled: bool | None = None


def stand_info(
    requests: t.Sequence[t.Mapping[str, t.Any]], timeout: float, facts: bool, connections: t.Sequence[int] = ()
) -> dict[str, t.Any]:
    """Everything that the module returns.

    :param requests: as the ``endpoints`` of the probe; one with ``statistics`` is a stats server of uWSGI.
    :param timeout: seconds for all requests together.
    :param connections: ports of this host, of whose open connections the holders are looked for.
    :raises EndpointError: a request is wrong; nothing was asked.
    """
    result: dict[str, t.Any] = {"answers": _answers(requests, timeout)}
    if connections:
        result["connections"] = _connections(frozenset(connections))
    if facts:
        processes = _processes()
        own = _network("self")
        result.update(
            network=own,
            addresses=_addresses(processes, own),
            processes=[vars(one) for one in processes],
            listeners=_listeners(processes),
            configuration=_configuration(processes),
        )
    return result


def _answers(requests: t.Sequence[t.Mapping[str, t.Any]], timeout: float) -> list[dict[str, t.Any]]:
    if not requests:
        return []
    counting = [bool(one.get("statistics")) for one in requests]
    specs = [{key: value for key, value in one.items() if key != "statistics"} for one in requests]
    stats = {_stats_server(spec, index) for index, spec in enumerate(specs) if counting[index]}

    def conversation(check: Check) -> Conversation:
        return _uwsgi_info.Statistics(check) if check.endpoint in stats else converse(check)

    answers = ask_all(specs, timeout, max_body=MAX_BODY, conversation=conversation)
    return [_counted(*one) if count else _answer(*one) for count, one in zip(counting, answers)]


def _stats_server(spec: t.Mapping[str, t.Any], index: int) -> _endpoint.Endpoint:
    where = f"requests[{index}].endpoint"
    endpoint = _endpoint.parse(spec.get("endpoint"), where)
    if endpoint.protocol not in ("tcp", "unix"):
        raise DataError(where, f"a stats server has no protocol of its own, and this speaks {endpoint.protocol}")
    return endpoint


def _answer(record: Record, answer: Answer | None) -> dict[str, t.Any]:
    return {
        "cause": record.cause,
        "message": record.message,
        "status": answer.status if answer else None,
        "headers": {str(name)[:100]: str(value)[:1000] for name, value in list(answer.headers.items())[:50]}
        if answer
        else {},
        # Bytes, as they came: what they mean is the reader's business.
        "body": base64.b64encode(answer.body).decode("ascii") if answer else "",
        "truncated": answer.truncated if answer else False,
    }


def _counted(record: Record, answer: Answer | None) -> dict[str, t.Any]:
    """The number alone: the statistics have the requests themselves, with cookies and passwords."""
    found = {**_answer(record, None), "cause": record.cause or "wrong_protocol"}
    if answer:
        try:
            count = _uwsgi_info.requests(answer.body)
        except DataError as error:
            return {**found, "message": str(error)}
        found.update(cause=None, status=200, body=base64.b64encode(b"%d" % count).decode("ascii"))
    return found


# --- processes ----------------------------------------------------------------------------------


def _processes() -> list[Seen]:
    found = []
    for name in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int)[:MAX_PROCESSES]:
        try:
            found.append(_process(int(name)))
        except OSError:
            continue  # it has ended meanwhile
    people = [one for one in found if one.command]  # threads of the kernel have no command
    enabled = _enabled({one.unit for one in people if one.unit.endswith(".service")})
    for one in people:
        one.enabled = enabled.get(one.unit)
    return people


def _process(pid: int) -> Seen:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read(MAX_COMMAND).rstrip(b"\0").replace(b"\0", b" ")
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
        groups = file.read()
    container = _CONTAINER.search(groups)
    units = [f"docker-{container[1]}.scope"] if container else _UNIT.findall(groups)
    return Seen(
        pid, int(fields["PPid"]), _user(int(fields["Uid"].split()[1])), fields["Name"],
        words.decode("utf-8", "replace"), units[-1] if units else "", _network(pid),
    )  # fmt: skip


def _network(pid: int | str) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def _addresses(processes: t.Sequence[Seen], own: int) -> list[dict[str, t.Any]]:
    """Which addresses each container has: on the host, several may listen on the same port."""
    first: dict[int, int] = {}
    for one in processes:
        if one.network != own:
            first.setdefault(one.network, one.pid)
    found: list[dict[str, t.Any]] = []
    for network, pid in first.items():
        try:
            with open(f"/proc/{pid}/net/fib_trie", encoding="ascii", errors="replace") as file:
                text = file.read(MAX_FILE)
        except OSError:
            continue
        found += [
            {"network": network, "address": address}
            for address in dict.fromkeys(_LOCAL.findall(text))
            if not address.startswith("127.")
        ]
    return found


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _enabled(units: set[str]) -> dict[str, bool | None]:
    """Is each started at boot, by itself or by a socket or timer? None where systemd does not say."""
    states, triggers = _show(units)
    others, _none = _show({name for names in triggers.values() for name in names})
    found: dict[str, bool | None] = {}
    for unit, state in states.items():
        by = [others.get(name, "") for name in triggers.get(unit, ())]
        if any(one.startswith("enabled") for one in (state, *by)) or state == "generated":
            found[unit] = True
        else:
            found[unit] = False if state == "disabled" else None
    return found


def _show(units: set[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    states, triggers = {}, {}
    names = sorted(units)
    if names:
        done = run(["systemctl", "show", "--property=UnitFileState,TriggeredBy", "--", *names], 20)
        for name, block in zip(names, done.output.split("\n\n")):
            fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            states[name] = fields.get("UnitFileState", "")
            triggers[name] = fields.get("TriggeredBy", "").split()
    return states, triggers


# --- sockets ------------------------------------------------------------------------------------


def _listeners(processes: t.Sequence[Seen]) -> list[dict[str, t.Any]]:
    holders = _holders(processes)
    found = []
    for network in dict.fromkeys(one.network for one in processes):
        for listener, path in _tables(next(one.pid for one in processes if one.network == network)):
            pids = [pid for pid in holders.get(listener.inode, ()) if pid > 0]
            entry: dict[str, t.Any] = {
                "address": listener.host, "port": None if path else listener.port, "pids": pids, "mode": None,
                "owner": "", "group": "", "open_to_all": False, "network": network,
            }  # fmt: skip
            if path and listener.host.startswith("/"):
                _describe(entry, pids[-1] if pids else os.getpid())
            found.append(entry)
    return found


def _tables(pid: int) -> t.Iterator[tuple[Listener, bool]]:
    """The listening sockets of a process's network, and whether each is one of the file system."""
    for name, read, path in (("tcp", tcp, False), ("tcp6", tcp, False), ("unix", unix, True)):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        for listener in read(text):
            yield listener, path


def _holders(processes: t.Sequence[Seen]) -> dict[int, list[int]]:
    """Inode of a socket -> the processes that have it open."""
    found: dict[int, list[int]] = {}
    for one in processes:
        with contextlib.suppress(OSError):  # it has ended, or is not to be looked into
            for target in dict.fromkeys(target for _number, target in descriptors(one.pid)):
                if target.startswith("socket:["):
                    found.setdefault(int(target[8:-1]), []).append(one.pid)
    return found


_ESTABLISHED = "01"


def _connections(ports: frozenset[int]) -> list[dict[str, t.Any]]:
    """Who holds the connections that are open at these ports, and whether it waits for them by epoll(7)."""
    processes = _processes()
    found: list[dict[str, t.Any]] = []
    for network in dict.fromkeys(one.network for one in processes):
        inside = [one for one in processes if one.network == network]
        inodes: dict[int, int] = {}
        for name in ("tcp", "tcp6"):
            try:
                with open(f"/proc/{inside[0].pid}/net/{name}", encoding="ascii", errors="replace") as file:
                    rows = [line.split() for line in file.read().splitlines()[1:]]
            except OSError:
                continue
            inodes.update(
                (int(row[9]), port)
                for row in rows
                if row[3] == _ESTABLISHED and (port := int(row[1].rpartition(":")[2], 16)) in ports
            )
        for one in inside:
            found += _held(one, inodes)
    return found[:MAX_CONNECTIONS]


def _held(process: Seen, inodes: t.Mapping[int, int]) -> t.Iterator[dict[str, t.Any]]:
    """The connections of these inodes that the process has open."""
    pid = process.pid
    sockets: dict[int, int] = {}
    polled: set[int] = set()
    with contextlib.suppress(OSError):  # it has ended
        for number, target in descriptors(pid):
            if target.startswith("socket:[") and int(target[8:-1]) in inodes:
                sockets[number] = int(target[8:-1])
            elif target == "anon_inode:[eventpoll]":
                polled |= _polled(pid, number)
    for number, inode in sockets.items():
        yield {
            "port": inodes[inode], "connection": inode, "pid": pid, "ppid": process.ppid, "polled": number in polled,
        }  # fmt: skip


def _polled(pid: int, number: int) -> set[int]:
    """The descriptors that an epoll instance waits for (proc(5), fdinfo)."""
    try:
        with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii", errors="replace") as file:
            return {int(one) for one in re.findall(r"^tfd:\s*(\d+)", file.read(), re.MULTILINE)}
    except OSError:
        return set()


def _describe(entry: dict[str, t.Any], pid: int) -> None:
    """Who may connect to the socket, as its holder's file system has it."""
    root = f"/proc/{pid}/root"
    try:
        status = os.lstat(root + entry["address"])
        parents = []
        directory = os.path.dirname(entry["address"])
        while directory != "/":
            parents.append(os.stat(root + directory).st_mode)
            directory = os.path.dirname(directory)
    except OSError:
        return
    entry["mode"] = stat.S_IMODE(status.st_mode)
    entry["owner"] = _user(status.st_uid)
    try:
        entry["group"] = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        entry["group"] = str(status.st_gid)
    # connect(2) needs the right to write, the way there the right to search.
    entry["open_to_all"] = bool(status.st_mode & 0o002) and all(mode & 0o001 for mode in parents)


# --- files --------------------------------------------------------------------------------------


def _configuration(processes: t.Sequence[Seen]) -> dict[str, str]:
    """Path -> text of the configuration of every web server that runs, those in containers as well."""
    own = _root("self")
    roots: dict[tuple[tuple[int, int], tuple[str, ...]], str] = {}
    for one in processes:
        if one.name in _FILES:
            try:
                its = _root(one.pid)
            except OSError:
                continue  # it has ended meanwhile
            # A container's links would lead through the host's directories: there, links are not followed.
            roots.setdefault((its, _FILES[one.name]), "" if its == own else f"/proc/{one.pid}/root")
    found: dict[str, str] = {}
    for (_its, paths), root in roots.items():
        for path in paths:
            for file in _files(root + path):
                if len(found) >= MAX_FILES:
                    return found
                text = None if root and _linked(root, file) else _text(file)
                if text is not None:
                    found[file[len(root) :] if not root else f"container:{file[len(root) :]}"] = text
    return found


def _root(pid: int | str) -> tuple[int, int]:
    """Which directory a process has as its root: a service with a /tmp of its own the host's, a container another."""
    seen = os.stat(f"/proc/{pid}/root/")
    return seen.st_dev, seen.st_ino


def _files(path: str) -> t.Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    for directory, names, files in os.walk(path):
        names[:] = sorted(name for name in names if name not in _NOT_READ)
        for name in sorted(files):
            yield os.path.join(directory, name)


def _linked(root: str, path: str) -> bool:
    """Does a link lead there?"""
    while len(path) > len(root):
        if os.path.islink(path):
            return True
        path = os.path.dirname(path)
    return False


def _text(path: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return file.read(MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return None
