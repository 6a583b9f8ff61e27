"""Calls of the hooks with which plugins and trackers follow a run: its start, its training, its scores, and its end."""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from gahbench._util.error_text import error_text
from gahbench._util.errors import PluginError, ResultsError
from gahbench.contracts.engines import Event
from gahbench.contracts.unit import Unit
from gahbench.store.finished import open_finished
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY


@contextlib.contextmanager
def tracking(trackers: Mapping[str, object], manager: pluggy.PluginManager) -> Iterator[None]:
    """Let trackers, given by their specs, follow a run; the hooks learn if an error ends it."""
    try:
        for spec, tracker in trackers.items():
            try:
                manager.register(tracker, f"the tracker {spec}")
                manager.check_pending()
            except pluggy.PluginValidationError as error:
                raise PluginError(f"tracker '{spec}': {error}") from error
            if not manager.get_hookcallers(tracker):
                raise PluginError(f"tracker '{spec}': has no method that is marked with gahbench.hookimpl")
        try:
            yield
        except BaseException:
            call_hook(manager, "run_finished", lambda: {"results": None})
            raise
    finally:
        for tracker in filter(manager.is_registered, trackers.values()):
            manager.unregister(tracker)


def call_hook(manager: pluggy.PluginManager, name: str, arguments: Callable[[], Mapping[str, object]]) -> None:
    """Call a hook; a plugin that raises an error is not called again, since it only follows a run of days."""
    hooks = getattr(manager.hook, name).get_hookimpls()
    values = arguments() if hooks else {}
    for hook in hooks:
        try:
            hook.function(*(values[argument] for argument in hook.argnames))
        except Exception as error:
            manager.unregister(hook.plugin)
            text = f"{hook.plugin_name} failed and is not called any more; the run continues: {error_text(error)}"
            warnings.warn(text, stacklevel=2)


class Follower:
    """Reports events, and calls the hooks for training and scores with each value once and in order."""

    def __init__(self, manager: pluggy.PluginManager, report: Callable[[Event], None], store: Store) -> None:
        self._manager, self._report, self._store = manager, report, store
        # The last step and validation PSNR that were logged, by the key of a running fit.
        self._last: dict[str, tuple[int, float | None]] = {}

    def __call__(self, event: Event) -> None:
        """Report an event, and call the hooks for its values."""
        self._report(event)
        unit, details = event.unit, event.details
        if unit is not None and event.kind == "progress" and details["fraction"] < 1.0:
            self._log_step(unit, details["step"], details["loss"], details["psnr"])
        elif unit is not None and event.kind == "finished":
            # A damaged unit has no values.
            with contextlib.suppress(ResultsError):
                if unit.kind == "score":
                    call_hook(self._manager, "log_scores", lambda: {"row": row_name(unit), "values": self._means(unit)})
                elif self._manager.hook.log_training.get_hookimpls():
                    self._log_history(unit)

    def _log_step(self, unit: Unit, step: int, loss: float, psnr: float | None) -> None:
        last_step, last_psnr = self._last.get(unit.key, (-1, None))
        # A fit that was resumed from an earlier checkpoint repeats steps.
        if step > last_step:
            self._last[unit.key] = step, psnr
            values = {"loss": loss} | ({} if psnr in (None, last_psnr) else {"validation_psnr": psnr})
            call_hook(self._manager, "log_training", lambda: {"row": row_name(unit), "step": step, "values": values})

    def _log_history(self, unit: Unit) -> None:
        """Log the part of a training history that was not reported as progress."""
        content = open_finished(self._store.path(unit)).read(HISTORY).decode()
        for record in csv.DictReader(io.StringIO(content)):
            levels = [float(value) for name, value in record.items() if name.startswith("psnr@") and value]
            psnr = sum(levels) / len(levels) if levels else None
            self._log_step(unit, int(record["step"]), float(record["loss"]), psnr)

    def _means(self, unit: Unit) -> dict[str, float]:
        """Return the means of a score over images, named by metric, part, split unless it is ``test``, and level."""
        values: dict[str, list[float]] = defaultdict(list)
        split = "" if unit.split in (None, "test") else f" on {unit.split}"
        for sigma, _, value, part in self._store.read_scores(unit):
            level = "" if sigma is None else f"/{sigma:g}"
            values[f"{unit.metric}{f'.{part}' * bool(part)}{split}{level}"].append(value)
        return {name: sum(listed) / len(listed) for name, listed in values.items()}


def row_name(unit: Unit) -> str:
    """Return the name of the row of a unit, with the split half of a fit."""
    return unit.row + (f" from {unit.split}" if unit.kind == "fit" and unit.split else "")


def describe_run(folder: Path, suite: str, units: Sequence[Unit], todo: Sequence[Unit]) -> dict[str, Any]:
    """Return the arguments of the hook ``run_started``."""
    scores = [unit for unit in units if unit.kind == "score"]

    def values(name: str, of: Sequence[Unit] = units) -> list[Any]:
        return list(dict.fromkeys(value for unit in of if (value := getattr(unit, name)) is not None))

    described = {
        "suite": suite,
        "units": len(units),
        "todo": len(todo),
        **{f"{name}s": values(name) for name in ("dataset", "entrant", "metric", "seed")},
        "splits": values("split", scores),
        "sigmas": sorted({sigma for unit in scores for sigma in unit.payload.get("sigmas", ())}),
        "training": {row_name(unit): unit.payload["training"] for unit in units if unit.kind == "fit"},
    }
    return {"folder": folder.resolve(), "suite": described}
