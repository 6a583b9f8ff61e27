"""Patterns of labels, as a shell has them for files."""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(label: str, pattern: str) -> bool:
    """Whether a pattern matches a label, or the name in front of its brackets; brackets in it mean themselves."""
    # They are in labels, and would be sets of characters.
    escaped = "".join(f"[{char}]" if char == "[" else char for char in pattern)
    return any(one == pattern or fnmatchcase(one, escaped) for one in (label, label.partition("[")[0]))
