"""What a configured plugin needs from elsewhere, whatever its kind."""

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
    """How to find out what a plugin misses, and how to get it."""

    missing: Callable[[], tuple[str, ...]]
    prepare: Callable[[], object]


def preparation(configured: Configured) -> Preparation | None:
    """Return the preparation of a plugin; ``None`` for one that has none of its own, which is not built."""
    factory = configured.plugin.factory
    if configured.kind == "architecture":
        # A network may have methods of these names for other purposes.
        own = {name: _static(factory, name) for name in _NAMES}
        if not any(own.values()):
            return None
        given = {**configured.plugin.preset, **configured.parameters}
        missing, prepare = (functools.partial(method or _nothing, **given) for method in own.values())
    else:
        if isinstance(factory, type) and not _needs_something(factory):
            return None
        built = configured.build()
        if not _needs_something(type(built)):
            return None
        missing, prepare = built.missing, built.prepare
    return Preparation(functools.partial(_texts, configured, missing), prepare)


def _static(factory: Any, name: str) -> Any:
    found = inspect.getattr_static(factory, name, None)
    return getattr(factory, name) if isinstance(found, (staticmethod, classmethod)) else None


def _needs_something(factory: type) -> bool:
    """Return whether a class has methods of its own to say what is missing, or to get it."""
    default = vars(Preparable)
    return issubclass(factory, Preparable) and any(getattr(factory, name) is not default[name] for name in _NAMES)


def _nothing(**parameters: Any) -> tuple[str, ...]:
    return ()


def _texts(configured: Configured, missing: Callable[[], Any]) -> tuple[str, ...]:
    found = missing()
    if not isinstance(found, (tuple, list)) or not all(isinstance(text, str) for text in found):
        raise PluginError(f"{configured.where}: missing() returned {found!r}; accepted: a tuple of texts")
    return tuple(found)
