# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A class as an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stands
short_description: A class as an inventory, a host for each line of a CSV file
version_added: 1.0.0
description:
  - Reads a table as spreadsheets write it, with commas or semicolons, whose first line names the columns. Each further
    line is a stand, a host of the group C(stands), for the role P(weblab.stacks.verify#role).
  - The columns are C(name), which every line has, and of the others those that are needed. C(address), C(port),
    C(user) and C(key), a file, say how the host is reached by SSH; C(manifest), a file, and C(repository), a directory,
    what the student handed in; C(token) is the task sheet's.
  - Students may have written the cells, in a form. None is templated, and none leads to the controller itself or out of
    O(repositories) and O(manifests).
author:
  - The weblab.stacks maintainers (@weblab-stacks)
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [weblab.stacks.stands]
  csv:
    description: The table, beside this file unless the path says otherwise.
    type: str
    required: true
  repositories:
    description: The directory in which the column C(repository) names directories.
    type: str
    default: repositories
  manifests:
    description: The directory in which the column C(manifest) names files.
    type: str
    default: manifests
  allow_local:
    description: Whether a stand may be on the controller itself, or have an address of the link only (169.254.0.0/16).
    type: bool
    default: false
"""

EXAMPLES = r"""
# class.yml, beside class.csv, which begins with the lines
#   name,address,user,repository
#   ivanova,10.0.5.11,vagrant,ivanova
plugin: weblab.stacks.stands
csv: class.csv

# ansible-playbook weblab.stacks.verify -i class.yml --forks 10
#
# Where the table has no addresses, name,repository, each repository is brought up on a lab host of its own:
# ansible-playbook weblab.stacks.verify -i class.yml -e verify_bring_up=true
"""

import csv
import difflib
import ipaddress
import pathlib
import re
import socket
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError

GROUP = "stands"
MAX_LINES = 10_000
#: Column -> the variable that it becomes.
COLUMNS = {
    "name": None,
    "address": "ansible_host",
    "port": "ansible_port",
    "user": "ansible_user",
    "key": "ansible_ssh_private_key_file",
    "manifest": "verify_manifest",
    "repository": "verify_repository",
    "token": "verify_token",
}
#: Controls, and what Ansible reads as patterns of hosts.
_NOT_IN_NAMES = r"\x00-\x1f\x7f-\x9f/\\:,\[\]{}"
#: What a cell may be. None begins with a dash, which SSH would take for an option.
_PATTERNS = {
    "name": (rf"(?!-)[^{_NOT_IN_NAMES}]{{1,100}}", "a name without / \\ : , [ ] { }"),
    "address": (r"[0-9A-Za-z]([0-9A-Za-z.:-]{0,252}[0-9A-Za-z])?|::1", "an IP address or a host name"),
    "port": (r"[1-9][0-9]{0,4}", "a port"),
    "user": (r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", "the name of a user"),
    "key": (r"[^\x00-\x1f-][^\x00-\x1f]*", "a file"),
    "token": (r"[0-9A-Za-z_-]{1,100}", "letters and digits"),
}


class InventoryModule(BaseInventoryPlugin):
    """Hosts from the lines of a table."""

    NAME = "weblab.stacks.stands"

    def verify_file(self, path: str) -> bool:
        """YAML files are offered; which of them names this plugin is looked at then."""
        return bool(super().verify_file(path)) and path.endswith((".yml", ".yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Fill the inventory.

        :raises AnsibleParserError: with the line of the table that is wrong.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        beside = pathlib.Path(path).resolve().parent
        folders = {
            "repository": beside / self.get_option("repositories"),
            "manifest": beside / self.get_option("manifests"),
        }
        try:
            rows = read(beside / self.get_option("csv"), folders, self.get_option("allow_local"))
        except DataError as error:
            raise AnsibleParserError(str(error)) from error
        inventory.add_group(GROUP)
        for row in rows:
            name = row.pop("name")
            inventory.add_host(name, group=GROUP)
            for column, value in row.items():
                # Not marked as a template, so that Ansible takes every cell for the text that it is.
                inventory.set_variable(name, COLUMNS[column], int(value) if column == "port" else value)


def read(path: pathlib.Path, folders: t.Mapping[str, pathlib.Path], allow_local: bool) -> list[dict[str, str]]:
    """The lines of the table as mappings, without the cells that are empty.

    :param folders: column -> the directory of which its cells are parts.
    :raises DataError: with file and line of what is wrong.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=max(",;\t", key=head.count), strict=True)
            return _rows(str(path), lines, folders, allow_local)
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(str(path), "is not UTF-8: let the spreadsheet save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DataError(str(path), f"is no CSV: {error}") from error


def _rows(path: str, lines: t.Any, folders: t.Mapping[str, pathlib.Path], allow_local: bool) -> list[dict[str, str]]:
    columns = [cell.strip().lower() for cell in next(lines, [])]
    for column in columns:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column, COLUMNS, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(COLUMNS)}"
            raise DataError(f"{path}:1", f"there is no column {column!r}; {meant}")
        if columns.count(column) > 1:
            raise DataError(f"{path}:1", f"the column {column!r} is there twice")
    if "name" not in columns:
        raise DataError(f"{path}:1", "there is no column 'name'")
    found: dict[str, dict[str, str]] = {}
    for cells in lines:
        where = f"{path}:{lines.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise DataError(where, f"has {len(cells)} cells, and the first line {len(columns)}")
        row = {column: cell.strip() for column, cell in zip(columns, cells) if cell.strip()}
        if "name" not in row:
            raise DataError(where, "has no name")
        for column, cell in row.items():
            row[column] = _cell(where, column, cell, folders)
        if "address" in row and not allow_local:
            _not_here(where, row["address"])
        if row["name"].casefold() in found or row["name"].casefold() in (GROUP, "all", "ungrouped", "localhost"):
            raise DataError(where, f"the name {row['name']!r} is taken")
        if len(found) == MAX_LINES:
            raise DataError(where, f"has more than {MAX_LINES} lines")
        found[row["name"].casefold()] = row
    if not found:
        raise DataError(path, "there is no stand in it")
    return list(found.values())


def _cell(where: str, column: str, cell: str, folders: t.Mapping[str, pathlib.Path]) -> str:
    if column in folders:
        folder = folders[column].resolve()
        # A link may lead out of the directory as two dots do.
        path = (folder / cell).resolve()
        if "\0" in cell or path == folder or folder not in path.parents:
            raise DataError(where, f"{column}: {cell!r} is not below {folder}")
        return str(path)
    pattern, wanted = _PATTERNS[column]
    if not re.fullmatch(pattern, cell):
        raise DataError(where, f"{column}: {cell!r} is not {wanted}")
    return cell


def _not_here(where: str, address: str) -> None:
    """Refuse what is the controller's own: its services and its cloud's secrets are asked on nobody's behalf."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)}
    except OSError:
        return  # whoever has no address is not reached either
    for one in found:
        parsed = ipaddress.ip_address(str(one).partition("%")[0])
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        if parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast:
            problem = f"address: {address!r} is the controller itself, or on its link only; see allow_local"
            raise DataError(where, problem)
