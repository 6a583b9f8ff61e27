"""Estimates of the durations of units, from similar units that finished on this machine."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError
from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import PLAN, require_plan
from gahbench.store.store import Store

#: The maximum number of finished units whose durations are read, in each category and in total.
_MAX_PER_CATEGORY, _MAX_UNITS = 5, 1000
#: The number of newest neighbouring results folders whose durations are read.
_MAX_FOLDERS = 4
#: Seconds that a run takes in addition to its units: to start worker processes, and to write the board and its figures.
OVERHEAD = 6.0
#: Assumed seconds of a score if no similar score has finished: about the PSNR of a few dozen small images.
NOMINAL_SCORE = 0.5


class Durations:
    """Estimates of the durations of units from finished units of the same category."""

    def __init__(self) -> None:
        self._rates: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        self._counts: Counter[tuple[Any, ...]] = Counter()

    def add(self, units: Iterable[Unit], store: Store, values: Mapping[str, int], processor: str | None = None) -> None:
        """Add finished units, a few of each category, of one processor if given; see :func:`image_values`."""
        for unit in units:
            categories = _categories(unit, values)
            most_specific, _ = categories[0]
            if self._counts[most_specific] >= _MAX_PER_CATEGORY or self._counts.total() >= _MAX_UNITS:
                continue
            done: Mapping[str, Any] = {}
            with contextlib.suppress(ResultsError):
                done = store.done_record(unit) or {}
            seconds = seconds_of(done)
            if seconds is not None and processor in (None, done.get("environment", {}).get("processor")):
                self._counts[most_specific] += 1
                for category, size in categories:
                    self._rates[category].append(seconds / size)

    def estimate(self, unit: Unit, values: Mapping[str, int]) -> float | None:
        """Return the estimated seconds of a unit; ``None`` if no similar unit has finished."""
        if unit.kind == "fit" and (budget := unit.payload.get("training", {}).get("seconds")) is not None:
            return float(budget)
        for category, size in _categories(unit, values):
            if category in self._rates:
                return statistics.median(self._rates[category]) * size
        return None


def recorded_durations(folder: Path, processor: str) -> Durations:
    """Return estimates from the units in a results folder and its newest neighbours that ran on this processor."""
    durations = Durations()
    plan_files = sorted(folder.parent.glob(f"*/{PLAN}"), key=lambda file: file.stat().st_mtime)[-_MAX_FOLDERS:]
    for path in dict.fromkeys([folder, *(file.parent for file in reversed(plan_files))]):
        with contextlib.suppress(ResultsError, OSError):
            plan, store = require_plan(path), Store(path)
            finished = store.finished()
            units = [unit for unit in plan.units if unit.folder in finished]
            durations.add(units, store, image_values(plan.board["datasets"]), processor)
    return durations


def image_values(datasets: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of values of an image, C * H * W, by the label of the dataset."""
    return {row["dataset"]: math.prod(row[name] for name in ("channels", "height", "width")) for row in datasets}


def seconds_of(done: Mapping[str, Any]) -> float | None:
    """Return the recorded duration of a finished unit; ``None`` if its record has none."""
    return max((float(done[name]) for name in ("train_seconds", "seconds") if done.get(name) is not None), default=None)


def _categories(unit: Unit, values: Mapping[str, int]) -> list[tuple[tuple[Any, ...], float]]:
    """Return the categories of a unit, the most specific first, each with the size that scales its durations."""
    name = unit.payload.get("entrant", {}).get("name")
    row = (unit.dataset, unit.entrant)
    if unit.kind == "score":
        levels = unit.payload.get("images", 1) * len(unit.payload.get("sigmas", (0,)))
        size = float(levels * values.get(unit.dataset, 1)) or 1.0
        categories = [("score", *row, unit.metric), ("score", name, unit.metric), ("score", unit.metric), ("score",)]
        return [(category, size) for category in categories]
    # The work of a fit is unknown if planning did not try out the network, and infinite under a time budget.
    by_work = [("fit", *row), ("fit", name), ("fit",)] if 0 < unit.work < math.inf else []
    return [*((category, unit.work) for category in by_work), (("whole fit", *row), 1.0), (("whole fit",), 1.0)]
