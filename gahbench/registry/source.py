"""Source code of plugins: summaries without importing them, and the files that they import."""

from __future__ import annotations

import ast
import functools
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
    """Return the docstring of a class or function without its indentation; empty if it is inherited or missing."""
    doc = target.__doc__ if inspect.isroutine(target) else getattr(target, "__dict__", {}).get("__doc__")
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


def summary(target: Any) -> str:
    """Return the first line of a class's own docstring; empty without a docstring."""
    return own_docstring(target).partition("\n")[0]


def lazy_summary(target: str) -> str:
    """Return the first line of the docstring of ``"module:Class"`` without importing the module."""
    try:
        node = _definition(target)
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}: {error}"
    doc = ast.get_docstring(node) if node is not None else None
    return doc.splitlines()[0] if doc else ""


def lazy_value(target: str, attribute: str) -> Any:
    """Return the literal that ``"module:Class"`` assigns to an attribute, without importing the module, or ``None``."""
    try:
        node = _definition(target)
    except (ImportError, OSError, SyntaxError, ValueError):
        return None
    for statement in node.body if node is not None else ():
        match statement:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), value=value) if (
                name == attribute and value is not None
            ):
                try:
                    return ast.literal_eval(value)
                except ValueError:
                    return None
    return None


@functools.cache
def _definition(target: str) -> ast.ClassDef | ast.FunctionDef | None:
    """Return the syntax tree of ``"module:name"`` without importing the module; ``None`` if there is no such name."""
    module, _, name = target.partition(":")
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(spec.origin).read_bytes()) if spec is not None and spec.origin else ast.Module([], [])
    definitions = (node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    return next((node for node in definitions if node.name == name), None)


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
    """An imported name: its alias, the module, and the name there (``*`` for all, ``None`` for the module itself)."""

    alias: str
    module: str
    name: str | None

    @property
    def parts(self) -> tuple[str, ...]:
        """The dotted name in the module."""
        return () if self.name is None else (self.name,)


def imports_of(tree: ast.AST, module: str, is_package: bool) -> tuple[Import, ...]:
    """Return all imports in a module, including nested ones; ``import a.b`` also gives ``a.b`` with an empty alias."""
    imports: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                imports.append(Import(item.asname or "", item.name, None))
                imports += [] if item.asname else [Import(top, top, None)]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            parents = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            imports += [Import(item.asname or item.name, base, item.name) for item in node.names]
    return tuple(imports)


class Sources:
    """Finds the files of modules in a module's own package or folder, in gahbench, and in the built-in plugins."""

    def __init__(self, name: str, file: Path) -> None:
        top = name.partition(".")[0]
        names = {top, BUILT_INS, "gahbench"}
        self._packages = {package: folder for package in names if (folder := _package_folder(package)) is not None}
        self._files: dict[str, Path | None] = {name: file}
        self._folder = None if top in self._packages else file.parent
        if top.startswith(FILE_PREFIX) and file.name == "__init__.py":
            self._packages[top], self._folder = file.parent, file.parent.parent

    def file(self, module: str) -> Path | None:
        """Return the file of a module; ``None`` for modules of libraries, and for modules without a file."""
        if module not in self._files:
            path = self._path(module)
            # Packages of gahbench declare their imports in stubs.
            names = ("__init__.pyi", "__init__.py") if module.partition(".")[0] == "gahbench" else ("__init__.py",)
            candidates = () if path is None else (*(path / name for name in names), path.with_name(f"{path.name}.py"))
            self._files[module] = next((candidate for candidate in candidates if candidate.is_file()), None)
        return self._files[module]

    def contains(self, module: str) -> bool:
        """Return whether a module lies in one of the searched packages and folders."""
        top = module.partition(".")[0]
        path = self._path(top)
        return self.file(top) is not None or (path is not None and path.is_dir())

    def _path(self, module: str) -> Path | None:
        top, *rest = module.split(".")
        base = self._packages.get(top, self._folder / top if self._folder and top else None)
        return None if base is None else base.joinpath(*rest)


def source_files(name: str, file: Path) -> dict[str, Path]:
    """Return the files of a module and of its imports from its own package, or from the folder of a plugin file."""
    sources = Sources(name, file)
    files: dict[str, Path] = {}
    queue = [name]
    while queue:
        module = queue.pop()
        path = sources.file(module)
        is_ours = module.partition(".")[0] in ("gahbench", BUILT_INS)
        if module in files or path is None or path.suffix != ".py" or is_ours:
            continue
        files[module] = path
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # Importing the file will raise the error.
        for item in imports_of(tree, module, path.name == "__init__.py"):
            queue += [item.module, f"{item.module}.{item.name}"]
    return files


def _package_folder(name: str) -> Path | None:
    """Return the folder of an imported package; ``None`` if it is not imported."""
    paths = getattr(sys.modules.get(name), "__path__", None)
    return Path(next(iter(paths))) if paths else None
