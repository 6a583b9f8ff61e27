"""YAML with the core schema of YAML 1.2, and the line of each value; PyYAML by default follows YAML 1.1.

With this schema ``010`` is 10 rather than 8, ``1e-3`` is a number, and ``12:30``, ``on``, ``1_000`` and ``2024-01-01``
are strings. The size of documents is limited, so that a few lines of aliases cannot fill the memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pydantic
import yaml

from gahbench._util.errors import SuiteError, listing, suggestion
from gahbench._util.readable import brief

Location = tuple[str | int, ...]

#: Limits of a document: levels of nesting, and values, which count again for each alias.
MAX_DEPTH, MAX_VALUES = 40, 50_000
#: Accepted integers: signed integers of 64 bits, as in torch and tables.
_INTEGERS = range(-(2**63), 2**63)
_TAG = "tag:yaml.org,2002:"
#: Patterns of the types of plain scalars, in order (YAML 1.2.2, section 10.3.2).
_CORE = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
_FRACTION = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*/\s*(\d+\.?\d*|\.\d+)\s*")


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars by the core schema alone, and records the line of each value."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lines: dict[Location, int] = {}

    def build(self, node: yaml.Node, location: Location = ()) -> Any:
        """Return the value of a node, with a copy of it for each alias."""
        self.lines.setdefault(location, node.start_mark.line + 1)
        if len(location) > MAX_DEPTH or len(self.lines) > MAX_VALUES:
            raise _error(f"more than {MAX_DEPTH} levels, or {MAX_VALUES} values, counting repetitions by aliases", node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*location, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            mapping = {}
            for key, value in node.value:
                inside = (*location, key.value)
                if not isinstance(key, yaml.ScalarNode) or inside in self.lines:
                    raise _error(f"'{brief(key.value, 60)}' is not the name of a field, or is repeated", key)
                self.lines[inside] = key.start_mark.line + 1
                mapping[self.construct_object(key)] = self.build(value, inside)
            return mapping
        value = self.construct_object(node)
        # NUL is invalid in paths, lone surrogates cannot be encoded, and tables store 64 bits.
        if re.search("[\0\ud800-\udfff]", node.value) or (isinstance(value, int) and value not in _INTEGERS):
            accepted = f"characters but NUL, and integers of 64 bits, {_INTEGERS.start} to {_INTEGERS.stop - 1}"
            raise _error(f"{brief(node.value, 100)} is not accepted; accepted: {accepted}", node)
        return value


class _Dumper(yaml.SafeDumper):
    """Quotes strings that YAML 1.1 or 1.2 would not read as strings, and escapes line breaks."""


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern in _CORE.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), None)
_Loader.add_constructor(f"{_TAG}int", lambda _, node: int(node.value, {"0o": 8, "0x": 16}.get(node.value[:2], 10)))
_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')
)


def _load(text: str) -> tuple[Any, dict[Location, int]]:
    """Read YAML; return its value, and the line of each part."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else loader.build(node), loader.lines
    except (RecursionError, KeyError, ValueError) as error:
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error


def load_scalar(text: str) -> Any:
    """Read a YAML value with the core schema of YAML 1.2; raise ``yaml.YAMLError`` if it is invalid."""
    return _load(text)[0]


def dump_flow(value: Any) -> str:
    """Write a value as YAML on a single line with sorted keys, which :func:`load_scalar` reads back."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def as_number(value: Any) -> Any:
    """Convert a string such as ``25/255`` to a number; return any other value unchanged."""
    fraction = _FRACTION.fullmatch(value) if isinstance(value, str) and len(value) < 100 else None
    return float(fraction[1]) / float(fraction[2]) if fraction and float(fraction[2]) else value


class Document:
    """Content of a YAML file, with the place of each part for error messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text(encoding="utf-8")
            self.content, lines = _load(self.text)
        except (OSError, ValueError) as error:
            raise SuiteError(f"{path}: cannot be read: {error}") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line if mark else self.text.count("\n", 0, getattr(error, "position", 0))
            reason = getattr(error, "problem", None) or " ".join(str(error).split())
            hint = "; inside {} and [], strings with brackets need quotes" if reason.endswith("got '['") else ""
            raise SuiteError(f"{path}:{line + 1}: not valid YAML: {reason}{hint}") from error
        self._places = {location: f"{path}:{line}" for location, line in lines.items()}

    def place(self, location: Location) -> str:
        """Return the file and line of a part, or of the closest known part around it, or the option that set it."""
        return self._places.get(self._known(location), f"{self.path}:1")

    def mark(self, location: Location, option: str) -> None:
        """Record the option that set a part, and parts around it that are absent from the file, for errors."""
        self._places = {known: place for known, place in self._places.items() if known[: len(location)] != location}
        for end in range(1, len(location) + 1):
            self._places.setdefault(location[:end], option)

    def error(self, location: Location, message: str) -> SuiteError:
        """Return an error that names the place of a part."""
        return SuiteError(f"{self.place(location)}: {message}")

    def validation_error(
        self, error: pydantic.ValidationError, accepted: Callable[[Location], Sequence[str]], inside: Location = ()
    ) -> SuiteError:
        """Return the first of pydantic's errors, with the place of the invalid part, and accepted names of fields."""
        # If a required field is misspelt, pydantic also reports it as missing; report the misspelling.
        first = min(error.errors(), key=lambda item: not item["type"].startswith(("extra", "unexpected")))
        location, kind, message = (*inside, *first["loc"]), first["type"], first["msg"].removeprefix("Value error, ")
        if kind.startswith(("extra", "unexpected")):
            return self.unknown_field(location, accepted(location[:-1]))
        # Pydantic adds the names of types to the location.
        location = location if kind == "missing" else self._known(location)
        if kind in ("model_type", "dataclass_type"):
            message = f"expected the fields {listing(accepted(location))}"
        value = "" if isinstance(first["input"], dict | tuple) else f" (got {brief(repr(first['input']))})"
        text = f"{message[0].lower()}{message[1:]}".replace("tuple", "list")
        return self.error(location, f"{'.'.join(map(str, location)) or 'the file'}: {text}{value}")

    def unknown_field(self, location: Location, accepted: Sequence[str]) -> SuiteError:
        """Return the error about an unknown field."""
        near, name = suggestion(str(location[-1]), accepted) or ";", ".".join(map(str, location))
        return self.error(location, f"unknown field '{name}'{near} accepted: {listing(accepted)}")

    def _known(self, location: Location) -> Location:
        """Return the longest known prefix of a location."""
        while location not in self._places and location:
            location = location[:-1]
        return location
