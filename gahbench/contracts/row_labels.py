"""Labels of rows: of an entrant, and where it learns from several numbers of training images, of which."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

#: Between an entrant's label and the number of images that it learned from.
_NUMBER = " N="
# Parameters, which end in a bracket, may hold anything.
_ROW = re.compile(rf"(?s:(.*)){_NUMBER}(\d+|all)")


def row_label(entrant: str, number: int | str) -> str:
    """Return the label of the row of an entrant that learned from a number of images, or from ``all``."""
    return f"{entrant}{_NUMBER}{number}"


def split_label(label: str) -> tuple[str, str | None]:
    """Return the label of a row's entrant, and the number of images as it is written; ``None`` outside sweeps."""
    found = _ROW.fullmatch(label)
    return (found[1], found[2]) if found else (label, None)


def base_label(label: str) -> str:
    """Return the label of a row's entrant."""
    return split_label(label)[0]


def number_of_images(label: str) -> int | None:
    """Return the number of images that a row of a sweep learned from; ``None`` for all, and for other rows."""
    number = split_label(label)[1]
    return int(number) if number is not None and number.isdigit() else None


def matches(label: str, pattern: str) -> bool:
    """Whether a pattern matches a label, or the name in front of its brackets; brackets in it mean themselves."""
    # They are in labels, and would be sets of characters.
    escaped = "".join(f"[{char}]" if char == "[" else char for char in pattern)
    return any(one == pattern or fnmatchcase(one, escaped) for one in (label, label.partition("[")[0]))
