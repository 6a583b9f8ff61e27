"""Built-in suites, and the files of suites."""

from __future__ import annotations

import contextlib
import importlib.resources
from pathlib import Path

import yaml

from gahbench._util.core_yaml import load_scalar
from gahbench._util.errors import SuiteError, listing, suggestion
from gahbench._util.readable import brief


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
    shipped = suite_files()
    with contextlib.suppress(OSError, ValueError):  # The name may be no valid path.
        if Path(name).is_file():
            return Path(name)
    if str(name) not in shipped:
        raise SuiteError(
            f"no suite {brief(repr(str(name)))}: neither a file nor a built-in suite"
            f"{suggestion(str(name), shipped) or ';'} built in: {listing(shipped)}"
        )
    return shipped[str(name)]
