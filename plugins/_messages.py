"""Names of plugins in errors and labels."""

from __future__ import annotations

from gahbench import spec_of


def name_of(built: object) -> str:
    """Return the spec that an object was built from, or the name of its class if it was constructed directly."""
    return spec_of(built) or type(built).__name__
