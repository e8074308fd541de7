#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_tree
short_description: Apply one daemon's whole configuration in one transaction
version_added: 1.0.0
author:
  - The weblab.stacks maintainers (@weblab-stacks)
description:
  - Applies all files, links and directories of one daemon's configuration together, and makes the running daemon
    use them.
  - The new tree is built beside the live one and tested with the daemon's own test before anything is touched. Both
    trees change places in one step. The daemon is reloaded, or restarted where a reload cannot apply the change. It
    has to prove that it runs the new configuration, and the endpoints in O(probe) have to answer. Otherwise the old
    tree comes back, and the task fails with the daemon's own words.
  - Files belong to owners. An owner that is named in O(owners) is declared completely, so that its files vanish
    when it stops declaring them. Owners that are not named, and files that nobody declared, are left alone.
  - When all files are right already, the daemon is looked at. It is started, reloaded or restarted when it is down
    or when it loaded an older configuration.
  - This is an action plugin and a module. Templates are rendered on the controller, and the host gets one call.
options:
  daemon:
    description:
      - The profile that knows how to test, reload and prove the daemon.
      - With V(apache), a tree without C(sites-enabled/*.conf) stops and disables its unit; with V(nginx), a tree
        without a C(server) does the same, and with V(php_fpm) one without pools.
      - V(systemd) is for programs that are services and nothing more. A link C(NAME.service) or C(NAME.socket) in
        O(root), which leads to a unit file in C(/etc/systemd/system), says that the unit is part of the tree.
        C(NAME.env) is the service's environment, and below C(NAME/) is what its program reads.
    type: str
    required: true
    choices: [nginx, apache, php_fpm, uwsgi, systemd, generic]
  root:
    description:
      - The tree, swapped as one directory.
    type: path
    required: true
  service:
    description:
      - The systemd unit that reads the tree.
      - V(uwsgi) and V(systemd) derive their units from the tree, V(php_fpm) from the version in O(root).
    type: str
  owners:
    description:
      - Owner to a list of entries. The list is everything that the owner has in this tree; it may be empty.
      - An entry has either C(path) (relative to O(root)) or C(system), an absolute path in one of the known system
        directories C(/etc/sysusers.d), C(/etc/tmpfiles.d), C(/etc/systemd/system), C(/etc/logrotate.d),
        C(/etc/default), C(/usr/local/sbin) and C(/etc/ansible/facts.d). C(systemd-sysusers),
        C(systemd-tmpfiles --create) and C(systemctl daemon-reload) run as needed, before the tree is changed.
      - An entry has exactly one of C(template), with C(vars) for additional variables, C(content), C(link) and
        C(state), which is V(absent) or V(directory).
      - A file may have C(mode) (octal, in quotes, default V("0644")), C(owner) and C(group) (default V(root)).
      - A file with C(secret=true) has the mode V("0600") unless it says otherwise, and none that lets everybody read
        it. Its content stays out of diffs, and its words out of what the daemon's test and log are quoted with.
      - A directory inside O(root) may have C(exclusive=true). Everything in it that no owner declares, in this call or
        in an earlier one, is removed. Without it, files that nobody declared stay.
      - Where a file is declared, a symbolic link or a file with further names (hard links) is refused, as is a path
        that leads through a symbolic link or out of O(root). A file with C(replace_link=true) takes the place of a
        symbolic link, such as a package puts into C(mods-enabled); what the link leads to stays as it is.
      - Two owners may declare the same path only alike. It then belongs to both, and goes with the last of them.
      - Templates are rendered as M(ansible.builtin.template) does it, with C(trim_blocks) and C(lstrip_blocks).
    type: dict
    required: true
  requires:
    description:
      - Paths that have to exist on the host before anything is touched.
      - In check mode a missing path is a warning.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path.
        type: path
        required: true
      what:
        description: The variable that it comes from, for the error message.
        type: str
  listen:
    description:
      - Addresses that the daemon is going to bind. Each must be free, or held by a unit of this tree.
    type: list
    elements: dict
    default: []
    suboptions:
      endpoint:
        description: An endpoint, as URL or in its typed form.
        type: raw
        required: true
      what:
        description: The variable that it comes from, for the error message.
        type: str
      unit:
        description: The unit that is going to bind it. It counts as running only when it listens there.
        type: str
  probe:
    description:
      - Endpoints that have to answer afterwards, in the form of the option C(endpoints) of
        M(weblab.stacks.endpoint_probe).
    type: list
    elements: raw
    default: []
  prune:
    description:
      - Whether files go that an owner in O(owners) declared before and does not declare any more.
      - With V(false) they stay until a later call removes them, and are listed in RV(unpruned). A backend then
        serves on until its front server has let go of it.
    type: bool
    default: true
  state:
    description:
      - With V(absent), the tree goes back to what it was before its first owner came. The O(owners), with empty lists,
        are those who may have something in it; where somebody else has, this is refused.
      - With V(unused), the same happens when nobody else has anything in it. Otherwise O(base) stays.
      - Back come the files that were replaced or removed, and the units are enabled and run, or not, as they did.
    type: str
    choices: [present, absent, unused]
    default: present
  base:
    description:
      - The owner of what the tree has for all others. Only with O(state=unused).
    type: str
    default: ""
  takes_over:
    description:
      - Files of other trees, whoever declared them, that serve until now what this tree is going to serve, such as a
        site of another front server on the same port. They go in the same transaction.
      - All trees are prepared and tested first. Then the other daemons are reloaded, and this one directly after them.
        When it fails, they get their files back.
    type: list
    elements: dict
    default: []
    suboptions:
      daemon:
        description: The profile of the other daemon.
        type: str
        required: true
        choices: [nginx, apache]
      root:
        description: Its tree.
        type: path
        required: true
      service:
        description: Its unit.
        type: str
        required: true
      paths:
        description: The files that go, relative to O(takes_over[].root).
        type: list
        elements: str
        required: true
  timeout:
    description:
      - Seconds for the reload and the probe together.
    type: float
    default: 30
  validate:
    description:
      - The command that tests the tree at its final path. Only with O(daemon=generic).
    type: list
    elements: str
    default: []
  reload:
    description:
      - The command that makes the daemon read its tree again, instead of C(systemctl reload). Only with
        O(daemon=generic).
    type: list
    elements: str
    default: []
requirements:
  - systemd and util-linux on the host
attributes:
  check_mode:
    description: Shows what would change, and runs the daemon's own test where the daemon is installed.
    support: full
  diff_mode:
    description:
      - Shows every file with its real path. Files with C(secret) show that they change, not what.
      - The same holds for files of nobody's that are removed, when their mode keeps others from reading them.
    support: full
notes:
  - Needs root.
  - A run that is killed at any moment leaves the whole old or the whole new tree (unless RV(swap) would have been
    V(stepwise)), and the daemon with the one or the other. The next run removes what is left of it, and applies what
    it is given.
  - A reload that does not end, or that the daemon ignores, fails after O(timeout) and is rolled back. The roll-back has
    as long again.
seealso:
  - module: weblab.stacks.endpoint_probe
"""

EXAMPLES = r"""
- name: Configuration | Serve one static site with nginx
  weblab.stacks.config_tree:
    daemon: nginx
    root: /etc/nginx
    service: nginx.service
    owners:
      hello:
        - path: sites-available/hello.conf
          content: |
            server {
                listen 127.0.0.1:8085;
                root /usr/share/nginx/html;
            }
        - path: sites-enabled/hello.conf
          link: ../sites-available/hello.conf
        - path: sites-enabled/default
          state: absent
    listen:
      - endpoint: http://127.0.0.1:8085
        what: the port of hello

- name: Configuration | Take the site away again
  weblab.stacks.config_tree:
    daemon: nginx
    root: /etc/nginx
    service: nginx.service
    owners:
      hello: []
"""

RETURN = r"""
actions:
  description: What was done with each unit.
  returned: always
  type: dict
  sample: {"nginx.service": "reloaded"}
reasons:
  description: Why it was done, where there is something to say.
  returned: always
  type: dict
  sample: {"apache2@blog.service": "the MPM changes from mpm_event to mpm_prefork"}
restarts:
  description:
    - What could not be done by a reload, and what it cost, by unit. Each entry is a warning as well.
    - It is empty when no client was turned away. A reload of nginx, Apache, PHP-FPM or uWSGI keeps the listening
      sockets open, and connections wait there meanwhile.
    - C(reason) is what changed that a reload does not apply. For the Emperor it names the vassals that were restarted.
    - C(closed_ms) are the milliseconds from the moment when the first of the unit's former ports and sockets was closed
      to the moment when all were open again. Those that the change gives up do not count.
    - C(waiting) are the connections that waited to be accepted when they were closed, and were lost. What becomes of
      requests that were being answered is up to the unit's way to stop.
    - Both are V(null) where the kernel has no C(sock_diag).
  returned: always
  type: dict
  sample:
    apache2@blog.service: {reason: the MPM changes from mpm_event to mpm_prefork, closed_ms: 87, waiting: 0}
validated:
  description: How the new tree was tested.
  returned: always
  type: dict
  contains:
    command:
      description: The daemon's own test; empty when there was nothing to test.
      type: str
      returned: always
    way:
      description:
        - V(namespace) when the test saw the staged tree at its final path, before anything was touched.
        - V(swapped) when the kernel refused a mount namespace, so that the test ran after the swap, before the
          reload.
        - V(none) when there was no test, as on a bare host in check mode.
      type: str
      returned: always
    output:
      description: What the test wrote.
      type: str
      returned: always
swap:
  description:
    - V(exchange) when old and new tree changed places in one step, V(create) when there was no tree before.
    - V(stepwise) when the file system refused that, so that the files were replaced one by one, each in one step. A
      warning says so. A run that is killed meanwhile leaves old and new files side by side, and the next run completes
      them or takes them back.
    - V(remove) when nobody has a file in the tree any more, so that it went as a whole.
    - V(none) when no file of the tree changed.
  returned: always
  type: str
probe:
  description: One record per endpoint in O(probe), as in the result of M(weblab.stacks.endpoint_probe).
  returned: always
  type: list
  elements: dict
rolled_back:
  description: Whether the old configuration was restored.
  returned: always
  type: bool
unpruned:
  description: Files that an owner does not declare any more, and that O(prune=false) left in place.
  type: list
  elements: str
  returned: always
  sample: []
owners:
  description: Who has something in the tree now. When it is empty, the tree is as it was before its first owner came.
  type: list
  elements: str
  returned: always
  sample: [hello]
healed:
  description: Whether all files were right, and only a unit had to be brought in line with them.
  returned: always
  type: bool
files:
  description: The paths that changed.
  returned: always
  type: dict
  sample:
    added: [/etc/nginx/sites-enabled/hello.conf]
    changed: []
    removed: [/etc/nginx/sites-enabled/default]
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _handover
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Apache, Daemon, Nginx, PhpFpm
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._plan import PlanError
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._service import ServiceError
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._systemd import Systemd
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._transaction import (
    Request,
    Result,
    Transaction,
    TransactionError,
)
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._tree import TreeError
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._uwsgi import Uwsgi
from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import EndpointError

DAEMONS: dict[str, type[Daemon]] = {
    "nginx": Nginx,
    "apache": Apache,
    "php_fpm": PhpFpm,
    "uwsgi": Uwsgi,
    "systemd": Systemd,
    "generic": Daemon,
}

_SOURCE = {"what": {"type": "str"}}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "daemon": {"type": "str", "required": True, "choices": list(DAEMONS)},
    "root": {"type": "path", "required": True},
    "service": {"type": "str"},
    "owners": {"type": "dict", "required": True},
    "requires": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "path", "required": True}, **_SOURCE},
    },
    "listen": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"endpoint": {"type": "raw", "required": True}, "unit": {"type": "str"}, **_SOURCE},
    },
    "probe": {"type": "list", "elements": "raw", "default": []},
    "prune": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent", "unused"], "default": "present"},
    "base": {"type": "str", "default": ""},
    "takes_over": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "daemon": {"type": "str", "required": True, "choices": ["nginx", "apache"]},
            "root": {"type": "path", "required": True},
            "service": {"type": "str", "required": True},
            "paths": {"type": "list", "elements": "str", "required": True},
        },
    },
    "timeout": {"type": "float", "default": 30},
    "validate": {"type": "list", "elements": "str", "default": []},
    "reload": {"type": "list", "elements": "str", "default": []},
}
REQUIRED_IF = [
    ("daemon", "nginx", ["service"]),
    ("daemon", "apache", ["service"]),
    ("daemon", "generic", ["service", "validate"]),
]


class Module(AnsibleModule):
    def _log_invocation(self) -> None:
        # Whole files are no matter for the system log, secret ones least of all. The argument no_log does not do this:
        # the task's own setting, which is false, takes its place.
        pass


def main() -> t.NoReturn:
    module = Module(ARGUMENT_SPEC, supports_check_mode=True, required_if=REQUIRED_IF)
    options = module.params
    result = Result()
    if options["state"] != "present" and any(options["owners"].values()):
        module.fail_json(msg=f"state {options['state']} goes with owners that have empty lists")
    try:
        daemon = DAEMONS[options["daemon"]](options["root"], options["service"], options["validate"], options["reload"])
        transaction = Transaction(
            Request(
                root=options["root"],
                owners=options["owners"],
                requires=options["requires"],
                listen=options["listen"],
                probe=options["probe"],
                timeout=options["timeout"],
                check=module.check_mode,
                prune=options["prune"],
                state=options["state"],
                base=options["base"],
            ),
            daemon,
        )
        result = transaction.result
        if options["takes_over"]:
            givers = [_giver(item, options["timeout"], module.check_mode) for item in options["takes_over"]]
            try:
                _handover.run(transaction, givers)
            finally:
                for giver, _daemon in givers:
                    _add(result, giver.result)
        else:
            transaction.run()
    except (EndpointError, PlanError, TreeError, ServiceError, TransactionError) as error:
        module.fail_json(msg=str(error), **_returned(result, module))
    module.exit_json(**_returned(result, module))


def _giver(item: dict[str, t.Any], timeout: float, check: bool) -> tuple[Transaction, Daemon]:
    daemon = DAEMONS[item["daemon"]](item["root"], item["service"])
    request = Request(root=item["root"], owners={}, timeout=timeout, check=check, released=item["paths"])
    return Transaction(request, daemon), daemon


def _add(result: Result, other: Result) -> None:
    """What happened to another tree in the same transaction belongs to its result."""
    result.changed |= other.changed
    result.actions.update(other.actions)
    result.reasons.update(other.reasons)
    result.restarts.update(other.restarts)
    result.diff += other.diff
    result.warnings += other.warnings
    for verb, paths in other.files.items():
        result.files.setdefault(verb, []).extend(paths)


def _returned(result: Result, module: AnsibleModule) -> dict[str, t.Any]:
    returned = dataclasses.asdict(result)
    for warning in returned.pop("warnings"):
        module.warn(warning)
    if not module._diff:
        returned.pop("diff")
    return returned


if __name__ == "__main__":
    main()
