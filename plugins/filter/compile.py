# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The compile step: sites and facts in, configuration of each component out."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils import _endpoint
from ..module_utils._errors import DataError
from ..plugin_utils import _sizing
from ..plugin_utils._compile import _apache, _app_service, _facts, _nginx, _php_fpm, _rows, _stacks, _stand, _uwsgi


def endpoint_address(value: t.Any) -> str:
    return _endpoint.parse(value, "endpoint").address


def endpoint_url(value: t.Any) -> str:
    return _endpoint.parse(value, "endpoint").url


def ini_quoted(value: t.Any) -> str:
    """Quote a value for nginx, Apache and php.ini syntax, which agree on double quotes and backslashes."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def size_workers(memory_mb: int, cpus: int, worker_mb: int = 64, share: float = 0.5, groups: int = 1) -> dict[str, int]:
    workers = _sizing.size_workers(memory_mb, cpus, worker_mb, share, groups)
    return {"max": workers.max, "start": workers.start, "min_spare": workers.min_spare, "max_spare": workers.max_spare}


def _friendly(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Report wrong data as the filter's error, without a traceback."""

    @functools.wraps(function)
    def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return function(*args, **kwargs)
        except (DataError, ValueError) as error:
            raise AnsibleFilterError(str(error)) from None

    return call


class FilterModule:
    """Filters that generate configuration."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        functions: dict[str, t.Callable[..., t.Any]] = {
            "apache_base": _apache.apache_base,
            "apache_handler": _apache.apache_handler,
            "apache_plan": _apache.apache_plan,
            "apache_worker": _apache.apache_worker,
            "app_service_plan": _app_service.app_service_plan,
            "endpoint_address": endpoint_address,
            "endpoint_url": endpoint_url,
            "host_plan": _stacks.host_plan,
            "ini_quoted": ini_quoted,
            "lab_rows": _rows.lab_rows,
            "nginx_base": _nginx.nginx_base,
            "nginx_pass": _nginx.nginx_pass,
            "nginx_plan": _nginx.nginx_plan,
            "php_fpm_plan": _php_fpm.php_fpm_plan,
            "platform": _facts.platform,
            "size_workers": size_workers,
            "stack_plan": _stacks.stack_plan,
            "stack_sites": _stacks.stack_sites,
            "stand_manifest": _stand.stand_manifest,
            "uwsgi_plan": _uwsgi.uwsgi_plan,
        }
        return {name: _friendly(function) for name, function in functions.items()}
