"""One line of text that names a plugin and its parameters, such as ``unet[width=16,levels=2]``.

Values are YAML scalars or flow sequences, and may nest: ``oracle-threshold[basis=wavelet[sym4,levels=3]]``. A value
without a name goes to the parameter at its place in the constructor. Quotes keep commas and brackets together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from gahbench._util.errors import ParameterError

_QUOTES = ("'", '"')
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Spec:
    """A plugin's name with the parameters as given, not yet checked."""

    name: str
    positional: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)


def parse_spec(text: str) -> Spec:
    """Parse ``name``, ``name[value,key=value]``.

    Raises
    ------
    ParameterError
        If brackets do not match, a name is missing, or a positional value follows a named one.
    """
    text = text.strip()
    name, bracket, rest = text.partition("[")
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise ParameterError(f"'{text}': expected a name, optionally followed by [key=value,...]")
    if not bracket:
        return Spec(name)
    if not rest.endswith("]"):
        raise ParameterError(f"'{text}': the bracket after '{name}' is not closed at the end")
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for part in _split(rest[:-1], text):
        key, equals, value = part.partition("=")
        if equals and "[" not in key and not key.strip().startswith(_QUOTES):
            if key.strip() in keywords:
                raise ParameterError(f"'{text}': '{key.strip()}' is given twice")
            keywords[key.strip()] = _value(value, text)
        elif keywords:
            raise ParameterError(f"'{text}': '{part.strip()}' without a name follows a named parameter")
        else:
            positional.append(_value(part, text))
    return Spec(name, tuple(positional), keywords)


def format_value(value: Any) -> str:
    """Write a parameter's value as :func:`parse_spec` reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(_format_item(item) for item in value) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _format_item(value: Any) -> str:
    """Write an item of a list, where brackets need quotes."""
    return _quoted(value) if isinstance(value, str) and set("[]{}") & set(value) else format_value(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _is_plain(text: str) -> bool:
    """Return whether a text is read back as it is, without quotes."""
    try:
        return parse_spec(f"x[{text}]").positional == (text,)
    except ParameterError:
        return False


def load_scalar(text: str) -> Any:
    """Read one YAML value, with numbers such as ``1e-3`` read as numbers."""
    return yaml.load(text, Loader=NumberLoader)


def _value(text: str, whole: str) -> Any:
    try:
        return load_scalar(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"'{whole}': cannot read the value '{text.strip()}'") from error


def _split(text: str, whole: str) -> list[str]:
    parts, depth, current, quote = [], 0, "", ""
    for char in text:
        # A quote opens where a value begins; two of them within stand for one, which opens and closes alike.
        if quote:
            quote = "" if char == quote else quote
            current += char
            continue
        if char in _QUOTES and (not current.strip() or current.rstrip()[-1] in "[=,'\""):
            quote = char
        depth += (char == "[") - (char == "]")
        if depth < 0:
            raise ParameterError(f"'{whole}': a bracket is closed that was not opened")
        if char == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    if depth or quote:
        raise ParameterError(f"'{whole}': a {'quote' if quote else 'bracket'} is not closed")
    parts.append(current)
    if parts == [""]:
        return []
    if any(not part.strip() for part in parts):
        raise ParameterError(f"'{whole}': a parameter is empty")
    return parts


class NumberLoader(yaml.SafeLoader):
    """A safe loader that reads ``1e-3`` as a number, as YAML 1.2 does and PyYAML alone does not."""


NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)
