"""YAML that remembers where everything stood, so that errors can name a line."""

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

#: Our words for some of pydantic's errors, by its types of error.
_MESSAGES = {
    "tuple_type": "expected a list",
    "too_short": "expected a list of at least one value",
    "dataclass_type": "expected fields with values",
    "dict_type": "expected fields with values",
    "model_type": "expected fields with values",
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-' are accepted",
}
_PLUGINS = ("datasets", "entrants")
#: Pydantic's types of errors about fields that are not accepted.
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


class Document:
    """The content of a YAML file, and the line of each of its parts."""

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
            reason = f"{error.problem or error.context}{_unquoted(text, mark)}"
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
        """Return the line of a part, or of the nearest part that holds it."""
        return self._lines.get(self._known(location), 1)

    def mark(self, location: Location, place: str) -> None:
        """Note that a part is not from the file but from elsewhere, which errors about it then name."""
        for old in [one for one in self._lines if one[: len(location)] == location]:
            del self._lines[old]
        self._lines[location] = self.line(location)
        self._marks[location] = place

    def error(self, location: Location, message: str) -> SuiteError:
        """Return an error that names the file and the line, or where else the part is from."""
        for depth in range(len(location), 0, -1):
            if location[:depth] in self._marks:
                return SuiteError(f"{self._marks[location[:depth]]}: {message}")
        return SuiteError(f"{self.path}:{self.line(location)}: {message}")

    def validation_error(self, error: Any, accepted: Any, inside: Location = ()) -> SuiteError:
        """Return the first of pydantic's errors, in our words."""
        # A misspelt field is also a missing one: report the misspelling.
        first = min(error.errors(), key=lambda item: item["type"] not in _UNKNOWN)
        location = self._known((*inside, *first["loc"]))
        name = ".".join(map(str, location)) or "suite"
        if first["type"] in _UNKNOWN:
            whole = (*inside, *first["loc"])
            return self.unknown_field(whole, accepted(whole[:-1]))
        if first["type"] == "missing":
            missing = ".".join(map(str, (*inside, *first["loc"])))
            return self.error(location, f"the field '{missing}' is missing")
        message = _MESSAGES.get(first["type"], first["msg"].removeprefix("Value error, "))
        if not inside and len(location) == 2 and location[0] in _PLUGINS:
            message = "expected a plugin's name, or name: {parameter: value}"
        given = "" if isinstance(first["input"], dict | tuple) else f" (got {brief(repr(first['input']))})"
        return self.error(location, f"{name}: {message[0].lower()}{message[1:]}{given}")

    def unknown_field(self, location: Location, accepted: Sequence[str]) -> SuiteError:
        """Return the error about a field that is not accepted."""
        near = suggestion(str(location[-1]), accepted) or ";"
        wrong = ".".join(map(str, location))
        return self.error(location, f"unknown field '{wrong}'{near} accepted: {', '.join(accepted)}")

    def _known(self, location: Location) -> Location:
        """Cut off pydantic's suffixes for alternatives of a type, and missing fields."""
        while location not in self._lines and location:
            location = location[:-1]
        return location

    def _visit(self, node: yaml.Node, location: Location) -> None:
        self._lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise SuiteError(
                        f"{self.path}:{key.start_mark.line + 1}: expected a field's name, not a collection"
                    )
                if key.value in seen:
                    raise SuiteError(f"{self.path}:{key.start_mark.line + 1}: '{key.value}' is given twice")
                seen.add(key.value)
                self._lines[(*location, key.value)] = key.start_mark.line + 1
                self._visit(value, (*location, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for place, value in enumerate(node.value):
                self._visit(value, (*location, place))


def _read(path: Path) -> str:
    """Return the text of a file."""
    # A character has up to four bytes.
    most = 4 * MAX_CHARACTERS
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path}: cannot be read: {error}") from error
    if len(content) > most:
        raise SuiteError(f"{path}: more than {most} bytes; a suite has {MAX_CHARACTERS} characters at most")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SuiteError(f"{path}:{line}: not UTF-8: the byte {content[error.start]:#04x}") from error


def _unquoted(text: str, mark: yaml.Mark | None) -> str:
    """Return a hint where a bracket follows a name without quotes, as in ``{basis: wavelet[db4]}``."""
    line = text.splitlines()[mark.line] if mark is not None and mark.line < len(text.splitlines()) else ""
    name = re.search(r"[\w.-]+$", line[: mark.column]) if mark is not None and line[mark.column :][:1] == "[" else None
    return f'; inside {{}} and [], texts with brackets need quotes: "{name[0]}[...]"' if name else ""
