"""Digests of behaviour: of the code that decides an outcome.

The digest of a definition is that of its syntax tree, and of those of all definitions that it uses, directly or not, in
its own package or folder, in the built-in plugins, and in the rooms of gahbench that compute. Docstrings, comments,
annotations, layout, and where a definition lies do not count; nor does how an import is called. What is imported from
elsewhere counts by its name alone: other versions of a library have the same digest.

Names found while the program runs cannot be followed: ``getattr(module, name)``, ``importlib``, or a plugin
that is created by its name rather than named by a parameter.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gahbench.registry.source import Sources, sources_of
from gahbench.registry.syntax import Import, Syntax, imported, syntax_of
from gahbench.registry.trees import EFFECTS, Definition, Tree, decorator

#: A module, and a name that it defines; ``None`` for the module itself.
Place = tuple[str, str | None]
#: The rooms of gahbench, and modules of others, whose code decides outcomes. Those that plan, store and show do not.
COMPUTING = (
    "gahbench._util.noise",
    "gahbench._util.shapes",
    "gahbench.jacobian",
    "gahbench.contracts",
    "gahbench.networks",
    "gahbench.sampling",
    "gahbench.evaluation",
    "gahbench.training",
)
#: Arguments of engines decide where units run, and not their outcome.
NOT_COMPUTING = ("gahbench.contracts.engines", "gahbench.contracts.jobs", "gahbench.contracts.unit")


def behaviour_digest(target: Any, needs: Iterable[str] = ()) -> str:
    """Return the digest of the behaviour of a class or function, with all that it uses.

    Parameters
    ----------
    target
        The class or function. The digest of one that is made by a function is that of its whole module.
    needs
        Methods that are marked by :func:`gahbench.contracts.needs.needed` count only if what they are marked by is
        among these.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    module = sys.modules[target.__module__]
    name = target.__qualname__.partition(".")[0]
    file = getattr(module, "__file__", None)
    if not file:
        # Defined in a notebook or at a prompt: the class alone is all there is to read.
        tree = ast.parse(textwrap.dedent(inspect.getsource(target)))
        return _digest(Sources({}), syntax_of(tree, module.__name__, False), [name], frozenset(needs))
    sources = sources_of(module.__name__, Path(file))
    syntax = sources.syntax(module.__name__)
    if syntax is None:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    # A class made by a function depends on its call, which may be anywhere in the module.
    is_made = "<locals>" in target.__qualname__ or name not in syntax.definitions
    roots = list(syntax.definitions) if is_made else [name]
    return _digest(sources, syntax, roots, frozenset(needs))


@functools.cache
def computed_by(function: str, needs: frozenset[str] = frozenset()) -> str:
    """Return the digest of the behaviour of a function of gahbench, ``module:function``, which is not imported."""
    module, _, name = function.partition(":")
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"there is no module {module}")
    sources = sources_of(module, Path(found.origin))
    syntax = sources.syntax(module)
    if syntax is None or name not in syntax.definitions:
        raise AttributeError(f"there is no {function}")
    return _digest(sources, syntax, [name], needs)


def _digest(sources: Sources, start: Syntax, roots: list[str], needs: frozenset[str]) -> str:
    """Digest definitions with all that they use."""
    known: dict[Definition, Tree] = {}
    waiting = [(start.name, root) for root in roots]
    resolver = Resolver(sources, start)
    while waiting:
        definition = waiting.pop()
        if definition in known:
            continue
        tree = known[definition] = Tree.of(definition, resolver, needs)
        waiting += [*tree.uses, *resolver.effects(definition)]
    labels = {definition: tree.digest for definition, tree in known.items()}
    distinct = len(set(labels.values()))
    # Each round separates definitions of equal syntax by what they use, until no more are separated.
    for _ in known:
        labels = {
            definition: _hash([tree.digest, *(labels[used] for used in tree.uses)])
            for definition, tree in known.items()
        }
        if len(set(labels.values())) == distinct:
            break
        distinct = len(set(labels.values()))
    return _hash([*(labels[start.name, root] for root in sorted(roots)), *sorted(labels.values())])


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Resolver:
    """Resolves names of modules, through re-exports."""

    def __init__(self, sources: Sources, start: Syntax) -> None:
        self._sources = sources
        self._start = start

    def syntax(self, module: str) -> Syntax | None:
        """Return a module's syntax; ``None`` for one that cannot be read."""
        return self._start if module == self._start.name else self._sources.syntax(module)

    def followed(self, module: str) -> Syntax | None:
        """Return the syntax of a module whose definitions count; ``None`` for others."""
        computes = _within(module, *COMPUTING) and not _within(module, *NOT_COMPUTING)
        return self.syntax(module) if computes or not _within(module, "gahbench") else None

    def statements(self, definition: Definition) -> list[ast.stmt]:
        """Return the statements of a definition, or of the effects of a module when it is imported."""
        module, name = definition
        syntax = self.syntax(module)
        assert syntax is not None
        if name != EFFECTS:
            return syntax.definitions[name]
        return [*syntax.effects, *(one for one in syntax.decorated if self._is_entered(module, one))]

    def effects(self, definition: Definition) -> list[Definition]:
        """Return the effects that come with a definition: of a plugin's module, and of those that it imports."""
        module, name = definition
        syntax = self.syntax(module)
        if syntax is None or _within(module, "gahbench"):
            return []
        if name != EFFECTS:
            return [(module, EFFECTS)]
        origins = [origin for several in syntax.imports.values() for origin in several]
        modules = [base if attribute is None else f"{base}.{attribute}" for base, attribute in origins]
        others = dict.fromkeys([*modules, *(base for base, _ in origins), *syntax.stars])
        own = (other for other in others if not _within(other, "gahbench"))
        return [(other, EFFECTS) for other in own if self.syntax(other) is not None]

    def _is_entered(self, module: str, statement: ast.stmt) -> bool:
        """Return whether a decorator of a plugin's own, such as one that fills a table, is called on a definition."""
        paths = map(decorator, getattr(statement, "decorator_list", []))
        homes = (home for path in paths if path for home, _ in self.resolve(module, path)[0])
        return not all(_within(home, "gahbench") for home in homes)

    def resolve(self, module: str, path: tuple[str, ...]) -> tuple[list[Definition], str, int]:
        """Return the definitions that a dotted name in a module refers to."""
        return self._combined(self._places(module, path[0], set()), path)

    def resolve_import(self, origin: Import, path: tuple[str, ...]) -> tuple[list[Definition], str, int]:
        """Return the same for a dotted name whose first part an import binds."""
        return self._combined(self._imported(origin, set()), path)

    def _combined(self, places: list[Place], path: tuple[str, ...]) -> tuple[list[Definition], str, int]:
        """Follow a dotted name from all places of its first part."""
        found = [one for place in places for one in self._resolved(place, path, 1)]
        definitions = dict.fromkeys(one for several, _, _ in found for one in several)
        names = dict.fromkeys(name for _, name, _ in found)
        return list(definitions), "|".join(names), min((used for _, _, used in found), default=0)

    def _resolved(self, place: Place, path: tuple[str, ...], used: int) -> Iterator[tuple[list[Definition], str, int]]:
        """Follow a dotted name, of which parts are used up, from a place."""
        home, name = place
        inner = self._places(home, path[used], set()) if name is None and used < len(path) else []
        for one in inner:
            yield from self._resolved(one, path, used + 1)
        if inner:
            return
        syntax = self.followed(home)
        if name is not None:
            yield ([], _outside(home, name), used) if syntax is None else ([(home, name)], name, used)
        elif syntax is not None and used == len(path):
            yield [(home, one) for one in syntax.definitions], home.rpartition(".")[2], used
        else:
            yield [], home, used

    def bindings(self, module: str, node: ast.Import | ast.ImportFrom) -> dict[str, Import]:
        """Return the names that an import in a module binds, with their origins."""
        syntax = self.syntax(module)
        return imported(node, module, syntax is not None and syntax.is_package)[0]

    def _places(self, module: str, name: str, seen: set[tuple[str, str]]) -> list[Place]:
        """Return the module and name of each definition of a name, or a module; none where there is no such name."""
        syntax = self.syntax(module)
        if syntax is None:
            # A folder without __init__.py, or a library, whose names count as they are.
            inner = f"{module}.{name}"
            return [(inner, None) if self._sources.file(inner) is not None else (module, name)]
        if (module, name) in seen:
            return []
        seen.add((module, name))
        found: list[Place] = [(module, name)] if name in syntax.definitions else []
        for origin in syntax.imports.get(name, ()):
            found += self._imported(origin, seen)
        for star in () if found else syntax.stars:
            if self.syntax(star) is not None:
                found += self._places(star, name, seen)
        if not found and syntax.is_package and self.syntax(f"{module}.{name}") is not None:
            found.append((f"{module}.{name}", None))
        return found

    def _imported(self, origin: Import, seen: set[tuple[str, str]]) -> list[Place]:
        module, name = origin
        return [(module, None)] if name is None else self._places(module, name, seen)


def _within(module: str, *rooms: str) -> bool:
    """Return whether a module is one of those named, or lies in one."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def _outside(module: str, name: str) -> str:
    """Return the name of a definition that is not followed: without its module if of gahbench, since it may move."""
    return f"gahbench:{name}" if _within(module, "gahbench") else f"{module}.{name}"
