"""Source code of plugins: summaries without importing them, and the files that they import."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Prefix of the names of modules that are imported from plugin files.
FILE_PREFIX = "gahbench_plugin_"
#: The package of the built-in plugins.
BUILT_INS = "gahbench_plugins"
#: Packages whose own packages only export names.
OURS = ("gahbench", BUILT_INS)
#: The alias and the dotted name of each import of a module.
Imports = tuple[tuple[str, str], ...]


def own_docstring(target: Any) -> str:
    """Return the docstring of a class or function without its indentation; empty if it is inherited or missing."""
    doc = target.__doc__ if inspect.isroutine(target) else getattr(target, "__dict__", {}).get("__doc__")
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


def summary(target: Any) -> str:
    """Return the first line of the docstring of a class, or of ``"module:Class"`` without importing the module."""
    try:
        doc = ast.get_docstring(_definition(target)) if isinstance(target, str) else own_docstring(target)
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}: {error}"
    return (doc or "").partition("\n")[0]


def class_attribute(target: Any, name: str) -> Any:
    """Return an attribute of a class, or a literal of ``"module:Class"`` without an import; ``None`` without it."""
    if not isinstance(target, str):
        return getattr(target, name, None)
    with contextlib.suppress(ImportError, OSError, SyntaxError, ValueError):
        assignments = (item for item in _definition(target).body if isinstance(item, ast.Assign | ast.AnnAssign))
        for attribute, _, value in (ast.unparse(item).partition(" = ") for item in assignments):
            if attribute.partition(":")[0] == name:
                return ast.literal_eval(value)
    return None


@functools.cache
def _definition(target: str) -> ast.ClassDef | ast.FunctionDef | ast.Module:
    """Return the syntax tree of ``"module:name"`` without importing the module; an empty tree without such a name."""
    module, _, name = target.partition(":")
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(spec.origin).read_bytes()) if spec is not None and spec.origin else ast.Module([], [])
    definitions = (node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    return next((node for node in definitions if node.name == name), ast.Module([], []))


@functools.lru_cache(maxsize=1024)
def imports_of(content: bytes, module: str, is_package: bool) -> Imports:
    """Return all imports in the code of a module; ``import a.b`` also gives ``a.b`` with an empty alias."""
    imports = []
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                imports += [(item.asname or "", item.name), *([] if item.asname else [(top, top)])]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            parents = parts[: len(parts) - node.level + is_package] if node.level else []
            base = [*parents, *([node.module] if node.module else [])]
            imports += [(item.asname or item.name, ".".join([*base, item.name])) for item in node.names]
    return tuple(imports)


class Sources:
    """Finds the files of modules in a module's own package or folder, in gahbench, and in the built-in plugins."""

    def __init__(self, name: str, file: Path) -> None:
        top = name.partition(".")[0]
        paths = {package: getattr(sys.modules.get(package), "__path__", None) for package in (top, *OURS)}
        self._packages = {package: Path(next(iter(path))) for package, path in paths.items() if path}
        self._folder = None if top in self._packages else file.parent
        if top.startswith(FILE_PREFIX) and file.name == "__init__.py":
            self._packages[top], self._folder = file.parent, file.parent.parent
        self._files: dict[str, Path | None] = {name: file}

    def file(self, module: str) -> Path | None:
        """Return the file of a module; ``None`` for modules of libraries, and for modules without a file."""
        if module not in self._files:
            top, *rest = module.split(".")
            base = self._packages.get(top, self._folder / top if self._folder and top else None)
            path = Path() if base is None else base.joinpath(*rest)
            # Packages of gahbench declare their imports in stubs.
            names = ("__init__.pyi", "__init__.py") if is_ours(module) else ("__init__.py",)
            candidates = () if base is None else (*(path / name for name in names), path.with_name(f"{path.name}.py"))
            self._files[module] = next((candidate for candidate in candidates if candidate.is_file()), None)
        return self._files[module]

    def modules(self, name: str) -> Iterator[str]:
        """Yield the modules that define a dotted name, and the packages of a plugin that its import executes."""
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            module = ".".join(parts[:end])
            if (file := self.file(module)) is None:
                continue
            exports: list[str] = []
            if is_ours(module) and file.stem == "__init__" and end < len(parts):
                imports = imports_of(file.read_bytes(), module, True)
                exports = [target for alias, target in imports if alias == parts[end] and target != name]
            for export in exports:
                yield from self.modules(".".join([export, *parts[end + 1 :]]))
            if not exports:
                yield module
            if is_ours(module):
                return


def is_ours(module: str) -> bool:
    """Return whether a module is part of gahbench or of the built-in plugins."""
    return module.partition(".")[0] in OURS


def source_files(name: str, file: Path) -> dict[str, Path]:
    """Return the files of a module and of its imports from its own package, or from the folder of a plugin file."""
    sources = Sources(name, file)
    files: dict[str, Path] = {}
    queue = [name]
    while queue:
        module = queue.pop()
        path = sources.file(module)
        if module in files or path is None or path.suffix != ".py" or is_ours(module):
            continue
        files[module] = path
        try:
            imports = imports_of(path.read_bytes(), module, path.name == "__init__.py")
        except (SyntaxError, ValueError):
            continue  # Importing the file will raise the error.
        queue += [found for _, target in imports for found in sources.modules(target)]
    return files
