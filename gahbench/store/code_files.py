"""Copies of plugin files in results folders, from which rows can be computed again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from gahbench.registry.plugin_files import module_name
from gahbench.registry.source import source_files

PLUGINS = "plugins"
#: Data files of a plugin package are copied only if their total size is at most this many bytes.
MAX_BYTES = 200_000_000


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
