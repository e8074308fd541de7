#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: php_fpm_info
short_description: How busy PHP-FPM's pools are
version_added: 1.0.0
description:
  - Asks each pool for its status, over the pool's own socket and without a web server, all at once. Holds the number of
    busy workers against the configured maximum, which the status does not say.
  - A pool with C(pm.status_listen) answers there when all of its workers are busy. One without it does not. It is then
    reported as V(busy), without a status.
  - A pool that does not answer is a result like any other, and does not fail the task.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  pools:
    description:
      - The pools to ask. Without it, all that O(config) knows.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the pool. It is looked up in O(config), unless there is an O(pools[].endpoint).
        type: str
      endpoint:
        description:
          - The pool's socket, C(listen) or C(pm.status_listen), spelled as in
            P(weblab.stacks.endpoint_probe#module). What else is needed comes from the pool's file, when O(config) has
            one with this socket.
        type: raw
      path:
        description: The pool's C(pm.status_path). By default that of the pool's file, else V(/fpm-status).
        type: str
      max_children:
        description: The pool's C(pm.max_children). By default that of the pool's file.
        type: int
  config:
    description: Patterns of the names of the pool files.
    type: list
    elements: str
    default:
      - /etc/php/*/fpm/pool.d/*.conf
  processes:
    description:
      - Whether to return the workers, each with the request that it works on or did last. Its URI and its user may be
        confidential.
    type: bool
    default: false
  timeout:
    description: Seconds for all pools together.
    type: float
    default: 5
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: N/A
    details: It changes nothing.
notes:
  - A pool's files and its C(pm.status_listen) are usually open to root alone.
seealso:
  - plugin: weblab.stacks.php_fpm_info
    plugin_type: filter
    description: The same of a status page that came another way.
  - module: weblab.stacks.endpoint_probe
"""

EXAMPLES = r"""
- name: PHP-FPM | How busy are the pools of this host?
  weblab.stacks.php_fpm_info:
  register: fpm

- name: PHP-FPM | Every pool answers, and has workers to spare
  ansible.builtin.assert:
    that:
      - item.state == 'ok'
      - item.status.saturation is none or item.status.saturation < 0.9
      - item.status.slow_requests == 0
    fail_msg: "{{ item.message }} {{ item.hint }}"
  loop: "{{ fpm.pools }}"
  loop_control:
    label: "{{ item.name }}"

- name: PHP-FPM | One pool, wherever its files are
  weblab.stacks.php_fpm_info:
    pools:
      - endpoint: fastcgi+unix:///run/php/blog.sock
        path: /status
        max_children: 8
    processes: true
    timeout: 2
"""

RETURN = r"""
pools:
  description: One result per pool, in the order of O(pools). Every key is always there.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the pool, or the endpoint where no name is known.
      type: str
      sample: blog
    endpoint:
      description: Where it was asked.
      type: str
      sample: fastcgi+unix:///run/php-status/blog.sock
    state:
      description: V(ok), it answers; V(busy), V(degraded) or V(down) as in P(weblab.stacks.endpoint_probe#module).
      type: str
      sample: ok
    cause:
      description: Why there is no status, as in P(weblab.stacks.endpoint_probe#module).
      type: str
      sample: null
    phase:
      description: Where it ended.
      type: str
      sample: done
    message:
      description: What is wrong, and where.
      type: str
      sample: ""
    hint:
      description: What to do about it.
      type: str
      sample: ""
    queue:
      description:
        - Connections that wait for a worker at the pool's own socket (C(length)), and how many may (C(limit)), as the
          kernel counts them. PHP-FPM's C(listen_queue) is V(0) for a Unix socket, however many wait.
      type: dict
      sample: {length: 0, limit: 1024}
    status:
      description: What PHP-FPM says of the pool. Also what a newer PHP-FPM says in addition.
      type: dict
      contains:
        pool:
          description: Name of the pool.
          type: str
          sample: blog
        process_manager:
          description: V(static), V(dynamic) or V(ondemand).
          type: str
          sample: dynamic
        start_time:
          description: When the pool started, in seconds since 1970.
          type: int
          sample: 1795338867
        start_since:
          description: Seconds since then.
          type: int
          sample: 61
        accepted_conn:
          description: Requests that it took.
          type: int
          sample: 2041
        listen_queue:
          description: Connections that wait to be accepted. Only for TCP, see RV(pools[].queue).
          type: int
          sample: 0
        max_listen_queue:
          description: The most that ever waited. Only for TCP.
          type: int
          sample: 0
        listen_queue_len:
          description: How many may wait. Only for TCP.
          type: int
          sample: 0
        idle_processes:
          description: Workers that wait for a request.
          type: int
          sample: 1
        active_processes:
          description: Workers that do not, among them the one that answers, if it is the pool's.
          type: int
          sample: 2
        total_processes:
          description: All workers that run.
          type: int
          sample: 3
        max_active_processes:
          description: The most that ever were active.
          type: int
          sample: 4
        max_children_reached:
          description: How often a worker was needed beyond the maximum.
          type: int
          sample: 0
        slow_requests:
          description: Requests that took longer than C(request_slowlog_timeout).
          type: int
          sample: 0
        busy_processes:
          description: Active workers without the one that answers.
          type: int
          sample: 2
        max_children:
          description: The configured maximum of workers, where it is known.
          type: int
          sample: 4
        saturation:
          description: The part of it that is busy, from 0 to 1.
          type: float
          sample: 0.5
        processes:
          description: The first 256 workers and their requests, with O(processes=true). Empty otherwise.
          type: list
          elements: dict
          sample: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.weblab.stacks.plugins.module_utils import _php_fpm_info
from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "pools": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str"},
                    "endpoint": {"type": "raw"},
                    "path": {"type": "str"},
                    "max_children": {"type": "int"},
                },
                "required_one_of": [("name", "endpoint")],
            },
            "config": {"type": "list", "elements": "str", "default": list(_php_fpm_info.CONFIG)},
            "processes": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    try:
        pools = _php_fpm_info.configured(module.params["config"])
        if module.params["pools"] is not None:
            pools = _php_fpm_info.chosen(module.params["pools"], pools)
        results = _php_fpm_info.ask(pools, module.params["timeout"])
    except (DataError, OSError) as error:
        module.fail_json(msg=str(error))
    for result in results:
        if result["status"] and not module.params["processes"]:
            result["status"]["processes"] = []
    module.exit_json(changed=False, pools=results)


if __name__ == "__main__":
    main()
