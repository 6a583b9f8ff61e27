"""Plugins in the payloads of units: plain JSON that a worker builds them from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gahbench.registry.configured import Configured
from gahbench.registry.plugin import Kind
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec


def described(configured: Configured) -> dict[str, Any]:
    """Return the data for a worker to build a plugin, and to check that it is the planned one."""
    return {
        "name": configured.plugin.name,
        "parameters": configured.parameters,
        "identity": configured.identity_key,
        "origins": list(configured.origins),
        "label": configured.label,
    }


def configured_as(registry: Registry, kind: Kind, description: Mapping[str, Any]) -> Configured:
    """Return the plugin that a payload describes, as it is now."""
    configured = registry.configure(kind, Spec(description["name"], (), dict(description["parameters"])))
    return replace(configured, label=description["label"])
