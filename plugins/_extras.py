"""Packages of extras, without which a plugin cannot be used."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from gahbench import GahbenchError


def is_installed(package: str) -> bool:
    """Return whether a package is installed, without importing it; a mere folder of its name is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def require(what: str, package: str, extra: str) -> None:
    """Refuse a plugin whose package is not installed, without importing it."""
    if not is_installed(package):
        raise GahbenchError(f"the {what} needs the package {package}: pip install 'gahbench[{extra}]'")


def imported(module: str, extra: str) -> Any:
    """Return a module of a package that an extra installs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"needs further packages: pip install 'gahbench[{extra}]' ({error})") from error
