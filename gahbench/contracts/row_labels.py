"""Labels of rows: an entrant, and in sweeps over the number of training images that number."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

#: Between an entrant's label and the number of images that it learned from.
_NUMBER = " N="
# The entrant's parameters, which end in a bracket, may hold any text.
_ROW = re.compile(rf"(?s:(.*)){_NUMBER}(\d+|all)")


def row_label(entrant: str, number: int | str) -> str:
    """Return the label of the row of an entrant that learned from a number of images, or from ``all``."""
    return f"{entrant}{_NUMBER}{number}"


def split_label(label: str) -> tuple[str, str | None]:
    """Return the label of a row's entrant, and the number of images as it is written; ``None`` outside sweeps."""
    match = _ROW.fullmatch(label)
    return (match[1], match[2]) if match else (label, None)


def base_label(label: str) -> str:
    """Return the label of a row's entrant."""
    return split_label(label)[0]


def number_of_images(label: str) -> int | None:
    """Return the number of images that a row of a sweep learned from; ``None`` for all, and for other rows."""
    number = split_label(label)[1]
    return int(number) if number is not None and number.isdigit() else None


def matches(label: str, pattern: str) -> bool:
    """Whether a pattern matches a label, or the name in front of its brackets; brackets in patterns are literal."""
    escaped = "".join(f"[{char}]" if char == "[" else char for char in pattern)
    return any(one == pattern or fnmatchcase(one, escaped) for one in (label, label.partition("[")[0]))
