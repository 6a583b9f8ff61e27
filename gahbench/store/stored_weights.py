"""The files of trained networks in a results folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gahbench.contracts.unit import Unit
from gahbench.store.examined import warn_of_damage
from gahbench.store.finished import DamagedError, Finished
from gahbench.store.plan_file import RecordedPlan
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY, WEIGHTS


@dataclass(frozen=True)
class StoredWeights:
    """The files of a finished fit."""

    dataset: str
    entrant: str
    seed: int | None
    split: str | None
    weights: Path
    history: Path
    snapshots: dict[int, Path]


def stored_weights(folder: Path, plan: RecordedPlan, rows: set[str]) -> list[StoredWeights]:
    """Return the files of the finished fits of some rows, in the order of the plan, having compared their checksums."""
    store = Store(folder)
    finished, damaged, found = store.finished(), [], []
    for unit in (one.unit for one in plan.units if one.unit.kind == "fit" and one.unit.entrant in rows):
        if unit.folder in finished:
            try:
                found.append(_files(unit, store.verify(store.path(unit), unit)))
            except DamagedError as error:
                damaged.append(str(error))
    warn_of_damage(damaged, "left out here, and to be done again by 'gahbench run'")
    return found


def _files(unit: Unit, fit: Finished) -> StoredWeights:
    home = fit.folder
    return StoredWeights(
        unit.dataset,
        unit.entrant,
        unit.seed,
        unit.split,
        home / WEIGHTS,
        home / HISTORY,
        {step: home / name for step, name in fit.snapshots.items()},
    )
