# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What the compiler needs to know of a host, from Ansible's facts."""

from __future__ import annotations

import dataclasses
import typing as t

from ...module_utils._errors import DataError


@dataclasses.dataclass(frozen=True)
class Host:
    """Size of a host: memory in MiB, logical CPUs."""

    memory_mb: int
    cpus: int

    @classmethod
    def from_facts(cls, facts: t.Mapping[str, t.Any]) -> Host:
        """Read ``ansible_facts``, gathered with the subset ``hardware``."""
        try:
            cpus = facts.get("processor_nproc") or facts.get("processor_vcpus") or 1
            return cls(memory_mb=int(facts["memtotal_mb"]), cpus=int(cpus))
        except KeyError as missing:
            raise DataError(
                f"ansible_facts.{missing.args[0]}", "this fact was not gathered; gather facts with the subset hardware"
            ) from None


def platform(facts: t.Mapping[str, t.Any], table: t.Mapping[str, t.Mapping[str, t.Any]]) -> t.Any:
    """Return what ``table[distribution][major version]`` holds for the host.

    :raises DataError: for a distribution or release that the table does not have.
    """
    distribution = facts.get("distribution", "an unknown distribution")
    major = str(facts.get("distribution_major_version", ""))
    try:
        return table[distribution][major]
    except KeyError:
        known = "; ".join(f"{name} {', '.join(releases)}" for name, releases in table.items())
        raise DataError(
            "",
            f"this host runs {distribution} {major}, and weblab.stacks is tested on {known} only; nothing was changed",
        ) from None
