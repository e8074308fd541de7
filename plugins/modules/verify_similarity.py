#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_similarity
short_description: Which repositories of a class are alike, without what was handed out
version_added: 1.0.0
description:
  - Compares every repository with every other one, and writes how much of each one's own work the other has too
    (C(similarity/similarity.json) and a page, C(similarity/similarity.html), below O(results)).
  - Comments, layout, names and order of files, titles of tasks, numbers, and in programs the names of variables make
    no difference. Files of others are not compared, such as C(node_modules), C(vendor), C(wp-content), and what is
    locked or minified.
  - It shows where to look, and proves nothing. What a program wrote for everybody (a project that Django, Laravel or
    React begins with) is in many repositories; put it into O(handed_out).
  - Runs on the controller, which needs Python's C(pygments). Repositories are read and never run.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  repositories:
    description: The directory of each repository, by the name of its author.
    type: dict
    required: true
  handed_out:
    description: Directories with what everybody was given. What comes from there is nobody's own work.
    type: list
    elements: path
    default: []
  threshold:
    description:
      - The share, above 0 and at most 1, from which on two repositories are of one family. It is the greater one of
        both directions, so that a copy with more work around it is found too.
    type: float
    default: 0.6
  results:
    description: A directory of the controller, such as that of P(weblab.stacks.verify_stand#module).
    type: path
    required: true
  language:
    description: Language of the page.
    type: str
    choices: [en, ru]
    default: en
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
  - module: weblab.stacks.verify_report
"""

EXAMPLES = r"""
- name: Class | Look for similar work
  weblab.stacks.verify_similarity:
    repositories:
      ivanova: /srv/homework/ivanova
      petrov: /srv/homework/petrov
    results: /tmp/weblab-results
    language: ru
  delegate_to: localhost
"""

RETURN = r"""
families:
  description: Who is alike, the largest family first.
  returned: always
  type: list
  elements: list
  sample: [[ivanova, petrov]]
small:
  description: Repositories with too little work of their own to judge.
  returned: always
  type: list
  elements: str
  sample: [sidorov]
unread:
  description: Repositories that could not be read; the page says why.
  returned: always
  type: list
  elements: str
  sample: []
page:
  description: The page.
  returned: always
  type: str
  sample: /tmp/weblab-results/similarity/similarity.html
"""
