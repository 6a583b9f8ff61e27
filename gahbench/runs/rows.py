"""The files of trained networks in a results folder."""

from __future__ import annotations

from pathlib import Path

from gahbench._util.errors import ResultsError
from gahbench.board.selection import choose_labels
from gahbench.store.plan_file import require_plan
from gahbench.store.store import StoredWeights, stored_weights


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
    trained = dict.fromkeys(unit.entrant for unit in plan.units if unit.kind == "fit")
    return stored_weights(Path(folder), plan, set(choose_labels([entrant], trained, "trained entrant", ResultsError)))
