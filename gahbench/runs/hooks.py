"""Calling the lifecycle hooks of plugins and trackers, and loading the plugins that have such hooks."""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from gahbench._util.error_text import error_text
from gahbench.contracts.engines import Event
from gahbench.contracts.trackers import Tracker
from gahbench.contracts.unit import Unit
from gahbench.registry.hookspecs import hookimpl
from gahbench.registry.registry import Registry
from gahbench.store.finished import open_finished
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY

if TYPE_CHECKING:
    from gahbench.board.results import Results


def notify(registry: Registry, report: Callable[[Event], None], event: Event) -> None:
    """Report an event, and call the lifecycle hooks of plugins."""
    report(event)
    arguments: dict[str, Callable[[], dict[str, object]]] = {
        "started": dict,
        "progress": lambda: {"progress": dict(event.details)},
        "finished": lambda: {"seconds": event.details["seconds"]},
        "failed": lambda: {"error": event.details["error"]},
    }
    if event.unit is not None and (details := arguments.get(event.kind)) is not None:
        _call(getattr(registry.manager.hook, f"unit_{event.kind}"), lambda: {"unit": event.unit, **details()})


def notify_started(registry: Registry, folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
    """Call the hooks of plugins for the start of a run."""
    _call(registry.manager.hook.run_started, lambda: {"folder": folder, "units": units, "todo": todo})


def notify_finished(registry: Registry, folder: Path, load: Callable[[], Results]) -> None:
    """Call the hooks of plugins for the end of a run; the results are loaded only if there are such hooks."""
    hook = registry.manager.hook.run_finished
    if hook.get_hookimpls():
        _call(hook, lambda: {"folder": folder, "results": load()})


def _call(hook: pluggy.HookCaller, arguments: Callable[[], dict[str, object]]) -> None:
    """Call a hook; the arguments are built here, so that their errors are caught too."""
    try:
        hook(**arguments())
    except Exception as error:
        # An error of a hook, which only observes, must not end a run of days.
        warnings.warn(f"a plugin's hook {hook.name} raised {type(error).__name__}: {error}", stacklevel=3)


@contextlib.contextmanager
def tracking(trackers: Sequence[tuple[str, Tracker]], registry: Registry) -> Iterator[None]:
    """Let the lifecycle hooks of a registry call trackers, given with their specs, and finish the trackers."""
    hooks = [TrackerHooks(spec, tracker) for spec, tracker in trackers]
    for tracked in hooks:
        registry.manager.register(tracked)
    try:
        yield
    finally:
        for tracked in hooks:
            registry.manager.unregister(tracked)
            tracked.finish()


class TrackerHooks:
    """Lifecycle hooks that forward events to one tracker."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name = name
        self._tracker: Tracker | None = tracker
        self._folder: Path | None = None
        self._results: Results | None = None
        #: The last step and validation PSNR that were logged, by the key of a running fit.
        self._last_logged: dict[str, tuple[int, float | None]] = {}

    @hookimpl
    def run_started(self, folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
        """Start the tracker."""
        self._folder = resolved = folder.resolve()  # The path "." has no name.
        self._call(lambda tracker: tracker.start(resolved, describe_run(resolved, units, todo)))

    @hookimpl
    def unit_progress(self, unit: Unit, progress: dict[str, Any]) -> None:
        """Log the loss, and the validation PSNR if it is new."""
        if progress["fraction"] < 1.0:
            self._log_training(unit, progress["step"], progress["loss"], progress["psnr"])

    @hookimpl
    def unit_finished(self, unit: Unit) -> None:
        """Log the scores of a score unit, or the part of a training history that was not logged as progress."""
        self._call(
            lambda tracker: self._log_remaining_history(unit) if unit.kind == "fit" else self._log_scores(tracker, unit)
        )

    @hookimpl
    def run_finished(self, results: Results) -> None:
        """Keep the results until the trackers finish."""
        self._results = results

    def finish(self) -> None:
        """Finish the tracker with the last results, once."""
        self._call(lambda tracker: tracker.finish(self._results))
        self._tracker = None

    @property
    def _store(self) -> Store:
        assert self._folder is not None  # ``run_started`` is called before any unit ends.
        return Store(self._folder)

    def _log_training(self, unit: Unit, step: int, loss: float, psnr: float | None) -> None:
        last_step, last_psnr = self._last_logged.get(unit.key, (-1, None))
        if step <= last_step:
            return  # The fit was resumed from an earlier checkpoint, and this step was logged before.
        values = {"loss": loss}
        if psnr is not None and psnr != last_psnr:
            values["validation_psnr"] = psnr
        self._last_logged[unit.key] = step, psnr
        self._call(lambda tracker: tracker.log_training(row_name(unit), step, values))

    def _log_remaining_history(self, unit: Unit) -> None:
        content = open_finished(self._store.path(unit), unit).read(HISTORY).decode()
        for record in csv.DictReader(io.StringIO(content)):
            levels = [float(value) for name, value in record.items() if name.startswith("psnr@") and value]
            psnr = sum(levels) / len(levels) if levels else None
            self._log_training(unit, int(record["step"]), float(record["loss"]), psnr)
        self._last_logged.pop(unit.key, None)

    def _log_scores(self, tracker: Tracker, unit: Unit) -> None:
        values_by_name: dict[str, list[float]] = defaultdict(list)
        for sigma, _, value, part in self._store.read_scores(unit):
            values_by_name[score_name(unit, part, sigma)].append(value)
        tracker.log_scores(row_name(unit), {name: sum(values) / len(values) for name, values in values_by_name.items()})

    def _call(self, call: Callable[[Tracker], None]) -> None:
        """Call the tracker; if it raises an error, warn and do not call it again."""
        tracker = self._tracker
        if tracker is None:
            return
        try:
            call(tracker)
        except Exception as error:
            self._tracker = None
            warnings.warn(
                f"the tracker {self.name} failed and is not used any more; the run continues: {error_text(error)}",
                stacklevel=2,
            )


def row_name(unit: Unit) -> str:
    """Return the name under which trackers show a unit, with the split half of a fit."""
    seed = "" if unit.seed is None else f" (seed {unit.seed})"
    half = f" from {unit.split}" if unit.kind == "fit" and unit.split else ""
    return f"{unit.entrant} on {unit.dataset}{seed}{half}"


def score_name(unit: Unit, part: str, sigma: float | None) -> str:
    """Return the name of a mean score: metric, part, split unless it is the test split, and noise level."""
    metric = f"{unit.metric}.{part}" if part else str(unit.metric)
    split = "" if unit.split in (None, "test") else f" on {unit.split}"
    level = "" if sigma is None else f"/{sigma:g}"
    return f"{metric}{split}{level}"


def describe_run(folder: Path, units: Sequence[Unit], todo: Sequence[Unit]) -> dict[str, Any]:
    """Return a description of a run as plain JSON, for :meth:`gahbench.Tracker.start`."""

    def values(name: str) -> list[Any]:
        return list(dict.fromkeys(value for unit in units if (value := getattr(unit, name)) is not None))

    scores = [unit for unit in units if unit.kind == "score"]
    return {
        "suite": require_plan(folder).suite,
        "units": len(units),
        "todo": len(todo),
        **{f"{name}s": values(name) for name in ("dataset", "entrant", "metric", "seed")},
        "splits": list(dict.fromkeys(unit.split for unit in scores)),
        "sigmas": sorted({sigma for unit in scores for sigma in unit.payload.get("sigmas", ())}),
        "training": {row_name(unit): unit.payload["training"] for unit in units if unit.kind == "fit"},
    }
