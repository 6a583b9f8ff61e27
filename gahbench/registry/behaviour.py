"""Digests of the code that decides an outcome.

The digest of a class or function covers the module that defines it, and all modules that this module imports, directly
or not, from its own package or folder, from the built-in plugins, and from the packages of gahbench that compute. A
name that is imported from a package of gahbench is followed to the module that defines it. Docstrings, comments,
formatting, annotations outside class bodies, names of modules and aliases of imports do not affect the digest. Other
imports enter the digest only by name, so that it does not depend on the versions of libraries.

The digest does not follow imports at run time, such as imports by ``importlib``. It also does not cover a plugin that
code creates by name, rather than receives as a parameter.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gahbench.registry.source import BUILT_INS, Import, Sources, imports_of

#: The packages and modules of gahbench whose code decides outcomes.
COMPUTING = (
    "gahbench._util.noise",
    "gahbench._util.shapes",
    "gahbench.noise",
    "gahbench.jacobian",
    "gahbench.contracts",
    "gahbench.networks",
    "gahbench.sampling",
    "gahbench.evaluation",
    "gahbench.training",
)
#: Modules that only decide where units run, and so do not affect outcomes.
NOT_COMPUTING = ("gahbench.contracts.engines", "gahbench.contracts.unit")
#: Module and name of the decorator of methods that affect only metrics with a certain need.
NEEDED = ("gahbench.contracts.needs", "needed")
#: Attributes that only describe a class.
DESCRIPTIONS = frozenset({"citation", "display_name", "share_parts", "positive_parts"})
#: Attributes of metrics that only decide how values are displayed, and which suites are accepted.
DISPLAY_ATTRIBUTES = frozenset(
    {
        "unit",
        "higher_is_better",
        "titles",
        "nulls",
        "ratios",
        "label_parameters",
        "advised_images",
        "any_noise",
        "without_clean",
    }
)
#: Fields of syntax trees that do not affect behaviour, or differ between versions of Python.
_IGNORED_FIELDS = frozenset({"ctx", "type_comment", "type_params", "kind", "returns", "annotation", "simple"})


def behaviour_digest(target: Any) -> str:
    """Return the digest of the behaviour of a class or function, including the code that it uses.

    Parameters
    ----------
    target
        The class or function.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Examples
    --------
    >>> import gahbench
    >>> digest = gahbench.behaviour_digest(gahbench.image_shape)
    >>> len(digest), digest == gahbench.behaviour_digest(gahbench.image_shape)
    (64, True)
    """
    module = sys.modules[target.__module__]
    file = getattr(module, "__file__", None)
    if not file:
        # The class was defined in a notebook or an interactive session.
        text = textwrap.dedent(inspect.getsource(target))
        return _reduce(text.encode(), (), frozenset(), frozenset())[0]
    return _digest(Sources(module.__name__, Path(file)), module.__name__, target.__qualname__, frozenset())


@functools.cache
def function_digest(function: str, needs: frozenset[str] = frozenset()) -> str:
    """Return the digest of a function of gahbench, ``module:function``, without importing it."""
    module, _, name = function.partition(":")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {module}")
    return _digest(Sources(module, Path(spec.origin)), module, name, needs)


def _digest(sources: Sources, start: str, name: str, needs: frozenset[str]) -> str:
    """Return the digest of a name in module ``start``, over this module and the modules that it uses."""
    digests: dict[str, str] = {}
    queue = [start]
    while queue:
        module = queue.pop()
        file = sources.file(module)
        if module in digests or file is None or not (_affects_outcomes(module) or module == start):
            continue
        content = file.read_bytes()
        try:
            imports = _imports(content, module, file.stem == "__init__")
        except (SyntaxError, ValueError):
            # The file holds compiled code, or invalid code that raises an error when it is imported.
            digests[module] = hashlib.sha256(content).hexdigest()
            continue
        own_modules = frozenset(item.module for item in imports if sources.contains(item.module))
        digests[module], targets = _reduce(content, imports, own_modules, needs)
        for target in targets:
            queue += _defining_modules(sources, *target)
    return _hash([name, digests[start], *sorted(digests.values())])


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _within(module: str, *packages: str) -> bool:
    """Return whether a module is one of the given packages, or lies in one of them."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _affects_outcomes(module: str) -> bool:
    computes = _within(module, *COMPUTING) and not _within(module, *NOT_COMPUTING)
    return computes or not _within(module, "gahbench")


def _defining_modules(sources: Sources, module: str, parts: tuple[str, ...]) -> Iterator[str]:
    """Yield the modules that define the object of a dotted name in a module."""
    if not sources.contains(module):
        return
    file, submodule = sources.file(module), ".".join((module, *parts[:1]))
    is_ours = _within(module, "gahbench", BUILT_INS)
    exports: list[Import] = []
    if parts and is_ours and file is not None and file.stem == "__init__":
        imports = _imports(file.read_bytes(), module, True)
        exports = [item for item in imports if item.alias == parts[0] and item.module != module]
    for item in exports:
        yield from _defining_modules(sources, item.module, (*item.parts, *parts[1:]))
    is_submodule = not exports and parts and (file is None or sources.file(submodule) is not None)
    if is_submodule:
        yield from _defining_modules(sources, submodule, parts[1:])
    if not is_ours or not (exports or is_submodule):
        # The import executes the module.
        yield module


#: Parses with a small cache, since :func:`_imports` and then :func:`_reduce` parse the same content.
_parse = functools.lru_cache(maxsize=8)(ast.parse)


@functools.lru_cache(maxsize=1024)
def _imports(content: bytes, module: str, is_package: bool) -> tuple[Import, ...]:
    return imports_of(_parse(content), module, is_package)


@functools.lru_cache(maxsize=1024)
def _reduce(
    content: bytes, imports: tuple[Import, ...], own_modules: frozenset[str], needs: frozenset[str]
) -> tuple[str, list[tuple[str, tuple[str, ...]]]]:
    """Return the digest of a module, and the dotted names that it uses; own modules are reduced to their last part."""
    tree = _parse(content)
    names: dict[str, str] = {}
    for item in imports:
        last = item.name or item.module.rpartition(".")[2]
        name = last if item.module in own_modules else ".".join((item.module, *item.parts))
        names[item.alias] = f"{names[item.alias]}|{name}" if item.alias in names else name
    writer = _Writer(tree, names, {item.alias for item in imports if (item.module, item.name) == NEEDED}, needs)
    digest = _hash([writer.write(tree)])
    targets = []
    for item in imports:
        uses = [(item.module, (*item.parts, *path[1:])) for path in writer.paths if path[0] == item.alias]
        # An import that the module does not use has side effects, or is exported.
        targets += uses if uses or item.alias in writer.mentioned else [(item.module, item.parts)]
    return digest, targets


class _Writer:
    """Writes a syntax tree as text, reduced to its behaviour, and collects the dotted names in it."""

    def __init__(self, tree: ast.Module, names: Mapping[str, str], decorators: set[str], needs: frozenset[str]) -> None:
        self._names, self._decorators, self._needs = names, decorators, needs
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
        #: Names of variables and attributes that the code reads.
        self._read = {_last_part(node) for node in nodes if isinstance(node.ctx, ast.Load)}
        #: Names of all variables.
        self.mentioned = {node.id for node in nodes if isinstance(node, ast.Name)}
        self.paths: set[tuple[str, ...]] = set()

    def write(self, value: object) -> str:
        """Return the text of a node, or of the value of a field."""
        if isinstance(value, list):
            return f"[{','.join(self.write(item) for item in value if not self._is_ignored(item))}]"
        if not isinstance(value, ast.AST):
            return repr(value)
        if isinstance(value, ast.Name | ast.Attribute) and (path := _dotted_name(value)):
            self.paths.add(path)
            return ".".join((self._names.get(path[0], path[0]), *path[1:]))
        annotations = ""
        if isinstance(value, ast.ClassDef):
            value, annotations = self._without_descriptions(value), self._annotations(value)
        elif isinstance(value, ast.AnnAssign) and value.value is not None:
            value = ast.Assign([value.target], value.value)
        # Versions of Python differ in empty fields.
        fields = ((name, field) for name, field in ast.iter_fields(value) if name not in _IGNORED_FIELDS)
        text = ",".join(f"{name}={self.write(field)}" for name, field in fields if field is not None and field != [])
        return f"{type(value).__name__}({text}){annotations}"

    def _annotations(self, node: ast.ClassDef) -> str:
        """Return the annotations in a class body, which may define fields; the names in them are not followed."""
        paths = set(self.paths)
        annotations = [[item.target, item.annotation] for item in node.body if isinstance(item, ast.AnnAssign)]
        text = self.write(annotations) if annotations else ""
        self.paths = paths
        return text

    def _without_descriptions(self, node: ast.ClassDef) -> ast.ClassDef:
        """Return a class without the attributes that only describe it; decorated classes may use all attributes."""
        is_metric = any(_last_part(base) == "Metric" for base in node.bases)
        ignored = (DESCRIPTIONS | (DISPLAY_ATTRIBUTES if is_metric else frozenset())) - self._read
        if node.decorator_list:
            return node

        def is_description(statement: ast.stmt) -> bool:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            return all(isinstance(target, ast.Name) and target.id in ignored for target in targets)

        body = [statement for statement in node.body if not is_description(statement)]
        return ast.ClassDef(node.name, node.bases, node.keywords, body, [])

    def _is_ignored(self, node: object) -> bool:
        """Return whether a statement has no effect, or is a method for a need that the metric does not have."""
        if isinstance(node, ast.FunctionDef):
            return any(self._is_unneeded(decorator) for decorator in node.decorator_list)
        if isinstance(node, ast.If):
            test = ast.unparse(node.test)
            return test.rpartition(".")[2] == "TYPE_CHECKING" or test.startswith("__name__ ==")
        if isinstance(node, ast.Expr | ast.AnnAssign):
            return node.value is None or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)

    def _is_unneeded(self, decorator: ast.expr) -> bool:
        if not (isinstance(decorator, ast.Call) and _last_part(decorator.func) in self._decorators):
            return False
        return ast.literal_eval(decorator.args[0]) not in self._needs


def _last_part(node: ast.expr) -> str:
    """Return the last part of a dotted name; empty for other expressions."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _dotted_name(node: ast.expr) -> tuple[str, ...] | None:
    """Return the parts of a dotted name; ``None`` for other expressions."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None
