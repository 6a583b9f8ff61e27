"""The files of finished units that reports read: arrays for figures, and weights of trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench.store.finished import warn_of_damage
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
    """Return the arrays that a metric stored, in the order of the plan; raise if there are none, but ``required``."""
    plan = require_plan(Path(folder))
    units = [unit for unit in plan.units if unit.kind == "score" and str(unit.metric).partition("[")[0] == metric]
    examination = Store(Path(folder)).examine(units)
    warn_of_damage(examination.damaged.values(), _OUTCOME)
    finished = ((unit, examination.undamaged[unit.folder]) for unit in units if unit.folder in examination.undamaged)
    stored = [
        StoredArrays(unit.dataset, unit.entrant, str(unit.metric), unit.seed, arrays)
        for unit, files in finished
        if (arrays := files.arrays())
    ]
    if required and not stored:
        raise ResultsError(
            f"{folder}: has no images of {metric}; expected a results folder with its folder units/, of a suite that "
            f"measures {metric}"
        )
    return stored


def stored_weights(folder: Path, plan: RecordedPlan, rows: set[str]) -> list[StoredWeights]:
    """Return the files of the finished fits of some rows, in the order of the plan, after checking their checksums."""
    units = [unit for unit in plan.units if unit.kind == "fit" and unit.entrant in rows]
    examination = Store(folder).examine(units, full=True)
    warn_of_damage(examination.damaged.values(), _OUTCOME)
    stored = []
    for unit in (unit for unit in units if unit.folder in examination.undamaged):
        finished = examination.undamaged[unit.folder]
        snapshots = {step: finished.folder / name for step, name in finished.snapshots.items()}
        identity = (unit.dataset, unit.entrant, unit.seed, unit.split)
        stored.append(StoredWeights(*identity, finished.folder / WEIGHTS, finished.folder / HISTORY, snapshots))
    return stored
