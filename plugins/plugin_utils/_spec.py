# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Check data against a role's own argument_specs, naming the exact path of what is wrong.

Ansible validates a role's arguments as well, but names no list index and only
when the role runs; here all sites are checked before any host is touched.
"""

from __future__ import annotations

import difflib
import functools
import pathlib
import typing as t

from ansible.module_utils.common import validation
from ansible.module_utils.common.yaml import yaml_load

from ..module_utils._errors import DataError

_ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"

_CONVERT: dict[str, t.Callable[[t.Any], t.Any]] = {
    "str": validation.check_type_str,
    "path": validation.check_type_str,
    "int": validation.check_type_int,
    "float": validation.check_type_float,
    "bool": validation.check_type_bool,
    "dict": validation.check_type_dict,
    "list": lambda value: value if isinstance(value, list) else _refuse(value),
    "raw": lambda value: value,
}


def _refuse(value: t.Any) -> t.NoReturn:
    raise TypeError(f"{value!r} is not a list")


@functools.cache
def role_options(role: str) -> dict[str, t.Any]:
    """Return the options of ``roles/ROLE/meta/argument_specs.yml``, entry point main."""
    text = (_ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    return t.cast("dict[str, t.Any]", yaml_load(text)["argument_specs"]["main"]["options"])


@functools.cache
def role_defaults(role: str) -> dict[str, t.Any]:
    """Return ``roles/ROLE/defaults/main.yml``."""
    text = (_ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8")
    return t.cast("dict[str, t.Any]", yaml_load(text))


@functools.cache
def role_file(role: str, name: str) -> str:
    """Return the text of ``roles/ROLE/files/NAME``."""
    return (_ROLES / role / "files" / name).read_text(encoding="utf-8")


def stack_names() -> list[str]:
    """Return the stack roles: those whose defaults hold a drawing."""
    return sorted(
        path.name
        for path in _ROLES.iterdir()
        if (path / "defaults" / "main.yml").is_file() and f"{path.name}_drawing" in role_defaults(path.name)
    )


def checked(option: t.Mapping[str, t.Any], value: t.Any, where: str) -> t.Any:
    """Return ``value`` converted to the type of ``option``, defaults filled in, all the way down.

    :raises DataError: with the path of the first wrong value.
    """
    kind = option.get("type", "str")
    if kind in ("str", "path") and isinstance(value, (dict, list)):
        raise DataError(where, f"a text is needed here, not a {'list' if isinstance(value, list) else 'mapping'}")
    try:
        value = _CONVERT[kind](value)
    except (TypeError, ValueError):
        raise DataError(where, f"{value!r} is not {_article(kind)}") from None
    if "choices" in option and value not in option["choices"]:
        raise DataError(where, f"{value!r} is not one of {', '.join(map(str, option['choices']))}")
    if kind == "list":
        element = {
            "type": option.get("elements", "raw"),
            **({"options": option["options"]} if "options" in option else {}),
        }
        return [checked(element, item, f"{where}[{index}]") for index, item in enumerate(value)]
    if kind == "dict" and "options" in option:
        return _checked_keys(option["options"], value, where)
    return value


def _checked_keys(options: t.Mapping[str, t.Any], value: t.Mapping[str, t.Any], where: str) -> dict[str, t.Any]:
    for key in value:
        if key not in options:
            near = difflib.get_close_matches(str(key), options, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise DataError(f"{where}.{key}", f"unknown key; {hint}known here: {', '.join(sorted(options))}")
    result: dict[str, t.Any] = {}
    for key, option in options.items():
        if value.get(key) is not None:
            result[key] = checked(option, value[key], f"{where}.{key}")
        elif option.get("required"):
            raise DataError(f"{where}.{key}", "this key is required")
        elif "default" in option:
            result[key] = checked(option, option["default"], f"{where}.{key}")
        elif option.get("type") == "dict" and "options" in option and key in value:
            result[key] = _checked_keys(option["options"], {}, f"{where}.{key}")
    return result


def _article(kind: str) -> str:
    return {
        "int": "a whole number",
        "float": "a number",
        "bool": "yes or no (true, false)",
        "dict": "a mapping (key: value)",
        "list": "a list",
    }.get(kind, f"of type {kind}")
