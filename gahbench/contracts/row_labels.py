"""Labels of rows: the entrant's label and, in sweeps, the number of training images."""

from __future__ import annotations

from fnmatch import fnmatchcase

#: Separates an entrant's label from the number of images that it learned from.
_SEPARATOR = " N="


def row_label(entrant: str, number: int | str) -> str:
    """Return the label of the row of an entrant in a sweep; ``number`` is the number of training images, or ``all``."""
    return f"{entrant}{_SEPARATOR}{number}"


def split_label(label: str) -> tuple[str, str | None]:
    """Return the entrant's label, and the number of images as text; ``None`` outside sweeps."""
    # Parameters of the entrant may contain any text, the separator included.
    entrant, separator, number = label.rpartition(_SEPARATOR)
    return (entrant, number) if separator and (number == "all" or number.isdecimal()) else (label, None)


def base_label(label: str) -> str:
    """Return the label without the number of images."""
    return split_label(label)[0]


def number_of_images(label: str) -> int | None:
    """Return the number of training images of a row; ``None`` if the row uses all images or is outside sweeps."""
    number = split_label(label)[1]
    return int(number) if number is not None and number.isdigit() else None


def matches(label: str, pattern: str) -> bool:
    """Return whether a pattern matches a label or the name before its brackets; brackets in patterns are literal."""
    escaped = "".join(f"[{char}]" if char == "[" else char for char in pattern)
    return any(text == pattern or fnmatchcase(text, escaped) for text in (label, label.partition("[")[0]))
