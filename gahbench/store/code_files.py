"""Digests of the code that planned a results folder, and copies of plugin files for workers on other machines."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from gahbench.registry.plugin_files import module_name
from gahbench.registry.source import BUILT_INS, source_files

PLUGINS = "plugins"
#: Data files of a plugin package are copied only if their total size is at most this many bytes.
MAX_BYTES = 200_000_000


def code_files(plugins: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file of gahbench, of the built-in plugins, and of plugin files, by name."""
    files = {
        f"{name}/{file.relative_to(root).as_posix()}": file
        for name in ("gahbench", BUILT_INS)
        for root in importlib.import_module(name).__path__
        for file in sorted(Path(root).rglob("*.py"))
    }
    for folder, members in _files_by_folder(plugins).items():
        files |= {f"{PLUGINS}/{member.relative_to(folder).as_posix()}": member for member in members}
    return {name: _digest(file) for name, file in files.items()}


def changed_files(planned: Mapping[str, str], plugins: Sequence[Path]) -> list[str]:
    """Return the names of the code files whose digests differ from the digests recorded at planning."""
    current = code_files(plugins)
    return sorted(name for name in {*planned, *current} if planned.get(name) != current.get(name))


def copy_plugins(plugins: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """Copy plugin files, and the neighbouring files that they import, into a results folder; return their paths."""
    copied: list[str] = []
    for plugin_folder, members in _files_by_folder(plugins).items():
        content = "".join(f"{member.relative_to(plugin_folder)} {_digest(member)}\n" for member in sorted(members))
        target = Path(PLUGINS) / hashlib.sha256(content.encode()).hexdigest()[:8]
        for member in members:
            copy = folder / target / member.relative_to(plugin_folder)
            if not copy.is_file() or _digest(copy) != _digest(member):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(member, copy)
        for file in plugins:
            if file in members:
                source = file.parent if file.name == "__init__.py" else file
                copied.append((target / source.relative_to(plugin_folder)).as_posix())
    return tuple(copied)


def _files_by_folder(plugins: Sequence[Path]) -> dict[Path, set[Path]]:
    """Return the plugin files, their package data and the neighbouring files that they import, by plugin folder."""
    files_of: dict[Path, set[Path]] = {}
    for file in plugins:
        is_package = file.name == "__init__.py"
        plugin_folder = file.parent.parent if is_package else file.parent
        members = files_of.setdefault(plugin_folder, set())
        if is_package:
            data = [path for path in file.parent.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
            size = sum(path.stat().st_size for path in data)
            members |= {path for path in data if size <= MAX_BYTES or path.suffix == ".py"}
        members |= {
            path for path in source_files(module_name(file), file).values() if path.is_relative_to(plugin_folder)
        }
    return files_of


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
