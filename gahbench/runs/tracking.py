"""A run passed on to trackers, by the lifecycle hooks."""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.error_text import error_text
from gahbench.contracts.trackers import Tracker
from gahbench.contracts.unit import Unit
from gahbench.registry.hookspecs import hookimpl
from gahbench.registry.registry import Registry
from gahbench.store.finished import open_finished
from gahbench.store.plan_file import recorded_plan
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY

if TYPE_CHECKING:
    from gahbench.board.results import Results


class Trackings:
    """The trackers of a run, which may have two parts: they begin with the first, and end when it is closed."""

    def __init__(self, specs: Sequence[str]) -> None:
        self._specs = specs
        self._made: list[Tracking] | None = None

    @contextlib.contextmanager
    def of(self, registry: Registry) -> Iterator[None]:
        """Pass on to the trackers what the lifecycle hooks of a registry are called with."""
        if self._made is None:
            self._made = [Tracking(spec, registry.create("tracker", spec)) for spec in self._specs]
        for tracking in self._made:
            registry.manager.register(tracking)
        try:
            yield
        finally:
            for tracking in self._made:
                registry.manager.unregister(tracking)

    def close(self) -> None:
        """End, with the last results."""
        for tracking in self._made or ():
            tracking.finish()


class Tracking:
    """The lifecycle hooks of one tracker."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name = name
        self._tracker: Tracker | None = tracker
        self._folder: Path | None = None
        self._results: Results | None = None
        #: Of fits that are under way: the last step, and the last validation PSNR, that were logged.
        self._logged: dict[str, tuple[int, float | None]] = {}

    @hookimpl
    def run_started(self, folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
        """Begin, with the suite; a second part of the run is none."""
        if self._folder is not None:
            return
        self._folder = named = folder.resolve()  # "." has no name.
        self._call(lambda tracker: tracker.start(named, described(named, units, todo)))

    @hookimpl
    def unit_progress(self, unit: Unit, progress: dict[str, Any]) -> None:
        """Log the loss, and the validation PSNR where there is another."""
        if progress["fraction"] < 1.0:
            self._training(unit, progress["step"], progress["loss"], progress["psnr"])

    @hookimpl
    def unit_finished(self, unit: Unit) -> None:
        """Log what there is only now: the rest of a history, and scores."""
        self._call(lambda tracker: self._rest(unit) if unit.kind == "fit" else self._scores(tracker, unit))

    @hookimpl
    def run_finished(self, results: Results) -> None:
        """Keep the board for the end: another part may follow."""
        self._results = results

    def finish(self) -> None:
        """End, with the last board, unless it has ended."""
        self._call(lambda tracker: tracker.finish(self._results))
        self._tracker = None

    @property
    def _store(self) -> Store:
        assert self._folder is not None  # Nothing is finished before a run has begun.
        return Store(self._folder)

    def _training(self, unit: Unit, step: int, loss: float, psnr: float | None) -> None:
        last, measured = self._logged.get(unit.key, (-1, None))
        if step <= last:
            return  # Done again from a checkpoint: a curve does not go back.
        values = {"loss": loss}
        if psnr is not None and psnr != measured:
            values["validation_psnr"] = psnr
        self._logged[unit.key] = step, psnr
        self._call(lambda tracker: tracker.log_training(row_name(unit), step, values))

    def _rest(self, unit: Unit) -> None:
        content = open_finished(self._store.path(unit), unit).read(HISTORY).decode()
        for record in csv.DictReader(io.StringIO(content)):
            levels = [float(value) for name, value in record.items() if name.startswith("psnr@") and value]
            psnr = sum(levels) / len(levels) if levels else None
            self._training(unit, int(record["step"]), float(record["loss"]), psnr)
        self._logged.pop(unit.key, None)

    def _scores(self, tracker: Tracker, unit: Unit) -> None:
        found: dict[str, list[float]] = defaultdict(list)
        for sigma, _, value, part in self._store.read_scores(unit):
            found[score_name(unit, part, sigma)].append(value)
        tracker.log_scores(row_name(unit), {name: sum(values) / len(values) for name, values in found.items()})

    def _call(self, call: Callable[[Tracker], None]) -> None:
        """Call the tracker; one that fails is given up, with a warning."""
        tracker = self._tracker
        if tracker is None:
            return
        try:
            call(tracker)
        except Exception as error:
            self._tracker = None
            warnings.warn(
                f"the tracker {self.name} gets no more of this run, which goes on: {error_text(error)}", stacklevel=2
            )


def row_name(unit: Unit) -> str:
    """Return the name of the row of a unit, with the half that a fit learns from."""
    seed = "" if unit.seed is None else f" (seed {unit.seed})"
    half = f" from {unit.split}" if unit.kind == "fit" and unit.split else ""
    return f"{unit.entrant} on {unit.dataset}{seed}{half}"


def score_name(unit: Unit, part: str, sigma: float | None) -> str:
    """Return the name of a mean over images: metric, part, split if it is not the test split, and noise level."""
    metric = f"{unit.metric}.{part}" if part else str(unit.metric)
    split = "" if unit.split in (None, "test") else f" on {unit.split}"
    level = "" if sigma is None else f"/{sigma:g}"
    return f"{metric}{split}{level}"


def described(folder: Path, units: Sequence[Unit], todo: Sequence[Unit]) -> dict[str, Any]:
    """Return what is run, as plain JSON (:meth:`gahbench.Tracker.start`)."""

    def values(name: str) -> list[Any]:
        return list(dict.fromkeys(value for unit in units if (value := getattr(unit, name)) is not None))

    scores = [unit for unit in units if unit.kind == "score"]
    return {
        "suite": recorded_plan(folder).suite,
        "units": len(units),
        "todo": len(todo),
        **{f"{name}s": values(name) for name in ("dataset", "entrant", "metric", "seed")},
        "splits": list(dict.fromkeys(unit.split for unit in scores)),
        "sigmas": sorted({sigma for unit in scores for sigma in unit.payload.get("sigmas", ())}),
        "training": {row_name(unit): unit.payload["training"] for unit in units if unit.kind == "fit"},
    }
