"""Suites planned and run."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench.contracts.engines import Engine, Event, Job
from gahbench.planning.plan import Plan
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.planning.suite_files import plugin_sources
from gahbench.registry.registry import Registry, open_registry, plugin_packages
from gahbench.runs import hooks
from gahbench.runs.collect import write_results
from gahbench.runs.hooks import Trackings
from gahbench.runs.opening import OpenedRun, RunRequest, open_folder, open_run
from gahbench.runs.opening_process import open_apart
from gahbench.runs.progress import progress_of
from gahbench.runs.reuse import Reused
from gahbench.runs.secret_noise import draw_secret_noise
from gahbench.runs.supervisor import stop_on_signals
from gahbench.runs.work import count_states
from gahbench.store.finished import warn_of_damage
from gahbench.store.store import DAMAGED, Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gahbench.board.results import Results

Report = Callable[[Event], None]


@dataclass
class Outcome:
    """The outcome of a run."""

    folder: Path
    done: int
    failed: int
    blocked: int
    waiting: int
    stopped: bool
    left_out: tuple[str, ...]
    outdated: tuple[str, ...]
    _load: Callable[[], Results] = field(repr=False)
    reused: Reused | None = None
    failed_fits: int = 0
    unfinished: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def results(self) -> Results:
        """The results, read from the folder on first use."""
        return self._load()

    @property
    def scores(self) -> pd.DataFrame:
        """The tidy table of :class:`gahbench.board.results.Results`."""
        return self.results.scores

    def leaderboard(self, full: bool = False) -> pd.DataFrame:
        """Return the board, a row for each dataset and entrant; ``full`` as of :meth:`gahbench.Results.leaderboard`."""
        return self.results.leaderboard(full)

    def figure(self, dataset: str | None = None, metrics: Sequence[str] = ()) -> Figure:
        """Draw a figure of a dataset, as :meth:`gahbench.Results.figure` does."""
        return self.results.figure(dataset, metrics)


def _warn_of_moved(opened: OpenedRun) -> None:
    warn_of_damage(opened.damaged, f"moved to {opened.folder / DAMAGED}, and will be done again")


def run_opened(
    opened: OpenedRun,
    registry: Registry,
    engine: str = "processes",
    workers: int | None = None,
    report: Report = lambda event: None,
    device: str = "auto",
    track: Trackings | None = None,
) -> Outcome:
    """Run the unfinished units of a run whose plan is recorded, and write the board."""
    from gahbench.board.results import load_results

    folder = opened.folder
    _warn_of_moved(opened)
    runner: Engine = registry.create("engine", engine)
    store, stop = Store(folder), threading.Event()
    with (track or Trackings(())).of(registry):
        hooks.notify_started(registry, folder, opened.units, opened.todo)
        if opened.todo:
            reported = functools.partial(hooks.notify, registry, report)
            job = Job(opened.todo, store, registry, reported, stop, opened.threads, workers, device)
            with stop_on_signals(stop):
                runner.run(replace(job, files=opened.files, limits=opened.limits))
        collected = write_results(folder, opened.problems)
        counts = count_states(opened.units, store, collected.damaged)
        hooks.notify_finished(registry, folder, lambda: load_results(folder))
    return Outcome(
        folder=folder,
        done=counts.done,
        failed=counts.failed + counts.blocked,
        blocked=counts.blocked,
        waiting=counts.left,
        stopped=stop.is_set(),
        _load=lambda: load_results(folder),
        reused=opened.reused,
        failed_fits=counts.failed_fits,
        **vars(opened.not_shown),
    )


Source = str | Path
Settings = Mapping[str, Any] | Sequence[str]


def write_plan(
    plan: Plan,
    folder: Source,
    registry: Registry,
    threads: int | None = None,
    reused: Sequence[Source] = (),
    replace: bool = True,
) -> OpenedRun:
    """Record a plan in a results folder, which any number of :func:`gahbench.runs.work.work` then finish."""
    opened = open_folder(
        plan, Path(folder), registry, threads, sources=tuple(map(Path, reused)), replaces_board=replace
    )
    _warn_of_moved(opened)
    return opened


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
    engine: str = "processes",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    secret_noise: bool = False,
    track: Sequence[str] = (),
    report: Callable[[Event], None] | None = None,
) -> Outcome:
    """Run a suite; finished units in the results folder are not run again.

    Parameters
    ----------
    suite, out
        Path or name of a suite; the results folder, by default ``runs/`` and the name of the suite.
    entrants, settings
        Further entrants, ``name[key=value]``; fields set otherwise, ``{"training.steps": 100}``, or texts, as by
        ``--set``.
    datasets, metrics, only, seeds
        Labels, names or patterns (``unet*``) of the datasets, metrics and entrants to be run and shown, by default all;
        seeds of the trainings, whole numbers from 0, in place of the suite's.
    plugins, reuse, again
        Plugin files, or folders of them; other results folders, whose finished units are taken first; labels of
        entrants whose units are done anew, for which what was done moves to ``replaced/`` in the folder.
    engine, workers, threads, device
        Where units run: ``processes``, ``inline``, or a plugin's; how many workers; threads of each, which rounding
        depends on; ``cpu``, ``cuda``, or ``auto`` for GPUs if there are any.
    secret_noise, track, report
        Whether the seed of the noise is drawn after all fits, and kept; trackers that follow it; a function to call
        with each event in place of showing progress: a bar in a notebook, a table on a terminal, lines elsewhere.

    Returns
    -------
    Outcome
        Its ``results`` hold the tidy ``scores`` and make the ``leaderboard()``.

    Raises
    ------
    GahbenchError
        If something is not accepted, or the folder belongs to something else.
    """
    changes = SuiteChanges.of(entrants, settings, datasets, metrics, only, seeds)
    folder, sources = None if out is None else Path(out), plugin_sources(plugins, suite)
    others, anew, trackers = tuple(map(Path, reuse)), tuple(again), tuple(track)
    request = RunRequest(
        str(suite), folder, changes, sources, engine, workers, threads, device, others, anew, secret_noise, trackers
    )
    return run_request(request, (lambda opened: contextlib.nullcontext(report)) if report else progress_of)[0]


def run_request(
    request: RunRequest, show: Callable[[OpenedRun], AbstractContextManager[Report]]
) -> tuple[Outcome, Registry]:
    """Plan and run; the progress is reported to what ``show`` returns, which is called once the plan is recorded."""
    with contextlib.closing(Trackings(request.track)) as trackings:
        for opened, registry in _openings(request):
            with show(opened) as report:
                outcome = run_opened(
                    opened, registry, request.engine, request.workers, report, request.device, trackings
                )
    return outcome, registry


def _openings(request: RunRequest) -> Iterator[tuple[OpenedRun, Registry]]:
    """Plan a run and record the plan; where the noise is secret, again once all fits have ended."""
    opened, registry = _opened(request)
    yield opened, registry
    if opened.awaits_noise and draw_secret_noise(opened.folder):
        scores, registry = _opened(replace(request, reuse=(), again=()))
        yield replace(scores, reused=opened.reused), registry


def _opened(request: RunRequest) -> tuple[OpenedRun, Registry]:
    """Plan in a process of its own where there is code from outside, unless it is to run in this one anyway."""
    sources, engine = request.sources, request.engine
    is_here = hooks.trusts_plugins(engine) or not (sources or plugin_packages() or _runs_code(request))
    registry = open_registry(sources) if is_here else hooks.main_registry(sources, engine, request.track)
    # An unknown engine or tracker is refused before anything is done.
    registry.configure("engine", engine)
    for spec in request.track:
        registry.create("tracker", spec)
    return open_run(request, registry) if is_here else open_apart(request), registry


def _runs_code(request: RunRequest) -> bool:
    """Whether an entrant of a suite of built-in plugins is a model that was saved with its code, or names code."""
    with warnings.catch_warnings():
        # Planning repeats the warnings.
        warnings.simplefilter("ignore")
        return any(one.origins for one in load_suite(request.suite, open_registry(()), request.changes).entrants)
