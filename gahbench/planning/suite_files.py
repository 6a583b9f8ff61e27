"""Built-in suites, and the files of suites and plugins."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path

import yaml

from gahbench._util.core_yaml import Document, load_scalar
from gahbench._util.errors import SuiteError, listing, suggestion
from gahbench._util.readable import brief
from gahbench.registry.plugin_files import add_environment_sources


def suite_files() -> dict[str, Path]:
    """Return the files of the built-in suites, by name."""
    folder = Path(str(importlib.resources.files("gahbench_suites")))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def suite_summary(file: Path) -> str:
    """Return the description of a suite as a single line."""
    try:
        content = load_scalar(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        return f"cannot be read: {error}"
    return " ".join(str(content.get("description", "")).split()) if isinstance(content, dict) else ""


def find_suite(name: str | Path) -> Path:
    """Return the file of a suite, given its path or the name of a built-in suite."""
    path, is_folder = Path(name), False
    try:
        if path.is_file():
            return path
        is_folder = path.is_dir()
    except (OSError, ValueError):
        pass  # The name is not a valid path.
    shipped = suite_files()
    if str(name) in shipped:
        return shipped[str(name)]
    if is_folder:
        raise SuiteError(
            f"{path}: is a folder; accepted: the YAML file of a suite, or a built-in suite: {listing(shipped)}"
        )
    raise SuiteError(
        f"no suite {brief(repr(str(name)))}: neither a file nor a built-in suite"
        f"{suggestion(str(name), shipped) or ';'} built in: {listing(shipped)}"
    )


def plugin_sources(given: Sequence[str | Path], suite: str | Path) -> tuple[Path, ...]:
    """Return the paths of plugins that are given, that the suite names, and that ``GAHBENCH_PLUGINS`` lists."""
    document = Document(find_suite(suite))
    suite_sources = document.content.get("plugins") if isinstance(document.content, dict) else None
    sources = [Path(source) for source in given]
    for index, source in enumerate(suite_sources if isinstance(suite_sources, list) else ()):
        if not isinstance(source, str):
            continue  # Validation of the suite reports this error.
        path = document.path.parent / source
        try:
            path = document.path.parent / Path(source).expanduser()
            exists = path.exists()
        except (OSError, ValueError, RuntimeError):
            exists = False
        if not exists:
            raise document.error(("plugins", index), f"plugins: no such file or folder: {path}")
        sources.append(path)
    return add_environment_sources(sources)
