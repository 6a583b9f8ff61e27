"""The files of finished units that reports read: arrays for figures, and weights of trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench.store.finished import DamagedError, warn_of_damage
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY, WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OUTCOME = "and left out here ('gahbench run' recomputes damaged units)"


@dataclass(frozen=True, eq=False)
class StoredArrays:
    """The arrays that a metric stored for one unit."""

    dataset: str
    entrant: str
    metric: str
    seed: int | None
    arrays: dict[str, NDArray[Any]]


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


def stored_arrays(folder: str | Path, metric: str, *, required: bool = True) -> list[StoredArrays]:
    """Return the arrays that a metric stored, in the order of the plan; empty if not measured and not ``required``."""
    path = Path(folder)
    plan = require_plan(path)
    store = Store(path)
    units = [unit for unit in plan.units if unit.kind == "score" and str(unit.metric).partition("[")[0] == metric]
    if not units:
        if not required:
            return []
        raise ResultsError(f"{path}: the suite '{plan.suite}' does not measure {metric}, which stores images")
    examination = store.examine(units)
    damaged, stored = list(examination.damaged.values()), []
    for unit in (unit for unit in units if unit.folder in examination.undamaged):
        try:
            arrays = examination.undamaged[unit.folder].arrays()
        except DamagedError as error:
            damaged.append(str(error))
            continue
        if arrays:
            stored.append(StoredArrays(unit.dataset, unit.entrant, str(unit.metric), unit.seed, arrays))
    warn_of_damage(damaged, _OUTCOME)
    if not stored:
        raise ResultsError(
            f"{path}: the units of {metric} are missing or stored no images; expected a results "
            "folder with its folder units/"
        )
    return stored


def stored_weights(folder: Path, plan: RecordedPlan, rows: set[str]) -> list[StoredWeights]:
    """Return the files of the finished fits of some rows, in the order of the plan, after checking their checksums."""
    store = Store(folder)
    finished, damaged, stored = store.finished(), [], []
    for unit in (unit for unit in plan.units if unit.kind == "fit" and unit.entrant in rows):
        if unit.folder in finished:
            unit_folder = store.path(unit)
            try:
                names = store.verify(unit_folder, unit).snapshots
            except DamagedError as error:
                damaged.append(str(error))
                continue
            snapshots = {step: unit_folder / name for step, name in names.items()}
            identity = (unit.dataset, unit.entrant, unit.seed, unit.split)
            stored.append(StoredWeights(*identity, unit_folder / WEIGHTS, unit_folder / HISTORY, snapshots))
    warn_of_damage(damaged, _OUTCOME)
    return stored
