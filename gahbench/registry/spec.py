"""Specs: a plugin and its parameters in one line of text, such as ``unet[width=16,levels=2]``.

Values are YAML scalars or flow sequences, or nested specs: ``oracle-threshold[basis=wavelet[sym4,levels=3]]``. A value
without a name is positional, as in a call of the constructor. Quotes protect commas and brackets.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from gahbench._util.core_yaml import MAX_DEPTH, load_scalar
from gahbench._util.errors import ParameterError
from gahbench._util.readable import brief

_BRACKETS = set("[]{}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: A quote opens where a value starts. A doubled quote, or one after a backslash between double quotes, is text.
_QUOTED = re.compile(r"""((?:^|[\[{=,]|:\ )\s*)('(?:[^']|'')*'|"(?:[^"\\]|\\.)*")""", re.VERBOSE | re.DOTALL)
_UNCLOSED = re.compile(r"""(?:^|[\[{=,]|:\ )\s*['"]""", re.VERBOSE)
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
    name, bracket, rest = text.partition("[")
    if len(text) > MAX_LENGTH or not _NAME.fullmatch(name.strip()):
        raise _error(text, f"names have at most 100 letters, digits, '.', '_' and '-'; at most {MAX_LENGTH} characters")
    if bracket and not rest.endswith("]"):
        raise _error(text, "the bracket is not closed")
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for key, value in _split(rest[:-1], text):
        try:
            parsed = load_scalar(value)
        except yaml.YAMLError as error:
            reason = getattr(error, "problem", None) or "invalid YAML"
            raise _error(text, f"cannot read the value '{value.strip()}': {reason}") from error
        if key is None and not keywords:
            positional.append(parsed)
        elif key is None or key in keywords:
            hint = "; a list is written [4,8]" if value.strip().endswith(")") else ""
            raise _error(
                text, f"'{key or value.strip()}' is given twice, or needs a name after a named parameter{hint}"
            )
        else:
            keywords[key] = parsed
    return Spec(name.strip(), tuple(positional), keywords)


def _error(text: str, reason: str) -> ParameterError:
    return ParameterError(f"{brief(repr(text))}: expected a name or name[value,key=value,...]: {reason}")


def _split(text: str, whole: str) -> Iterator[tuple[str | None, str]]:
    """Yield name and value of each parameter; positional values have no name."""
    masked = _QUOTED.sub(lambda match: match[1] + "_" * len(match[2]), text)
    depth, start = 0, 0
    for index, char in enumerate(f"{masked},"):
        depth += (char in "[{") - (char in "]}")
        if not 0 <= depth <= MAX_DEPTH or (depth and index == len(masked)):
            raise _error(whole, f"brackets do not match, or are nested more than {MAX_DEPTH} deep")
        if char == "," and not depth and masked:
            part, shown = text[start:index], masked[start:index]
            if _UNCLOSED.search(shown) or not part.strip():
                raise _error(whole, "a parameter is empty, or a quote is not closed")
            key, equals, _ = re.split(r"[\[{'\"]", shown, maxsplit=1)[0].partition("=")
            yield (key.strip(), part[len(key) + 1 :]) if equals else (None, part)
            start = index + 1


def format_value(value: Any, is_item: bool = False) -> str:
    """Format a finite plain value, or nested lists and mappings of such values, for :func:`parse_spec`."""
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(format_value(item, is_item=True) for item in value)}]"
    if isinstance(value, dict):
        items = [f"{_quote(str(name))}: {format_value(item, is_item=True)}" for name, item in value.items()]
        return f"{{{','.join(items)}}}"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else str(value)
    if not isinstance(value, str):
        return str(value)
    # A string needs quotes unless it is read unchanged without quotes; items of lists with brackets always need them.
    spec, parsed = (f"x[[{value}]]", [value]) if is_item else (f"x[{value}]", value)
    with contextlib.suppress(ParameterError):
        if spec.isprintable() and parse_spec(spec).positional == (parsed,) and not (is_item and _BRACKETS & set(value)):
            return value
    return _quote(value)


def _quote(text: str) -> str:
    """Return a string in quotes; only double quotes have escapes, for characters that are not printable."""
    is_printable = text.isprintable()
    style = "'" if is_printable else '"'
    quoted: str = yaml.dump(text, default_style=style, allow_unicode=is_printable, width=float("inf"))
    return quoted.rstrip("\n")
