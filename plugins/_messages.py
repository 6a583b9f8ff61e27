"""Names of plugins in error messages and labels."""

from __future__ import annotations

from gahbench import get_spec


def name_of(plugin: object) -> str:
    """Return the spec that a plugin was built from, or the name of its class if it was constructed directly."""
    return get_spec(plugin) or type(plugin).__name__
