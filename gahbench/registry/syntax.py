"""A module's syntax: its definitions, reduced to their behaviour, and its imports."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Where a name is imported from: a module, and the name there; ``None`` for the module itself.
Import = tuple[str, str | None]
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITION = FUNCTION | ast.ClassDef
_COMPREHENSION = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
SCOPE = _DEFINITION | ast.Lambda | _COMPREHENSION
_COMPOUND = ast.If | ast.Try | ast.TryStar | ast.With | ast.AsyncWith | ast.For | ast.AsyncFor | ast.While | ast.Match


@dataclass(frozen=True)
class Syntax:
    """A module, read and not run."""

    name: str
    is_package: bool
    definitions: Mapping[str, list[ast.stmt]]
    imports: Mapping[str, tuple[Import, ...]]
    stars: tuple[str, ...]
    effects: tuple[ast.stmt, ...] = field(default=())

    @property
    def decorated(self) -> list[ast.stmt]:
        """Definitions with decorators, which may have been entered into a table."""
        found = (one for statements in self.definitions.values() for one in statements)
        return [one for one in found if isinstance(one, _DEFINITION) and one.decorator_list]


def read_syntax(name: str, file: Path) -> Syntax:
    """Read a module."""
    return _read(name, file.stem == "__init__", file.read_bytes())


@functools.lru_cache(maxsize=1024)
def _read(name: str, is_package: bool, content: bytes) -> Syntax:
    return syntax_of(ast.parse(content), name, is_package)


def syntax_of(tree: ast.Module, name: str, is_package: bool) -> Syntax:
    """Sort the statements of a module by the names that they bind; citations of plugins are left out of them."""
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, tuple[Import, ...]] = {}
    stars: list[str] = []
    effects: list[ast.stmt] = []
    cited = _leave_out_citations(tree)
    for statement in tree.body:
        for inner in _imports_in(statement):
            found, star = imported(inner, name, is_package)
            for one, origin in found.items():
                if one not in cited:
                    imports[one] = (*imports.get(one, ()), origin)
            stars += star
        if isinstance(statement, ast.Import | ast.ImportFrom) or _is_for_type_checkers(statement):
            continue
        bound = _bound(statement)
        for one in bound:
            definitions.setdefault(one, []).append(statement)
        # A loop or a branch may change what it does not bind.
        is_effect = isinstance(statement, _COMPOUND) or not bound
        if is_effect and not _is_text(statement) and not _is_script(statement):
            effects.append(statement)
    return Syntax(name, is_package, definitions, imports, tuple(stars), tuple(effects))


def imported(node: ast.Import | ast.ImportFrom, name: str, is_package: bool) -> tuple[dict[str, Import], list[str]]:
    """Return the names that an import binds, and the modules of which it takes all names."""
    if isinstance(node, ast.Import):
        whole = {alias.asname: (alias.name, None) for alias in node.names if alias.asname}
        return {**{alias.name.partition(".")[0]: (alias.name.partition(".")[0], None) for alias in node.names
                   if not alias.asname}, **whole}, []  # fmt: skip
    base = node.module or ""
    if node.level:
        parts = name.split(".")
        keep = parts[: len(parts) - node.level + is_package]
        base = ".".join([*keep, *([node.module] if node.module else [])])
    found: dict[str, Import] = {
        alias.asname or alias.name: (base, alias.name) for alias in node.names if alias.name != "*"
    }
    return found, [base] if any(alias.name == "*" for alias in node.names) else []


def all_modules(tree: ast.AST, name: str, is_package: bool) -> set[str]:
    """Return the absolute names of the modules that a module may import, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names, stars = imported(node, name, is_package)
            found.update(stars)
            for base, attribute in names.values():
                found.update((base, f"{base}.{attribute}"))
    return found


def local_names(scope: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """Yield the names that a function, lambda, comprehension or class body binds, with the import that binds them."""
    outside: set[str] = set()
    found: list[tuple[str, ast.AST | None]] = []
    if isinstance(scope, FUNCTION | ast.Lambda):
        arguments = scope.args
        named = (arguments.posonlyargs, arguments.args, arguments.kwonlyargs, (arguments.vararg, arguments.kwarg))
        found += [(argument.arg, None) for group in named for argument in group if argument is not None]
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            found.append((node.id, None))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found += [(alias.asname or alias.name.partition(".")[0], node) for alias in node.names]
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outside.update(node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.append((node.name, None))
        if isinstance(node, _DEFINITION):
            found.append((node.name, None))
            waiting += node.decorator_list
        elif not isinstance(node, ast.Lambda | _COMPREHENSION):
            waiting += ast.iter_child_nodes(node)
    yield from ((name, node) for name, node in found if name not in outside)


def _leave_out_citations(tree: ast.Module) -> set[str]:
    """Take the citations out of classes, unless the module uses one; return the names used there and nowhere else."""
    if any(isinstance(one, ast.Attribute) and one.attr == "citation" for one in ast.walk(tree)):
        return set()
    taken: list[ast.stmt] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            taken += [one for one in node.body if _is_citation(one)]
            node.body = [one for one in node.body if not _is_citation(one)]
    cited = {one.id for statement in taken for one in ast.walk(statement) if isinstance(one, ast.Name)}
    return cited - {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)}


def _is_citation(statement: ast.stmt) -> bool:
    """Return whether a statement of a class binds its ``citation``, and makes no field of it."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and "ClassVar" in ast.unparse(statement.annotation):
        targets = [statement.target]
    return [one.id if isinstance(one, ast.Name) else "" for one in targets] == ["citation"]


def _imports_in(statement: ast.stmt) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of a statement of a module, within ``if`` and ``try`` too, but not within functions."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        yield statement
    elif isinstance(statement, _COMPOUND):
        for node in ast.iter_child_nodes(statement):
            inner = node.body if isinstance(node, ast.ExceptHandler | ast.match_case) else [node]
            for one in inner:
                if isinstance(one, ast.stmt):
                    yield from _imports_in(one)


def _bound(statement: ast.stmt) -> list[str]:
    """Return the names that a statement of a module binds, or changes in place."""
    if isinstance(statement, _DEFINITION):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        within = [node.target.id for node in ast.walk(statement) if isinstance(node, ast.NamedExpr)]
        return [*(name for target in statement.targets for name in _bases(target)), *within]
    if isinstance(statement, ast.AugAssign | ast.AnnAssign):
        return _bases(statement.target)
    if isinstance(statement, _COMPOUND):
        names = [name for name, by in local_names(ast.Module([statement], [])) if by is None]
        changed = (node.targets for node in ast.walk(statement) if isinstance(node, ast.Assign))
        names += [name for targets in changed for target in targets for name in _bases(target)]
        return list(dict.fromkeys(names))
    return []


def _bases(target: ast.expr) -> list[str]:
    """Return the names at the bottom of an assignment's target: ``a`` of ``a.b[0] = 1``."""
    if isinstance(target, ast.Tuple | ast.List):
        return [name for one in target.elts for name in _bases(one)]
    while isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        target = target.value
    return [target.id] if isinstance(target, ast.Name) else []


def _is_for_type_checkers(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If):
        return False
    test = statement.test
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def _is_script(statement: ast.stmt) -> bool:
    """Return whether a statement is what a module does when it is run as a script."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test).startswith("__name__ ==")


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr | ast.Pass) and isinstance(
        getattr(statement, "value", ast.Constant(None)), ast.Constant
    )
