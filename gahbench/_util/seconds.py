"""Seconds that the environment sets."""

from __future__ import annotations

import os

from gahbench._util.errors import ParameterError


def environment_seconds(name: str, default: float) -> float:
    """Return the seconds that an environment variable sets."""
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise ParameterError(f"{name}={text}: expected a number of seconds above 0, such as {default:g}")
    return value
