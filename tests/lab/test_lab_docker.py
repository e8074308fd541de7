# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a machine without an engine to a host, and the refusals on the way: nothing half done, and what to do."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import typing as t
import uuid

import lab_docker
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STATE = ROOT / ".lab"
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user or to make namespaces")


@pytest.fixture
def checkout() -> t.Iterator[pathlib.Path]:
    """A copy of what `make lab` starts with, in a place that any user may read and write."""
    place = pathlib.Path(f"/tmp/weblab-test-{uuid.uuid4().hex}")
    for name in ("Makefile", "lab/make.py", "playbooks/files/lab_docker.py", "playbooks/files/lab_image.sh"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    for name in ("requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, place / name)
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


def may_run(program: str, user: int) -> bool:
    """Whether ``user`` gets a Python of at least 3.11 from ``program``."""
    ask = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([program, "-c", ask], user=user, group=user, extra_groups=[], check=False).returncode == 0
    except OSError:
        return False


def make_lab(
    checkout: pathlib.Path, target: str, *, user: int | None, **environment: str
) -> subprocess.CompletedProcess[str]:
    # An interpreter that every user may run: the one in use may lie below root's home.
    candidates = [
        str(pathlib.Path(sys.executable).resolve()),
        *filter(None, [shutil.which("python3", path="/usr/bin")]),
    ]
    usable = [path for path in candidates if user is None or may_run(path, user)]
    if not usable:
        pytest.skip("no Python that another user may run")
    python = usable[0]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "MAKE"))}
    return subprocess.run(
        ["make", f"PYTHON={python} -B", target], cwd=checkout, env={**clean, "HOME": "/", **environment},
        user=user, group=user, extra_groups=None if user is None else [], text=True, capture_output=True, check=False,
    )  # fmt: skip


def content(place: pathlib.Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


@needs_root
@pytest.mark.parametrize("target", ["lab", "test"])
def test_no_engine_and_no_root_is_refused_before_anything_changes(checkout: pathlib.Path, target: str) -> None:
    before = content(checkout)
    # An empty PATH but for make's own tools: no docker, no dockerd.
    tools = checkout.with_suffix(".bin")
    tools.mkdir()
    try:
        for tool in ("make", "sh"):
            (tools / tool).symlink_to(shutil.which(tool) or "")
        done = make_lab(checkout, target, user=NOBODY, PATH=str(tools))
    finally:
        shutil.rmtree(tools)
    assert done.returncode != 0
    assert "No Docker engine answers, and only root can install or start one" in done.stderr
    assert "What to do: run make as root" in done.stderr
    assert content(checkout) == before


@needs_root
def test_engine_of_somebody_else_is_refused_with_the_group_to_join(checkout: pathlib.Path) -> None:
    before = content(checkout)
    done = make_lab(checkout, "lab", user=NOBODY)
    assert done.returncode != 0
    assert "This user may not use the Docker engine" in done.stderr
    assert "usermod -aG docker" in done.stderr
    assert content(checkout) == before


def test_named_engine_that_does_not_answer_is_not_replaced_by_another(checkout: pathlib.Path) -> None:
    before = content(checkout)
    done = make_lab(checkout, "lab", user=None, DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert done.returncode != 0
    assert "No Docker engine answers at DOCKER_HOST=unix:///nonexistent/docker.sock" in done.stderr
    assert content(checkout) == before


@needs_root
@pytest.mark.skipif(not shutil.which("dockerd"), reason="the engine runs elsewhere: there is no dockerd to start")
def test_engine_is_started_and_make_down_leaves_nothing(checkout: pathlib.Path) -> None:
    before = content(checkout)
    python = f"{pathlib.Path(sys.executable).resolve()} -B"
    program = f"{python} playbooks/files/lab_docker.py"
    # A machine of its own as far as an engine can see: no /run, no network, no images, no other processes.
    script = f"""
        set -e
        mount -t tmpfs none /run
        mount -t tmpfs none /var/lib/docker
        ! docker version >/dev/null 2>&1
        {program} engine
        docker version --format 'answers {{{{.Server.Version}}}}'
        {program} engine
        tar -cf - Makefile | docker import -c 'LABEL weblab.stacks=image' - weblab-base:test
        docker create --label weblab.stacks=host --name weblab-lab weblab-base:test /init
        test -s .lab/dockerd.pid
        make PYTHON='{python}' down
        ! docker version >/dev/null 2>&1
        cd /var/lib/docker
        find containers image/*/imagedb/content/sha256 -mindepth 1 | grep . || echo none left
        grep -lx dockerd /proc/[0-9]*/comm || echo not running
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "MAKE"))}
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
        cwd=checkout, env=clean, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    started, answers, again, _image, _container, *rest = done.stdout.splitlines()
    assert json.loads(started) == {"changed": True}
    assert answers.startswith("answers ")
    assert json.loads(again) == {"changed": False}
    assert [line for line in rest if line] == ["none left", "not running"]
    assert content(checkout) == before


def test_stop_leaves_an_engine_alone_that_it_did_not_start(tmp_path: pathlib.Path) -> None:
    assert lab_docker.stop_engine(tmp_path) is False
    # A number that now belongs to another program.
    (tmp_path / "dockerd.pid").write_text(str(os.getpid()), encoding="ascii")
    lab_docker.stop_engine(tmp_path)
    assert not (tmp_path / "dockerd.pid").exists()


@pytest.fixture
def name() -> t.Iterator[str]:
    chosen = f"weblab-test-up-{uuid.uuid4().hex[:8]}"
    yield chosen
    lab_docker.run(["docker", "rm", "-f", "-v", chosen])


def test_host_comes_up_once_and_comes_back_after_a_reboot(name: str) -> None:
    assert lab_docker.up(STATE, name, "bookworm", []) is True
    assert lab_docker.up(STATE, name, "bookworm", []) is False
    lab_docker.must(["docker", "stop", name])
    assert lab_docker.up(STATE, name, "bookworm", []) is True
    assert lab_docker.down([name]) is True
    assert lab_docker.down([name]) is False


def test_image_is_not_built_again(capfd: pytest.CaptureFixture[str]) -> None:
    first = lab_docker.ensure_image(STATE, "bookworm")
    capfd.readouterr()
    assert lab_docker.ensure_image(STATE, "bookworm") == first
    assert capfd.readouterr().err == ""


def test_unknown_release_names_those_that_are_there() -> None:
    with pytest.raises(lab_docker.LabError, match=r"'woody'(?s:.*)bookworm, trixie"):
        lab_docker.ensure_image(STATE, "woody")


def test_taken_port_is_named_and_no_container_stays(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(lab_docker.LabError, match=rf"{port}(?s:.*)ss -ltnp"):
            lab_docker.up(STATE, name, "bookworm", [str(port)])
    assert lab_docker.must(["docker", "ps", "-aq", "--filter", f"name={name}"]) == ""


def test_container_of_somebody_else_is_left_alone(name: str) -> None:
    image = lab_docker.ensure_image(STATE, "bookworm")
    lab_docker.must(["docker", "create", "--name", name, image])
    with pytest.raises(lab_docker.LabError, match="that this lab did not make"):
        lab_docker.up(STATE, name, "bookworm", [])
    assert lab_docker.down([name]) is False


def test_systemd_that_does_not_come_up_is_diagnosed(name: str) -> None:
    image = lab_docker.ensure_image(STATE, "bookworm")
    # Without CAP_SYS_ADMIN there is nothing that systemd could mount.
    lab_docker.must(["docker", "run", "-dt", "--name", name, "-e", "container=docker", image])
    with pytest.raises(lab_docker.LabError, match=r"does not come up(?s:.*)Failed to mount(?s:.*)CAP_SYS_ADMIN"):
        lab_docker.wait_for_systemd(name, timeout=10)
