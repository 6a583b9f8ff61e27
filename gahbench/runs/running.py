"""Running suites: planning, running the units, and writing the board."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ParameterError
from gahbench._util.resources import start_server
from gahbench.contracts.engines import Engine, Row
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan, make_plan
from gahbench.planning.suite import Suite, SuiteChanges, load_suite
from gahbench.registry.registry import Registry, open_registry, plugin_files
from gahbench.runs.collect import write_results
from gahbench.runs.execute import available_devices, execute, rows_of, stop_on_signals
from gahbench.runs.progress import Display
from gahbench.runs.reuse import reuse as take
from gahbench.runs.watch import Watch, call_hook, describe_run, tracking
from gahbench.store.plan_file import record_plan
from gahbench.store.store import DAMAGED, Store, warn_of_damage

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results


@dataclass
class Outcome:
    """The outcome of a run: numbers of units by state, and the results.

    Attributes
    ----------
    folder
        Path of the results folder.
    done, failed, waiting
        Numbers of units that are finished, that failed or cannot run since their fit failed, and that are left to do.
    blocked
        Number of the ``failed`` units that cannot run since their fit failed.
    stopped
        Whether the run was stopped, for example by Ctrl-C.
    registry
        The plugins of the run.
    """

    folder: Path
    done: int
    failed: int
    blocked: int
    waiting: int
    stopped: bool
    registry: Registry = field(repr=False)

    @property
    def results(self) -> Results:
        """The results, read from the folder."""
        from gahbench.board.results import load_results

        return load_results(self.folder, self.registry)

    def leaderboard(self, full: bool = False) -> pd.DataFrame:
        """Return the board as :meth:`gahbench.Results.leaderboard` does: one row for each dataset and entrant."""
        return self.results.leaderboard(full)


Source = str | Path
Settings = Mapping[str, Any] | Sequence[str]


def run(
    suite: Source,
    out: Source | None = None,
    *,
    entrants: Sequence[str] = (),
    settings: Settings = (),
    datasets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    plugins: Sequence[Source] = (),
    reuse: Sequence[Source] = (),
    engine: str = "local",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    track: Sequence[str] = (),
    shard: str = "",
    quiet: bool = False,
) -> Outcome:
    """Run a suite; finished units in the results folder are not run again.

    Parameters
    ----------
    suite
        Path of a suite, or the name of a suite that gahbench ships, such as ``quick``.
    out
        Path of the results folder; by default ``runs/NAME`` with the name of the suite.
    entrants
        Additional entrants, as specs ``name[key=value,...]``; by default none.
    settings
        Fields of the suite to override: a mapping such as ``{"training.steps": 100}``, or strings such as
        ``"training.steps=100"``; by default none.
    datasets
        Labels, names or patterns (``disc*``) of the datasets to run; by default all.
    metrics
        Labels, names or patterns of the metrics to run, to which PSNR is added; by default all.
    only
        Labels, names or patterns of the suite's entrants to run, to which the baseline is added; by default all.
    seeds
        Seeds of the training runs, integers of at least 0; by default the seeds of the suite.
    plugins
        Paths of plugin files, or of folders of plugin files; by default none.
    reuse
        Paths of other results folders, from which finished units with the same keys are taken; by default none.
    engine
        The engine, a spec ``name[key=value,...]``: ``local`` (processes on this machine, the default),
        ``inline`` (this process), or another engine plugin.
    workers
        Number of rows that run at the same time, at least 1; by default the engine chooses.
    threads
        Threads of each row, at least 1; rounding depends on them. By default the number that the folder records, or
        a number that follows from the fits.
    device
        Where networks compute: ``cpu``, ``cuda``, or ``auto`` (the default) for GPUs if there are any.
    track
        Trackers that follow the run, as specs ``name[key=value,...]``; by default none.
    shard
        A part of the rows, ``I/N``, such as ``2/8`` for the second of eight machines that share the folder. Each part
        locks itself; once all parts have run, a run without ``shard`` writes the board. By default all rows.
    quiet
        Whether to show no progress. By default progress is shown: bars on a terminal, lines elsewhere.

    Returns
    -------
    Outcome
        The numbers of units that are ``done`` and ``failed``; ``results`` with the tidy table ``scores`` and the
        figures; and the ``leaderboard()``.

    Raises
    ------
    GahbenchError
        If an argument or the suite is invalid, the folder holds something other than results of the suite, or another
        run is at work in it.

    Examples
    --------
    Score one reference and the baseline of a suite on two images:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = run("quick", folder, datasets=["discs"], metrics=["psnr"], only=["identity"],
    ...                   settings={"scoring.images": 2}, engine="inline", quiet=True)
    ...     board = outcome.leaderboard().set_index("entrant")["psnr"]
    >>> outcome.done, outcome.failed
    (2, 0)
    >>> {entrant: round(psnr, 1) for entrant, psnr in board.items()}
    {'oracle-threshold[sym4]': 29.9, 'identity': 18.3}
    """
    registry = open_registry(plugins)
    # Raise errors of an unknown engine, device, tracker or suite before anything is written.
    chosen = _create_engine(registry, engine, device)
    trackers = {spec: registry.create("tracker", spec) for spec in track}
    changes = SuiteChanges(entrants, settings, datasets, metrics, only, seeds)
    if is_local := engine.partition("[")[0] == "local":
        # The engine divides the processors among rows, and its server imports torch while this process plans.
        start_server()
    loaded = load_suite(suite, registry, changes)
    folder, stop = results_folder(loaded, out), threading.Event()
    store = Store(folder)
    with store.lock(shard):
        plan = make_plan(loaded)
        recorded = record_plan(folder, plan, registry.files, threads, workers if is_local else None)
        units = shard_of(plan, shard, chosen)
        notes = [f"failed to load {problem.origin}: {problem.error}" for problem in registry.problems]
        notes += take(units, folder, [Path(source) for source in reuse]) if reuse else ()
        _clear(units, store)
        # Units with equal keys are the same unit, for example if two datasets have the same images.
        finished = store.finished()
        todo = tuple({unit.key: unit for unit in units if unit.folder not in finished}.values())
        with contextlib.ExitStack() as stack:
            stack.enter_context(tracking(trackers, registry.manager))
            done = sum(unit.folder in finished for unit in units)
            display = stack.enter_context(Display(len(units), done, quiet=quiet))
            for text in notes:
                display.note(text)
            call_hook(registry.manager, "run_started", **describe_run(folder, loaded.name, units, todo))
            if todo:
                copies = [file for name in recorded.plugins for file in plugin_files(folder.resolve() / name)]
                files = tuple(copies if chosen.remote else registry.files)
                row = Row(folder.resolve(), todo, files, recorded.threads or 1, device, loaded.limits)
                with stop_on_signals(stop), Watch(todo, store, display, registry.manager):
                    execute(row, chosen, stop, display.note, workers)
            states = store.states(units, frozenset() if shard else write_results(folder, registry))
            done, failures, blocked, left = map(states.count, ("done", "failed", "blocked", "left"))
            outcome = Outcome(folder, done, failures + blocked, blocked, left, stop.is_set(), registry)
            if registry.manager.hook.run_finished.get_hookimpls():
                call_hook(registry.manager, "run_finished", results=None if shard else outcome.results)
    return outcome


def _create_engine(registry: Registry, spec: str, device: str) -> Engine:
    """Return an engine; raise if it runs on this machine, which lacks the device."""
    engine: Engine = registry.create("engine", spec)
    if not engine.remote and device not in ("auto", "cpu"):
        available_devices(device)
    return engine


def _clear(units: Sequence[Unit], store: Store) -> None:
    """Make the folder of units, move damaged units away, and forget failures, so that these units are tried again."""
    # A folder with a board and without units is a published board, which jobs that wait in a queue must not seem.
    store.units.mkdir(exist_ok=True)
    damaged = store.move_damaged(units)
    warn_of_damage(damaged.values(), f"moved to {store.folder / DAMAGED}, and will be recomputed")
    failed = store.failed()
    for unit in units:
        if unit.folder in failed:
            store.forget_failure(unit)


def results_folder(suite: Suite, out: str | Path | None = None) -> Path:
    """Return the path of the results folder of a suite, by default ``runs/NAME``."""
    return Path(out) if out is not None else Path("runs") / suite.name


def shard_of(plan: Plan, shard: str, engine: Engine) -> tuple[Unit, ...]:
    """Return the units of a shard ``I/N``: whole rows, which all machines divide alike; all units for no shard."""
    if not shard:
        return plan.units
    if engine.remote:
        raise ParameterError(f"shard '{shard}': the engine divides rows itself; accepted: engines of this machine")
    index, slash, count = shard.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ParameterError(f"shard '{shard}'; accepted: I/N with I from 1 to N, such as 2/8")
    # Units with equal keys, of datasets with equal images, are computed once.
    rows = rows_of({unit.key: unit for unit in plan.units}.values())
    return tuple(unit for row in rows[int(index) - 1 :: int(count)] for unit in row)
