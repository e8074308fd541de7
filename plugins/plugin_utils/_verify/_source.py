# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""YAML that a teacher writes, checked against a JSON schema: a mistake is named with its file and line."""

from __future__ import annotations

import difflib
import functools
import json
import pathlib
import typing as t

import yaml

from ...module_utils._errors import DataError

if t.TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

Path = t.Tuple[t.Union[str, int], ...]

#: What the role has beside its tasks: schemas, rubrics, catalogues, templates.
ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "verify"


class SourceError(DataError):
    """A file that its author must correct; ``where`` is its name and line."""


#: Bytes of a file. Nobody writes more by hand.
MAX_SOURCE = 256 * 1024


class Source:
    """A YAML file, and the lines of its values. Its author may be anybody: it is bounded, and has no aliases."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._lines: dict[Path, int] = {}
        if len(text) > MAX_SOURCE:
            raise SourceError(name, f"has more than {MAX_SOURCE // 1024} KiB")
        try:
            # A few aliases of aliases are a thousand million values.
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                if isinstance(event, yaml.AliasEvent):
                    number = event.start_mark.line + 1 if event.start_mark else 1
                    raise SourceError(f"{name}:{number}", "aliases (*) are not read here")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if root is None:
                raise SourceError(name, "the file is empty")
            self._remember(root, ())
            self.data: t.Any = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise SourceError(f"{name}{line}", f"not YAML: {error.problem or error.context}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise SourceError(name, f"not YAML: {error}") from error

    @classmethod
    def read(cls, path: str | pathlib.Path) -> Source:
        """Read a file of the controller."""
        try:
            with open(path, encoding="utf-8") as file:
                return cls(str(path), file.read(MAX_SOURCE + 1))
        except OSError as error:
            raise SourceError(str(path), f"cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SourceError(str(path), f"is not UTF-8 at byte {error.start}") from error

    def mistake(self, path: t.Iterable[str | int], problem: str) -> SourceError:
        """The error of the value at ``path``."""
        words = tuple(path)
        known = words
        while known and known not in self._lines:
            known = known[:-1]
        value = "".join(f"[{word}]" if isinstance(word, int) else f".{word}" for word in words).lstrip(".")
        return SourceError(f"{self.name}:{self._lines[known]}", f"{value}: {problem}" if value else problem)

    def check(self, schema: str) -> None:
        """Refuse what the schema of this name does not allow."""
        errors = sorted(_validator(schema).iter_errors(self.data), key=lambda error: self._line(error.absolute_path))
        if errors:
            path, problem = _sentence(errors[0])
            raise self.mistake(path, problem)

    def _line(self, path: t.Iterable[str | int]) -> int:
        return self._lines.get(tuple(path), 0)

    def _remember(self, node: yaml.Node, path: Path) -> None:
        self._lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._remember(item, (*path, index))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*path, str(key.value))
                if here in self._lines:
                    line = key.start_mark.line + 1
                    raise SourceError(f"{self.name}:{line}", f"the key {key.value!r} is here for the second time")
                self._remember(value, here)
                self._lines[here] = key.start_mark.line + 1


_TYPES = {
    "object": "a mapping (key: value)",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "boolean": "true or false",
}


@functools.cache
def _validator(schema: str) -> t.Any:
    try:
        import jsonschema
    except ImportError as error:  # pragma: no cover - the lab's requirements have it
        raise DataError("", "Python's jsonschema is missing on the controller: pip install jsonschema") from error
    text = (ROLE / "files" / "schema" / f"{schema}.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def conforms(data: t.Any, schema: str) -> list[str]:
    """What the schema of this name has against the data, as sentences."""
    sentences = []
    for error in _validator(schema).iter_errors(data):
        path, problem = _sentence(error)
        sentences.append(f"{'.'.join(map(str, path))}: {problem}")
    return sentences


def _sentence(error: ValidationError) -> tuple[Path, str]:
    """Where the mistake is, and what it is, for somebody who has not read the schema."""
    import jsonschema.exceptions

    if error.validator in ("oneOf", "anyOf") and error.context:
        # Of the alternatives, the one that was most nearly meant.
        best = jsonschema.exceptions.best_match(error.context)
        if best is not None and best.absolute_path != error.absolute_path:
            error = best
    path = tuple(error.absolute_path)
    schema: dict[str, t.Any] = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(schema.get("properties", {}))
        unknown = next(str(key) for key in error.instance if key not in known)
        near = difflib.get_close_matches(unknown, known, 1)
        meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return (*path, unknown), f"unknown key; {meant}"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return path, f"{', '.join(map(repr, missing))} is missing"
    if error.validator == "enum":
        return path, f"{error.instance!r} is none of {', '.join(map(str, error.validator_value))}"
    if error.validator == "type":
        return path, f"{error.instance!r} is not {_TYPES[error.validator_value]}"
    if "description" in schema:
        return path, f"{error.instance!r} is not right here: {schema['description']}"
    return path, error.message
