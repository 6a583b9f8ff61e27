"""The suites that gahbench ships, found without reading more of them than a summary."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path

import yaml

from gahbench._util.core_yaml import load_scalar
from gahbench._util.errors import SuiteError, listing, suggestion
from gahbench._util.readable import brief
from gahbench.planning.yaml_lines import Document
from gahbench.registry.plugin_files import add_environment_sources


def suite_files() -> dict[str, Path]:
    """Return the suites that gahbench ships, by name."""
    folder = Path(str(importlib.resources.files("gahbench_suites")))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def suite_summary(file: Path) -> str:
    """Return the description of a suite in one line."""
    try:
        content = load_scalar(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        return f"cannot be read: {error}"
    return " ".join(str(content.get("description", "")).split()) if isinstance(content, dict) else ""


def find_suite(name: str | Path) -> Path:
    """Return the file of a suite, given its path or the name of one that gahbench ships."""
    path, is_folder = Path(name), False
    try:
        if path.is_file():
            return path
        is_folder = path.is_dir()
    except (OSError, ValueError):
        pass  # No file has such a name.
    shipped = suite_files()
    if str(name) in shipped:
        return shipped[str(name)]
    if is_folder:
        raise SuiteError(f"{path}: a folder; accepted: a suite's YAML file, or one of {listing(shipped)}")
    raise SuiteError(
        f"no suite {brief(repr(str(name)))}: neither a file nor one that gahbench ships"
        f"{suggestion(str(name), shipped) or ';'} shipped: {listing(shipped)}"
    )


def plugin_sources(given: Sequence[str | Path], suite: str | Path) -> tuple[Path, ...]:
    """Return plugin files or folders: given ones, those that a suite names under ``plugins``, the user's own."""
    document = Document(find_suite(suite))
    named = document.content.get("plugins") if isinstance(document.content, dict) else None
    found = [Path(source) for source in given]
    for place, source in enumerate(named if isinstance(named, list) else ()):
        if not isinstance(source, str):
            continue  # Checking the suite says what is wrong.
        path = document.path.parent / source
        try:
            path = document.path.parent / Path(source).expanduser()
            exists = path.exists()
        except (OSError, ValueError, RuntimeError):
            exists = False
        if not exists:
            raise document.error(("plugins", place), f"plugins: no such file or folder: {path}")
        found.append(path)
    return add_environment_sources(found)
