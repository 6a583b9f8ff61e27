"""Arrays that metrics store for figures, read from the units of a results folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench.store.examined import warn_of_damage
from gahbench.store.finished import DamagedError
from gahbench.store.plan_file import recorded_plan
from gahbench.store.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class StoredArrays:
    """The arrays of one unit."""

    dataset: str
    entrant: str
    metric: str
    seed: int | None
    arrays: dict[str, NDArray[Any]]


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
    warn_of_damage(damaged, "left out here, and to be done again by 'gahbench run'")
    if not found:
        raise ResultsError(
            f"{path}: the units of {metric} are not there, or kept no images; expected the folder as the run left it. "
            "Units of earlier versions may have kept none: 'gahbench run --again' does them anew"
        )
    return found
