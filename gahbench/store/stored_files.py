"""Files of finished units that reports read: arrays for figures, and trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench.store.finished import DamagedError, warn_of_damage
from gahbench.store.plan_file import RecordedPlan, recorded_plan
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY, WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OUTCOME = "left out here, and to be done again by 'gahbench run'"


@dataclass(frozen=True, eq=False)
class StoredArrays:
    """The arrays of one unit."""

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
    """Return the arrays that a metric stored, in the order of the plan."""
    path = Path(folder)
    plan = recorded_plan(path)
    store = Store(path)
    units = [unit for unit in plan.shown if unit.kind == "score" and str(unit.metric).partition("[")[0] == metric]
    if not units:
        if not required:
            return []
        raise ResultsError(f"{path}: the suite '{plan.suite}' does not measure {metric}, which keeps images")
    examined = store.examined(units)
    damaged, found = list(examined.damaged.values()), []
    for unit in (one for one in units if one.folder in examined.whole):
        try:
            arrays = store.read_arrays(unit)
        except DamagedError as error:
            damaged.append(str(error))
            continue
        if arrays:
            found.append(StoredArrays(unit.dataset, unit.entrant, str(unit.metric), unit.seed, arrays))
    warn_of_damage(damaged, _OUTCOME)
    if not found:
        raise ResultsError(
            f"{path}: the units of {metric} are not there, or kept no images; expected the folder as the run left it"
        )
    return found


def stored_weights(folder: Path, plan: RecordedPlan, rows: set[str]) -> list[StoredWeights]:
    """Return the files of the finished fits of some rows, in the order of the plan, having compared their checksums."""
    store = Store(folder)
    finished, damaged, found = store.finished(), [], []
    for unit in (one.unit for one in plan.units if one.unit.kind == "fit" and one.unit.entrant in rows):
        if unit.folder in finished:
            home = store.path(unit)
            try:
                names = store.verify(home, unit).snapshots
            except DamagedError as error:
                damaged.append(str(error))
                continue
            snapshots = {step: home / name for step, name in names.items()}
            where = (unit.dataset, unit.entrant, unit.seed, unit.split)
            found.append(StoredWeights(*where, home / WEIGHTS, home / HISTORY, snapshots))
    warn_of_damage(damaged, _OUTCOME)
    return found
