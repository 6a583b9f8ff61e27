"""Format numbers, and strings from files and libraries, for people."""

from __future__ import annotations

import math

#: Seconds in the smaller unit, its number in the larger unit, the limit of the larger unit, and both names.
_DURATIONS = ((1, 60, 60, "min", "s"), (60, 60, 24, "h", "min"), (3600, 24, math.inf, "d", "h"))
_THOUSANDS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
#: Characters that LaTeX replaces.
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "–": "--", "σ": r"$\sigma$",
    "α": r"$\alpha$",
})  # fmt: skip


def format_duration(seconds: float) -> str:
    """Format seconds as ``8.3 s``, ``42 s``, ``1 min 12 s``, ``2 h 05 min``, ``3 d 04 h``."""
    if -math.inf < seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    for unit, size, most, large, small in _DURATIONS if math.isfinite(seconds) else ():
        count, rest = divmod(round(seconds / unit), size)
        if count < most:
            return f"{count} {large} {rest:02d} {small}"
    return "unknown"


def format_number(value: float) -> str:
    """Format a number with two or three digits: ``840``, ``92 k``, ``7.6 M``, ``1.2 T``."""
    if not math.isfinite(value):
        return "unknown"
    for unit, name in _THOUSANDS:
        # 999 600 would round to 1000 k, so it is formatted as 1.0 M.
        if abs(value) >= unit * (0.9995 if unit > 1000 else 1):
            scaled = value / unit
            return f"{scaled:.1f} {name}" if abs(scaled) < 9.95 else f"{scaled:.0f} {name}"
    return f"{value:.0f}"


def pluralize(number: int, noun: str) -> str:
    """Format a number with a noun: ``1 unit``, ``3 units``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def level_name(sigma: float) -> str:
    """Format a noise level as a short decimal, as a fraction of 255, or exactly, so that names are unique."""
    short = f"{sigma:g}"
    if float(short) == sigma:
        return short
    grey = f"{255 * sigma:.4g}"
    return f"{grey}/255" if float(grey) / 255 == sigma else repr(float(sigma))


def brief(text: object, longest: int = 200) -> str:
    """Format text from a library or file as a short, printable line."""
    full = (getattr(text, "strerror", None) or str(text)) if isinstance(text, OSError) else str(text)
    line = printable(" ".join(full[: 1 << 16].split()) or type(text).__name__)
    return shorten(line, longest)


def shorten(text: str, longest: int) -> str:
    """Remove the middle of a long text; accepted values are usually at the end."""
    end = longest // 3
    return text if len(text) <= longest else f"{text[: longest - end - 3]} … {text[-end:]}"


def printable(text: object, kept: str = "") -> str:
    """Escape unprintable characters, such as controls of terminals and lone surrogates, except the ``kept`` ones."""
    return "".join(char if char.isprintable() or char in kept else ascii(char)[1:-1] for char in str(text))


def escape_latex(text: str) -> str:
    """Escape special characters of LaTeX, and replace symbols with commands."""
    return text.translate(_LATEX)
