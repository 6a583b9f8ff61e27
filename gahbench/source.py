"""What can be learned from a plugin's source: its summary without importing it, and a digest for keys."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

#: Modules made from plugin files have names that start so.
FILE_PREFIX = "gahbench_plugin_"


def summary(target: Any) -> str:
    """Return the first line of a class's own docstring, or an empty string."""
    doc = target.__dict__.get("__doc__") if inspect.isclass(target) else target.__doc__
    return doc.strip().splitlines()[0] if doc else ""


def lazy_summary(target: str) -> str:
    """Return the first line of the docstring of ``"module:Class"`` without importing the module."""
    module, _, name = target.partition(":")
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        found = None
    if found is None or found.origin is None:
        return ""
    for node in ast.parse(Path(found.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            doc = ast.get_docstring(node)
            return doc.splitlines()[0] if doc else ""
    return ""


def source_digest(target: Any) -> str:
    """Return the SHA-256 of the source that defines a class, with what it imports from its own package.

    Modules count as its own package when they share its top-level package or, for a plugin file, lie beside it. A
    change to any of them changes the digest, and so the keys of the units that depend on it. Where the files lie, and
    what happens to be imported already, does not matter.
    """
    module = sys.modules[target.__module__]
    seen: dict[str, bytes] = {}
    if getattr(module, "__file__", None):
        _collect(module.__name__, Path(str(module.__file__)), seen)
    else:
        # Defined in a notebook or at a prompt: the class alone is all there is to read.
        seen[target.__qualname__] = inspect.getsource(target).encode()
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(hashlib.sha256(seen[name]).digest())
    return digest.hexdigest()


def _collect(name: str, file: Path, seen: dict[str, bytes]) -> None:
    if name in seen or file.suffix != ".py":
        return
    seen[name] = file.read_bytes()
    top = name.partition(".")[0]
    for other in sorted(_imported(ast.parse(seen[name]), name, is_package=file.name == "__init__.py")):
        beside = file.parent / f"{other}.py"
        if top.startswith(FILE_PREFIX) and beside.is_file():
            _collect(other, beside, seen)
        elif other.partition(".")[0] == top and (found := _module_file(other)) is not None:
            _collect(other, found, seen)


def _module_file(name: str) -> Path | None:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found is not None and found.has_location and found.origin else None


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
