"""YAML documents with line numbers, for error messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gahbench._util.core_yaml import MAX_CHARACTERS, CoreLoader
from gahbench._util.errors import SuiteError, suggestion
from gahbench._util.readable import brief

Location = tuple[str | int, ...]

#: Messages that replace the messages of pydantic, by type of error.
_MESSAGES = {
    "tuple_type": "expected a list",
    "too_short": "expected a list with at least one value",
    "dataclass_type": "expected fields with values",
    "dict_type": "expected fields with values",
    "model_type": "expected fields with values",
    "string_type": "expected text",
    "int_type": "expected an integer",
    "int_from_float": "expected an integer",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "string_pattern_mismatch": "accepted: letters, digits, '.', '_' and '-'",
}
_PLUGINS = ("datasets", "entrants")
#: Types of pydantic's errors about unknown fields.
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


class Document:
    """Content of a YAML file, with the line of each part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[Location, int] = {}
        self._marks: dict[Location, str] = {}
        self.text = text = _read(path)
        try:
            self.content: Any = self._load(CoreLoader(text))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            reason = f"{error.problem or error.context}{_hint_at_quotes(text, mark)}"
            raise SuiteError(f"{path}:{line}: not valid YAML: {reason}") from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            reason = f"the character U+{ord(text[error.position]):04X} is not accepted"
            raise SuiteError(f"{path}:{line}: not valid YAML: {reason}") from error
        except yaml.YAMLError as error:
            raise SuiteError(f"{path}: not valid YAML: {error}") from error

    def _load(self, loader: CoreLoader) -> Any:
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            self._visit(node, ())
            return loader.construct_document(node)
        finally:
            loader.dispose()

    def line(self, location: Location) -> int:
        """Return the line of a part, or of the closest known part that contains it."""
        return self._lines.get(self._known(location), 1)

    def mark(self, location: Location, source: str) -> None:
        """Record the source of a part that the file does not set, such as an option; errors about the part name it."""
        for old in [known for known in self._lines if known[: len(location)] == location]:
            del self._lines[old]
        self._lines[location] = self.line(location)
        self._marks[location] = source

    def error(self, location: Location, message: str) -> SuiteError:
        """Return an error that names the file and line of a part, or its marked source."""
        for depth in range(len(location), 0, -1):
            if location[:depth] in self._marks:
                return SuiteError(f"{self._marks[location[:depth]]}: {message}")
        return SuiteError(f"{self.path}:{self.line(location)}: {message}")

    def validation_error(self, error: Any, accepted: Any, inside: Location = ()) -> SuiteError:
        """Return the first of pydantic's errors, with the file and line of the invalid part."""
        # If a required field is misspelt, pydantic also reports it as missing; report the misspelling.
        first = min(error.errors(), key=lambda item: item["type"] not in _UNKNOWN)
        location = self._known((*inside, *first["loc"]))
        name = ".".join(map(str, location)) or "suite"
        if first["type"] in _UNKNOWN:
            full_location = (*inside, *first["loc"])
            return self.unknown_field(full_location, accepted(full_location[:-1]))
        if first["type"] == "missing":
            missing = ".".join(map(str, (*inside, *first["loc"])))
            return self.error(location, f"the field '{missing}' is missing")
        message = _MESSAGES.get(first["type"], first["msg"].removeprefix("Value error, "))
        if not inside and len(location) == 2 and location[0] in _PLUGINS:
            message = "expected a plugin's name, or name: {parameter: value}"
        value = "" if isinstance(first["input"], dict | tuple) else f" (got {brief(repr(first['input']))})"
        return self.error(location, f"{name}: {message[0].lower()}{message[1:]}{value}")

    def unknown_field(self, location: Location, accepted: Sequence[str]) -> SuiteError:
        """Return the error about an unknown field."""
        near = suggestion(str(location[-1]), accepted) or ";"
        name = ".".join(map(str, location))
        return self.error(location, f"unknown field '{name}'{near} accepted: {', '.join(accepted)}")

    def _known(self, location: Location) -> Location:
        """Return the longest known prefix of a location, without pydantic's suffixes for alternatives."""
        while location not in self._lines and location:
            location = location[:-1]
        return location

    def _visit(self, node: yaml.Node, location: Location) -> None:
        self._lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            names = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise SuiteError(
                        f"{self.path}:{key.start_mark.line + 1}: expected the name of a field, not a collection"
                    )
                if key.value in names:
                    raise SuiteError(f"{self.path}:{key.start_mark.line + 1}: the field '{key.value}' is repeated")
                names.add(key.value)
                self._lines[(*location, key.value)] = key.start_mark.line + 1
                self._visit(value, (*location, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._visit(value, (*location, index))


def _read(path: Path) -> str:
    """Read the text of a file of limited size."""
    # A UTF-8 character has at most four bytes.
    max_bytes = 4 * MAX_CHARACTERS
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path}: cannot be read: {error}") from error
    if len(content) > max_bytes:
        raise SuiteError(f"{path}: more than {max_bytes} bytes; accepted: at most {MAX_CHARACTERS} characters")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SuiteError(f"{path}:{line}: not UTF-8: the byte {content[error.start]:#04x}") from error


def _hint_at_quotes(text: str, mark: yaml.Mark | None) -> str:
    """Return a hint if a bracket follows an unquoted name, as in ``{basis: wavelet[db4]}``."""
    line = text.splitlines()[mark.line] if mark is not None and mark.line < len(text.splitlines()) else ""
    name = re.search(r"[\w.-]+$", line[: mark.column]) if mark is not None and line[mark.column :][:1] == "[" else None
    return f'; inside {{}} and [], strings with brackets need quotes: "{name[0]}[...]"' if name else ""
