"""Downloads and other preparation that configured plugins of any kind need before they can compute."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from gahbench._util.errors import PluginError
from gahbench.contracts.preparation import Preparable
from gahbench.registry.configured import Configured

#: Methods of :class:`Preparable`.
_METHODS = ("missing", "prepare")


class Preparation(Preparable):
    """The preparation of a plugin, which may define either or both methods."""

    def __init__(self, where: str, methods: Mapping[str, Callable[[], Any]]) -> None:
        self._where, self._methods = where, methods

    def missing(self) -> tuple[str, ...]:
        """Return what the plugin lacks; raise an error unless its answer is a tuple or list of strings."""
        texts = self._methods.get("missing", tuple)()
        if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
            raise PluginError(f"{self._where}: missing() returned {texts!r}; accepted: a tuple of strings")
        return tuple(texts)

    def prepare(self) -> None:
        """Prepare the plugin."""
        self._methods.get("prepare", tuple)()


def preparation(configured: Configured) -> Preparation | None:
    """Return the preparation of a plugin; ``None`` if its class defines no preparation."""
    factory, methods = configured.plugin.factory, {}
    if configured.kind == "architecture":
        # Only static methods count, since a network may have methods of these names for other purposes.
        parameters = {**configured.plugin.preset, **configured.parameters}
        for name in _METHODS:
            if isinstance(inspect.getattr_static(factory, name, None), staticmethod | classmethod):
                methods[name] = functools.partial(getattr(factory, name), **parameters)
    elif not isinstance(factory, type) or _defines_preparation(factory):
        built = configured.build()
        methods = {name: getattr(built, name) for name in _METHODS if _defines_preparation(type(built))}
    return Preparation(configured.where, methods) if methods else None


def _defines_preparation(factory: type) -> bool:
    """Return whether a class overrides ``missing`` or ``prepare``."""
    default = vars(Preparable)
    return issubclass(factory, Preparable) and any(getattr(factory, name) is not default[name] for name in _METHODS)
