#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_signature
short_description: Are results of a verification what the teacher has signed?
version_added: 1.0.0
description:
  - Checks the signatures (Ed25519, RFC 8032) of documents of P(weblab.stacks.verify_stand#module), and fails where one
    is missing or of something else.
  - Without this collection, OpenSSL says the same. C(openssl pkeyutl -verify -rawin -pubin -inkey teacher.pub
    -in HOST.json -sigfile HOST.json.sig)
  - Runs on the controller.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  path:
    description: A document, or a directory of documents.
    type: path
    required: true
  public_key:
    description: A file with the public key, in PEM.
    type: path
    required: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: N/A
    details: It changes nothing.
seealso:
  - module: weblab.stacks.verify_stand
"""

EXAMPLES = r"""
- name: Key | Make one, once, and keep it from everybody
  ansible.builtin.command:
    cmd: openssl genpkey -algorithm ed25519 -out /tmp/weblab-teacher.key
    creates: /tmp/weblab-teacher.key
  delegate_to: localhost

- name: Key | What others check by
  ansible.builtin.command:
    cmd: openssl pkey -in /tmp/weblab-teacher.key -pubout -out /tmp/weblab-teacher.pub
    creates: /tmp/weblab-teacher.pub
  delegate_to: localhost

- name: Stand | Look at it, and sign what came of it
  weblab.stacks.verify_stand:
    stand:
      sites:
        - {name: blog, port: 8082, front: apache, served_by: php_fpm}
    results: /tmp/weblab-signed
    key: /tmp/weblab-teacher.key

- name: Results | Are they as the teacher has signed them?
  weblab.stacks.verify_signature:
    path: /tmp/weblab-signed
    public_key: /tmp/weblab-teacher.pub
  delegate_to: localhost
"""

RETURN = r"""
signatures:
  description: V(good), V(bad) or V(missing), by the name of the file.
  returned: always
  type: dict
  sample: {ivanova.json: good}
"""
