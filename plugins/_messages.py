"""Names of plugins in errors and labels."""

from __future__ import annotations

from gahbench import spec_of
from gahbench._util.errors import suggestion as suggestion
from gahbench._util.readable import brief as brief


def name_of(built: object) -> str:
    """Return the spec that an object was built from, or the name of its class if it was constructed directly."""
    return spec_of(built) or type(built).__name__
