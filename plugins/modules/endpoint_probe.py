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
  - Waits, under one deadline for all, until every endpoint is ready, or gone where it shall be absent. An endpoint
    whose peer is found to speak another protocol is not waited for.
  - Names the cause of a failure, the phase in which it happened, and what to do about it. An endpoint that is busy is
    told from one that is down.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  endpoints:
    description:
      - What to probe. Each item is an endpoint, or a mapping with an endpoint and the following keys.
      - >-
        B(An endpoint) is a socket and the protocol spoken on it, one of V(tcp), V(unix), V(http), V(https), V(ws),
        V(wss), V(sse), V(long_polling), V(fastcgi), V(scgi) and V(uwsgi). As a URL it is V(PROTOCOL://HOST:PORT), as
        in V(http://127.0.0.1:8081) or V(https://[::1]:8443), or V(PROTOCOL+unix://PATH), as in
        V(fastcgi+unix:///run/php/blog.sock). V(@NAME) in place of the path is an abstract Unix socket, as in
        V(scgi+unix://@shop). V(unix://PATH) is a Unix socket with no protocol. The port can be left out where HTTP
        has one. In its typed form it is a mapping, V({protocol: fastcgi, unix: /run/php/blog.sock}) or V({protocol:
        http, host: 127.0.0.1, port: 8081}). It has no path; the path is the request's.
      - "C(endpoint): the endpoint, required. V(tcp) and V(unix) are only connected to."
      - "C(name): how the record is called; the endpoint's URL by default."
      - >-
        C(state): V(present) by default. V(absent) waits until nobody listens: there is no socket, a stale one, or
        the connection is refused. Nothing is sent then.
      - "C(path): the request target, V(/) by default. For V(fastcgi), a path alone is for what PHP-FPM answers itself
        (its C(ping.path)). An endpoint with neither C(path) nor C(script_filename) gets FastCGI's management query,
        which a worker of PHP-FPM or fcgiwrap answers without running anything. uWSGI's fastcgi-socket does not answer
        that; it wants a path, and C(PATH_INFO) in C(params)."
      - "C(host): the Host header, and the server's name for TLS; V(localhost) by default."
      - "C(method): the method of the request; V(GET) by default, V(POST) with C(content)."
      - >-
        C(headers): a mapping of more header fields, for every protocol with a request; a gateway gets them as
        C(HTTP_*).
      - "C(content): the text of the request's body. Not for WebSocket."
      - "C(script_filename): the script that V(fastcgi) or V(scgi) runs."
      - "C(params): more variables of the request, for V(fastcgi), V(scgi) and V(uwsgi)."
      - "C(origin): the Origin header, for V(ws) and V(wss)."
      - "C(subprotocols): a list of subprotocols for V(ws) and V(wss), one of which the server has to choose."
      - >-
        C(hold): for V(long_polling), seconds after which a request that the server still keeps without a word is ok.
        A complete answer before that is ok too.
      - >-
        C(tls): whether V(sse) and V(long_polling) are spoken over TLS; V(false) by default. The others have it in
        their name.
      - "C(validate_certs): whether the server's certificate is checked; V(true) by default."
      - "C(ca_path): a file with the authorities for that, instead of the system's."
      - >-
        C(expect): a mapping that says what the answer must be like, with the following keys. What cannot apply to
        the endpoint's protocol is an error.
      - >-
        C(expect.status): a list of codes. Without it, any below 500 will do, except PHP-FPM's own C(File not found.)
        and C(Access denied.); V(ws) and V(wss) demand 101, V(sse) 200 and C(text/event-stream). A WebSocket also has
        to answer a ping, and to close as it should.
      - >-
        C(expect.header): a mapping from the name of a header field to its exact value, or to C({regex: PATTERN}),
        which is to be found in the value.
      - "C(expect.body): text in the body. For V(sse), this and the next two are about the data of the first event."
      - "C(expect.regex): a regular expression to be found in the body."
      - "C(expect.json): what the body must contain as JSON; a mapping in the answer may have more keys."
      - >-
        C(expect.time): the most seconds from the first byte sent to the end of the answer; or a mapping with C(min),
        C(max), or both.
      - >-
        C(expect.peer): the name or uid of the user who made the Unix socket listen. This is V(root) for a socket
        that systemd has made.
      - >-
        C(expect.events): for V(sse), how many events to wait for, at most 100; V(1) by default, V(2) with
        C(interval).
      - >-
        C(expect.interval): for V(sse), the least seconds from one event to the next. A proxy that keeps events and
        sends them in one lump does not pass.
      - "C(expect.echo): for V(ws) and V(wss), a text to send, and to come back in a message that contains it."
    type: list
    elements: raw
    required: true
  timeout:
    description:
      - Seconds for all endpoints together; a finite number.
    type: float
    default: 30
  wait:
    description:
      - Whether to try again until an endpoint is ready or the time is up. With V(false) each is tried once.
    type: bool
    default: true
  from:
    description:
      - Where to ask from. With V(controller), nothing is executed on the managed host, and only its network is reached;
        V(127.0.0.1) and Unix sockets are the controller's then.
    type: str
    choices: [host, controller]
    default: host
attributes:
  action:
    description:
      - >-
        Indicates this has a corresponding action plugin so some parts of the options can be executed on the
        controller.
    support: full
    details:
      - With O(from=controller) all of it runs there, and the result has the same shape.
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - It probes in check mode too, each endpoint once. What is not ready is then a warning, as on a bare host
        nothing listens yet.
  diff_mode:
    description:
      - >-
        Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
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
          header: {content-type: {regex: ^application/json}}
          time: 2
    timeout: 10

- name: Chat | Streams through the front server, events come one by one
  weblab.stacks.endpoint_probe:
    endpoints:
      - {endpoint: "ws://127.0.0.1:8090", path: /chat, expect: {echo: hello}}
      - {endpoint: "sse://127.0.0.1:8090", path: /events, expect: {events: 3, interval: 0.5}}
      - {endpoint: "long_polling://127.0.0.1:8090", path: /poll, hold: 5}

- name: Old backend | Is gone
  weblab.stacks.endpoint_probe:
    endpoints:
      - {endpoint: "uwsgi+unix:///run/uwsgi/old.sock", state: absent}

- name: Front server | Is reached from here as well
  weblab.stacks.endpoint_probe:
    from: controller
    endpoints:
      - {endpoint: {protocol: http, host: "{{ ansible_host }}", port: 8082}, host: blog.example.org}
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
      description:
        - >-
          Where it ended, V(resolve), V(connect), V(tls), V(send), V(receive), V(parse), V(expect) or V(done).
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
      description:
        - The first 2048 bytes of the response's body; of a stream of events, the data of the first; of a WebSocket, its
          first message.
      type: str
      sample: pong
    stderr:
      description: The first 4096 bytes of FastCGI's stream for errors.
      type: str
      sample: null
    events:
      description:
        - Of a stream of events, how many came (C(count)), at most as many as were waited for, and the milliseconds from
          each to the next (C(gaps_ms)).
      type: dict
      sample: null
    held_ms:
      description:
        - >-
          How many milliseconds the request of V(long_polling) was kept before the first byte of an answer, or in
          all.
      type: float
      sample: null
    speaks:
      description: The protocol that the peer speaks instead, where that was found out.
      type: str
      sample: null
    peer:
      description: Who made the Unix socket listen (C(pid), C(uid), C(gid), and C(user), the name of the uid).
      type: dict
      sample: {gid: 0, pid: 311, uid: 0, user: root}
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
from ansible_collections.weblab.stacks.plugins.module_utils._probe import ARGUMENTS, run_probe


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result, problem = run_probe(module.params, module.check_mode)
    except EndpointError as error:
        module.fail_json(msg=str(error))
    if problem and not module.check_mode:
        module.fail_json(msg=problem, **result)
    if problem:
        module.warn(problem)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
