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
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

#: gahbench and its built-in plugins, whose packages only export names.
OURS = ("gahbench", "gahbench_plugins")
#: The alias and the dotted name of each import of a module.
Imports = tuple[tuple[str, str], ...]
#: Prefixes of the modules of gahbench whose code decides outcomes.
COMPUTING = (
    "gahbench._util.noise", "gahbench._util.shapes", "gahbench.jacobian", "gahbench.contracts", "gahbench.networks",
    "gahbench.sampling", "gahbench.evaluation", "gahbench.training",
)  # fmt: skip
#: The decorator of methods that affect only metrics with a certain need.
NEEDED = "gahbench.contracts.truth.needed"
#: Attributes that only describe a class.
_DESCRIPTION = re.compile(r"(citation|display_name)( =|:)")
_DOTTED_NAME = re.compile(r"\w+(\.\w+)*")
#: Tests of code that is only for type checkers, or for running a file as a script.
_NOT_RUN = re.compile(r"(\w+\.)*TYPE_CHECKING|__name__ ==.*")


def behaviour_digest(target: Any) -> str:
    """Return the digest of the behaviour of a class or function, including the code that it uses.

    Parameters
    ----------
    target
        The class or function, defined in a file.

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
    return _digest(target.__module__, sys.modules[target.__module__].__file__, target.__qualname__, frozenset())


@functools.cache
def function_digest(function: str, needs: frozenset[str] = frozenset()) -> str:
    """Return the digest of a function of gahbench, ``module:function``, without importing it."""
    module, _, name = function.partition(":")
    return _digest(module, getattr(importlib.util.find_spec(module), "origin", None), name, needs)


def _digest(start: str, origin: Any, name: str, needs: frozenset[str]) -> str:
    """Return the digest of a name in module ``start``, over this module and the modules that it uses."""
    sources, digests = Sources(start, Path(origin)), dict[str, str]()

    def read(module: str, file: Path) -> list[str]:
        if module.partition(".")[0] == "gahbench" and not module.startswith(COMPUTING) and module != start:
            return []
        content = file.read_bytes()
        imports = imports_of(content, module, file.stem == "__init__")
        own = frozenset(target for _, target in imports if any(sources.modules(target)))
        digests[module], used = _reduce(content, imports, own, needs)
        return used

    sources.walk(start, read)
    return _hash("\n".join([name, digests[start], *sorted(digests.values())]).encode())


@functools.lru_cache(maxsize=1024)
def imports_of(content: bytes, module: str, is_package: bool) -> Imports:
    """Return all imports in the code of a module; ``import a.b`` also gives ``a.b`` with an empty alias."""
    imports = []
    for node in ast.walk(_parse(content)):
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                imports += [(item.asname, item.name)] if item.asname else [("", item.name), (top, top)]
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: is_package - node.level or None] if node.level else []
            base = [*parents, *filter(None, [node.module])]
            imports += [(item.asname or item.name, ".".join([*base, item.name])) for item in node.names]
    return tuple(imports)


class Sources:
    """Finds the files of modules in a module's own package or folder, in gahbench, and in the built-in plugins."""

    def __init__(self, name: str, file: Path) -> None:
        top = name.partition(".")[0]
        paths = {package: getattr(sys.modules.get(package), "__path__", None) for package in (top, *OURS)}
        self._packages = {package: Path(next(iter(path))) for package, path in paths.items() if path}
        self._folder = None if top in self._packages else file.parent
        self._files: dict[str, Path | None] = {name: file}

    def file(self, module: str) -> Path | None:
        """Return the file of a module; ``None`` for modules of libraries, and for modules without a file."""
        if module not in self._files:
            top, *rest = module.split(".")
            folder = self._packages.get(top, self._folder / top if self._folder and top else None)
            # Packages of gahbench declare their imports in stubs.
            names = ("/__init__.pyi", "/__init__.py", ".py") if is_ours(module) else ("/__init__.py", ".py")
            paths = [Path(f"{folder.joinpath(*rest)}{name}") for name in names] if folder else []
            self._files[module] = next(filter(Path.is_file, paths), None)
        return self._files[module]

    def modules(self, name: str) -> list[str]:
        """Return the modules that define a dotted name, and the packages of a plugin that its import executes."""
        parts = name.split(".")
        prefixes = [(".".join(parts[:end]), parts[end:]) for end in range(len(parts), 0, -1)]
        found = [(module, rest, file) for module, rest in prefixes if (file := self.file(module)) is not None]
        if not is_ours(name) or not found:
            return [module for module, _, _ in found]
        module, rest, file = found[0]
        imports = imports_of(file.read_bytes(), module, True) if rest and file.stem == "__init__" else ()
        exports = [target for alias, target in imports if alias == rest[0] and target != name]
        names = [".".join([export, *rest[1:]]) for export in exports]
        return [defining for name in names for defining in self.modules(name)] if exports else [module]

    def walk(self, start: str, read: Callable[[str, Path], Iterable[str]]) -> None:
        """Call ``read(module, file)`` once for a module, and for the modules that define the names that it returns."""
        seen, queue = set[str](), [start]
        while queue:
            module = queue.pop()
            if module not in seen and (file := self.file(module)) is not None:
                seen.add(module)
                queue += [found for name in read(module, file) for found in self.modules(name)]


def is_ours(module: str) -> bool:
    """Return whether a module is part of gahbench or of the built-in plugins."""
    return module.partition(".")[0] in OURS


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parse(content: bytes) -> ast.Module:
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError):
        # The file holds compiled code, or invalid code that raises an error when it is imported.
        return ast.Module([ast.Global([_hash(content)])], [])


@functools.lru_cache(maxsize=1024)
def _reduce(content: bytes, imports: Imports, own: frozenset[str], needs: frozenset[str]) -> tuple[str, list[str]]:
    """Return the digest of a module, and the dotted names that it uses; ``own`` names lose the name of their module."""
    tree = _parse(content)
    mentioned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    reducer = _Reducer(imports, own, needs)
    digest = _hash(_text(reducer.visit(tree)).encode())
    used: list[str] = []
    for alias, name in imports:
        uses = [f"{name}{path[len(alias) :]}" for path in reducer.paths if path.partition(".")[0] == alias]
        # An import that the module does not use has side effects, or is exported.
        used += uses if uses or alias in mentioned else [name]
    return digest, used


def _text(value: object) -> str:
    """Return the text of a syntax tree, which is the same in all versions of Python."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = [(name, field) for name, field in ast.iter_fields(value) if name != "ctx" and field not in (None, [])]
    texts = [f"{name}={_text(field)}" for name, field in fields]
    return f"{type(value).__name__}({','.join(texts)})"


class _Reducer(ast.NodeTransformer):
    """Reduces a syntax tree to its behaviour, and collects the dotted names that it uses."""

    def __init__(self, imports: Imports, own: frozenset[str], needs: frozenset[str]) -> None:
        self._needs, self.paths = needs, set[str]()
        self._decorators = {alias for alias, name in imports if name == NEEDED}
        self._names: dict[str, str] = {}
        for alias, name in imports:
            text = name.rpartition(".")[2] if name in own else name
            self._names[alias] = f"{self._names[alias]}|{text}" if alias in self._names else text

    def visit(self, node: ast.AST) -> Any:
        """Return the reduced node; ``None`` without an effect."""
        match node:
            case ast.Name() | ast.Attribute() if _DOTTED_NAME.fullmatch(path := ast.unparse(node)):
                self.paths.add(path)
                alias, dot, attributes = path.partition(".")
                return ast.Name(f"{self._names.get(alias, alias)}{dot}{attributes}")
            case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr(ast.Constant()) | ast.AnnAssign(value=None):
                return None
            case ast.If(test) if _NOT_RUN.fullmatch(ast.unparse(test)):
                return None
            case ast.FunctionDef(decorator_list=[*_, ast.Call(ast.Name(alias), [ast.Constant(need)])]) if (
                alias in self._decorators and need not in self._needs
            ):
                return None
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                node.returns = None
            case ast.arg():
                node.annotation = None
            case ast.AnnAssign(target, _, ast.expr() as value):
                node = ast.Assign([target], value)
            case ast.ClassDef():
                # Annotations may define fields; the names in them are not followed.
                fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
                texts = [f"{ast.unparse(field.target)}: {ast.unparse(field.annotation)}" for field in fields]
                described = [item for item in node.body if isinstance(item, ast.Assign | ast.AnnAssign)]
                described = [item for item in described if _DESCRIPTION.match(ast.unparse(item))]
                node.body = [ast.Global(texts), *(item for item in node.body if item not in described)]
        return self.generic_visit(node)
