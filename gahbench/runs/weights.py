"""Where the networks of an entrant are."""

from __future__ import annotations

from pathlib import Path

from gahbench.runs.removal import named_rows
from gahbench.store.plan_file import recorded_plan
from gahbench.store.stored_weights import StoredWeights, stored_weights


def weights(folder: str | Path, entrant: str) -> list[StoredWeights]:
    """Return where the weights, histories and snapshots of the finished fits of an entrant are.

    Parameters
    ----------
    folder
        A results folder with its units.
    entrant
        Its label or name, or a pattern such as ``unet*``; the label of a row of a sweep, ``unet[width=16] N=100``,
        names that row alone.

    Raises
    ------
    ResultsError
        If it is no results folder, or has no such entrant that is trained.
    """
    plan = recorded_plan(Path(folder))
    trained = (one.unit.entrant for one in plan.units if one.unit.kind == "fit")
    return stored_weights(Path(folder), plan, named_rows([entrant], trained, f"{folder}, entrants that are trained"))
