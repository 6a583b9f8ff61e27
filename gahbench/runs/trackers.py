"""Trackers, which log runs to tools for tracking experiments."""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gahbench._util.error_text import error_text
from gahbench.contracts.unit import Unit
from gahbench.registry.configured import get_spec
from gahbench.registry.hookspecs import hookimpl
from gahbench.registry.registry import Registry
from gahbench.store.finished import open_finished
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY

if TYPE_CHECKING:
    from gahbench.board.results import Results


class Tracker(ABC):
    """A tool for tracking experiments.

    A tracker implements lifecycle hooks, which call its other methods. These are called in the main process of a run,
    from one thread. If a method raises an error, the run continues with a warning and does not call the tracker again.
    The constructor writes nothing, and raises :class:`gahbench.GahbenchError` if a required package is not installed.

    Rows are named as in progress lines: ``unet[width=16] on discs[size=32] (seed 1)``.

    Examples
    --------
    >>> import gahbench
    >>> class Printer(gahbench.Tracker):
    ...     # Prints scores.
    ...     def start(self, folder, suite):
    ...         print(f"{suite['suite']} in {folder}")
    ...     def log_training(self, row, step, values):
    ...         pass
    ...     def log_scores(self, row, values):
    ...         print(row, values)
    ...     def finish(self, results):
    ...         print(results)
    """

    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()
    # Names with two underscores do not clash with attributes of derived classes, which need not call ``__init__``.
    # The folder is ``None`` before the start of a run, and after its end or an error.
    __folder: Path | None = None
    # The last step and validation PSNR that were logged, by the key of a running fit.
    __last_logged: dict[str, tuple[int, float | None]]

    @abstractmethod
    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Start tracking a run.

        Parameters
        ----------
        folder
            The results folder. Trackers that write files should write them here.
        suite
            The run as plain JSON: ``suite`` (its name), ``units`` (the number of units), ``todo`` (the number of
            unfinished units), ``datasets``, ``entrants``, ``metrics``, ``splits``, ``sigmas``, ``seeds`` (lists), and
            ``training`` (the recipe of each trained row).
        """

    @abstractmethod
    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values of a fit after a step: ``loss``, and ``validation_psnr`` in dB if it was measured at this step."""

    @abstractmethod
    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Log means over images by metric and noise level (``psnr/0.1``), as soon as they are measured."""

    @abstractmethod
    def finish(self, results: Results | None) -> None:
        """Finish with the results of the run; ``None`` if an error ended it."""

    @hookimpl
    def run_started(self, folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
        """Start the tracker."""
        # The path "." has no name.
        self.__folder, self.__last_logged = folder.resolve(), {}
        self.__attempt(lambda path: self.start(path, describe_run(path, units, todo)))

    @hookimpl
    def unit_progress(self, unit: Unit, progress: dict[str, Any]) -> None:
        """Log the loss, and the validation PSNR if it is new."""
        if progress["fraction"] < 1.0:
            self.__attempt(lambda _: self.__log_step(unit, progress["step"], progress["loss"], progress["psnr"]))

    @hookimpl
    def unit_finished(self, unit: Unit) -> None:
        """Log the scores of a score unit, or the part of a training history that was not logged as progress."""
        log = self.__log_history if unit.kind == "fit" else self.__log_means
        self.__attempt(lambda folder: log(Store(folder), unit))

    @hookimpl
    def run_finished(self, results: Results | None) -> None:
        """Finish the tracker, once."""
        self.__attempt(lambda _: self.finish(results))
        self.__folder = None

    def __log_step(self, unit: Unit, step: int, loss: float, psnr: float | None) -> None:
        last_step, last_psnr = self.__last_logged.get(unit.key, (-1, None))
        # A fit that was resumed from an earlier checkpoint repeats steps.
        if step > last_step:
            self.__last_logged[unit.key] = step, psnr
            values = {"loss": loss}
            if psnr is not None and psnr != last_psnr:
                values["validation_psnr"] = psnr
            self.log_training(row_name(unit), step, values)

    def __log_history(self, store: Store, unit: Unit) -> None:
        content = open_finished(store.path(unit)).read(HISTORY).decode()
        for record in csv.DictReader(io.StringIO(content)):
            levels = [float(value) for name, value in record.items() if name.startswith("psnr@") and value]
            psnr = sum(levels) / len(levels) if levels else None
            self.__log_step(unit, int(record["step"]), float(record["loss"]), psnr)
        self.__last_logged.pop(unit.key, None)

    def __log_means(self, store: Store, unit: Unit) -> None:
        values_by_name: dict[str, list[float]] = defaultdict(list)
        for sigma, _, value, part in store.read_scores(unit):
            values_by_name[score_name(unit, part, sigma)].append(value)
        self.log_scores(row_name(unit), {name: sum(values) / len(values) for name, values in values_by_name.items()})

    def __attempt(self, call: Callable[[Path], None]) -> None:
        """Call a function with the folder of the run; if it raises an error, warn and end the use of the tracker."""
        if self.__folder is not None:
            try:
                call(self.__folder)
            except Exception as error:
                self.__folder = None
                name = get_spec(self) or type(self).__name__
                text = f"the tracker {name} failed and is not used any more; the run continues: {error_text(error)}"
                warnings.warn(text, stacklevel=2)


@contextlib.contextmanager
def tracking(trackers: Sequence[Tracker], registry: Registry) -> Iterator[None]:
    """Let trackers follow the runs of a registry; trackers finish without results if an error ends a run."""
    for tracker in trackers:
        registry.manager.register(tracker)
    try:
        yield
    finally:
        for tracker in trackers:
            registry.manager.unregister(tracker)
            tracker.run_finished(None)


def row_name(unit: Unit) -> str:
    """Return the name under which trackers show a unit, with the split half of a fit."""
    return unit.row + (f" from {unit.split}" if unit.kind == "fit" and unit.split else "")


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
