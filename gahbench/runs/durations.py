"""Estimates of how long units take, from similar units that finished on this machine."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError
from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import PLAN, require_plan
from gahbench.store.store import Store

#: Finished units of a kind, and in all, whose times are read.
_SAMPLE, _SAMPLES = 5, 1000
#: The number of neighbouring results folders, the newest, whose times are read.
_FOLDERS = 4
#: Seconds that a run takes beside its units: to start worker processes, and to write the board and its figures.
OVERHEAD = 6.0
#: Seconds of a score without a similar one: about the time of the PSNR of a few dozen small images.
NOMINAL_SCORE = 0.5


class Durations:
    """Seconds of units, estimated from finished units of the same kind."""

    def __init__(self) -> None:
        self._rates: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        self._taken: Counter[tuple[Any, ...]] = Counter()

    def add(
        self,
        units: Iterable[Unit],
        store: Store,
        values: Mapping[str, int],
        counts: Callable[[Mapping[str, Any]], bool] = lambda done: True,
    ) -> None:
        """Add finished units of a store, a few of each kind."""
        for unit in units:
            kinds = _kinds(unit, values)
            finest, _ = kinds[0]
            if self._taken[finest] >= _SAMPLE or self._taken.total() >= _SAMPLES:
                continue
            try:
                done = store.done_record(unit)
            except ResultsError:
                continue
            seconds = seconds_of(done)
            if done is None or seconds is None or not counts(done):
                continue
            self._taken[finest] += 1
            for kind, size in kinds:
                self._rates[kind].append(seconds / size)

    def of(self, unit: Unit, values: Mapping[str, int]) -> float | None:
        """Return the seconds of a unit; ``None`` where no unit like it has finished."""
        if unit.kind == "fit" and (budget := unit.payload.get("training", {}).get("seconds")) is not None:
            return float(budget)
        for kind, size in _kinds(unit, values):
            if kind in self._rates:
                return statistics.median(self._rates[kind]) * size
        return None


def durations_beside(folder: Path, processor: str) -> Durations:
    """Return the durations of units in a results folder and in its newest neighbours, on this processor."""
    found = Durations()
    beside = sorted(folder.parent.glob(f"*/{PLAN}"), key=_changed, reverse=True)[:_FOLDERS]
    for place in dict.fromkeys([folder, *(file.parent for file in beside)]):
        try:
            plan, store = require_plan(place), Store(place)
            finished, _ = store.ended()
        except (ResultsError, OSError):
            continue
        units = [recorded.unit for recorded in plan.units if recorded.unit.folder in finished]
        values = image_values(plan.board["datasets"])
        found.add(units, store, values, lambda done: done.get("environment", {}).get("processor") == processor)
    return found


def image_values(datasets: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of values of an image, C * H * W, by the label of the dataset, from the board's rows."""
    return {row["dataset"]: math.prod(row[name] for name in ("channels", "height", "width")) for row in datasets}


def seconds_of(done: Mapping[str, Any] | None) -> float | None:
    """Return the recorded duration of a finished unit; ``None`` if it has none."""
    recorded = () if done is None else (done.get("train_seconds"), done.get("seconds"))
    known = [float(seconds) for seconds in recorded if seconds is not None]
    return max(known, default=None)


def _kinds(unit: Unit, values: Mapping[str, int]) -> list[tuple[tuple[Any, ...], float]]:
    """Return the kinds of a unit, the most specific first, each with the size that its time is proportional to."""
    name = unit.payload.get("entrant", {}).get("name")
    finest = (unit.dataset, unit.entrant)
    if unit.kind == "score":
        levels = unit.payload.get("images", 1) * len(unit.payload.get("sigmas", (0,)))
        size = float(levels * values.get(unit.dataset, 1)) or 1.0
        kinds = [("score", *finest, unit.metric), ("score", name, unit.metric), ("score", unit.metric), ("score",)]
        return [(kind, size) for kind in kinds]
    # The work of a fit is not known where the network was not tried out again, or cannot be.
    known = [("fit", *finest), ("fit", name), ("fit",)] if 0 < unit.work < math.inf else []
    return [*((kind, unit.work) for kind in known), (("whole fit", *finest), 1.0), (("whole fit",), 1.0)]


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
