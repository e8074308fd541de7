#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: uwsgi_info
short_description: How busy uWSGI's applications are
version_added: 1.0.0
description:
  - Asks uWSGI's stats servers, one per instance or vassal, all at once. A stats server is part of the master, and
    answers when all workers are busy.
  - The requests themselves, which a stats server tells with all their variables, cookies and passwords among them, are
    counted and not returned.
  - A stats server that does not answer is a result like any other, and does not fail the task.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  servers:
    description:
      - The stats servers to ask. Without it, all that O(config) knows.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of an ini file in O(config), unless there is an O(servers[].endpoint).
        type: str
      endpoint:
        description:
          - The address of the stats server, such as V(unix:///run/uwsgi/blog/stats.sock) or V(tcp://127.0.0.1:1717),
            spelled as in P(weblab.stacks.endpoint_probe#module). It must not speak HTTP (C(stats-http)).
        type: raw
  config:
    description: Patterns of the names of ini files. Their C(stats) and C(emperor-stats) are used.
    type: list
    elements: str
    default:
      - /etc/uwsgi/instances/*.ini
      - /etc/uwsgi/vassals/*.ini
      - /etc/uwsgi/apps-enabled/*.ini
  timeout:
    description: Seconds for all stats servers together.
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
seealso:
  - plugin: weblab.stacks.uwsgi_info
    plugin_type: filter
    description: The same of statistics that came another way.
  - module: weblab.stacks.endpoint_probe
"""

EXAMPLES = r"""
- name: Applications | How busy are the instances and vassals of this host?
  weblab.stacks.uwsgi_info:
  register: uwsgi

- name: Applications | Every one answers, and has workers to spare
  ansible.builtin.assert:
    that:
      - item.state == 'ok'
      - item.status.saturation < 0.9
      - item.status.harakiri_count == 0
    fail_msg: "{{ item.message }} {{ item.hint }}"
  loop: "{{ uwsgi.servers }}"
  loop_control:
    label: "{{ item.name }}"

- name: Applications | One stats server, wherever its files are
  weblab.stacks.uwsgi_info:
    servers:
      - name: shop
        endpoint: unix:///run/uwsgi/shop/stats.sock
    timeout: 2
"""

RETURN = r"""
servers:
  description: One result per stats server, in the order of O(servers). Every key is always there.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name that was given, that of the ini file, or the endpoint.
      type: str
      sample: shop
    endpoint:
      description: Where it was asked.
      type: str
      sample: unix:///run/uwsgi/shop/stats.sock
    state:
      description: V(ok), it answers; V(busy), V(degraded) or V(down) as in P(weblab.stacks.endpoint_probe#module).
      type: str
      sample: ok
    cause:
      description: Why there are no statistics, as in P(weblab.stacks.endpoint_probe#module).
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
    queues:
      description:
        - The sockets of the application on this host with the connections that wait there for a worker (C(length)) and
          how many may (C(limit)), as the kernel counts them. uWSGI's own numbers are V(0) for Unix sockets.
      type: list
      elements: dict
      sample: [{socket: /run/uwsgi/shop/www-data/uwsgi.sock, length: 0, limit: 1024}]
    status:
      description: What uWSGI says of itself.
      type: dict
      contains:
        version:
          description: Version of uWSGI.
          type: str
          sample: 2.0.21-debian
        pid:
          description: The master, or the Emperor.
          type: int
          sample: 612
        uid:
          description: The user that it runs as.
          type: int
          sample: 997
        gid:
          description: The group that it runs as.
          type: int
          sample: 997
        cwd:
          description: Its working directory.
          type: str
          sample: /srv/shop
        load:
          description: How much uWSGI finds itself loaded, as its subscription system announces it.
          type: int
          sample: 0
        listen_queue:
          description: Connections that wait to be accepted. Only for TCP, see RV(servers[].queues).
          type: int
          sample: 0
        listen_queue_errors:
          description: How often the queue was full.
          type: int
          sample: 0
        signal_queue:
          description: uWSGI signals that wait.
          type: int
          sample: 0
        sockets:
          description: The sockets as uWSGI lists them.
          type: list
          elements: dict
          sample: [{name: "127.0.0.1:3031", proto: uwsgi, queue: 0, max_queue: 1024, shared: 0, can_offload: 0}]
        workers:
          description:
            - The first 256 workers, with C(id), C(pid), C(status), C(accepting), C(requests), C(exceptions),
              C(harakiri_count), C(respawn_count), C(last_spawn), C(running_time), C(avg_rt), C(rss), C(vsz) and C(tx)
              as uWSGI says them, and the number of its threads (C(cores)) and of those in a request (C(busy_cores)).
          type: list
          elements: dict
          sample: []
        busy:
          description: Workers that work on a request. One with threads is busy when one of them is.
          type: int
          sample: 1
        idle:
          description: Workers that wait for one.
          type: int
          sample: 3
        cheap:
          description: Workers that are not started, until they are needed (C(cheaper)).
          type: int
          sample: 0
        requests:
          description: Requests of all workers.
          type: int
          sample: 112
        exceptions:
          description: Exceptions of all workers.
          type: int
          sample: 0
        harakiri_count:
          description: Workers that were ended because a request took too long.
          type: int
          sample: 0
        saturation:
          description:
            - The part of all threads of all workers that is in a request, from 0 to 1. With one thread each, that is
              the part of the workers that is busy. Empty for an Emperor.
          type: float
          sample: 0.25
        apps:
          description:
            - Applications by C(mountpoint) and C(chdir), with the number of C(workers) that have loaded them, and their
              C(requests) and C(exceptions).
          type: list
          elements: dict
          sample: [{mountpoint: /catalog, chdir: "", workers: 4, requests: 112, exceptions: 0}]
        vassals:
          description: The first 256 vassals of an Emperor, as it lists them. Empty for an application.
          type: list
          elements: dict
          sample: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.weblab.stacks.plugins.module_utils import _uwsgi_info
from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "servers": {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str"}, "endpoint": {"type": "raw"}},
                "required_one_of": [("name", "endpoint")],
            },
            "config": {"type": "list", "elements": "str", "default": list(_uwsgi_info.CONFIG)},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    try:
        servers = _uwsgi_info.configured(module.params["config"])
        if module.params["servers"] is not None:
            servers = _uwsgi_info.chosen(module.params["servers"], servers)
        results = _uwsgi_info.ask(servers, module.params["timeout"])
    except (DataError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, servers=results)


if __name__ == "__main__":
    main()
