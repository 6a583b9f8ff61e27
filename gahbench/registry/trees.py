"""The syntax tree of a definition as text, reduced to its behaviour, and the names that it uses."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from gahbench.registry.syntax import FUNCTION, SCOPE, Import, local_names

#: The module and the name of a definition.
Definition = tuple[str, str]
#: The decorator of methods that count only for those who need them.
NEEDED: Definition = ("gahbench.contracts.needs", "needed")
#: What stands for the statements of a module that bind nothing, and for those that enter a definition into a table.
EFFECTS = "<effects>"
#: The base class of metrics, and the attributes of their classes that only describe how values are shown.
METRIC: Definition = ("gahbench.contracts.metrics", "Metric")
SHOWN = ("unit", "higher_is_better", "titles", "nulls", "ratios", "label_parameters")
#: Mark the scopes of classes, whose names their methods do not see, and of those that make fields of annotations.
_CLASS, _FIELDS = "<class>", "<fields>"
_CAST: Definition = ("typing", "cast")
#: Base classes whose annotations make no fields.
_FIELDLESS = frozenset(
    {
        "ABC",
        "Basis",
        "Dataset",
        "Engine",
        "Exception",
        "Metric",
        "Module",
        "Protocol",
        "Reference",
        "ValueError",
        "object",
    }
)
_LEFT_OUT = frozenset({"ctx", "type_comment", "type_params", "kind", "returns", "annotation", "simple", "lineno"})


class Lookup(Protocol):
    """Resolves names to definitions."""

    def statements(self, definition: Definition) -> list[ast.stmt]:
        """Return the statements of a definition."""
        ...

    def resolve(self, module: str, path: tuple[str, ...]) -> tuple[list[Definition], str, int]:
        """Return the definitions that a dotted name refers to, its canonical name, and the number of parts used."""
        ...

    def bindings(self, module: str, node: ast.Import | ast.ImportFrom) -> dict[str, Import]:
        """Return the names that an import in a module binds, with their origins."""
        ...

    def resolve_import(self, origin: Import, path: tuple[str, ...]) -> tuple[list[Definition], str, int]:
        """Return the same for a dotted name whose first part an import binds."""
        ...


@dataclass(frozen=True)
class Tree:
    """A definition's own digest, and the definitions that it uses, in the order of their first use."""

    digest: str
    uses: tuple[Definition, ...]

    @classmethod
    def of(cls, definition: Definition, names: Lookup, needs: frozenset[str]) -> Tree:
        """Read a definition."""
        writer = _Writer(definition[0], names, needs)
        text = "\n".join(writer.write(statement) for statement in names.statements(definition))
        return cls(hashlib.sha256(text.encode()).hexdigest(), tuple(dict.fromkeys(writer.uses)))


class _Writer:
    """Writes syntax trees, with names replaced by their definitions."""

    def __init__(self, module: str, names: Lookup, needs: frozenset[str]) -> None:
        self._module, self._names, self._needs = module, names, needs
        #: Names of the scopes that enclose a node, innermost last, with the import that binds each, if one does.
        self._scopes: list[dict[str, Import | None]] = []
        self.uses: list[Definition] = []

    def write(self, node: ast.AST) -> str:
        """Return the text of a node."""
        if isinstance(node, ast.Name | ast.Attribute) and (path := _dotted(node)) is not None:
            return self._name(path)
        if isinstance(node, ast.AnnAssign):
            return self._annotated(node)
        if isinstance(node, ast.Call) and len(node.args) == 2 and self._names_it(node.func, _CAST):
            return self.write(node.args[1])
        if isinstance(node, ast.Constant):
            return f"{type(node.value).__name__}:{node.value!r}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            return ""  # What it binds is written where it is used.
        if isinstance(node, SCOPE):
            return self._scope(node)
        return self._plain(node, _fields(node))

    def _plain(self, node: ast.AST, fields: Iterator[tuple[str, object]]) -> str:
        parts = [f"{name}={self._value(value)}" for name, value in fields]
        return f"{type(node).__name__}({','.join(parts)})"

    def _value(self, value: object) -> str:
        if isinstance(value, ast.AST):
            return self.write(value)
        if isinstance(value, list):
            return "[" + ",".join(text for one in value if (text := self._value(one))) + "]"
        return repr(value)

    def _scope(self, node: ast.AST) -> str:
        """Write a node with a scope of its own; its decorators, defaults and bases belong to the enclosing scope."""
        outer = {"decorator_list", "bases", "keywords"}
        enclosing = [(name, value) for name, value in _fields(node) if name in outer]
        text = self._plain(node, iter(enclosing))
        if isinstance(node, FUNCTION | ast.Lambda):
            text += self._value([*node.args.defaults, *(one or ast.Constant(None) for one in node.args.kw_defaults)])
        own: dict[str, Import | None] = {}
        for name, by in local_names(node):
            own[name] = None
            if isinstance(by, ast.Import | ast.ImportFrom):
                own[name] = self._names.bindings(self._module, by).get(name)
        if isinstance(node, ast.ClassDef):
            own |= {_CLASS: None, **({_FIELDS: None} if _has_fields(node) else {})}
        self._scopes.append(own)
        body = self._body(node) if isinstance(node, FUNCTION | ast.ClassDef) else None
        rest = [(name, value) for name, value in _fields(node) if name not in outer and not (body and name == "body")]
        text += self._plain(node, iter(rest)) + (self._value(body) if body else "")
        self._scopes.pop()
        return text

    def _body(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[ast.stmt]:
        """Return the statements of a function or class that count; one that has none passes."""
        kept = [one for one in node.body if not _is_docstring(one) and not self._is_left_out(one)]
        if isinstance(node, ast.ClassDef) and any(self._names_it(base, METRIC) for base in node.bases):
            used = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
            kept = [one for one in kept if not _is_shown(one, used)]
        if not (isinstance(node, ast.ClassDef) and _has_fields(node)):
            kept = [one for one in kept if not (isinstance(one, ast.AnnAssign) and one.value is None)]
        return kept or [ast.Pass()]

    def _is_left_out(self, statement: ast.stmt) -> bool:
        """Return whether a method is for a need that is not among those here."""
        if not isinstance(statement, FUNCTION):
            return False
        marks = [mark for mark in statement.decorator_list if isinstance(mark, ast.Call)]
        needs = [need for mark in marks if self._names_it(mark.func, NEEDED) for need in mark.args]
        return any(isinstance(need, ast.Constant) and need.value not in self._needs for need in needs)

    def _annotated(self, node: ast.AnnAssign) -> str:
        """Write an assignment without its annotation; of a dataclass it makes a field, unless it is of the class."""
        target = self.write(node.target)
        if self._scopes and _FIELDS in self._scopes[-1]:
            kind = "class" if "ClassVar" in ast.unparse(node.annotation) else "field"
            # Such as the bounds of a value, or what validates it.
            calls = [one for one in ast.walk(node.annotation) if isinstance(one, ast.Call)]
            return (
                f"{kind}({target},{self.write(node.value) if node.value else ''}{self._value(calls) if calls else ''})"
            )
        return f"Assign(targets=[{target}],value={self.write(node.value)})" if node.value else ""

    def _name(self, path: tuple[str, ...]) -> str:
        definitions, text = self._meaning(path)
        self.uses += definitions
        return text

    def _names_it(self, node: ast.expr, what: Definition) -> bool:
        """Return whether an expression is the name of a definition of gahbench or of a library."""
        path = _dotted(node)
        if path is None:
            return False
        definitions, text = self._meaning(path)
        return what in definitions or (not definitions and text == f"<{'.'.join(what)}>")

    def _meaning(self, path: tuple[str, ...]) -> tuple[list[Definition], str]:
        """Return the definitions that a dotted name refers to here, and how it is written."""
        definitions, name, used = self._resolved(path)
        return definitions, f"<{'.'.join((name, *path[used:]))}>" if used else ".".join(path)

    def _resolved(self, path: tuple[str, ...]) -> tuple[list[Definition], str, int]:
        for depth, scope in enumerate(reversed(self._scopes)):
            if path[0] in scope and not (depth and _CLASS in scope):
                origin = scope[path[0]]
                return ([], "", 0) if origin is None else self._names.resolve_import(origin, path)
        return self._names.resolve(self._module, path)


def decorator(node: ast.expr) -> tuple[str, ...] | None:
    """Return the dotted name of a decorator, called or not; ``None`` where it is none."""
    return _dotted(node.func if isinstance(node, ast.Call) else node)


def _fields(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Yield the fields of a node that count; empty ones differ between versions of Python."""
    for name, value in ast.iter_fields(node):
        if name not in _LEFT_OUT and value is not None and value != []:
            yield name, value


def _dotted(node: ast.expr) -> tuple[str, ...] | None:
    """Return the parts of a dotted name; ``None`` for other expressions."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def _has_fields(node: ast.ClassDef) -> bool:
    """Return whether annotations of a class make fields, as those of dataclasses do."""
    return bool(node.decorator_list) or any(base not in _FIELDLESS for base in _names_of(node.bases))


def _names_of(bases: list[ast.expr]) -> list[str]:
    """Return the last parts of the names of base classes."""
    return [path[-1] for base in bases if (path := _dotted(base)) is not None]


def _is_shown(statement: ast.stmt, used: set[str]) -> bool:
    """Return whether a statement of a metric's class only describes how its values are shown."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return all(isinstance(target, ast.Name) and target.id in SHOWN and target.id not in used for target in targets)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
