"""The lifecycle hooks of plugins, and which plugins are loaded to have them called."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
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
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import Registry, plugin_packages
from gahbench.store.finished import open_finished
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store
from gahbench.training.file_names import HISTORY

if TYPE_CHECKING:
    from gahbench.board.results import Results

_LIFECYCLE: tuple[str, ...] = (
    "run_started", "run_finished", "unit_started", "unit_progress", "unit_finished", "unit_failed",
)  # fmt: skip


def notify(registry: Registry, report: Callable[[Event], None], event: Event) -> None:
    """Report an event, and call the lifecycle hooks of plugins."""
    report(event)
    arguments: dict[str, Callable[[], dict[str, object]]] = {
        "started": dict,
        "progress": lambda: {"progress": dict(event.details)},
        "finished": lambda: {"seconds": event.details["seconds"]},
        "failed": lambda: {"error": event.details["error"]},
    }
    if event.unit is not None and (further := arguments.get(event.kind)) is not None:
        _call(getattr(registry.manager.hook, f"unit_{event.kind}"), lambda: {"unit": event.unit, **further()})


def notify_started(registry: Registry, folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
    """Call the hooks of plugins for the beginning of a run."""
    _call(registry.manager.hook.run_started, lambda: {"folder": folder, "units": units, "todo": todo})


def notify_finished(registry: Registry, folder: Path, load: Callable[[], Results]) -> None:
    """Call the hooks of plugins for the end of a run, with its results, which are read only if there are any."""
    hook = registry.manager.hook.run_finished
    if hook.get_hookimpls():
        _call(hook, lambda: {"folder": folder, "results": load()})


def _call(hook: pluggy.HookCaller, arguments: Callable[[], dict[str, object]]) -> None:
    """Call a hook with arguments that are made only now, as they may fail too."""
    try:
        hook(**arguments())
    except Exception as error:
        # A plugin that only watches must not cost a run of days.
        warnings.warn(f"a plugin's hook {hook.name} raised {type(error).__name__}: {error}", stacklevel=3)


def main_registry(sources: Sequence[Path], engine: str, track: Sequence[str] = ()) -> Registry:
    """Return a registry for the process that starts workers and writes the board."""
    built_in = Registry(packages=())
    hooks = _LIFECYCLE
    if built_in.find("engine", engine.partition("[")[0]) is None:
        hooks += ("register_engines",)
    if any(built_in.find("tracker", spec.partition("[")[0]) is None for spec in track):
        hooks += ("register_trackers",)
    files = tuple(file for source in sources for file in plugin_files(source) if _names_any(hooks, file))
    packages = {
        package
        for package, entry in plugin_packages()
        if (file := _origin(entry.module)) is not None and _names_any(hooks, file)
    }
    return Registry(files, packages) if files or packages else built_in


def trusts_plugins(engine: str) -> bool:
    """Whether an engine that comes with gahbench is to run plugins from outside in this process."""
    built_in = Registry(packages=())
    if built_in.find("engine", engine.partition("[")[0]) is None:
        return False
    return bool(built_in.configure("engine", engine).parameters.get("trusted"))


def _origin(module: str) -> Path | None:
    """Return the file of a module without importing it, nor the package that it is in."""
    top = module.partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if found is None or found.origin is None or not found.has_location:
        return None
    # The package's own file stands for all of it: see _names_any.
    return Path(found.origin)


def _names_any(hooks: Sequence[str], file: Path) -> bool:
    """Whether the text of a plugin file, or of any file of a package, contains the name of a hook."""
    files = file.parent.rglob("*.py") if file.name == "__init__.py" else (file,)
    for one in files:
        try:
            text = one.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # Loading the file, if that is needed, raises the error.
        if any(hook in text for hook in hooks):
            return True
    return False


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
        #: The last step and validation PSNR that were logged, by the key of a running fit.
        self._logged: dict[str, tuple[int, float | None]] = {}

    @hookimpl
    def run_started(self, folder: Path, units: tuple[Unit, ...], todo: tuple[Unit, ...]) -> None:
        """Start the tracker; a run with secret noise calls this twice, and the second call is ignored."""
        if self._folder is not None:
            return
        self._folder = named = folder.resolve()  # "." has no name.
        self._call(lambda tracker: tracker.start(named, described(named, units, todo)))

    @hookimpl
    def unit_progress(self, unit: Unit, progress: dict[str, Any]) -> None:
        """Log the loss, and the validation PSNR if it is new."""
        if progress["fraction"] < 1.0:
            self._training(unit, progress["step"], progress["loss"], progress["psnr"])

    @hookimpl
    def unit_finished(self, unit: Unit) -> None:
        """Log the rest of a training history, or scores."""
        self._call(lambda tracker: self._rest(unit) if unit.kind == "fit" else self._scores(tracker, unit))

    @hookimpl
    def run_finished(self, results: Results) -> None:
        """Keep the results for the end: a second part of the run may follow."""
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
        """Call the tracker; if it fails, warn and call it no more."""
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
    """Return a description of the run as plain JSON, for :meth:`gahbench.Tracker.start`."""

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
