"""Extras, and the packages that they install."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement


def packages_of(extras: Iterable[str]) -> set[str]:
    """Return the names of extras, and of the packages that they install."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = set(extras)
    optional = project["optional-dependencies"]
    return names | {Requirement(requirement).name for name in names for requirement in optional[name]}
