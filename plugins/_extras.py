"""Optional dependencies: packages that extras such as ``gahbench[bm3d]`` install."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from gahbench import GahbenchError


def is_installed(package: str) -> bool:
    """Return whether a package is installed, without importing it; a folder of that name is not a package."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def require(plugin: str, package: str, extra: str) -> None:
    """Raise ``GahbenchError`` if the package that a plugin needs is not installed, without importing it."""
    if not is_installed(package):
        raise GahbenchError(f"the {plugin} needs the package {package}: pip install 'gahbench[{extra}]'")


def import_optional(module: str, extra: str) -> Any:
    """Import and return a module of a package that an extra installs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"an optional package is missing: pip install 'gahbench[{extra}]' ({error})") from error
