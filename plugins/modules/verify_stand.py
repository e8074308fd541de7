#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_stand
short_description: Check a stand against a rubric, from outside and on its host
version_added: 1.0.0
description:
  - Asks the sites of a stand from the controller, looks at its host by P(weblab.stacks.stand_info#module) and at its
    repository, and judges what was seen by the criteria of a rubric.
  - Nothing of the stand is run or templated on the controller, and the stand is not changed unless O(changes) says so.
  - Of a single host, each criterion is shown with its mark as soon as all is seen that it needs. Of several hosts, each
    has one line.
  - A stand that is not as it should be is a result, and does not fail the task; nor does one that cannot be reached, or
    whose manifest, where it is a file, is wrong. A wrong O(stand) or O(rubric) does.
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  stand:
    description:
      - The manifest, spelled as C(verify_stand) of the role P(weblab.stacks.verify#role). One of this, O(manifest) and
        O(repository) is needed.
    type: dict
  manifest:
    description: A file of the controller that has the manifest, as C(verify_stand). It is read, and never templated.
    type: path
  repository:
    description:
      - The work's repository, a directory of the controller, which is read and never run. Its C(stand.yml) is the
        manifest where there is no other.
    type: path
  rubric:
    description: V(course), V(lecture), V(sites), or a file of the controller.
    type: str
    default: course
  address:
    description: Where the controller finds the stand. Without it, C(ansible_host).
    type: str
  token:
    description: The text that this student's task sheet wants to be on a page.
    type: str
  ports:
    description: The ports of the task sheet.
    type: list
    elements: int
    default: []
  seed:
    description:
      - The teacher's secret, of which the task sheets were made. O(token) and O(ports) are those of the host's sheet
        then.
    type: str
  key:
    description:
      - A file of the controller with a private key for Ed25519, in PEM. The document is signed by it.
    type: path
  changes:
    description:
      - What may be done to the stand. V(stop_backend) stops each site's backend for a moment, V(second_run) runs the
        command C(again) of the manifest on the host, V(reboot) restarts the host.
      - None of it in check mode, and none that the rubric has no use for.
    type: list
    elements: str
    choices: [stop_backend, second_run, reboot]
    default: []
  language:
    description: Language of what is said.
    type: str
    choices: [en, ru]
    default: en
  hints:
    description: How much is told, that something is missing, what was seen, or also what to do.
    type: str
    choices: [none, cause, fix]
    default: cause
  results:
    description: A directory of the controller, where the document is written under the name of the host.
    type: path
  resume:
    description:
      - Where the run that P(weblab.stacks.verify_report#module) began has a document of this host, return it as it is.
    type: bool
    default: false
  timeout:
    description: Seconds for each of a few rounds of requests.
    type: float
    default: 20
  problem:
    description: Why there is no verdict. The stand is not looked at, and its document says this.
    type: str
  step:
    description:
      - V(look) at the stand. V(plan) says whether there is a repository to bring up for that. V(bring_up) sends the
        repository to the host, below C(/vagrant), and runs the command C(again) of its manifest there, with all rights
        of the host; the task fails where that does. With O(problem), V(bring_up) is what it was a problem of.
    type: str
    choices: [look, plan, bring_up]
    default: look
  container:
    description: The container of Docker in which alone V(bring_up) runs anything. Any other connection fails the task.
    type: str
  deadline:
    description: Seconds for the command, of V(bring_up).
    type: int
    default: 900
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: N/A
    details: What it does to a stand by O(changes), it undoes.
seealso:
  - module: weblab.stacks.stand_info
  - module: weblab.stacks.endpoint_probe
"""

EXAMPLES = r"""
- name: Stand | Is it what its author says?
  weblab.stacks.verify_stand:
    stand:
      sites:
        - name: blog
          port: 8082
          front: apache
          served_by: php_fpm
          backend: fastcgi+unix:///run/php/blog.sock
    hints: fix
  register: verdict

- name: Stand | What to mend first
  ansible.builtin.debug:
    msg: "{{ verdict.verdict }}, {{ verdict.percent }} %. {{ verdict.first }}"
"""

RETURN = r"""
verdict:
  description: V(accepted), V(not_accepted), or V(undecided) where nothing was wrong and not everything could be seen.
  returned: O(step) is V(look), or there is a O(problem)
  type: str
  sample: accepted
percent:
  description: What was earned, in percent of what was asked for. A bonus can lift it above 100.
  returned: always
  type: float
  sample: 100
first:
  description: The first real cause, in lines; nothing where there is none.
  returned: always
  type: str
  sample: ""
document:
  description: Everything, as it is written to O(results).
  returned: always
  type: dict
  sample: {format: 1, rubric: course, verdict: accepted, percent: 100, sections: []}
bring_up:
  description: Whether there is a repository to bring up. There is none where the run has looked at the stand before,
    where the manifest is wrong, which V(look) will say, and in check mode.
  returned: O(step) is V(plan)
  type: bool
  sample: true
"""
