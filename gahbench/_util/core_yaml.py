"""Reading and writing of YAML with the core schema of YAML 1.2; PyYAML by default follows YAML 1.1.

With this schema ``010`` is 10 rather than 8, ``1e-3`` is a number, and ``12:30``, ``on``, ``1_000`` and ``2024-01-01``
are strings. Tags outside the schema, such as ``!!python/name`` and ``!!timestamp``, are refused, as are NUL and lone
surrogates. The size of documents is limited, so that a few lines of aliases cannot fill the memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import yaml

from gahbench._util.readable import brief

_N = TypeVar("_N", int, float)

#: Limits of a document: characters, levels of nesting, and values, which count again for each alias.
MAX_CHARACTERS, MAX_DEPTH, MAX_VALUES = 200_000, 40, 50_000
#: Accepted integers: signed integers of 64 bits, as in torch and tables.
INTEGERS = range(-(2**63), 2**63)
ACCEPTED_INTEGERS = f"accepted: integers of 64 bits, {INTEGERS.start} to {INTEGERS.stop - 1}"

_TAG = "tag:yaml.org,2002:"
#: Types of plain scalars in order: pattern and first characters (YAML 1.2.2, section 10.3.2).
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
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_FRACTION = re.compile(rf"\s*({_NUMBER})\s*/\s*({_NUMBER})\s*")


class CoreLoader(yaml.SafeLoader):
    """A safe YAML loader with the core schema and limits on the size of documents."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise yaml.YAMLError(f"{len(text)} characters; accepted: at most {MAX_CHARACTERS}")
        super().__init__(text)
        self._depth = self._deepest = self._values = 0
        #: Number of values in an anchored node, including the node, and levels of nesting below it.
        self._anchored: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, counting its values and levels of nesting."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        values_before = self._values
        is_alias = isinstance(event, yaml.AliasEvent)
        target = self.anchors.get(event.anchor) if is_alias else None
        if target is not None and target not in self._anchored:
            raise _error("a value refers to itself", event.start_mark)
        values, height = (1, 0) if target is None else self._anchored[target]
        self._values += values
        if self._values > MAX_VALUES:
            reason = ", counting repetitions by aliases" if is_alias else ""
            raise _error(f"more than {MAX_VALUES} values{reason}", event.start_mark)
        if self._depth + height > MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} levels of lists and mappings", event.start_mark)
        previous_deepest, self._deepest = self._deepest, self._depth + height
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and not is_alias and event.anchor is not None:
            self._anchored[node] = (self._values - values_before, self._deepest - self._depth)
        self._deepest = max(previous_deepest, self._deepest)
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Return the text of a scalar."""
        text = super().construct_scalar(node)
        invalid = _INVALID_CHARACTER.search(text) if isinstance(text, str) else None
        if invalid is not None:
            raise _error(f"the character U+{ord(invalid[0]):04X} is not accepted", node.start_mark)
        return text

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Do nothing, since YAML 1.2 has no merge keys."""


def _error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


#: NUL, which paths cannot contain, and lone surrogates, which cannot be encoded.
_INVALID_CHARACTER = re.compile("[\0\ud800-\udfff]")

# Remove the resolvers and constructors of YAML 1.1.
CoreLoader.yaml_implicit_resolvers = {}
CoreLoader.yaml_constructors = {
    _TAG + name: yaml.SafeLoader.yaml_constructors[_TAG + name] for name in ("null", "str", "seq", "map")
}


class _CoreDumper(yaml.SafeDumper):
    """A YAML dumper that quotes strings that YAML 1.1 or 1.2 would not read as strings, and escapes line breaks."""


for _name, _pattern, _first in _CORE:
    for _class in (CoreLoader, _CoreDumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_CoreDumper.add_representer(str, _represent_text)


def _construct_boolean(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node))
    if text.lower() not in ("true", "false"):
        raise _error(f"{brief(repr(text), 100)} is neither true nor false", node.start_mark)
    return text.lower() == "true"


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = _parse_number(node, text, lambda: int(text, base))
    if number not in INTEGERS:
        raise _error(f"{brief(text, 100)} is not accepted; {ACCEPTED_INTEGERS}", node.start_mark)
    return number


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    # Python's float accepts inf and nan without the leading point.
    return _parse_number(node, text, lambda: float(re.sub(r"^([-+]?)\.(?=[a-z])", r"\1", text.lower())))


def _parse_number(node: yaml.ScalarNode, text: str, read: Callable[[], _N]) -> _N:
    try:
        return read()
    except ValueError as error:
        raise _error(f"{brief(repr(text), 100)} is not a number", node.start_mark) from error


def _refuse_tag(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    tag = node.tag.replace(_TAG, "!!")
    raise _error(f"the tag '{tag}' is not accepted; leave it out", node.start_mark)


CoreLoader.add_constructor(_TAG + "bool", _construct_boolean)
CoreLoader.add_constructor(_TAG + "int", _construct_integer)
CoreLoader.add_constructor(_TAG + "float", _construct_float)
CoreLoader.add_constructor(None, _refuse_tag)


def load_scalar(text: str) -> Any:
    """Read a YAML value with the core schema of YAML 1.2: ``1e-3`` is a number, ``010`` is 10, ``on`` is a string.

    Parameters
    ----------
    text
        The value in YAML syntax.

    Raises
    ------
    yaml.YAMLError
        If the text is not valid YAML.
    """
    return yaml.load(text, Loader=CoreLoader)


def dump_flow(value: Any) -> str:
    """Write a value as YAML on a single line, which :func:`load_scalar` reads back.

    Parameters
    ----------
    value
        A string, number, boolean, ``None``, list or mapping, nested to any depth. Keys of mappings are sorted.

    Examples
    --------
    >>> dump_flow({"b": ["on", "1e-3"], "a": 1e-3})
    "{a: 0.001, b: ['on', '1e-3']}"
    """
    text: str = yaml.dump(
        value, Dumper=_CoreDumper, default_flow_style=True, sort_keys=True, allow_unicode=False, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")


def as_number(value: Any) -> Any:
    """Convert a string such as ``25/255`` to a number; return any other value unchanged."""
    fraction = _FRACTION.fullmatch(value) if isinstance(value, str) and len(value) < 100 else None
    if fraction is None or float(fraction[2]) == 0:
        return value
    return float(fraction[1]) / float(fraction[2])
