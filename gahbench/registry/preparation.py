"""Downloads and other preparation that configured plugins of any kind need before they can compute."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass

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
    factory, functions = configured.plugin.factory, {}
    if configured.kind == "architecture":
        # Only static methods count, since a network may have methods of these names for other purposes.
        parameters = {**configured.plugin.preset, **configured.parameters}
        for name in _METHODS:
            if isinstance(inspect.getattr_static(factory, name, None), staticmethod | classmethod):
                functions[name] = functools.partial(getattr(factory, name), **parameters)
    elif not isinstance(factory, type) or _defines_preparation(factory):
        built = configured.build()
        if _defines_preparation(type(built)):
            functions = {name: getattr(built, name) for name in _METHODS}
    if not functions:
        return None

    def missing() -> tuple[str, ...]:
        texts = functions["missing"]() if "missing" in functions else ()
        if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
            raise PluginError(f"{configured.where}: missing() returned {texts!r}; accepted: a tuple of strings")
        return tuple(texts)

    return Preparation(missing, functions.get("prepare", lambda: None))


def _defines_preparation(factory: type) -> bool:
    """Return whether a class overrides ``missing`` or ``prepare``."""
    default = vars(Preparable)
    return issubclass(factory, Preparable) and any(getattr(factory, name) is not default[name] for name in _METHODS)
