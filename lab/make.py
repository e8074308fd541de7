# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the Makefile's targets do, from a bare Debian on.

Standard library only: the first thing it makes is the virtual environment.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes.util
import fcntl
import hashlib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "playbooks" / "files"))

import lab_docker  # noqa: E402
from lab_docker import LabError, say  # noqa: E402

STATE = ROOT / ".lab"
VENV = ROOT / ".venv"
BIN = VENV / "bin"
OLDEST_PYTHON = (3, 11)
#: Seconds for a program that was told to end, to say what it has.
_LAST_WORDS = 60.0
#: Programs that tests ask for a second opinion, and the Debian packages that have them.
WITNESSES = {
    "chromium": "chromium",
    "ss": "iproute2",
    "ps": "procps",
    "php": "php-cli",
    "sim_text": "similarity-tester",
}


class Phases:
    """Names what is going on, and afterwards what it took."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []

    @contextlib.contextmanager
    def __call__(self, name: str) -> t.Iterator[None]:
        say(f"\n==> {name}")
        started = time.monotonic()
        try:
            yield
        except LabError:
            say(f"==> {name}: failed after {time.monotonic() - started:.1f} s")
            raise
        self.times.append((name, time.monotonic() - started))
        say(f"==> {name}: {self.times[-1][1]:.1f} s")

    def report(self) -> None:
        width = max((len(phase[0]) for phase in self.times), default=0)
        say("\nWhat it took")
        for name, seconds in [*self.times, ("together", sum(phase[1] for phase in self.times))]:
            say(f"  {name:<{max(width, 8)}}  {seconds:7.1f} s")


def call(argv: t.Sequence[str | os.PathLike[str]], **environment: str) -> None:
    """Run a command in sight of the user; when this program is ended, so is everything that the command started."""
    words = [os.fspath(word) for word in argv]
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PWD": str(ROOT), **environment}
    with subprocess.Popen(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, process_group=0) as process:
        try:
            code = process.wait()
        except BaseException:
            # First the polite way: pytest says what has failed so far, and Ansible ends its own processes.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise
    if code:
        raise LabError(f"{shlex.join(words)} failed ({code}).", "read the messages above, repair, run the same again.")


# --- the virtual environment --------------------------------------------------------------------


class Environment:
    """The virtual environment with pinned requirements; installed in the background, once for each content."""

    def __init__(self, requirements: str) -> None:
        self.requirements = ROOT / requirements
        pins = b"".join((ROOT / name).read_bytes() for name in sorted({"requirements.txt", requirements}))
        self.wanted = hashlib.sha256(pins + sys.version.encode() + str(VENV).encode()).hexdigest()
        self.stamp = VENV / f".installed-{self.requirements.stem}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def ready(self) -> bool:
        return self.stamp.is_file() and self.stamp.read_text(encoding="ascii") == self.wanted

    def check(self) -> None:
        """Refuse what cannot work before anything is changed."""
        if sys.version_info < OLDEST_PYTHON:
            raise LabError(
                f"Python {sys.version.split()[0]} is too old.", "make PYTHON=python3.11 ... (3.11, 3.12 or 3.13)."
            )
        if not self.ready and not venv_works() and (os.geteuid() != 0 or not shutil.which("apt-get")):
            raise LabError(
                "This Python cannot make virtual environments (its module ensurepip is missing).",
                "as root: apt-get install python3-venv",
            )

    def start(self) -> None:
        if self.ready:
            return
        if not venv_works():
            lab_docker.apt_install("python3-venv")
        log = STATE / "venv.log"
        STATE.mkdir(exist_ok=True)
        say(f"Installing {self.requirements.name} into {VENV.name} in the background (messages in .lab/{log.name})")
        # Compiling every module of the ansible package takes longer than fetching it; Python compiles what is used.
        script = 'set -e; "$1" -m venv $4 "$2"; exec "$2/bin/pip" install --no-compile --progress-bar off -r "$3"'
        anew = "" if same_python() else "--clear"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", script, "sh", sys.executable, VENV, self.requirements, anew],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def wait(self) -> None:
        if self.process is None:
            return
        if self.process.wait():
            words = (STATE / "venv.log").read_text(encoding="utf-8").splitlines()[-8:]
            raise LabError("The virtual environment cannot be made:\n" + "\n".join(words), "see .lab/venv.log")
        self.stamp.write_text(self.wanted, encoding="ascii")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def same_python() -> bool:
    """Is the environment made of the Python that runs now? Of two that are mixed, neither finds its modules."""
    asked = "import sys; print(sys.version, sys.base_prefix)"
    found = lab_docker.run([str(VENV / "bin" / "python3"), "-c", asked]).stdout.strip()
    return found == f"{sys.version} {sys.base_prefix}"


def venv_works() -> bool:
    return lab_docker.run([sys.executable, "-c", "import ensurepip, venv"]).returncode == 0


@contextlib.contextmanager
def prepared(phases: Phases, requirements: str, images: t.Sequence[tuple[str, bool]]) -> t.Iterator[bool]:
    """Virtual environment, engine and images, in parallel; yields whether the engine was started for this."""
    environment = Environment(requirements)
    environment.check()
    lab_docker.ensure_engine(STATE, only_check=True)
    try:
        environment.start()
        with phases("Docker engine"):
            started = lab_docker.ensure_engine(STATE)
        for release, warm in images:
            with phases(f"Image of {release}{' with packages' if warm else ''}"):
                lab_docker.ensure_image(STATE, release, warm=warm)
        with phases("Virtual environment"):
            environment.wait()
        yield started
    finally:
        environment.stop()


# --- the targets --------------------------------------------------------------------------------


def provision(phases: Phases, inventory: str) -> None:
    for playbook, what in (("lab", "Lab hosts"), ("site", "Stacks"), ("verify", "Verification")):
        with phases(f"{what} (playbooks/{playbook}.yml)"):
            call([BIN / "ansible-playbook", "-i", inventory, f"playbooks/{playbook}.yml"])


def lab(phases: Phases, inventory: str) -> None:
    with prepared(phases, "requirements.txt", [("bookworm", False)]):
        provision(phases, inventory)
    phases.report()
    call([BIN / "python", "lab/table.py", STATE / "lab.json"])


def install_witnesses() -> None:
    missing = [package for program, package in WITNESSES.items() if not shutil.which(program)]
    if not ctypes.util.find_library("atomic"):
        missing.append("libatomic1")  # the driver that steers chromium is linked against it
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        lab_docker.apt_install(*missing)
    elif missing:
        say(f"Not installed: {', '.join(missing)}. The tests that need them are skipped.")


@contextlib.contextmanager
def lab_meanwhile() -> t.Iterator[None]:
    """Bring the lab up beside the tests; those that visit it wait for its lock (tests/support/visitor.py)."""
    log = STATE / "provision.log"
    say(f"Bringing up the lab beside the tests (messages in .lab/{log.name})")
    argv = [sys.executable, __file__, "provision"]
    with (STATE / "visitors.lock").open("w") as lock, log.open("wb") as output:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Whoever inherits the lock's descriptor holds the lock, until its end.
        process = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[lock.fileno()]
        )
    try:
        yield
        code = process.wait()
    finally:
        process.terminate()
        process.wait()
        say(log.read_text(encoding="utf-8", errors="replace").rpartition("\nWhat it took")[2].rstrip())
    if code:
        raise LabError("The lab did not come up.", "read its messages above, repair, run the same again.")


def test(phases: Phases, arguments: t.Sequence[str]) -> None:
    """Everything that CI runs. What was started for it, an engine or a lab, is stopped after it."""
    run_name = f"{os.getpid()}-{int(time.time())}"
    os.environ[lab_docker.RUN] = run_name
    with prepared(phases, "requirements-dev.txt", [("bookworm", True), ("trixie", True)]) as started:
        try:
            with contextlib.ExitStack() as meanwhile:
                if any(argument.rstrip("/") == "tests" or argument.startswith("tests/lab") for argument in arguments):
                    with phases("Programs that tests ask"):
                        install_witnesses()
                    meanwhile.enter_context(lab_meanwhile())
                phases.report()
                call([BIN / "pytest", *arguments])
        finally:
            # Tests remove their hosts themselves; a run that was ended from outside could not.
            lab_docker.down_run(run_name)
            if started:
                lab_docker.stop_engine(STATE)


def bench(phases: Phases, experiments: t.Sequence[str]) -> None:
    with prepared(phases, "requirements.txt", [("bookworm", True)]):
        paths = f"{ROOT / 'playbooks' / 'files'}:{ROOT / '.collections'}"
        call([BIN / "python", "lab/bench.py", *experiments], PYTHONPATH=paths)


def venv(phases: Phases) -> None:
    environment = Environment("requirements-dev.txt")
    environment.check()
    with phases("Virtual environment"):
        environment.start()
        environment.wait()


def down(phases: Phases) -> None:
    with phases("Containers, images, engine, virtual environment"):
        if lab_docker.engine_answers() is None:
            lab_docker.purge()
        lab_docker.stop_engine(STATE)
        shutil.rmtree(STATE, ignore_errors=True)
        if any(VENV.glob(".installed-*")):  # made by this program, and not somebody's own
            shutil.rmtree(VENV)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("lab").add_argument("--inventory", default="inventories/lab")
    commands.add_parser("provision").add_argument("--inventory", default="inventories/lab")
    commands.add_parser("test").add_argument("arguments", nargs="*")
    commands.add_parser("bench").add_argument("experiments", nargs="*")
    commands.add_parser("venv")
    commands.add_parser("down")
    args = parser.parse_args()
    phases = Phases()
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if args.command == "lab":
            lab(phases, args.inventory)
        elif args.command == "provision":
            provision(phases, args.inventory)
            phases.report()
        elif args.command == "test":
            test(phases, args.arguments)
        elif args.command == "bench":
            bench(phases, args.experiments)
        elif args.command == "venv":
            venv(phases)
        elif args.command == "down":
            down(phases)
    except LabError as error:
        say(f"\nerror: {error}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; the same command takes it up again")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
