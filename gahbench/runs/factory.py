"""Plugins as the payloads of units describe them, built and checked to be the ones that were planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gahbench._util.errors import PluginError
from gahbench._util.keys import key_of
from gahbench._util.shapes import Shape
from gahbench.planning.payloads import configured_as
from gahbench.registry.plugin import Kind
from gahbench.registry.registry import Registry


class CodeChangedError(PluginError):
    """The code here is not that which planned a unit."""


class Factory:
    """Builds plugins from payloads.

    Parameters
    ----------
    registry
        Where plugins are looked up.
    constructing
        Called with what is being constructed, in words, before any code of a plugin from outside gahbench runs for it,
        and with ``None`` after.
    """

    def __init__(self, registry: Registry, constructing: Callable[[str | None], None] = lambda what: None) -> None:
        self.registry = registry
        self._constructing = constructing

    def build(self, kind: Kind, described: Mapping[str, Any], shape: Shape | None = None) -> Any:
        """Build a plugin; an architecture for images of a shape (C, H, W).

        Raises
        ------
        CodeChangedError
            If its code is not that which the unit was planned with.
        """
        if not described.get("origins"):
            return self._build(kind, described, shape)
        self._constructing(f"constructing {kind} '{described['name']}'")
        try:
            return self._build(kind, described, shape)
        finally:
            self._constructing(None)

    def _build(self, kind: Kind, described: Mapping[str, Any], shape: Shape | None) -> Any:
        configured = configured_as(self.registry, kind, described)
        if key_of(configured.identity) != described["identity"]:
            raise CodeChangedError(f"{configured.where}: its code has changed since this run was planned; run again")
        return configured.build(shape)
