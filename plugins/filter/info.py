# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What monitoring pages of application servers say, for pages that came another way than by the modules."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import DataError

# Ansible imports all filters of a collection as soon as it needs one of them, anew in the process of every task. The
# engines behind these two are large and rarely asked for, so they wait until then.


def php_fpm_info(status: t.Any, max_children: t.Any = None) -> dict[str, t.Any]:
    from ..module_utils import _php_fpm_info

    try:
        return _php_fpm_info.summary(status, max_children)
    except DataError as error:
        raise AnsibleFilterError(str(error)) from None


def uwsgi_info(stats: t.Any) -> dict[str, t.Any]:
    from ..module_utils import _uwsgi_info

    try:
        return _uwsgi_info.summary(stats)
    except DataError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """Filters that read what application servers say of themselves."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"php_fpm_info": php_fpm_info, "uwsgi_info": uwsgi_info}
