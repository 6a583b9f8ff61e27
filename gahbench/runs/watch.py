"""Following a run: what happens to its units is read from their files, shown on a display, and told to hooks."""

from __future__ import annotations

import contextlib
import csv
import io
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from gahbench._util.errors import PluginError, ResultsError, error_text
from gahbench._util.files import names_in
from gahbench._util.records import read_record
from gahbench.contracts.unit import Unit
from gahbench.planning.units import AUDITED
from gahbench.runs.progress import Display
from gahbench.store.store import Store
from gahbench.store.units import PARTIAL, PROGRESS, open_finished
from gahbench.training.file_names import HISTORY

#: Seconds between two looks at the results folder (or ten times the duration of a look if that is longer).
WATCH_SECONDS = 0.5


class Watch:
    """A context in which a display shows units, and hooks receive each of their values once and in order."""

    def __init__(self, units: Sequence[Unit], store: Store, display: Display, manager: pluggy.PluginManager) -> None:
        self._units = {unit.folder: unit for unit in units}
        self._store, self._display, self._manager = store, display, manager
        #: The last progress of each running unit, and the units that have ended.
        self._seen: dict[str, dict[str, Any]] = {}
        self._ended: set[str] = set()
        #: The last step and validation PSNR of which hooks were told, by the key of a running fit.
        self._last: dict[str, tuple[int, float | None]] = {}
        self._closed, self._thread = threading.Event(), threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._thread.join()
        self.update()

    def _follow(self) -> None:
        pause = 0.0
        while not self._closed.wait(max(WATCH_SECONDS, pause)):
            started = time.monotonic()
            self.update()
            pause = 10 * (time.monotonic() - started)

    def update(self) -> None:
        """Show what has changed since the last call."""
        # The file server may respond again at the next call.
        with contextlib.suppress(OSError, ResultsError):
            names = names_in(self._store.units)
            for name in names:
                key = name.partition(PARTIAL)[0]
                if PARTIAL in name and key in self._units and key not in self._ended:
                    self._on_progress(self._units[key], read_record(self._store.units / name / PROGRESS))
            failed, finished = self._store.failed(), set(names)
            ended = ((failed | finished) & self._units.keys()) - self._ended
            # The fits of a plan come before their scores.
            for name in [name for name in self._units if name in ended] if ended else ():
                self._on_end(self._units[name], name in finished)

    def _on_progress(self, unit: Unit, progress: dict[str, Any]) -> None:
        if not progress or progress == self._seen.get(unit.folder):
            return
        if unit.folder not in self._seen:
            self._display.begin(unit)
        self._seen[unit.folder] = progress
        if "step" in progress:
            self._display.report(unit, progress)
            if progress["fraction"] < 1.0:
                self._log_step(unit, progress["step"], progress["loss"], progress["psnr"])

    def _on_end(self, unit: Unit, is_finished: bool) -> None:
        self._ended.add(unit.folder)
        if unit.folder not in self._seen:
            self._display.begin(unit)
        if not is_finished:
            self._display.fail(unit, self._store.failure_of(unit.folder))
            return
        done, means, hooks = dict[str, Any](), dict[str, float](), self._manager.hook
        # A damaged unit has no values, and one of another machine may not be visible yet.
        with contextlib.suppress(ResultsError, OSError):
            done = dict(self._store.done_record(unit) or {})
            if (unit.metric, unit.split) == AUDITED or (unit.kind == "score" and hooks.log_scores.get_hookimpls()):
                means = self._means(unit)
            if unit.kind == "fit" and hooks.log_training.get_hookimpls():
                self._log_history(unit)
        for text in done.get("notes", ()) if unit.kind == "fit" else ():
            self._display.note(text, unit)
        self._display.finish(unit, float(done.get("seconds", 0.0)), means)
        if means:
            call_hook(self._manager, "log_scores", row=row_name(unit), values=means)

    def _log_step(self, unit: Unit, step: int, loss: float, psnr: float | None) -> None:
        last_step, last_psnr = self._last.get(unit.key, (-1, None))
        # A fit that was resumed from an earlier checkpoint repeats steps.
        if step > last_step:
            self._last[unit.key] = step, psnr
            values = {"loss": loss} | ({} if psnr in (None, last_psnr) else {"validation_psnr": psnr})
            call_hook(self._manager, "log_training", row=row_name(unit), step=step, values=values)

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
            call_hook(manager, "run_finished", results=None)
            raise
    finally:
        for tracker in filter(manager.is_registered, trackers.values()):
            manager.unregister(tracker)


def call_hook(manager: pluggy.PluginManager, name: str, **arguments: object) -> None:
    """Call a hook; a plugin that raises an error is not called again, since it only follows a run of days."""
    for hook in getattr(manager.hook, name).get_hookimpls():
        try:
            hook.function(*(arguments[argument] for argument in hook.argnames))
        except Exception as error:
            manager.unregister(hook.plugin)
            text = f"{hook.plugin_name} failed and is not called any more; the run continues: {error_text(error)}"
            warnings.warn(text, stacklevel=2)


def row_name(unit: Unit) -> str:
    """Return the name of the row of a unit, with the split half of a fit."""
    return unit.row + (f" from {unit.split}" if unit.kind == "fit" and unit.split else "")


def describe_run(folder: Path, suite: str, units: Sequence[Unit], todo: Sequence[Unit]) -> dict[str, Any]:
    """Return the arguments of the hook ``run_started``."""
    described: dict[str, Any] = {"suite": suite, "units": len(units), "todo": len(todo)}
    for name in ("dataset", "entrant", "metric", "seed"):
        values = dict.fromkeys(getattr(unit, name) for unit in units)
        described[f"{name}s"] = [value for value in values if value is not None]
    described["training"] = {row_name(unit): unit.payload["training"] for unit in units if unit.kind == "fit"}
    return {"folder": folder.resolve(), "suite": described}
