#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_probe
short_description: Probe endpoints in the protocol that they speak
version_added: 1.0.0
description:
  - Takes a list of endpoints, sends each a request in its own protocol, all at once, and returns one record of evidence
    per endpoint, in the same shape on success and failure.
  - Waits, under one deadline for all, until every endpoint is ready. An endpoint whose peer is found to speak another
    protocol is not waited for.
  - Names the cause of a failure, the phase in which it happened, and what to do about it. An endpoint that is busy is
    told from one that is down.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  endpoints:
    description:
      - What to probe. Each item is an endpoint as a URL (V(fastcgi+unix:///run/php/blog.sock),
        V(http://127.0.0.1:8081)), an endpoint in its typed form (C(protocol), and C(unix) or C(host) and C(port)), or a
        mapping with the following keys.
      - "C(endpoint): the endpoint, required. Its protocol is one of V(tcp), V(unix), V(http), V(https), V(fastcgi) and
        V(uwsgi). V(tcp) and V(unix) only connect."
      - "C(name): how the record is called; the endpoint's URL by default."
      - "C(path): the request target, V(/) by default. For V(fastcgi), a path alone is for what PHP-FPM answers itself
        (its C(ping.path)). An endpoint with neither C(path) nor C(script_filename) gets FastCGI's management query,
        which a worker answers without running anything."
      - "C(script_filename): the script that V(fastcgi) runs."
      - "C(params): more variables of the request, for V(fastcgi) and V(uwsgi)."
      - "C(host): the Host header, and the server's name for TLS; V(localhost) by default."
      - "C(method): the method of the request; V(GET) by default."
      - "C(expect): a mapping that says what the answer must be like. C(status): a list of codes. C(body): text in the
        body. C(regex): a regular expression to be found in the body. C(json): what the body must contain as JSON; a
        mapping in the answer may have more keys. Without C(status), any below 500 will do, except PHP-FPM's own
        C(File not found.) and C(Access denied.)."
      - "C(validate_certs): whether V(https) checks the server's certificate; V(true) by default."
      - "C(ca_path): a file with the authorities for that, instead of the system's."
    type: list
    elements: raw
    required: true
  timeout:
    description:
      - Seconds for all endpoints together.
    type: float
    default: 30
  wait:
    description:
      - Whether to try again until an endpoint is ready or the time is up. With V(false) each is tried once.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - It probes in check mode too, each endpoint once. What is not ready is then a warning, as on a bare host
        nothing listens yet.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: N/A
    details: It changes nothing.
"""

EXAMPLES = r"""
- name: Backends | Answer in their own protocols
  weblab.stacks.endpoint_probe:
    endpoints:
      - endpoint: fastcgi+unix:///run/php/blog.sock
        path: /fpm-ping
        expect: {body: pong}
      - endpoint: {protocol: uwsgi, unix: /run/uwsgi/shop/www-data/uwsgi.sock}
        path: /whoami
      - unix:///run/mysqld/mysqld.sock

- name: Front server | Serves the blog by PHP-FPM
  weblab.stacks.endpoint_probe:
    endpoints:
      - endpoint: http://127.0.0.1:8082
        name: blog
        path: /whoami/
        host: blog.example.org
        expect:
          status: [200]
          json: {sapi: fpm-fcgi}
    timeout: 10
"""

RETURN = r"""
endpoints:
  description: One record per endpoint, in the order of O(endpoints). Every key is always there.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name that was given, or the endpoint's URL.
      type: str
      sample: blog
    endpoint:
      description: The endpoint as a URL.
      type: str
      sample: fastcgi+unix:///run/php/blog.sock
    protocol:
      description: The protocol that is spoken there.
      type: str
      sample: fastcgi
    kind:
      description: V(unix) or V(tcp).
      type: str
      sample: unix
    address:
      description: The path of the socket, or host and port.
      type: str
      sample: /run/php/blog.sock
    state:
      description:
        - V(ok); V(busy), it lives, but takes no more work; V(degraded), it answers, but not as expected; V(down).
      type: str
      sample: ok
    phase:
      description: Where it ended, V(resolve), V(connect), V(tls), V(send), V(receive), V(parse), V(expect) or V(done).
      type: str
      sample: done
    cause:
      description:
        - Why it is not V(ok), one of V(no_such_socket), V(stale_socket), V(refused), V(permission_denied),
          V(backlog_full), V(busy), V(timeout), V(wrong_protocol), V(application_error), V(denied), V(closed),
          V(expectation), V(unresolved), V(tls_failed).
      type: str
      sample: null
    message:
      description: What is wrong, and where.
      type: str
      sample: ""
    hint:
      description: What to do about it.
      type: str
      sample: ""
    attempts:
      description: How many times it was tried.
      type: int
      sample: 1
    latency_ms:
      description: Milliseconds per phase of the last attempt.
      type: dict
      sample: {connect: 0.1, receive: 1.9, resolve: 0.0, send: 0.1}
    status:
      description: The status of the response.
      type: int
      sample: 200
    headers:
      description: The header of the response; the names in lower case.
      type: dict
      sample: {content-type: text/html}
    body:
      description: The first 2048 bytes of the response's body.
      type: str
      sample: pong
    stderr:
      description: The first 4096 bytes of FastCGI's stream for errors.
      type: str
      sample: null
    speaks:
      description: The protocol that the peer speaks instead, where that was found out.
      type: str
      sample: null
    peer:
      description: Who made the Unix socket listen (C(pid), C(uid), C(gid)).
      type: dict
      sample: {gid: 0, pid: 311, uid: 0}
    socket:
      description: C(owner), C(group) and C(mode) of a Unix socket's file.
      type: dict
      sample: {group: www-data, mode: "0660", owner: www-data}
    queue:
      description: Connections that wait to be accepted (C(length)), and how many may (C(limit)).
      type: dict
      sample: {length: 0, limit: 511}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import EndpointError
from ansible_collections.weblab.stacks.plugins.module_utils._probe import describe, probe_all


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "endpoints": {"type": "list", "elements": "raw", "required": True},
            "timeout": {"type": "float", "default": 30},
            "wait": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    # In check mode nothing was started that one could wait for.
    wait = module.params["wait"] and not module.check_mode
    try:
        records = probe_all(module.params["endpoints"], module.params["timeout"], wait)
    except EndpointError as error:
        module.fail_json(msg=str(error))
    result: dict[str, t.Any] = {"changed": False, "endpoints": [record.as_dict() for record in records]}
    if all(record.ok for record in records):
        module.exit_json(**result)
    problem = describe(records)
    if module.check_mode:
        module.warn(problem)
        module.exit_json(**result)
    module.fail_json(msg=problem, **result)


if __name__ == "__main__":
    main()
