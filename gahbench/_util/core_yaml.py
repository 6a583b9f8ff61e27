"""YAML read by the core schema of YAML 1.2; PyYAML alone follows YAML 1.1.

So ``010`` is 10 rather than 8, ``1e-3`` is a number, and ``12:30``, ``on``, ``1_000`` and ``2024-01-01`` are texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import yaml

_N = TypeVar("_N", int, float)

_TAG = "tag:yaml.org,2002:"
#: Types of plain scalars, in order, and the characters that they begin with (YAML 1.2.2, section 10.3.2).
_CORE = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class CoreLoader(yaml.SafeLoader):
    """A safe loader by the core schema."""


# Not those of YAML 1.1.
CoreLoader.yaml_implicit_resolvers = {}


class _CoreDumper(yaml.SafeDumper):
    """A dumper that quotes texts that either schema would read as something else, and escapes line breaks."""


for _name, _pattern, _first in _CORE:
    for _class in (CoreLoader, _CoreDumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_CoreDumper.add_representer(str, _text)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return _number(node, text, lambda: int(text, base))


def _real(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    # Python writes .inf and .nan without the point.
    return _number(node, text, lambda: float(re.sub(r"^([-+]?)\.(?=[a-z])", r"\1", text.lower())))


def _number(node: yaml.ScalarNode, text: str, read: Callable[[], _N]) -> _N:
    try:
        return read()
    except ValueError as error:
        raise yaml.constructor.ConstructorError(None, None, f"'{text}' is not a number", node.start_mark) from error


CoreLoader.add_constructor(_TAG + "int", _integer)
CoreLoader.add_constructor(_TAG + "float", _real)


def load_scalar(text: str) -> Any:
    """Read one YAML value by the core schema of YAML 1.2: ``1e-3`` is a number, ``010`` is ten, ``on`` is text.

    Parameters
    ----------
    text
        The value as it is written in YAML.

    Raises
    ------
    yaml.YAMLError
        If it is not YAML.
    """
    return yaml.load(text, Loader=CoreLoader)


def dump_flow(value: Any) -> str:
    """Write a plain value as YAML on one line, as :func:`load_scalar` reads it.

    Parameters
    ----------
    value
        Of texts, numbers, truth values, ``None``, and lists and mappings of them; names of mappings are sorted.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.dump_flow({"b": ["on", "1e-3"], "a": 1e-3})
    "{a: 0.001, b: ['on', '1e-3']}"
    """
    written: str = yaml.dump(
        value, Dumper=_CoreDumper, default_flow_style=True, sort_keys=True, allow_unicode=False, width=float("inf")
    )
    return written.removesuffix("\n").removesuffix("\n...")
