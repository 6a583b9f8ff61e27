"""Unions of the lists and tables that plans hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gahbench._util.keys import canonical


def united(sequences: Iterable[Iterable[str]]) -> list[str]:
    """Return the names of several sequences once, in an order in which each has its own as far as may be."""
    found: list[str] = []
    for sequence in sequences:
        names = list(dict.fromkeys(sequence))
        for place, name in enumerate(names):
            if name not in found:
                after = next((later for later in names[place + 1 :] if later in found), None)
                found.insert(len(found) if after is None else found.index(after), name)
    return found


def united_rows(tables: Iterable[Sequence[Mapping[str, Any]]], name: str) -> list[Mapping[str, Any]]:
    """Return the rows of several tables, one for each value of a column; of several the first."""
    listed = list(tables)
    rows = {row[name]: row for table in reversed(listed) for row in table}
    return [rows[value] for value in united([row[name] for row in table] for table in listed)]


def distinct(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows, each once."""
    return list({canonical(row): row for row in rows}.values())
