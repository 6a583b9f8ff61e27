"""YAML that remembers where everything stood, so that errors can name a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gahbench.errors import SuiteError, suggestion
from gahbench.spec import NumberLoader

Location = tuple[str | int, ...]


class Document:
    """The content of a YAML file, and the line of each of its parts.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    SuiteError
        If the file cannot be read, is not YAML, or repeats a key; with the line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SuiteError(f"{path}: cannot be read: {error}") from error
        loader = NumberLoader(text)
        self._lines: dict[Location, int] = {}
        try:
            node = loader.get_single_node()
            if node is not None:
                self._visit(node, ())
            self.content: Any = loader.construct_document(node) if node is not None else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise SuiteError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from error
        except yaml.YAMLError as error:
            raise SuiteError(f"{path}: not valid YAML: {error}") from error
        finally:
            loader.dispose()

    def line(self, location: Location) -> int:
        """Return the line of a part, or of the nearest part that holds it."""
        while location not in self._lines and location:
            location = location[:-1]
        return self._lines.get(location, 1)

    def error(self, location: Location, message: str) -> SuiteError:
        """Return an error that names the file and the line."""
        return SuiteError(f"{self.path}:{self.line(location)}: {message}")

    def validation_error(self, error: Any, accepted: Any) -> SuiteError:
        """Return the first of pydantic's errors, in our words.

        Parameters
        ----------
        error
            A ``pydantic.ValidationError``.
        accepted
            Called with the location of an unknown field; returns the accepted names there.
        """
        # A misspelt field is also a missing one: tell of the misspelling.
        first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        location = tuple(first["loc"])
        name = ".".join(map(str, location)) or "suite"
        if first["type"] == "extra_forbidden":
            names = accepted(location[:-1])
            return self.error(
                location,
                f"unknown field '{name}'{suggestion(str(location[-1]), names) or ';'} accepted: {', '.join(names)}",
            )
        if first["type"] == "missing":
            return self.error(location[:-1], f"the field '{name}' is missing")
        message = first["msg"].removeprefix("Value error, ")
        given = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        return self.error(location, f"{name}: {message[0].lower()}{message[1:]}{given}")

    def _visit(self, node: yaml.Node, location: Location) -> None:
        self._lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if key.value in seen:
                    raise SuiteError(f"{self.path}:{key.start_mark.line + 1}: '{key.value}' is given twice")
                seen.add(key.value)
                self._lines[(*location, key.value)] = key.start_mark.line + 1
                self._visit(value, (*location, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for place, value in enumerate(node.value):
                self._visit(value, (*location, place))
