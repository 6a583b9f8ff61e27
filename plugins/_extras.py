"""Packages of extras, without which a plugin cannot be used."""

from __future__ import annotations

import importlib.util

from gahbench import GahbenchError


def require(what: str, package: str, extra: str) -> None:
    """Refuse a plugin whose package is not installed, without importing it.

    Raises
    ------
    GahbenchError
        Naming the extra that installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise GahbenchError(f"the {what} needs the package {package}: pip install 'gahbench[{extra}]'")
