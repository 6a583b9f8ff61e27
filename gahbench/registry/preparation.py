"""The downloads and the long work that a configured plugin of any kind needs before it can compute."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gahbench._util.errors import PluginError
from gahbench.contracts.preparation import Preparable
from gahbench.registry.configured import Configured

_NAMES = ("missing", "prepare")


@dataclass(frozen=True)
class Preparation:
    """The functions of a plugin that say what is missing, and that prepare it."""

    missing: Callable[[], tuple[str, ...]]
    prepare: Callable[[], object]


def preparation(configured: Configured) -> Preparation | None:
    """Return the preparation of a plugin; ``None``, without building the plugin, if its class does not define it."""
    factory = configured.plugin.factory
    if configured.kind == "architecture":
        # A network may have methods of these names for other purposes.
        own = [_static(factory, name) for name in _NAMES]
        if not any(own):
            return None
        parameters = {**configured.plugin.preset, **configured.parameters}
        missing, prepare = (functools.partial(method or (lambda **parameters: ()), **parameters) for method in own)
    else:
        if isinstance(factory, type) and not _needs_something(factory):
            return None
        built = configured.build()
        if not _needs_something(type(built)):
            return None
        missing, prepare = built.missing, built.prepare

    def checked() -> tuple[str, ...]:
        texts = missing()
        if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
            raise PluginError(f"{configured.where}: missing() returned {texts!r}; accepted: a tuple of texts")
        return tuple(texts)

    return Preparation(checked, prepare)


def _static(factory: Any, name: str) -> Any:
    found = inspect.getattr_static(factory, name, None)
    return getattr(factory, name) if isinstance(found, (staticmethod, classmethod)) else None


def _needs_something(factory: type) -> bool:
    """Return whether a class overrides ``missing`` or ``prepare``."""
    default = vars(Preparable)
    return issubclass(factory, Preparable) and any(getattr(factory, name) is not default[name] for name in _NAMES)
