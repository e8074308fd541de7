#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stand_info
short_description: What a host shows of the sites on it, whoever made them
version_added: 1.0.0
description:
  - Processes with their users and units, listening sockets with their processes, the files of the web servers that run,
    and the answers to requests that are sent on the host itself.
  - Reads only, and runs no program of the sites. What runs in containers on the host is seen as well.
  - Everything is bounded, whatever the host has. It is material to be judged, as P(weblab.stacks.verify_stand#module)
    does; texts of it may be anybody's.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  facts:
    description: Whether to look at processes, sockets and files.
    type: bool
    default: true
  requests:
    description:
      - What to ask, spelled as the endpoints of P(weblab.stacks.endpoint_probe#module). Each is asked once.
      - An endpoint with C(statistics) set is a stats server of uWSGI, C(tcp) or C(unix). Its answer is the number of
        requests that the workers have handled, and nothing else of the statistics, which have the visitors' cookies.
    type: list
    elements: dict
    default: []
  connections:
    description: Ports of the host, of whose open connections the holders are looked for.
    type: list
    elements: int
    default: []
  timeout:
    description: Seconds for all requests together.
    type: float
    default: 20
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: N/A
    details: It changes nothing.
seealso:
  - module: weblab.stacks.endpoint_probe
"""

EXAMPLES = r"""
- name: Stand | Who listens, and what does PHP-FPM answer by itself?
  weblab.stacks.stand_info:
    requests:
      - endpoint: fastcgi+unix:///run/php/blog.sock
        path: /
        script_filename: /srv/blog/index.php
  register: stand

- name: Stand | Nothing but SSH and the sites listens for other machines
  ansible.builtin.debug:
    msg: "{{ stand.listeners | selectattr('port') | rejectattr('address', 'match', '127') | map(attribute='port') }}"
"""

RETURN = r"""
processes:
  description: All processes but the kernel's own, with their numbers as the host has them.
  returned: when O(facts)
  type: list
  elements: dict
  sample:
    - pid: 612
      ppid: 1
      user: root
      name: nginx
      command: "nginx: master process"
      unit: nginx.service
      enabled: true
      network: 4026531840
listeners:
  description:
    - All sockets that accept connections, those of the file system with their mode and whether everybody gets there.
  returned: when O(facts)
  type: list
  elements: dict
  sample:
    - address: 0.0.0.0
      port: 8081
      pids: [612, 613]
      mode: null
      owner: ""
      group: ""
      open_to_all: false
      network: 4026531840
network:
  description: The number of the host's own network namespace. A container's processes and sockets have another one.
  returned: when O(facts)
  type: int
  sample: 4026531840
addresses:
  description: The IPv4 addresses of the containers' network namespaces, without those of the loopback.
  returned: when O(facts)
  type: list
  elements: dict
  sample: [{network: 4026532291, address: 172.18.0.2}]
connections:
  description:
    - The connections that are open at the ports of O(connections), each with a number of its own, a process that has
      it, and whether that waits for it by epoll(7).
  returned: when O(connections) names ports
  type: list
  elements: dict
  sample: [{port: 8081, connection: 81234, pid: 613, ppid: 612, polled: true}]
configuration:
  description: The files of the web servers that run, by path, up to 64 KiB of each.
  returned: when O(facts)
  type: dict
  sample: {/etc/nginx/nginx.conf: "user www-data;"}
answers:
  description: What came of O(requests), in their order. Bodies, up to 64 KiB, are in Base64.
  returned: always
  type: list
  elements: dict
  sample:
    - cause: null
      message: ""
      status: 200
      headers: {content-type: text/html}
      body: PGgxPkJsb2c8L2gxPg==
      truncated: false
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.module_utils._stand_info import ARGUMENTS, stand_info


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = stand_info(
            module.params["requests"], module.params["timeout"], module.params["facts"], module.params["connections"]
        )
    except (DataError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
