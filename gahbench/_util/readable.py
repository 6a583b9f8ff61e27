"""Numbers and foreign texts as people read them."""

from __future__ import annotations

import math

_THOUSANDS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def duration(seconds: float) -> str:
    """Return seconds as ``8.3 s``, ``42 s``, ``1 min 12 s``, ``2 h 05 min``, ``3 d 04 h``."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def count(value: float) -> str:
    """Write how many, to two or three digits: ``840``, ``92 k``, ``7.6 M``, ``1.2 T``."""
    if not math.isfinite(value):
        return "unknown"
    for unit, name in _THOUSANDS:
        # 999 600 rounds to a thousand thousands, which is a million.
        if abs(value) >= unit * (0.9995 if unit > 1000 else 1):
            scaled = value / unit
            return f"{scaled:.1f} {name}" if abs(scaled) < 9.95 else f"{scaled:.0f} {name}"
    return f"{value:.0f}"


def counted(number: int, noun: str) -> str:
    """Write a number of things: ``1 unit``, ``3 units``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def level_name(sigma: float) -> str:
    """Write a noise level: short, as a share of 255 where it is no short decimal, and no two levels alike."""
    short = f"{sigma:g}"
    if float(short) == sigma:
        return short
    grey = f"{255 * sigma:.4g}"
    return f"{grey}/255" if float(grey) / 255 == sigma else repr(float(sigma))


def brief(text: object, longest: int = 200) -> str:
    """Return a foreign text, such as a library's message or a name in a file, in one short line that can be printed."""
    whole = (getattr(text, "strerror", None) or str(text)) if isinstance(text, OSError) else str(text)
    words = " ".join(whole[: 1 << 16].split()) or type(text).__name__
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in words)
    half = (longest - 1) // 2
    return shown if len(shown) <= longest else f"{shown[:half]}…{shown[-half:]}"
