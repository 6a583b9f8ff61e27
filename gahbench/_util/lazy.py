"""Names of a package that are imported on first use, since their imports take long."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a ``__getattr__`` and a ``__dir__`` for a package (PEP 562)."""

    def get(name: str) -> Any:
        if name in modules:
            return getattr(importlib.import_module(modules[name]), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    def names() -> list[str]:
        # For help() and completion: the public names, and those that Python itself gives a module.
        own = vars(sys.modules[package])
        return sorted({*own.get("__all__", ()), *modules, *(name for name in own if name.startswith("__"))})

    return get, names
