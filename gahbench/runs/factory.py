"""Plugins as the payloads of units describe them, built and checked to be the ones that were planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gahbench._util.errors import PluginError
from gahbench._util.keys import key_of
from gahbench._util.shapes import Shape
from gahbench.planning.payloads import configured_as
from gahbench.registry.construction import watch
from gahbench.registry.plugin import Kind
from gahbench.registry.registry import Registry


class CodeChangedError(PluginError):
    """The code here is not that which planned a unit."""


class Factory:
    """Builds plugins from payloads."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def build(self, kind: Kind, described: Mapping[str, Any], shape: Shape | None = None) -> Any:
        """Build a plugin; an architecture for images of a shape (C, H, W)."""
        # A built-in plugin may run code that its parameters name.
        with watch(f"{kind} '{described['name']}'", is_outside=bool(described.get("origins"))):
            configured = configured_as(self.registry, kind, described)
            if key_of(configured.identity) != described["identity"]:
                raise CodeChangedError(
                    f"{configured.where}: its code has changed since this run was planned; run again"
                )
            return configured.build(shape)
