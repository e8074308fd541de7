#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_report
short_description: Pages, tables and JUnit of what came of many stands
version_added: 1.0.0
description:
  - Reads the documents that P(weblab.stacks.verify_stand#module) has written, and writes beside each a page
    (C(HOST.html)), JUnit's XML (C(HOST.xml)) and a text for a chat (C(HOST.txt)); and for all of them a table for the
    gradebook (C(class.csv)) and a page (C(class.html)).
  - Runs on the controller. What is shown of a stand is escaped for the place where it is shown.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  results:
    description: The directory of the documents.
    type: path
    required: true
  begin:
    description:
      - Say that a new run begins, and write nothing else. Documents that are there stay, and belong to an earlier run,
        which is what O(weblab.stacks.verify_stand#module:resume) goes by.
    type: bool
    default: false
  language:
    description: Language of the reports.
    type: str
    choices: [en, ru]
    default: en
  hints:
    description: How much the reports of a stand tell, that something is missing, what was seen, or also what to do.
    type: str
    choices: [none, cause, fix]
    default: cause
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: N/A
    details: It changes nothing on a host.
seealso:
  - module: weblab.stacks.verify_stand
"""

EXAMPLES = r"""
- name: Stand | Look at it
  weblab.stacks.verify_stand:
    stand:
      sites:
        - {name: blog, port: 8082, front: apache, served_by: php_fpm}
    results: /tmp/weblab-results

- name: Class | Write the reports
  weblab.stacks.verify_report:
    results: /tmp/weblab-results
    language: ru
  delegate_to: localhost
"""

RETURN = r"""
stands:
  description: The verdict of each stand.
  returned: always
  type: list
  elements: dict
  sample: [{name: ivanova, verdict: accepted, percent: 100}]
"""
