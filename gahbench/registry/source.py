"""What can be learned from a plugin's source: its summary without importing it, and a digest for keys."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: Modules made from plugin files have names that start so.
FILE_PREFIX = "gahbench_plugin_"
#: The package of the built-in plugins.
BUILT_INS = "gahbench_plugins"


def summary(target: Any) -> str:
    """Return the first line of a class's own docstring, or an empty string."""
    doc = target.__dict__.get("__doc__") if inspect.isclass(target) else target.__doc__
    return doc.strip().splitlines()[0] if doc else ""


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


def source_digest(target: Any) -> str:
    """Return the SHA-256 of the source that defines a class, with what it imports from its own package or folder.

    A change to any of these files changes the digest, and so the keys of the units that depend on it. Where the files
    lie, and what happens to be imported already, does not matter.
    """
    module = sys.modules[target.__module__]
    if not getattr(module, "__file__", None):
        # Defined in a notebook or at a prompt: the class alone is all there is to read.
        return hashlib.sha256(inspect.getsource(target).encode()).hexdigest()
    return files_digest(source_files(module.__name__, Path(str(module.__file__))).values())


def files_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the contents of files, in whatever order they come."""
    digest = hashlib.sha256()
    for content in sorted(hashlib.sha256(file.read_bytes()).digest() for file in files):
        digest.update(content)
    return digest.hexdigest()


def source_files(name: str, file: Path) -> dict[str, Path]:
    """Return the files of a module and of all that it imports from its own package or, for a plugin file, folder.

    Nothing is imported. Modules are named as the module itself imports them.
    """
    top = name.partition(".")[0]
    # Strangers may build on the built-in plugins, whose changes are then theirs too.
    packages = {package: folder for package in (top, BUILT_INS) if (folder := _package_folder(package)) is not None}
    if not top.startswith(FILE_PREFIX):
        return _follow(name, file, packages, None)
    is_package = file.name == "__init__.py"
    if is_package:
        packages[top] = file.parent
    return _follow(name, file, packages, file.parent.parent if is_package else file.parent)


def _package_folder(name: str) -> Path | None:
    """Return the folder of a package that is imported."""
    found = getattr(sys.modules.get(name), "__path__", None)
    return Path(next(iter(found))) if found else None


def _follow(name: str, file: Path, packages: dict[str, Path], beside: Path | None) -> dict[str, Path]:
    """Follow imports below the folders of ``packages``, and those of modules that lie ``beside`` the plugin."""
    found: dict[str, Path] = {}
    waiting = [(name, file)]
    while waiting:
        name, file = waiting.pop()
        if name in found or file.suffix != ".py":
            continue
        found[name] = file
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue  # Importing it will say what is wrong.
        for other in _imported(tree, name, is_package=file.name == "__init__.py"):
            top, *rest = other.split(".")
            base = packages[top] if top in packages else beside / top if beside and top else None
            if base is not None and (place := _module_file(base.joinpath(*rest))) is not None:
                waiting.append((other, place))
    return found


def _module_file(path: Path) -> Path | None:
    """Return the file of a module at a path without its ending."""
    choices = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((choice for choice in choices if choice.is_file()), None)


def _imported(tree: ast.Module, name: str, is_package: bool) -> set[str]:
    """Return the absolute names of the modules that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                keep = len(parts) - node.level + is_package
                base = ".".join([*parts[:keep], *([node.module] if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found
