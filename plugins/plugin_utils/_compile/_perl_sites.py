# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites that run Perl in the front server itself."""

from __future__ import annotations

from ...module_utils._errors import DataError
from ._draft import Draft, Site


def add_perl_site(draft: Draft, site: Site, here: str) -> None:
    if not site["scripts"]:
        raise DataError(f"{here}.scripts", "at least one script is needed")
    locations = [{"type": "static", **entry} for entry in site["static"]]
    for number, entry in enumerate(site["scripts"]):
        if ("script" in entry) == ("root" in entry):
            problem = "give either script, one script for everything below the path, or root, a directory of scripts"
            raise DataError(f"{here}.scripts[{number}]", problem)
        locations.append({"type": "perl", **entry})
    draft.add_front(site, ("root", "index"), locations=locations, environment=site["environment"])
