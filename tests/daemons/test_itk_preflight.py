# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""mpm-itk in a container whose root may not become everybody: it is said, and nothing is changed."""

from __future__ import annotations

import pathlib
import shutil
import typing as t

import lab_docker
import pytest

from playbooks import Stand

SITES = [{"name": "one", "stack": "apache_itk_mod_php", "port": 8094, "root": "/srv", "user": "one"}]


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs a Docker engine; `make lab` finds or installs one")
@pytest.mark.parametrize("missing", [["SYS_NICE", "DAC_READ_SEARCH"], ["SYS_NICE"]], ids=" ".join)
def test_a_container_that_lacks_a_capability_is_refused_and_stays_as_it_is(
    missing: list[str], new_host: t.Any, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    options = list(lab_docker.RUN_OPTIONS)
    for name in missing:
        at = options.index(name)
        del options[at - 1 : at + 1]
    monkeypatch.setattr(lab_docker, "RUN_OPTIONS", options)
    host = new_host("itk")
    look = "dpkg-query --show; getent passwd; find /etc /srv -newer /proc/1/status"
    before = host.shell(look).stdout
    for arguments in ([], ["--check"]):
        done = Stand(host.name, tmp_path).site(SITES, *arguments)
        assert done.code != 0
        names = sorted(f"CAP_{name}" for name in missing)
        assert f"this host's root lacks {' and '.join(names)}" in done.text
        assert " ".join(f"--cap-add {name[4:]}" for name in names) in done.text
        assert done.recap("changed") == 0
    assert host.shell(look).stdout == before
