"""The files of trained networks in a results folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import RecordedPlan
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY, WEIGHTS, snapshot_file


@dataclass(frozen=True)
class StoredWeights:
    """The files of a finished fit.

    Parameters
    ----------
    dataset, entrant
        Labels; the entrant's with the number of training images.
    seed
        Training seed.
    split
        The half that it learned from, where there are halves.
    weights
        The trained weights, as safetensors.
    history
        Steps, training and validation errors, as CSV.
    snapshots
        Weights by the number of steps after which they were kept.
    """

    dataset: str
    entrant: str
    seed: int | None
    split: str | None
    weights: Path
    history: Path
    snapshots: dict[int, Path]


def stored_weights(folder: Path, plan: RecordedPlan, rows: set[str]) -> list[StoredWeights]:
    """Return the files of the finished fits of some rows, in the order of the plan."""
    store = Store(folder)
    units = [one.unit for one in plan.units if one.unit.kind == "fit" and one.unit.entrant in rows]
    whole = store.whole(units)
    return [_files(unit, store.path(unit)) for unit in units if unit.folder in whole]


def _files(unit: Unit, home: Path) -> StoredWeights:
    head, tail = snapshot_file("*").split("*")
    steps = sorted(int(path.name[len(head) : -len(tail)]) for path in home.glob(f"{head}*{tail}"))
    return StoredWeights(
        unit.dataset,
        unit.entrant,
        unit.seed,
        unit.split,
        home / WEIGHTS,
        home / HISTORY,
        {step: home / snapshot_file(step) for step in steps},
    )
