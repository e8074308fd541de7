# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts for tests: throw-away containers of the lab's image, and what their daemons said when a test fails."""

from __future__ import annotations

import collections
import itertools
import os
import pathlib
import re
import subprocess
import typing as t
import zlib

import lab_docker
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
STATE = ROOT / ".lab"

#: The files that take longest, the longest first. Each is run by one process, so that its hosts are made once; what is
#: short fills the gaps at the end.
LONGEST = (
    "test_config_tree_load.py",
    "test_scenarios.py",
    "test_config_tree_faults.py",
    "test_troubleshooting.py",
    "test_moves.py",
    "test_examples.py",
    "test_reverse_proxy.py",
    "test_removal.py",
    "test_app_service.py",
    "test_realtime.py",
    "test_verify.py",
    "test_verify_compose.py",
    "test_verify_repositories.py",
    "test_probe_daemons.py",
    "test_config_tree.py",
    "test_bad_input.py",
    "test_lint.py",
)

#: What a reader of a failure wants to know about a host.
EVIDENCE = (
    "systemctl --failed --no-legend --plain; "
    "journalctl --no-pager --quiet -o short-monotonic -n 60 "
    "-u 'apache2*' -u 'php*' -u 'nginx*' -u 'uwsgi*' -u 'app@*' -u 'mariadb*'; "
    "tail -n 15 /var/log/apache2*/*error*.log /var/log/nginx/*error.log /var/log/php*fpm*.log /var/log/uwsgi/*.log "
    "2>/dev/null"
)


class Host:
    """A container with systemd, as Ansible's and testinfra's docker connections see it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *argv: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program on the host; without `check` its failure is a result."""
        done = lab_docker.run(["docker", "exec", "-i", self.name, *argv], stdin=stdin)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {argv} gave {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def shell(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "-c", script, check=check)

    def evidence(self) -> str:
        return self.shell(EVIDENCE, check=False).stdout


class NewHost(t.Protocol):
    """Make and start a host; it is removed when the test (or the module) is over."""

    def __call__(self, purpose: str, release: str = "bookworm") -> Host: ...


class NamedHost(t.Protocol):
    """A host that something else makes under this name; removed before and after the test."""

    def __call__(self, name: str) -> Host: ...


_HOSTS = pytest.StashKey[list[Host]]()
_numbers = itertools.count(1)


def _new_hosts(hosts: list[Host]) -> t.Iterator[NewHost]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")

    def make(purpose: str, release: str = "bookworm") -> Host:
        host = Host(f"weblab-test-{purpose}-{worker}-{os.getpid()}-{next(_numbers)}")
        hosts.append(host)
        lab_docker.up(STATE, host.name, release, [], warm=True)
        return host

    yield make
    lab_docker.down([host.name for host in hosts])


@pytest.fixture(scope="session")
def sample(request: pytest.FixtureRequest) -> bool:
    """Is a part of a long series enough?"""
    return request.config.getoption("--sample") is not None


@pytest.fixture
def new_host(request: pytest.FixtureRequest) -> t.Iterator[NewHost]:
    yield from _new_hosts(request.node.stash.setdefault(_HOSTS, []))


@pytest.fixture(scope="module")
def new_module_host(request: pytest.FixtureRequest) -> t.Iterator[NewHost]:
    yield from _new_hosts(request.node.stash.setdefault(_HOSTS, []))


@pytest.fixture
def named_host(request: pytest.FixtureRequest) -> t.Iterator[NamedHost]:
    hosts = request.node.stash.setdefault(_HOSTS, [])

    def watch(name: str) -> Host:
        hosts.append(Host(name))
        lab_docker.down([name])
        return hosts[-1]

    yield watch
    lab_docker.down([host.name for host in hosts])


#: The releases that a test's parameters name.
RELEASE = re.compile(r"\b(bookworm|trixie)\b")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sample", type=int, metavar="TURN",
        help="each test on one of its releases, some of those marked as sampled, long series shortened; other turns"
        " take others",
    )  # fmt: skip


def pytest_report_header(config: pytest.Config) -> str:
    turn = config.getoption("--sample")
    return "everything" if turn is None else f"a sample: make test TURN={turn} takes it again, WHOLE=1 all"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    turn = config.getoption("--sample")
    if turn is not None:
        left_out = set(_not_their_turn(items, turn))
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def _not_their_turn(items: list[pytest.Item], turn: int) -> t.Iterator[pytest.Item]:
    """Of the tests that differ by the release only, all but one; of sampled(N), all but every Nth. Names say which."""
    same: dict[str, list[pytest.Item]] = {}
    for item in items:
        same.setdefault(RELEASE.sub("*", item.nodeid), []).append(item)
    counted = collections.Counter[str]()
    for name, group in same.items():
        if mark := group[0].get_closest_marker("sampled"):
            family = name.partition("[")[0]
            counted[family] += 1
            if (counted[family] + turn) % mark.args[0]:
                yield from group
                continue
        taken = group[(zlib.crc32(name.encode()) + turn) % len(group)]
        yield from (item for item in group if item is not taken)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> t.Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when != "teardown":
        for node in item.listchain():
            for host in node.stash.get(_HOSTS, []):
                report.sections.append((f"what the daemons of {host.name} said", host.evidence()))
    return report
