"""Specs: a plugin and its parameters in one line of text, such as ``unet[width=16,levels=2]``.

Values are YAML scalars or flow sequences, or nested specs: ``oracle-threshold[basis=wavelet[sym4,levels=3]]``. A value
without a name is positional, as in a call of the constructor. Quotes protect commas and brackets.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from gahbench._util.core_yaml import MAX_DEPTH, load_scalar
from gahbench._util.errors import ParameterError
from gahbench._util.readable import brief

_QUOTES = ("'", '"')
_BRACKETS = set("[]{}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Maximum number of characters of a spec. Specs may be long, since each level of nesting may double the quotes.
MAX_LENGTH = 20_000


@dataclass(frozen=True)
class Spec:
    """The name of a plugin with its unchecked parameters."""

    name: str
    positional: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)


def parse_spec(text: str) -> Spec:
    """Parse ``name`` or ``name[value,key=value]``."""
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise ParameterError(f"{brief(repr(text))}: {len(text)} characters; accepted: {MAX_LENGTH} or fewer")
    name, bracket, rest = text.partition("[")
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise ParameterError(
            f"'{text}': expected a name of at most 100 characters, optionally followed by [key=value,...]"
        )
    if not bracket:
        return Spec(name)
    if not rest.endswith("]"):
        raise ParameterError(f"'{text}': the bracket after '{name}' is not closed at the end")
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for part in _split_parameters(rest[:-1], text):
        key, equals, value = part.partition("=")
        if equals and not _BRACKETS & set(key) and not key.strip().startswith(_QUOTES):
            if key.strip() in keywords:
                raise ParameterError(f"'{text}': '{key.strip()}' is given twice")
            keywords[key.strip()] = _parse_value(value, text)
        elif keywords:
            raise ParameterError(f"'{text}': '{part.strip()}' without a name follows a named parameter")
        else:
            positional.append(_parse_value(part, text))
    return Spec(name, tuple(positional), keywords)


def format_value(value: Any) -> str:
    """Format a value for :func:`parse_spec`: a plain value, or nested lists and mappings of plain values."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(_format_item(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_format_key(name)}: {_format_item(item)}" for name, item in value.items()) + "}"
    if isinstance(value, str):
        return value if _is_plain(value) else _quote(value)
    if isinstance(value, float):
        return _format_float(value)
    return str(value)


def _format_float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return f"{value:g}" if float(f"{value:g}") == value else str(value)


def _format_item(value: Any) -> str:
    """Format an item of a list or mapping, in which brackets need quotes."""
    if not isinstance(value, str):
        return format_value(value)
    return value if not _BRACKETS & set(value) and _is_plain(value, "x[[{}]]", [value]) else _quote(value)


def _format_key(name: Any) -> str:
    return _format_item(name) if not isinstance(name, str) or name.isidentifier() else _quote(name)


def _quote(text: str) -> str:
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    # Only double quotes have escapes. They are numeric, so that no escaped character ends the text.
    return '"' + "".join(char if char.isprintable() and char not in '"\\' else _escape(char) for char in text) + '"'


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_plain(text: str, spec: str = "x[{}]", expected: Any = None) -> bool:
    """Return whether a string without quotes is parsed unchanged at its position in a spec."""
    try:
        return text.isprintable() and parse_spec(spec.format(text)).positional == (expected or text,)
    except ParameterError:
        return False


def _parse_value(text: str, whole: str) -> Any:
    try:
        return load_scalar(text)
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None)
        raise ParameterError(
            f"'{whole}': cannot read the value '{text.strip()}'{f': {reason}' if reason else ''}"
        ) from error


def _split_parameters(text: str, whole: str) -> list[str]:
    parts, depth, current, quote, escaped = [], 0, "", "", False
    for char in text:
        # A quote opens at the start of a value. A doubled quote in it closes and reopens it, without effect.
        if quote:
            quote = "" if char == quote and not escaped else quote
            escaped = char == "\\" and quote == '"' and not escaped
            current += char
            continue
        previous = current.rstrip()[-1:]
        if char in _QUOTES and (not previous or previous in "[{=,'\"" or (previous == ":" and depth)):
            quote = char
        depth += (char in "[{") - (char in "]}")
        if depth > MAX_DEPTH:
            raise ParameterError(f"'{whole}': brackets nested more than {MAX_DEPTH} deep")
        if depth < 0:
            raise ParameterError(f"'{whole}': a closing bracket without an opening bracket")
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
