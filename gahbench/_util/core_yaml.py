"""YAML read by the core schema of YAML 1.2; PyYAML alone follows YAML 1.1.

So ``010`` is 10 rather than 8, ``1e-3`` is a number, and ``12:30``, ``on``, ``1_000`` and ``2024-01-01`` are texts.
Other tags than those of that schema are not accepted, ``!!python/name`` and ``!!timestamp`` among them, nor are texts
that no file's name can hold. Documents are bounded, so that a few lines of aliases do not fill the memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import yaml

from gahbench._util.readable import brief

_N = TypeVar("_N", int, float)

#: Bounds of a document: its characters, levels of nesting, and values, each as often as aliases repeat it.
MAX_CHARACTERS, MAX_DEPTH, MAX_VALUES = 200_000, 40, 50_000
#: The integers that are accepted: torch and tables hold no others.
INTEGERS = range(-(2**63), 2**63)
ACCEPTED_INTEGERS = f"integers of 64 bits are, {INTEGERS.start} to {INTEGERS.stop - 1}"

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
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_FRACTION = re.compile(rf"\s*({_NUMBER})\s*/\s*({_NUMBER})\s*")


class CoreLoader(yaml.SafeLoader):
    """A safe loader by the core schema, of bounded documents."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise yaml.YAMLError(f"{len(text)} characters; accepted are {MAX_CHARACTERS} or fewer")
        super().__init__(text)
        self._depth = self._deepest = self._values = 0
        #: Values in what has an anchor, itself included, and the levels of nesting below it.
        self._anchored: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one value and all in it, counting both."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._values
        is_alias = isinstance(event, yaml.AliasEvent)
        known = self.anchors.get(event.anchor) if is_alias else None
        if known is not None and known not in self._anchored:
            raise _error("a value refers to itself", event.start_mark)
        values, height = (1, 0) if known is None else self._anchored[known]
        self._values += values
        if self._values > MAX_VALUES:
            reason = ", each as often as aliases repeat it" if is_alias else ""
            raise _error(f"more than {MAX_VALUES} values{reason}", event.start_mark)
        if self._depth + height > MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} levels of lists and mappings", event.start_mark)
        above, self._deepest = self._deepest, self._depth + height
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and not is_alias and event.anchor is not None:
            self._anchored[node] = (self._values - before, self._deepest - self._depth)
        self._deepest = max(above, self._deepest)
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Return the text of a scalar."""
        text = super().construct_scalar(node)
        wrong = _NO_TEXT.search(text) if isinstance(text, str) else None
        if wrong is not None:
            raise _error(f"the character U+{ord(wrong[0]):04X} is not accepted", node.start_mark)
        return text

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave a mapping as it is: merge keys are not in YAML 1.2."""


def _error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


#: NUL, which no path has, and lone surrogates, which no encoding writes.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")

# The resolvers and constructors of YAML 1.1 are dropped.
CoreLoader.yaml_implicit_resolvers = {}
CoreLoader.yaml_constructors = {
    _TAG + name: yaml.SafeLoader.yaml_constructors[_TAG + name] for name in ("null", "str", "seq", "map")
}


class _CoreDumper(yaml.SafeDumper):
    """A dumper that quotes texts that either schema would read as something else, and escapes line breaks."""


for _name, _pattern, _first in _CORE:
    for _class in (CoreLoader, _CoreDumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_CoreDumper.add_representer(str, _text)


def _truth(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node))
    if text.lower() not in ("true", "false"):
        raise _error(f"{brief(repr(text), 100)} is neither true nor false", node.start_mark)
    return text.lower() == "true"


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    found = _number(node, text, lambda: int(text, base))
    if found not in INTEGERS:
        raise _error(f"{brief(text, 100)} is not accepted; {ACCEPTED_INTEGERS}", node.start_mark)
    return found


def _real(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    # Python writes .inf and .nan without the point.
    return _number(node, text, lambda: float(re.sub(r"^([-+]?)\.(?=[a-z])", r"\1", text.lower())))


def _number(node: yaml.ScalarNode, text: str, read: Callable[[], _N]) -> _N:
    try:
        return read()
    except ValueError as error:
        raise _error(f"{brief(repr(text), 100)} is not a number", node.start_mark) from error


def _unknown(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    tag = node.tag.replace(_TAG, "!!")
    raise _error(f"the tag '{tag}' is not accepted; leave it out", node.start_mark)


CoreLoader.add_constructor(_TAG + "bool", _truth)
CoreLoader.add_constructor(_TAG + "int", _integer)
CoreLoader.add_constructor(_TAG + "float", _real)
CoreLoader.add_constructor(None, _unknown)


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
    >>> dump_flow({"b": ["on", "1e-3"], "a": 1e-3})
    "{a: 0.001, b: ['on', '1e-3']}"
    """
    written: str = yaml.dump(
        value, Dumper=_CoreDumper, default_flow_style=True, sort_keys=True, allow_unicode=False, width=float("inf")
    )
    return written.removesuffix("\n").removesuffix("\n...")


def as_number(value: Any) -> Any:
    """Return the number that a text such as ``25/255`` stands for; anything else as it is."""
    found = _FRACTION.fullmatch(value) if isinstance(value, str) and len(value) < 100 else None
    if found is None or float(found[2]) == 0:
        return value
    return float(found[1]) / float(found[2])
