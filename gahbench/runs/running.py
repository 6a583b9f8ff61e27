"""Running suites: planning, running the units, and writing the board."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench.contracts.engines import Engine, Event, Row
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.planning.suite_files import plugin_sources
from gahbench.registry.registry import Registry, open_registry
from gahbench.runs.collect import write_results
from gahbench.runs.execute import execute, stop_on_signals, watching
from gahbench.runs.hooks import call_hook, notify
from gahbench.runs.opening import OpenedRun, RunRequest, open_run, plan_for, results_folder
from gahbench.runs.progress import progress_report
from gahbench.runs.reuse import Reused
from gahbench.runs.row import run_row
from gahbench.runs.trackers import tracking
from gahbench.store.finished import warn_of_damage
from gahbench.store.folder import Folder
from gahbench.store.store import DAMAGED, Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gahbench.board.results import Results

Report = Callable[[Event], None]


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
    reused
        Units that were taken from other results folders; ``None`` if no folder was given.
    failed_fits
        Number of fits that failed.
    """

    folder: Path
    done: int
    failed: int
    blocked: int
    waiting: int
    stopped: bool
    _load: Callable[[], Results] = field(repr=False)
    reused: Reused | None = None
    failed_fits: int = 0

    @property
    def results(self) -> Results:
        """The results, read from the folder."""
        return self._load()

    @property
    def scores(self) -> pd.DataFrame:
        """The tidy table of scores of :class:`gahbench.board.results.Results`."""
        return self.results.scores

    def leaderboard(self, full: bool = False) -> pd.DataFrame:
        """Return the board as :meth:`gahbench.Results.leaderboard` does: one row for each dataset and entrant."""
        return self.results.leaderboard(full)

    def figure(self, dataset: str | None = None, metrics: Sequence[str] = ()) -> Figure:
        """Draw a figure of a dataset, as :meth:`gahbench.Results.figure` does."""
        return self.results.figure(dataset, metrics)


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
    again: Sequence[str] = (),
    engine: str = "local",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    track: Sequence[str] = (),
    shard: str = "",
    report: Callable[[Event], None] | None = None,
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
        Paths of plugin files, or of folders of plugin files; by default only those that the suite names.
    reuse
        Paths of other results folders, from which finished units with the same keys are taken; by default none.
    again
        Labels, names or patterns of entrants to recompute; their finished units are moved to ``replaced/`` in the
        results folder. By default none.
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
        locks itself; once all parts have run, :func:`gahbench.collect` writes the board. By default all rows.
    report
        Function to call with each :class:`gahbench.Event`. By default progress is shown: a bar in a notebook, a table
        on a terminal, lines elsewhere.

    Returns
    -------
    Outcome
        The numbers of units that are ``done`` and ``failed``; ``results`` with the tidy table ``scores`` and the
        ``leaderboard()``.

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
    ...                   settings={"scoring.images": 2}, engine="inline", report=lambda event: None)
    ...     board = outcome.leaderboard().set_index("entrant")["psnr"]
    >>> outcome.done, outcome.failed
    (2, 0)
    >>> {entrant: round(psnr, 1) for entrant, psnr in board.items()}
    {'oracle-threshold[sym4]': 29.9, 'identity': 18.3}
    """
    changes = SuiteChanges.from_arguments(entrants, settings, datasets, metrics, only, seeds)
    request = RunRequest(
        str(suite),
        None if out is None else Path(out),
        changes,
        plugin_sources(plugins, suite),
        engine,
        workers,
        threads,
        device,
        tuple(map(Path, reuse)),
        tuple(again),
        tuple(track),
        shard,
    )
    return run_request(request, (lambda opened: contextlib.nullcontext(report)) if report else progress_report)[0]


def run_request(
    request: RunRequest, show: Callable[[OpenedRun], AbstractContextManager[Report]]
) -> tuple[Outcome, Registry]:
    """Plan and run a suite; ``show`` is called once the plan is recorded, and returns the function for events."""
    registry = open_registry(request.sources)
    # Raise errors of an unknown engine, tracker or suite before anything is written.
    engine = registry.create("engine", request.engine)
    trackers = [registry.create("tracker", spec) for spec in request.track]
    suite = load_suite(request.suite, registry, request.changes)
    folder = results_folder(suite, request.out)
    with Folder(folder).lock(request.shard):
        opened = open_run(plan_for(folder, suite, registry), folder, registry, request)
        warn_of_damage(opened.damaged, f"moved to {folder / DAMAGED}, and will be recomputed")
        with tracking(trackers, registry), show(opened) as report:
            return _run_opened(opened, registry, engine, request, report), registry


def _run_opened(opened: OpenedRun, registry: Registry, engine: Engine, request: RunRequest, report: Report) -> Outcome:
    """Run the unfinished units of a run whose plan is recorded, and write the board."""
    from gahbench.board.results import load_results

    folder, store, stop = opened.folder, Store(opened.folder), threading.Event()
    call_hook(registry, "run_started", lambda: {"folder": folder, "units": opened.units, "todo": opened.todo})
    if opened.todo:
        plugins = opened.copies if engine.remote else opened.plugins
        template = Row(folder.resolve(), (), plugins, opened.threads, request.device, opened.limits)
        reported = functools.partial(notify, registry, report)
        with stop_on_signals(stop), watching(opened.todo, store, reported, stop) as note:
            execute(opened.todo, engine, template, run_row, stop, note, request.workers)
    damaged = frozenset[str]() if request.shard else write_results(folder, opened.problems, registry)
    counts = store.count(opened.units, damaged)
    call_hook(registry, "run_finished", lambda: {"folder": folder, "results": load_results(folder)})
    return Outcome(
        folder=folder,
        done=counts.done,
        failed=counts.failed + counts.blocked,
        blocked=counts.blocked,
        waiting=counts.left,
        stopped=stop.is_set(),
        _load=lambda: load_results(folder, registry),
        reused=opened.reused,
        failed_fits=counts.failed_fits,
    )
