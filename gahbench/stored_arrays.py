"""What metrics keep for figures beside their values, read from the units of a results folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench.errors import ResultsError
from gahbench.folder import PLAN, Folder
from gahbench.jobs import unit_from_message
from gahbench.store import Store
from gahbench.unit import Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class StoredArrays:
    """The arrays of one unit.

    Parameters
    ----------
    dataset, entrant, metric
        Labels; the entrant's with the number of training images.
    seed
        Training seed.
    arrays
        By name.
    """

    dataset: str
    entrant: str
    metric: str
    seed: int | None
    arrays: dict[str, NDArray[Any]]


def stored_arrays(folder: str | Path, metric: str) -> list[StoredArrays]:
    """Return the arrays that a metric kept, in the order of the plan.

    Parameters
    ----------
    folder
        A results folder with its units.
    metric
        Name of the metric, with or without parameters.

    Raises
    ------
    ResultsError
        If the folder has none: the suite does not have the metric, or the units are not there any more.
    """
    path = Path(folder)
    suite, units = _scores(path, metric)
    store = Store(path)
    if not units:
        raise ResultsError(f"{path}: the suite '{suite}' does not measure {metric}, which keeps samples")
    found = [
        StoredArrays(unit.dataset, unit.entrant, str(unit.metric), unit.seed, arrays)
        for unit in units
        if store.is_done(unit) and (arrays := store.read_arrays(unit))
    ]
    if not found:
        raise ResultsError(
            f"{path}: the units of {metric} are not there, or have no samples; expected the folder as the run left it"
        )
    return found


def measures(folder: str | Path, metric: str) -> bool:
    """Return whether the suite of a results folder has a metric, with or without parameters.

    Raises
    ------
    ResultsError
        If it is no results folder.
    """
    return bool(_scores(Path(folder), metric)[1])


def _scores(path: Path, metric: str) -> tuple[str, list[Unit]]:
    """Return the name of the suite, and its units of a metric."""
    recorded = Folder(path).recorded()
    if recorded is None:
        raise ResultsError(f"{path}: no {PLAN}; expected a results folder")
    units = [
        unit_from_message({name: value for name, value in record.items() if name != "added"})
        for record in recorded["units"]
        if record["kind"] == "score" and str(record["metric"]).partition("[")[0] == metric
    ]
    return str(recorded["suite"]), units
