"""Names and foreign texts in errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from gahbench import spec_of


def brief(text: object, longest: int = 200) -> str:
    """Return a foreign text, such as a library's message or a name in a file, in one short line that can be printed."""
    whole = (getattr(text, "strerror", None) or str(text)) if isinstance(text, OSError) else str(text)
    words = " ".join(whole[: 1 << 16].split()) or type(text).__name__
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in words)
    half = (longest - 1) // 2
    return shown if len(shown) <= longest else f"{shown[:half]}…{shown[-half:]}"


def suggestion(wrong: str, accepted: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest accepted name, or an empty string."""
    near = difflib.get_close_matches(wrong, list(accepted), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def name_of(built: object) -> str:
    """Return the spec that an object was built from, or the name of its class if it was constructed directly."""
    return spec_of(built) or type(built).__name__
