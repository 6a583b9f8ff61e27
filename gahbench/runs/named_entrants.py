"""Entrants of a results folder, named by their labels: to be removed, or done anew."""

from __future__ import annotations

from collections.abc import Iterable

from gahbench._util.errors import ResultsError, listing, suggestion
from gahbench.board.selection import is_chosen
from gahbench.planning.row_labels import base_label


def named_rows(names: Iterable[str], labels: Iterable[str], where: str) -> set[str]:
    """Return the labels of the rows that are named: an entrant's label names all its rows."""
    rows, found = list(dict.fromkeys(labels)), set()
    for name in names:
        own = {label for label in rows if name in (label, base_label(label))}
        own = own or {label for label in rows if is_chosen(label, [name])}
        if not own:
            accepted = list(dict.fromkeys([*map(base_label, rows), *rows]))
            raise ResultsError(
                f"{where}: no entrant '{name}'{suggestion(name, accepted)}; accepted are {listing(accepted)}"
            )
        found |= own
    return found
