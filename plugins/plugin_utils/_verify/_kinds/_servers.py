# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""The host behind the pages: who listens, as whom, since when, and what joins them."""

from __future__ import annotations

import difflib
import re
import typing as t

from .._evidence import Ask, Facts, Listener, Process
from . import Outcome, Scope, failed, kind, not_applicable, ok, unknown
from ._pages import no_answer

if t.TYPE_CHECKING:
    from ....module_utils._endpoint import Endpoint

#: front -> how its processes are called. mod_perl's Apache writes its whole path, of which the kernel keeps 15 letters.
FRONTS = {
    "nginx": ("nginx",),
    "apache": ("apache2", "httpd", "/usr/sbin/apach"),
    "lighttpd": ("lighttpd",),
    "caddy": ("caddy",),
}
#: What a Debian host listens with that is nobody's application.
_INFRASTRUCTURE = re.compile(
    r"sshd|systemd.*|init|dhclient|dhcpcd|chronyd|ntpd|rpcbind|rpc\..*|exim4|master|avahi-daemon|cupsd|dockerd|containerd"
    r"|VBoxService|qemu-ga|snmpd|node_exporter|zabbix_agentd|fail2ban.*|multipathd|unbound|named|dnsmasq"
)
#: Those that make pages. A socket of theirs is for their front server only.
_MAKERS = re.compile(
    r"php-fpm.*|uwsgi.*|gunicorn.*|fcgiwrap|multiwatch|spawn-fcgi|node|python3?.*|uvicorn|puma.*|ruby.*|java|unicorn.*"
)
#: Ways to start a server that are meant for the machine of whoever writes the program.
_DEVELOPMENT = (
    ("manage.py runserver", r"manage\.py runserver\b"),
    ("flask run", r"\bflask\b.* run\b"),
    ("python -m http.server", r"-m (http\.server|SimpleHTTPServer)\b"),
    ("php -S", r"\bphp[0-9.]* (.* )?-S "),
    ("artisan serve", r"\bartisan serve\b"),
    ("npm start", r"\bnpm (start|run (start|dev|serve))\b"),
    ("yarn start", r"\byarn (start|run (start|dev|serve)|dev|serve)\b"),
    ("react-scripts start", r"\breact-scripts\b.* start\b"),
    ("ng serve", r"\bng serve\b"),
    ("webpack-dev-server", r"\bwebpack(-dev-server\b| serve\b)"),
    ("vite", r"\bvite( |$)(?!.*\bbuild\b)"),
    ("next dev", r"\bnext dev\b"),
    ("nodemon", r"\bnodemon\b"),
    ("--reload", r"\b(uvicorn|gunicorn)\b.* --reload\b"),
    ("rails server", r"\brails (s|server)\b(?!.*production)"),
    ("go run", r"\bgo run\b"),
)
#: Server fields of servers that say themselves that they are not for production.
_DEVELOPMENT_SERVERS = re.compile(r"Werkzeug/|WSGIServer/|SimpleHTTP/|BaseHTTP/|PHP .* Development Server")


def named(process: Process, names: t.Iterable[str]) -> bool:
    return process.name in names


def listening_at(endpoint: Endpoint, facts: Facts) -> list[Listener]:
    if endpoint.is_unix:
        return [one for one in facts.listeners if one.address == endpoint.unix]
    found = [one for one in facts.listeners if one.port == endpoint.port]
    # A container's own address says which one is meant; else it is the host's port, and what Docker leads from it.
    its = {network for network, address in facts.addresses if address == endpoint.host}
    if not its:
        its = {facts.network} if any(one.network == facts.network for one in found) else {one.network for one in found}
    return [other for one in found if one.network in its for other in led_to(one, facts)]


def led_to(listener: Listener, facts: Facts) -> list[Listener]:
    """Who listens inside of a container where Docker publishes its port; the listener itself where it does not."""
    for pid in listener.pids:
        one = facts.processes.get(pid)
        if one is None or one.name != "docker-proxy":
            continue
        port = re.search(r"-container-port (\d{1,5})\b", one.command)
        address = re.search(r"-container-ip (\S+)", one.command)
        its = {network for network, known in facts.addresses if address and known == address[1]}
        inside = [
            other for other in facts.listeners
            if port and other.port == int(port[1]) and other.network != facts.network
            and (other.network in its or not its)
        ]  # fmt: skip
        if inside:
            return inside
    return [listener]


def backends(scope: Scope) -> list[Listener]:
    """The sockets of what makes the site's page: the manifest's, else those of the processes that are meant."""
    site, facts = scope.site, scope.host
    if site.backend is not None:
        return listening_at(site.backend, facts)
    names = {"php_fpm": "php-fpm", "uwsgi": "uwsgi", "scgi": "uwsgi"}.get(site.served_by)
    return [
        one
        for one in facts.listeners
        if names and any(facts.processes[pid].name.startswith(names) for pid in one.pids if pid in facts.processes)
    ]


def makers(scope: Scope) -> list[Process]:
    """The processes that make the site's page. systemd, which holds a socket for a service, is none."""
    facts = scope.host
    pids = dict.fromkeys(pid for one in backends(scope) for pid in one.pids if pid != 1 and pid in facts.processes)
    return list({one.pid: one for pid in pids for one in facts.family(pid)}.values())


def behind(scope: Scope) -> list[Process]:
    """Who accepts on the site's port; of a container, who does so inside of it."""
    facts = scope.host
    pids = dict.fromkeys(
        pid
        for one in facts.listeners
        if one.port == scope.site.port and one.network == facts.network
        for other in led_to(one, facts)
        for pid in other.pids
    )
    return [facts.processes[pid] for pid in pids if pid in facts.processes]


@kind("site", host=True)
def front_server(scope: Scope) -> Outcome:
    """The server that the manifest names is the one that listens on the site's port."""
    wanted = scope.site.front
    if wanted == "none":
        return not_applicable("no_front")
    found = behind(scope)
    if not found:
        return failed("nobody_listens", port=scope.site.port)
    if any(named(one, FRONTS[wanted]) for one in found):
        return ok(process=found[0].name)
    return failed(
        "another_front", port=scope.site.port, wanted=wanted, seen=", ".join(sorted({one.name for one in found}))
    )


def _open_ports(scope: Scope) -> list[tuple[Listener, Process]]:
    """What listens for other machines, is no site of the manifest, and nobody's infrastructure."""
    facts = scope.host
    sites = {site.port for site in scope.stand.sites}
    meant = {site.backend.port for site in scope.stand.sites if site.backend and not site.backend.is_unix}
    fronts = [name for names in FRONTS.values() for name in names]
    found = []
    for one in facts.listeners:
        if not one.outside or one.network != facts.network or one.port in sites:
            continue
        processes = [facts.processes[pid] for pid in one.pids if pid in facts.processes]
        guilty = [
            process for process in processes
            if one.port in meant or not (_INFRASTRUCTURE.fullmatch(process.name) or named(process, fronts))
        ]  # fmt: skip
        if guilty:
            found.append((one, guilty[0]))
    return found


def _from_outside(scope: Scope) -> list[Ask]:
    address = f"[{scope.stand.address}]" if ":" in scope.stand.address else scope.stand.address
    return [Ask("controller", f"tcp://{address}:{one.port}") for one, _process in _open_ports(scope)]


@kind("stand", asks=_from_outside, host=True)
def backends_closed(scope: Scope) -> Outcome:
    """Nothing but the sites can be reached from another machine: nobody gets past the front server."""
    for ask, (one, process) in zip(_from_outside(scope), _open_ports(scope)):
        if not scope.answers[ask].cause:
            return failed("backend_open", port=one.port, process=process.name, address=one.address)
    return ok()


@kind("site", host=True)
def users(scope: Scope) -> Outcome:
    """No process that makes pages or speaks to visitors is root; only those that start and stop them are."""
    facts = scope.host
    front = [one for process in behind(scope) for one in facts.family(process.pid)]
    everybody = {one.pid: one for one in [*front, *makers(scope)] if one.name != "docker-proxy"}
    if not everybody:
        return unknown("no_processes_seen")
    parents = {one.ppid for one in everybody.values()}
    for one in everybody.values():
        if one.user == "root" and one.pid not in parents:
            return failed("works_as_root", process=one.name, pid=one.pid, command=one.command)
    return ok(users=", ".join(sorted({one.user for one in everybody.values() if one.pid not in parents})))


@kind("site", host=True)
def socket_modes(scope: Scope) -> Outcome:
    """A Unix socket is open to its front server, and to nobody else."""
    facts = scope.host
    mine = [one for one in backends(scope) if one.port is None]
    for one in mine:
        process = next((facts.processes[pid] for pid in one.pids if pid in facts.processes), None)
        if one.open_to_all and (scope.site.backend or (process and _MAKERS.fullmatch(process.name))):
            return failed(
                "socket_open_to_all", path=one.address, mode=f"{one.mode:04o}", owner=f"{one.owner}:{one.group}"
            )
    return ok(sockets=", ".join(one.address for one in mine)) if mine else not_applicable("no_unix_socket")


def _direct(scope: Scope, path: str | None = None, number: int = 0) -> list[Ask]:
    """The backend itself, in its own protocol, from the host."""
    site = scope.site
    if site.backend is None:
        return []
    script = site.script or ""
    return [Ask("host", site.backend.url, path or site.path, site.named, script_filename=script, number=number)]


@kind("site", asks=_direct, host=True)
def no_development_server(scope: Scope) -> Outcome:
    """The page is not made by a server that is meant for the machine of whoever writes the program."""
    seen = {one.pid: one for one in [*makers(scope), *behind(scope)]}
    # Who started them says what they are: npm starts node.
    for one in list(seen.values()):
        while one.ppid > 1 and one.ppid not in seen and one.ppid in scope.host.processes:
            one = scope.host.processes[one.ppid]
            seen[one.pid] = one
    for one in seen.values():
        for name, pattern in _DEVELOPMENT:
            if re.search(pattern, one.command):
                return failed("development_server", name=name, command=one.command, user=one.user)
    for answer in scope.seen(_direct(scope)):
        if _DEVELOPMENT_SERVERS.search(answer.headers.get("server", "")):
            return failed("development_server", name=answer.headers["server"], command="", user="")
    return ok() if seen else unknown("no_processes_seen")


@kind("site", host=True)
def starts_at_boot(scope: Scope) -> Outcome:
    """What serves the site is a service that is started at boot."""
    if scope.stand.starts == "compose":
        return not_applicable("compose_starts")
    everybody = {one.pid: one for one in [*behind(scope), *makers(scope)]}
    if not everybody:
        return unknown("no_processes_seen")
    for one in everybody.values():
        if not one.unit.endswith(".service"):
            return failed("not_a_service", process=one.name, unit=one.unit or "-", command=one.command)
        if one.enabled is False:
            return failed("not_enabled", unit=one.unit, process=one.name)
    return ok(units=", ".join(sorted({one.unit for one in everybody.values()})))


def _compared(scope: Scope) -> list[Ask]:
    site = scope.site
    path = site.nonce.replace("{nonce}", scope.nonce) if site.nonce else site.path
    front = Ask("controller", site.endpoint(scope.stand.address), path, site.named, number=1)
    return [front, *_direct(scope, path, number=1)]


@kind("site", asks=_compared, host=True, alike=0.8)
def handler(scope: Scope) -> Outcome:
    """The backend, asked in its own protocol past the front server, gives the page that visitors get."""
    site = scope.site
    if site.served_by in ("static", "cgi") or site.served_by.startswith("mod_"):
        return not_applicable("no_backend")
    if site.backend is None:
        return unknown("no_backend_in_manifest")
    front, direct = scope.seen(_compared(scope))
    if (outcome := no_answer(front, _compared(scope)[0].path)) is not None:
        return outcome
    if not direct.came:
        return failed(f"no_answer_{direct.cause}", where=site.backend.url)
    if direct.status != front.status:
        return failed("other_status_direct", front=front.status, direct=direct.status, backend=site.backend.url)
    if site.nonce and scope.nonce not in direct.text:
        return failed("direct_without_nonce", backend=site.backend.url)
    # A page that shows its request differs in a good part of it, and proves by the nonce that it is made for this one.
    wanted = scope.options["alike"] / (2 if site.nonce and scope.nonce in front.text else 1)
    if _alike(front.text, direct.text) < wanted:
        return failed("other_page_direct", backend=site.backend.url)
    return ok(backend=site.backend.url)


def _alike(one: str, other: str) -> float:
    """How much two pages have in common, by their lines, or the members of their JSON; 1 for the same."""
    mine, its = (re.split(r"[\n,]", text)[:2000] for text in (one, other))
    return difflib.SequenceMatcher(None, mine, its, autojunk=False).quick_ratio()


#: The number of a process, or a JSON object that has it.
_PROCESS = re.compile(r'([0-9]{1,10})|\{.*?"pid": ?([0-9]{1,10})\b.*', re.DOTALL)
#: Requests for the number of the process: enough that one of a few workers comes twice.
_REQUESTS = 12


def _processes(scope: Scope) -> list[Ask]:
    if scope.site.process is None:
        return []
    site = scope.site
    endpoint = site.endpoint(scope.stand.address)
    return [
        Ask("controller", endpoint, site.process or "", site.named, number=number, round=number % 4)
        for number in range(_REQUESTS)
    ]


@kind("site", asks=_processes, host=True)
def process_model(scope: Scope) -> Outcome:
    """CGI is a new process for every request; everything else stays, and was there before it was asked."""
    if scope.site.process is None:
        return not_applicable("no_process_in_manifest")
    pids = []
    for ask, answer in zip(_processes(scope), scope.seen(_processes(scope))):
        if (outcome := no_answer(answer, ask.path)) is not None:
            return outcome
        number = _PROCESS.fullmatch(answer.text[:4096].strip())
        if number is None:
            return failed("no_process_number", path=ask.path)
        pids.append(int(number[1] or number[2]))
    distinct = len(set(pids))
    known = any(pid in scope.host.processes for pid in pids)
    if scope.site.served_by == "cgi":
        if distinct == len(pids) and not known:
            return ok(distinct=distinct, requests=len(pids))
        return failed("cgi_process_stays", distinct=distinct, requests=len(pids))
    # Under itk a process ends with its connection, and each of these has one of its own.
    stays = not (scope.site.mpm == "itk" and scope.site.served_by.startswith("mod_"))
    if distinct == len(pids) and not known and stays:
        return failed("process_does_not_stay", distinct=distinct, requests=len(pids))
    return _other_process(scope, pids) or ok(distinct=distinct, requests=len(pids))


def _other_process(scope: Scope, pids: t.Iterable[int]) -> Outcome | None:
    """A failure where the page was made by a process that is not the manifest's: one of Apache, or of the backend."""
    facts = scope.host
    module = scope.site.served_by.startswith("mod_")
    meant = [one for first in behind(scope) for one in facts.family(first.pid)] if module else makers(scope)
    if not meant or any(one.network != facts.network for one in [*meant, *behind(scope)]):
        return None  # a container has numbers of its own
    numbers = {one.pid for one in meant}
    for pid in pids:
        # Who is new since the facts is nobody's yet.
        if pid in facts.processes and pid not in numbers:
            return failed("other_process_answers", pid=pid, process=facts.processes[pid].name)
    return None
