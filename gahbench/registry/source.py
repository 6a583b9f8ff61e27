"""Sources of plugins: their summaries without importing them, and the files that they are made of."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gahbench.registry.syntax import Syntax, all_modules, read_syntax

#: Modules made from plugin files have names that start so.
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
    """Return what the first line of a file says, which is a comment; nothing else of it is read."""
    try:
        with Path(file).open(encoding="utf-8") as lines:
            return lines.readline(1000).lstrip("# ").strip()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {type(error).__name__}: {error}"


def files_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the contents of files, in whatever order they come."""
    digest = hashlib.sha256()
    for content in sorted(hashlib.sha256(file.read_bytes()).digest() for file in files):
        digest.update(content)
    return digest.hexdigest()


class Sources:
    """The modules whose source can be read: those of packages, and those that lie beside a plugin file."""

    def __init__(self, packages: Mapping[str, Path], beside: Path | None = None) -> None:
        self._packages = dict(packages)
        self._beside = beside
        self._files: dict[str, Path | None] = {}
        self._syntax: dict[str, Syntax | None] = {}

    def file(self, module: str) -> Path | None:
        """Return the file of a module; ``None`` for one of a library, or if there is none."""
        if module not in self._files:
            top, *rest = module.split(".")
            base = self._packages.get(top, self._beside / top if self._beside and top else None)
            # The packages of gahbench have their imports in stubs.
            package = "__init__.pyi" if top == "gahbench" else "__init__.py"
            self._files[module] = None if base is None else _module_file(base.joinpath(*rest), package)
        return self._files[module]

    def syntax(self, module: str) -> Syntax | None:
        """Return the syntax of a module; ``None`` for one of a library, or that cannot be read."""
        if module not in self._syntax:
            file = self.file(module)
            try:
                self._syntax[module] = None if file is None else read_syntax(module, file)
            except (OSError, SyntaxError, ValueError):
                self._syntax[module] = None  # Importing it will say what is wrong.
        return self._syntax[module]


def sources_of(name: str, file: Path) -> Sources:
    """Return what a module may be built on: its package, or for a plugin file its folder, and gahbench's packages."""
    top = name.partition(".")[0]
    # Plugins may build on the built-in ones, whose changes are then theirs too.
    names = {top, BUILT_INS, "gahbench"}
    packages = {package: folder for package in names if (folder := _package_folder(package)) is not None}
    if not top.startswith(FILE_PREFIX):
        # A module without a package: those that lie beside it are found as it finds them.
        return Sources(packages, None if top in packages else file.parent)
    if file.name == "__init__.py":
        return Sources({**packages, top: file.parent}, file.parent.parent)
    return _PluginFile(packages, file.parent, top, file)


class _PluginFile(Sources):
    """The sources of a plugin file, whose module has a name of its own."""

    def __init__(self, packages: Mapping[str, Path], beside: Path, name: str, file: Path) -> None:
        super().__init__(packages, beside)
        self._files[name] = file


def source_files(name: str, file: Path) -> dict[str, Path]:
    """Return the files of a module and of all that it imports from its own package or, for a plugin file, folder."""
    sources = sources_of(name, file)
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        place = sources.file(module)
        if module in found or place is None or place.suffix != ".py" or module.partition(".")[0] == "gahbench":
            continue
        found[module] = place
        try:
            tree = ast.parse(place.read_bytes())
        except (SyntaxError, ValueError):
            continue  # Importing it will say what is wrong.
        waiting += all_modules(tree, module, place.name == "__init__.py")
    return found


def _package_folder(name: str) -> Path | None:
    """Return the folder of a package that is imported."""
    found = getattr(sys.modules.get(name), "__path__", None)
    return Path(next(iter(found))) if found else None


def _module_file(path: Path, package: str) -> Path | None:
    """Return the file of a module at a path without its ending."""
    choices = (path / package, path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((choice for choice in choices if choice.is_file()), None)
