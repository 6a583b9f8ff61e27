"""Downloads and other preparation that configured plugins of any kind need before they can compute."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gahbench._util.errors import PluginError
from gahbench.contracts.preparation import Preparable
from gahbench.registry.configured import Configured

#: Methods of :class:`Preparable`.
_METHODS = ("missing", "prepare")


@dataclass(frozen=True)
class Preparation:
    """The functions of a plugin that return what is missing, and that prepare the plugin."""

    missing: Callable[[], tuple[str, ...]]
    prepare: Callable[[], object]


def preparation(configured: Configured) -> Preparation | None:
    """Return the preparation of a plugin; ``None`` if its class defines no preparation."""
    factory = configured.plugin.factory
    if configured.kind == "architecture":
        # Only static methods count, since a network may have methods of these names for other purposes.
        methods = [_static_method(factory, name) for name in _METHODS]
        if not any(methods):
            return None
        parameters = {**configured.plugin.preset, **configured.parameters}
        missing, prepare = (functools.partial(method or (lambda **parameters: ()), **parameters) for method in methods)
    else:
        if isinstance(factory, type) and not _defines_preparation(factory):
            return None
        built = configured.build()
        if not _defines_preparation(type(built)):
            return None
        missing, prepare = built.missing, built.prepare

    def checked_missing() -> tuple[str, ...]:
        texts = missing()
        if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
            raise PluginError(f"{configured.where}: missing() returned {texts!r}; accepted: a tuple of strings")
        return tuple(texts)

    return Preparation(checked_missing, prepare)


def _static_method(factory: Any, name: str) -> Any:
    method = inspect.getattr_static(factory, name, None)
    return getattr(factory, name) if isinstance(method, (staticmethod, classmethod)) else None


def _defines_preparation(factory: type) -> bool:
    """Return whether a class overrides ``missing`` or ``prepare``."""
    default = vars(Preparable)
    return issubclass(factory, Preparable) and any(getattr(factory, name) is not default[name] for name in _METHODS)
