"""Rows of a results folder by label, name or pattern: the files of their networks, and moving away their units."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gahbench._util.errors import ResultsError, listing, suggestion
from gahbench.board.selection import is_chosen
from gahbench.contracts.row_labels import base_label
from gahbench.store.plan_file import require_plan
from gahbench.store.stored_files import StoredWeights, stored_weights


def select_rows(names: Iterable[str], labels: Iterable[str], source: str) -> set[str]:
    """Return the labels of rows that match labels, names or patterns; the label of an entrant selects all its rows."""
    rows, selected = list(dict.fromkeys(labels)), set()
    for name in names:
        matching = {label for label in rows if name in (label, base_label(label))}
        matching = matching or {label for label in rows if is_chosen(label, [name])}
        if not matching:
            accepted = list(dict.fromkeys([*map(base_label, rows), *rows]))
            raise ResultsError(
                f"{source}: no entrant '{name}'{suggestion(name, accepted)}; accepted: {listing(accepted)}"
            )
        selected |= matching
    return selected


def weights(folder: str | Path, entrant: str) -> list[StoredWeights]:
    """Return the paths of the weights, training histories and snapshots of the finished fits of an entrant.

    Parameters
    ----------
    folder
        Path of a results folder with its units.
    entrant
        Label, name or pattern (``unet*``) of a trained entrant. The label of one row of a sweep, such as
        ``unet[width=16] N=100``, selects only that row.

    Returns
    -------
    list of StoredWeights
        One item for each finished fit, in the order of the plan.

    Raises
    ------
    ResultsError
        If the folder is not a results folder, or has no such trained entrant.
    """
    plan = require_plan(Path(folder))
    trained = (unit.entrant for unit in plan.units if unit.kind == "fit")
    return stored_weights(Path(folder), plan, select_rows([entrant], trained, f"{folder}, trained entrants"))
