"""Labels of rows, the entrant's label and, in sweeps, the number of training images; their choice by patterns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from gahbench._util.errors import GahbenchError, ParameterError, listing, suggestion

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


def choose_labels(
    patterns: Sequence[str] | None, known_labels: Iterable[str], kind: str, error: type[GahbenchError] = ParameterError
) -> list[str]:
    """Return the labels that match a pattern, in order; all labels if there are no patterns."""
    labels = list(known_labels)
    if unknown := [pattern for pattern in patterns or () if not any(is_chosen(label, [pattern]) for label in labels)]:
        hint = suggestion(unknown[0], [*labels, *(label.partition("[")[0] for label in labels)])
        raise error(f"{kind}s {listing(unknown)} are not in the results{hint or ';'} accepted: {listing(labels)}")
    return [label for label in labels if is_chosen(label, patterns)]


def is_chosen(label: str, patterns: Sequence[str] | None) -> bool:
    """Return whether a label, with or without its number of images, matches a pattern; true without patterns."""
    return not patterns or any(matches(name, pattern) for name in (label, base_label(label)) for pattern in patterns)
