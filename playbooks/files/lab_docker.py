# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's hosts as Docker containers: the engine, the image, one container a host.

Standard library only: it runs before there is a virtual environment. Results are JSON on
standard output, progress goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
import typing as t

LABEL = "weblab.stacks"
#: Environment variable that names a run of the tests; what it left behind can be told from other runs' hosts.
RUN = "WEBLAB_TEST_RUN"
RELEASES = ("bookworm", "trixie")

#: What a managed host has before Ansible comes: an init, a Python, the tools to look at it.
BASE_PACKAGES = (
    "systemd systemd-sysv dbus python3 python3-apt iproute2 ca-certificates procps sudo curl logrotate"
).split()

#: What the roles and the lab's applications install; a warm image has them downloaded.
#: A name that a release does not know is left out, one that is missing here is downloaded as ever.
WARM_PACKAGES = (
    "apache2 libapache2-mod-php libapache2-mpm-itk php-fpm php-mysql php-gd php-xml php-mbstring php-curl "
    "nginx nginx-light libnginx-mod-http-cache-purge strace uwsgi-core uwsgi-plugin-python3 "
    "python3-django python3-mysqldb python3-pymysql python3-pil "
    "mariadb-server mariadb-client wordpress dokuwiki unzip "
    "libapache2-mod-fcgid libapache2-mod-perl2 libapache2-mod-wsgi-py3 "
    "fcgiwrap multiwatch gitweb libcgi-fast-perl libfcgi-bin php-cgi "
    "gunicorn nodejs node-express node-ws puma ruby-sinatra tomcat10-common tomcat10-examples "
    "redis-server python3-redis python3-hiredis python3-starlette python3-uvicorn python3-uvloop python3-httptools "
    "python3-websockets uwsgi-plugin-gevent-python3"
).split()

#: What a warm image has installed: no daemon, and nothing that a role must name, since PHP-FPM and mod_php bring it.
#: Debian's scripts take longer to set up its twenty modules than everything else that a host of the tests gets.
WARM_INSTALLED = ("php-cli",)

#: Enough for systemd as the first process, without --privileged; for mpm-itk, whose processes become other users; and
#: for strace, to look at those of other users (SYS_PTRACE). The terminal is for systemd's last words (docker logs).
RUN_OPTIONS = (
    "--tty --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_NICE --cap-add DAC_READ_SEARCH "
    "--cap-add SYS_PTRACE "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    # A host that is told to restart does so; one that is stopped stays so.
    "--restart unless-stopped "
    "--cgroupns=private --tmpfs /run --tmpfs /run/lock --tmpfs /tmp -e container=docker --stop-signal SIGRTMIN+3"
).split()
INIT = "/usr/local/sbin/weblab-init"

#: For a host of somebody else's work. It cannot take all of the machine. Hosts of its network do not reach each other,
#: though this machine reaches them and they the package registries.
GUESTS = "weblab-guests"
GUEST_OPTIONS = f"--memory 2g --pids-limit 4096 --network {GUESTS}".split()

RECIPE = pathlib.Path(__file__).with_name("lab_image.sh")


class LabError(Exception):
    """What is wrong and what to do."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}\n  What to do: {fix}" if fix else problem)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def run(
    argv: t.Sequence[str], *, timeout: float | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command quietly; a missing program and a timeout are results, too."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, input=stdin or "", check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]}: not installed")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"{shlex.join(argv)}: no answer within {timeout} s")


def must(argv: t.Sequence[str], *, stdin: str | None = None) -> str:
    done = run(argv, stdin=stdin)
    if done.returncode:
        raise LabError(f"{shlex.join(argv)} failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout.strip()


@contextlib.contextmanager
def locked(path: pathlib.Path) -> t.Iterator[None]:
    """One builder at a time, whoever asks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- the engine ---------------------------------------------------------------------------------


def engine_answers() -> str | None:
    """None when a Docker engine answers, else what the client says."""
    done = run(["docker", "version", "--format", "{{.Server.APIVersion}}"], timeout=20)
    if done.returncode == 0 and done.stdout.strip():
        return None
    return (done.stderr or done.stdout).strip() or "no answer"


def os_release() -> dict[str, str]:
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
        return {key: value.strip('"') for key, dummy, value in (line.partition("=") for line in lines)}
    return {}


def engine_obstacle(complaint: str) -> LabError | None:
    """Why this process cannot get an engine going by itself, or None."""
    if os.environ.get("DOCKER_HOST"):
        return LabError(
            f"No Docker engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}: {complaint}",
            "start that engine, or unset DOCKER_HOST to use this machine's own.",
        )
    if os.geteuid() != 0:
        if "permission denied" in complaint.lower():
            return LabError(
                f"This user may not use the Docker engine: {complaint}",
                "sudo usermod -aG docker $USER, log out and in again; or run make as root.",
            )
        return LabError(
            f"No Docker engine answers, and only root can install or start one: {complaint}",
            "run make as root (on Debian it installs and starts docker.io by itself), "
            "or install Docker, start it, and try again; DOCKER_HOST names an engine elsewhere.",
        )
    release = os_release()
    if not shutil.which("dockerd") and "debian" not in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        return LabError(
            f"No Docker engine answers, and this is not Debian but {release.get('PRETTY_NAME', 'an unknown system')}.",
            "install Docker with this system's own packages, start it, and try again.",
        )
    return None


def ensure_engine(state: pathlib.Path, *, only_check: bool = False) -> bool:
    """True when something had to be installed or started."""
    complaint = engine_answers()
    if complaint is None:
        return False
    obstacle = engine_obstacle(complaint)
    if obstacle:
        raise obstacle
    if only_check:
        return False
    if not (shutil.which("dockerd") and shutil.which("docker")):
        apt_install("docker.io", "iptables", "mmdebstrap")
    start_engine(state)
    return True


def apt_install(*packages: str) -> None:
    say(f"Installing {', '.join(packages)} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]):
        done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            raise LabError(
                f"{shlex.join(argv)} failed ({done.returncode}).", "read apt's message above, repair it, try again."
            )


def start_engine(state: pathlib.Path) -> None:
    if pathlib.Path("/run/systemd/system").is_dir():
        say("Starting docker.service")
        must(["systemctl", "start", "docker.service"])
        wait_for_engine("journalctl -u docker.service -n 30", None)
        return
    say("No service manager here: starting dockerd")
    state.mkdir(parents=True, exist_ok=True)
    log = state / "dockerd.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    (state / "dockerd.pid").write_text(f"{daemon.pid}\n", encoding="ascii")
    try:
        wait_for_engine(str(log), daemon)
    except LabError:
        stop_engine(state)
        raise


def wait_for_engine(log: str, daemon: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + 60
    while (complaint := engine_answers()) is not None:
        if time.monotonic() > deadline or (daemon and daemon.poll() is not None):
            words = complaint
            with contextlib.suppress(OSError):
                lines = pathlib.Path(log).read_text(encoding="utf-8").splitlines()
                words = "\n".join([line for line in lines if "level=info" not in line][-8:]) or complaint
            raise LabError(f"The Docker engine does not come up:\n{words}", f"see {log}")
        time.sleep(0.3)


def stop_engine(state: pathlib.Path) -> bool:
    """Stop the engine that start_engine started, and no other."""
    pidfile = state / "dockerd.pid"
    try:
        pid = int(pidfile.read_text(encoding="ascii"))
        name = pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        pidfile.unlink(missing_ok=True)
        return False
    if name == "dockerd":
        say(f"Stopping dockerd ({pid})")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while running(pid):
            if time.monotonic() > deadline:
                raise LabError(f"dockerd ({pid}) does not stop.", f"kill -9 {pid}")
            time.sleep(0.2)
    pidfile.unlink()
    return True


def running(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    return False


# --- the image ----------------------------------------------------------------------------------


def recipe_hash() -> str:
    recipe = RECIPE.read_bytes() + "\n".join(BASE_PACKAGES).encode()
    return hashlib.sha256(recipe).hexdigest()[:12]


def image_id(tag: str) -> str | None:
    done = run(["docker", "image", "inspect", "--format", "{{.Id}}", tag])
    return done.stdout.strip() if done.returncode == 0 else None


def ensure_image(state: pathlib.Path, release: str, *, warm: bool = False) -> str:
    """The tag of an image of this recipe; made when there is none."""
    if release not in RELEASES:
        raise LabError(f"There is no lab image of Debian {release!r}.", f"one of {', '.join(RELEASES)}.")
    base = f"weblab-base:{release}-{recipe_hash()}"
    packages = hashlib.sha256(" ".join((*WARM_PACKAGES, *WARM_INSTALLED)).encode()).hexdigest()[:6]
    # Package lists go out of date: a warm image is good for its day.
    warmed = f"weblab-warm:{release}-{recipe_hash()}-{packages}-{datetime.date.today():%Y%m%d}"
    tag = warmed if warm else base
    if image_id(tag):
        return tag
    with locked(state / "image.lock"):
        if not image_id(base):
            build_base(release, base)
        if warm and not image_id(warmed):
            say(f"Downloading the packages of {release} once for all containers")
            script = (
                "apt-get update -q; apt-get install -y -q --download-only --no-install-recommends "
                f"$(apt-cache --generate pkgnames | grep -Fx {' '.join('-e ' + name for name in WARM_PACKAGES)}); "
                f"apt-get install -y -q --no-install-recommends {' '.join(WARM_INSTALLED)}"
            )
            customise(base, warmed, ["/bin/sh", "-euc", script])
        repository = tag.partition(":")[0]
        for old in must(["docker", "image", "ls", "--format", "{{.Tag}}", repository]).split():
            if old.startswith(f"{release}-") and f"{repository}:{old}" != tag:
                run(["docker", "image", "rm", f"{repository}:{old}"])  # refused while in use: next time
    return tag


def build_base(release: str, tag: str) -> None:
    plain = f"weblab-plain:{release}"
    pulled = pull(f"debian:{release}")
    if pulled:
        must(["docker", "tag", pulled, plain])
    else:
        bootstrap(release, plain)
    say(f"Making the base image of {release}")
    try:
        customise(plain, tag, ["/bin/sh", "-s", *BASE_PACKAGES], stdin=RECIPE.read_text(encoding="utf-8"))
    finally:
        run(["docker", "image", "rm", plain])


def pull(image: str) -> str | None:
    """The image's name when it is here or a registry has it."""
    if image_id(image):
        return image
    say(f"Asking the registry for {image}")
    # A closed network may swallow packets: the first answer must not take long, what follows may.
    asked = run(["docker", "manifest", "inspect", image], timeout=15)
    if asked.returncode == 0 or "experimental" in asked.stderr:
        done = run(["docker", "pull", "-q", image], timeout=300)
        if done.returncode == 0:
            return image
        asked = done
    say(f"No registry gives it, using mmdebstrap instead: {asked.stderr.strip()}")
    return None


def bootstrap(release: str, tag: str) -> None:
    if not shutil.which("mmdebstrap"):
        if os.geteuid() == 0 and shutil.which("apt-get"):
            apt_install("mmdebstrap")
        else:
            raise LabError(
                f"No registry gives a Debian image, and mmdebstrap is not installed to make one of {release}.",
                f"install mmdebstrap (as root: apt-get install mmdebstrap), or load an image named debian:{release}.",
            )
    include = ",".join(BASE_PACKAGES)
    argv = ["mmdebstrap", "--variant=minbase", f"--include={include}", "--dpkgopt=force-unsafe-io", release, "-"]
    say(shlex.join(argv))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=sys.stderr, stdin=subprocess.DEVNULL) as made:
        imported = subprocess.run(
            ["docker", "import", "-", tag], stdin=made.stdout, capture_output=True, text=True, check=False
        )
    if made.returncode or imported.returncode:
        run(["docker", "image", "rm", tag])
        raise LabError(f"mmdebstrap or docker import failed. {imported.stderr.strip()}", "see the messages above.")


def customise(image: str, tag: str, command: t.Sequence[str], *, stdin: str = "") -> None:
    """Run a command in the image and keep the result under another name."""
    container = must(["docker", "create", "-i", "--label", LABEL, image, *command])
    try:
        done = run(["docker", "start", "-a", "-i", container], stdin=stdin)
        if done.returncode:
            raise LabError(f"The image {tag} cannot be made: {(done.stdout + done.stderr).strip()[-2000:]}")
        must(["docker", "commit", "-c", f'CMD ["{INIT}"]', "-c", f"LABEL {LABEL}=image", container, tag])
    finally:
        run(["docker", "rm", "-f", "-v", container])


# --- a host -------------------------------------------------------------------------------------


def up(
    state: pathlib.Path,
    name: str,
    release: str,
    publish: t.Sequence[str],
    *,
    warm: bool = False,
    guest: bool = False,
) -> bool:
    """True when the container had to be made or started. That of a guest is always a new one."""
    image = ensure_image(state, release, warm=warm)
    if guest:
        ensure_guests_network(state)
        down([name])
    ports = [word for port in publish for word in ("-p", f"127.0.0.1:{port}:{port}")]
    # Not the warm image's day: a lab does not start anew each morning.
    wanted = hashlib.sha256(json.dumps([recipe_hash(), release, ports, RUN_OPTIONS]).encode()).hexdigest()[:12]
    found = run(["docker", "inspect", "--type", "container", name])
    if found.returncode == 0:
        [container] = json.loads(found.stdout)
        labels = container["Config"]["Labels"] or {}
        if labels.get(LABEL) != "host":
            raise LabError(f"A container named {name} exists that this lab did not make.", f"docker rm -f {name}")
        if labels.get(f"{LABEL}.spec") == wanted:
            if container["State"]["Running"]:
                return False
            must(["docker", "start", name])
            wait_for_systemd(name)
            return True
        say(f"{name} was made from another description: making it anew")
        must(["docker", "rm", "-f", "-v", name])
    argv = ["docker", "run", "-d", "--name", name, "--hostname", name.replace("_", "-"), "--label", f"{LABEL}=host"]
    argv += ["--label", f"{LABEL}.spec={wanted}", "--label", f"{LABEL}.run={os.environ.get(RUN, '')}"]
    argv += [*RUN_OPTIONS, *(GUEST_OPTIONS if guest else ()), *ports, image]
    done = run(argv)
    if done.returncode:
        run(["docker", "rm", "-f", "-v", name])
        raise LabError(f"Docker cannot start {name}: {done.stderr.strip()}", remedy(done.stderr))
    wait_for_systemd(name)
    return True


def ensure_guests_network(state: pathlib.Path) -> None:
    with locked(state / "network.lock"):
        if run(["docker", "network", "inspect", GUESTS]).returncode:
            closed = "com.docker.network.bridge.enable_icc=false"
            must(["docker", "network", "create", "--label", f"{LABEL}=guests", "--opt", closed, GUESTS])


def address(name: str) -> str:
    """The host's address, as this machine reaches it; empty where it has none."""
    field = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    return (must(["docker", "inspect", "--type=container", f"--format={field}", name]).split() or [""])[0]


#: Words in an engine's or systemd's last message, and what helps.
REMEDIES = (
    (
        ("port is already allocated", "address already in use"),
        "stop what listens on that port (ss -ltnp shows it), or change weblab_docker.publish and the sites' ports.",
    ),
    (
        ("too many open files", "inotify"),
        "raise the host's limit: sysctl -w fs.inotify.max_user_instances=1024",
    ),
    (
        ("unable to apply caps", "capabilities", "operation not permitted"),
        "the engine withholds CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SYS_NICE or CAP_DAC_READ_SEARCH: use an engine that"
        " runs as root, not a rootless one.",
    ),
    (
        ("read-only file system", "cgroup"),
        "systemd needs a writable cgroup of its own: take Docker 20.10 or newer, run by root.",
    ),
)


def remedy(words: str) -> str:
    for signs, fix in REMEDIES:
        if any(sign in words.lower() for sign in signs):
            return fix
    return "read the message above; docker info shows the engine's own warnings."


def wait_for_systemd(name: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    answer = ""
    while time.monotonic() < deadline:
        # "offline" is systemd not yet listening; a container that is gone says so.
        done = run(["docker", "exec", name, "systemctl", "is-system-running"], timeout=20)
        answer = done.stdout.strip() or done.stderr.strip()
        if answer in ("running", "degraded"):
            return
        if "is not running" in answer or "No such container" in answer:
            break
        time.sleep(0.2)
    logs = run(["docker", "logs", "--tail", "20", name])
    words = f"{logs.stdout}{logs.stderr}".strip()
    engine = run(["docker", "info", "--format", "cgroup {{.CgroupVersion}}, {{.CgroupDriver}}, {{.SecurityOptions}}"])
    raise LabError(
        f"systemd does not come up in {name}: {answer}\n  its last words: {words or '(none)'}\n"
        f"  the engine: {engine.stdout.strip()}",
        remedy(words + answer),
    )


def down(names: t.Sequence[str]) -> bool:
    """True when a container of these names was removed."""
    changed = False
    for name in names:
        mine = must(["docker", "ps", "-aq", "--filter", f"name=^{name}$", "--filter", f"label={LABEL}=host"])
        if mine:
            must(["docker", "rm", "-f", "-v", mine])
            changed = True
    return changed


def down_run(run_name: str) -> None:
    """Remove the hosts that a run of the tests has left behind."""
    left = must(["docker", "ps", "-aq", "--filter", f"label={LABEL}.run={run_name}"]).split()
    if left:
        must(["docker", "rm", "-f", "-v", *left])


def purge() -> bool:
    """Remove every container, image and network with the lab's label."""
    containers = must(["docker", "ps", "-aq", "--filter", f"label={LABEL}"]).split()
    if containers:
        must(["docker", "rm", "-f", "-v", *containers])
    # The newest first, as Docker lists them: an image cannot go before those that were made from it.
    images = list(dict.fromkeys(must(["docker", "image", "ls", "-q", "--filter", f"label={LABEL}"]).split()))
    if images:
        must(["docker", "image", "rm", "-f", *images])
    networks = must(["docker", "network", "ls", "-q", "--filter", f"label={LABEL}"]).split()
    if networks:
        must(["docker", "network", "rm", *networks])
    return bool(containers or images or networks)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=pathlib.Path, default=pathlib.Path(".lab"), help="where the lab keeps notes")
    commands = parser.add_subparsers(dest="command", required=True)
    engine = commands.add_parser("engine", help="find a Docker engine; as root on Debian install and start one")
    engine.add_argument("--check", action="store_true", help="only say whether that will do")
    commands.add_parser("engine-stop", help="stop the engine that `engine` started")
    image = commands.add_parser("image", help="make the image of a release, print its tag")
    host = commands.add_parser("up", help="make and start one host")
    for command in (image, host):
        command.add_argument("--release", default="bookworm")
        command.add_argument(
            "--warm", action=argparse.BooleanOptionalAction, help="with what takes longest of the packages of all roles"
        )
    host.add_argument("--publish", action="append", default=[], help="a port to publish on 127.0.0.1")
    host.add_argument(
        "--guest", action="store_true", help="for somebody else's work: made anew, bounded, apart from other hosts"
    )
    host.add_argument("name")
    gone = commands.add_parser("down", help="remove hosts")
    gone.add_argument("name", nargs="+")
    commands.add_parser("purge", help="remove all containers, images and networks of the lab")
    args = parser.parse_args()
    state: pathlib.Path = args.state
    result: dict[str, t.Any] = {}
    try:
        if args.command == "engine":
            result = {"changed": ensure_engine(state, only_check=args.check)}
        elif args.command == "engine-stop":
            result = {"changed": stop_engine(state)}
        elif args.command == "image":
            result = {"image": ensure_image(state, args.release, warm=args.warm)}
        elif args.command == "up":
            changed = up(state, args.name, args.release, args.publish, warm=args.warm, guest=args.guest)
            result = {"changed": changed, "address": address(args.name)}
        elif args.command == "down":
            result = {"changed": down(args.name)}
        elif args.command == "purge":
            result = {"changed": purge()}
    except LabError as error:
        say(f"error: {error}")
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
