"""Entrants of a results folder, named by their labels, and their units: to be removed, or done anew."""

from __future__ import annotations

from collections.abc import Iterable

from gahbench._util.errors import ResultsError, listing, suggestion
from gahbench.contracts.unit import Unit
from gahbench.planning.rows import base_label
from gahbench.store.claims import Claims
from gahbench.store.store import Store


def named_rows(names: Iterable[str], labels: Iterable[str], where: str) -> set[str]:
    """Return the labels of the rows that are named: an entrant's label names all its rows.

    Parameters
    ----------
    names
        Labels of entrants, or of rows of a sweep (``unet[width=16] N=100``).
    labels
        Those of all rows.
    where
        For the error.

    Raises
    ------
    ResultsError
        If there is no such row; lists what is accepted.
    """
    rows, found = list(dict.fromkeys(labels)), set()
    for name in names:
        own = {label for label in rows if name in (label, base_label(label))}
        if not own:
            accepted = list(dict.fromkeys([*map(base_label, rows), *rows]))
            raise ResultsError(
                f"{where}: no entrant '{name}'{suggestion(name, accepted)}; accepted are {listing(accepted)}"
            )
        found |= own
    return found


def refuse_claimed(units: Iterable[Unit], store: Store) -> None:
    """Refuse to touch units that a process is doing.

    Raises
    ------
    ResultsError
        Naming a unit and the process.
    """
    claims = Claims(store.claims)
    names = claims.names()
    for unit in units:
        if unit.folder in names and (seen := claims.seen(unit.folder)) is not None and not seen.is_stale:
            host, process = seen.record.get("host"), seen.record.get("pid")
            raise ResultsError(
                f"{store.folder}: '{unit.label}' is being done on {host}, process {process}; wait for it, or end it"
            )
