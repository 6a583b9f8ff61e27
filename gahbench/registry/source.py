"""Source code of plugins: summaries without an import, and the files of a plugin."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

#: Prefix of the names of modules that are imported from plugin files.
FILE_PREFIX = "gahbench_plugin_"
#: The package of the built-in plugins.
BUILT_INS = "gahbench_plugins"


def own_docstring(target: Any) -> str:
    """Return the docstring of a class or function without its indentation; empty if only a base class has one."""
    doc = target.__doc__ if inspect.isroutine(target) else getattr(target, "__dict__", {}).get("__doc__")
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


def summary(target: Any) -> str:
    """Return the first line of a class's own docstring, or an empty string."""
    return own_docstring(target).partition("\n")[0]


def lazy_summary(target: str) -> str:
    """Return the first line of the docstring of ``"module:Class"`` without importing the module."""
    module, _, name = target.partition(":")
    try:
        found = importlib.util.find_spec(module)
        tree = ast.parse(Path(found.origin).read_bytes()) if found is not None and found.origin else ast.Module([], [])
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}: {error}"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            doc = ast.get_docstring(node)
            return doc.splitlines()[0] if doc else ""
    return ""


def first_line(file: str) -> str:
    """Return the text of the comment in the first line of a file."""
    try:
        with Path(file).open(encoding="utf-8") as lines:
            return lines.readline(1000).lstrip("# ").strip()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {type(error).__name__}: {error}"


def files_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the contents of files, which does not depend on their order."""
    digest = hashlib.sha256()
    for content in sorted(hashlib.sha256(file.read_bytes()).digest() for file in files):
        digest.update(content)
    return digest.hexdigest()


class Import(NamedTuple):
    """A name that an import binds, its module, and the name there: ``*`` for all, ``None`` for the module itself."""

    alias: str
    module: str
    name: str | None

    @property
    def parts(self) -> tuple[str, ...]:
        """The dotted name in the module."""
        return () if self.name is None else (self.name,)


def imports_of(tree: ast.AST, module: str, is_package: bool) -> tuple[Import, ...]:
    """Return the imports anywhere in a module; the whole dotted name of ``import a.b`` has an empty alias."""
    imports: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                imports.append(Import(item.asname or "", item.name, None))
                imports += [] if item.asname else [Import(top, top, None)]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            imports += [Import(item.asname or item.name, base, item.name) for item in node.names]
    return tuple(imports)


class Sources:
    """The files that a module may import: of its package or folder, of gahbench, and of the built-in plugins."""

    def __init__(self, name: str, file: Path) -> None:
        top = name.partition(".")[0]
        names = {top, BUILT_INS, "gahbench"}
        self._packages = {one: folder for one in names if (folder := _package_folder(one)) is not None}
        self._files: dict[str, Path | None] = {name: file}
        self._beside = None if top in self._packages else file.parent
        if top.startswith(FILE_PREFIX) and file.name == "__init__.py":
            self._packages[top], self._beside = file.parent, file.parent.parent

    def file(self, module: str) -> Path | None:
        """Return the file of a module; ``None`` for modules of libraries, or if there is no file."""
        if module not in self._files:
            path = self._path(module)
            # The packages of gahbench have their imports in stubs.
            names = ("__init__.pyi", "__init__.py") if module.partition(".")[0] == "gahbench" else ("__init__.py",)
            choices = () if path is None else (*(path / name for name in names), path.with_name(f"{path.name}.py"))
            self._files[module] = next((choice for choice in choices if choice.is_file()), None)
        return self._files[module]

    def holds(self, module: str) -> bool:
        """Return whether a module lies in one of these packages and folders."""
        top = module.partition(".")[0]
        path = self._path(top)
        return self.file(top) is not None or (path is not None and path.is_dir())

    def _path(self, module: str) -> Path | None:
        top, *rest = module.split(".")
        base = self._packages.get(top, self._beside / top if self._beside and top else None)
        return None if base is None else base.joinpath(*rest)


def source_files(name: str, file: Path) -> dict[str, Path]:
    """Return the files of a module and of its imports from its own package or, for a plugin file, folder."""
    sources = Sources(name, file)
    files: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        path = sources.file(module)
        is_ours = module.partition(".")[0] in ("gahbench", BUILT_INS)
        if module in files or path is None or path.suffix != ".py" or is_ours:
            continue
        files[module] = path
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # The import raises the error.
        for item in imports_of(tree, module, path.name == "__init__.py"):
            waiting += [item.module, f"{item.module}.{item.name}"]
    return files


def _package_folder(name: str) -> Path | None:
    """Return the folder of a package that is imported."""
    found = getattr(sys.modules.get(name), "__path__", None)
    return Path(next(iter(found))) if found else None
