#!/usr/bin/python
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: app_files
short_description: Put an application's files on the host in one call
version_added: 1.0.0
author:
  - weblab.stacks maintainers (@weblab)
description:
  - Code, data, directories, links and generated secrets of one application, in one round trip for any number of files.
  - Files are replaced one by one and each atomically. The configuration of a daemon is not its business, see
    M(weblab.stacks.config_tree).
attributes:
  check_mode:
    support: full
    description: Can run in check mode and says what would change, also on a host that has nothing yet.
  diff_mode:
    support: full
    description: Returns what changes in each file; never a secret.
options:
  path:
    description: The application's directory on the host. All of it is root's, unless an entry says otherwise.
    type: path
    required: true
  src:
    description:
      - A directory on the controller, looked for in the role's C(files). Everything in it goes to O(path), readable
        by everybody.
    type: str
  files:
    description: More paths, each with exactly one of C(content), C(base64), C(link), C(random) and C(directory).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path, relative to O(path) or absolute.
        type: str
        required: true
      content:
        description: The text of a file.
        type: str
      base64:
        description: The bytes of a file, in Base64.
        type: str
      link:
        description: What a symbolic link points to.
        type: str
      random:
        description: Make a secret of this many letters and digits, unless the file exists. It never leaves the host.
        type: int
      directory:
        description: Whether it is a directory.
        type: bool
        default: false
      owner:
        description: Owner of the path.
        type: str
        default: root
      group:
        description: Group of the path.
        type: str
        default: root
      mode:
        description: Mode in octal digits. Directories have V(0755), secrets V(0600) and files V(0644) by default.
        type: str
  purge:
    description: Whether files below O(path) that nobody declared are removed.
    type: bool
    default: false
  keep:
    description: Files and directories below O(path) that O(purge) leaves alone.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Install a shop with a secret of its own
  weblab.stacks.app_files:
    path: /srv/shop
    src: shop/
    purge: true
    keep: [static]
    files:
      - {path: /etc/shop, directory: true}
      - {path: /etc/shop/secret, random: 50, group: shop, mode: "0640"}
"""

RETURN = r"""
changed_paths:
  description: The paths that were, or in check mode would be, created, replaced or removed, or given to another owner.
  type: list
  elements: str
  returned: success
"""

import os
import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.weblab.stacks.plugins.module_utils._app_files import (
    Change,
    Entry,
    plan,
    read_entries,
    secret,
    undeclared,
)
from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError


def _apply(module: AnsibleModule, entry: Entry) -> None:
    if entry.kind == "directory":
        if entry.path.is_symlink():
            entry.path.unlink()
        entry.path.mkdir(mode=0o700, parents=True)
        return
    # Written beside its place and renamed, so that nobody ever reads half a file; secrets are closed from the start.
    handle, name = tempfile.mkstemp(prefix=f".{entry.path.name}.", dir=entry.path.parent)
    temporary = Path(name)
    try:
        if entry.kind == "link":
            os.close(handle)
            temporary.unlink()
            temporary.symlink_to(entry.value)
        else:
            with os.fdopen(handle, "wb") as stream:
                stream.write(secret(entry.value) if entry.kind == "random" else entry.value)
            module.set_fs_attributes_if_different(_attributes(module, entry, name), False)
        temporary.replace(entry.path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _attributes(module: AnsibleModule, entry: Entry, path: str) -> dict[str, t.Any]:
    wanted = {"path": path, "owner": entry.owner, "group": entry.group, "mode": entry.mode, "attributes": None}
    return t.cast("dict[str, t.Any]", module.load_file_common_arguments(wanted))


def _diff(change: Change) -> dict[str, str]:
    header = str(change.path)
    return {"before_header": header, "after_header": header, "before": change.before, "after": change.after}


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "src": {"type": "str"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "content": {"type": "str"},
                    "base64": {"type": "str"},
                    "link": {"type": "str"},
                    "random": {"type": "int"},
                    "directory": {"type": "bool", "default": False},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                },
            },
            "purge": {"type": "bool", "default": False},
            "keep": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    root = Path(module.params["path"])
    try:
        entries = read_entries(root, [{"path": str(root), "directory": True}, *module.params["files"]])
        changes = plan(entries)
    except DataError as error:
        module.fail_json(msg=str(error))
    unwanted = undeclared(root, entries, module.params["keep"]) if module.params["purge"] else []
    changed = {change.path for change in changes} | set(unwanted)
    diff = [_diff(change) for change in changes]
    diff.extend(_diff(Change(path, "(not declared)\n", "")) for path in unwanted)
    try:
        if not module.check_mode:
            for change in changes:
                _apply(module, t.cast("Entry", change.entry))
            for path in unwanted:
                path.unlink()
    except OSError as error:
        module.fail_json(msg=f"{error.filename or root}: {error.strerror}; what was written before it is complete")
    for entry in entries:
        if entry.kind == "link" or (module.check_mode and entry.path in changed):
            continue
        if module.set_fs_attributes_if_different(_attributes(module, entry, str(entry.path)), False):
            changed.add(entry.path)
    module.exit_json(changed=bool(changed), changed_paths=sorted(map(str, changed)), diff=diff)


if __name__ == "__main__":
    main()
