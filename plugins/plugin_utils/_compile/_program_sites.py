# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Sites of programs that speak HTTP themselves."""

from __future__ import annotations

from . import _app_service
from ._draft import Draft, Site, backend
from ._plan import check_unique

_SERVICE_KEYS = (
    "user",
    "command",
    "packages",
    "directory",
    "activation",
    "environment",
    "files",
    "reload_signal",
    "timeout",
    "memory_mb",
)
_AS_IT_COMES = "proxy_buffering off;\nproxy_request_buffering off;"


def add_program_site(draft: Draft, site: Site, here: str) -> None:
    name, endpoint = backend(site, site["name"], "http", _app_service.default_socket, here)
    draft.add_endpoint(site, "backend", endpoint, f"{here}.socket", {"path": site["health_path"]})
    service = {key: site[key] for key in _SERVICE_KEYS if key in site}
    service.update(name=name, endpoint=endpoint.as_dict(), probe_path=site["health_path"])
    _app_service.check_service(service, here)
    draft.plan["app_services"].append(service)
    location: Site = {"path": "/", "type": "proxy", "endpoint": endpoint.as_dict(), "timeout": site["timeout"]}
    if not site["buffering"]:
        location["extra"] = _AS_IT_COMES
    locations = [{"type": "static", **entry} for entry in site["static"]] + [location]
    check_unique(
        [("/", f"{here}.command"), *((e["path"], f"{here}.static[{n}].path") for n, e in enumerate(site["static"]))],
        "the path",
    )
    draft.add_front(site, locations=locations)
