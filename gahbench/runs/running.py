"""Suites planned and run."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench.contracts.engines import Engine, Event, Job
from gahbench.planning.plan import Plan
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.planning.suite_files import plugin_sources
from gahbench.registry.registry import Registry, open_registry
from gahbench.runs.collect import write_results
from gahbench.runs.hooks import (
    Trackings,
    has_outside,
    main_registry,
    notify,
    notify_finished,
    notify_started,
    trusts_plugins,
)
from gahbench.runs.opening import OpenedRun, RunRequest, open_folder, open_run, plan_with
from gahbench.runs.opening_process import open_apart
from gahbench.runs.preparation import find_missing
from gahbench.runs.progress import progress_of
from gahbench.runs.reuse import Reused, reuse
from gahbench.runs.secret_noise import draw_secret_noise
from gahbench.runs.supervisor import stop_on_signals
from gahbench.runs.work import count_states
from gahbench.store.finished import warn_of_damage
from gahbench.store.folder import Opened
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


def _warn_of_moved(reasons: Iterable[str], folder: Path) -> None:
    warn_of_damage(reasons, f"moved to {folder / DAMAGED}, to be done again")


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
    _warn_of_moved(opened.damaged, folder)
    runner: Engine = registry.create("engine", engine)
    store, stop = Store(folder), threading.Event()
    with (track or Trackings(())).of(registry):
        notify_started(registry, folder, opened.units, opened.todo)
        if opened.todo:
            reported = functools.partial(notify, registry, report)
            job = Job(opened.todo, store, registry, reported, stop, opened.threads, workers, device)
            with stop_on_signals(stop):
                runner.run(replace(job, files=opened.files, limits=opened.limits))
        collected = write_results(folder, opened.problems)
        counts = count_states(opened.units, store, collected.damaged)
        notify_finished(registry, folder, lambda: load_results(folder))
    return Outcome(
        folder=folder,
        done=counts.done,
        failed=counts.failed + counts.blocked,
        blocked=counts.blocked,
        waiting=counts.left,
        stopped=stop.is_set(),
        left_out=opened.left_out,
        outdated=opened.outdated,
        _load=lambda: load_results(folder),
        reused=opened.reused,
        failed_fits=counts.failed_fits,
        unfinished=opened.unfinished,
        stale=opened.stale,
        dropped=opened.dropped,
    )


Source = str | Path
Settings = Mapping[str, Any] | Sequence[str]


def plan_suite(
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
) -> Plan:
    """Return the units of a suite, checked, without running any.

    Parameters
    ----------
    suite
        Path of a suite, or the name of one that gahbench ships.
    out
        Results folder, as for :func:`run`; networks whose fits are done there are not tried out again.
    entrants, settings, datasets, metrics, only, seeds, plugins
        As of :func:`run`.

    Raises
    ------
    GahbenchError
        If the suite, a plugin or a parameter is not accepted, or images must be prepared before (:func:`prepare`).
    """
    registry = open_registry(plugin_sources(plugins, suite))
    changes = SuiteChanges.of(entrants, settings, datasets, metrics, only, seeds)
    find_missing(registry, suite, changes).require_datasets()
    return plan_with(registry, suite, out, changes)


def write_plan(
    plan: Plan,
    folder: Source,
    registry: Registry,
    threads: int | None = None,
    reused: Sequence[Source] = (),
    replace: bool = True,
) -> tuple[Opened, Reused | None]:
    """Record a plan in a results folder, which any number of :func:`gahbench.runs.work.work` then finish."""
    opened = open_folder(plan, Path(folder), registry, threads, replaces_board=replace)[0]
    _warn_of_moved(opened.damaged, Path(folder))
    return opened, reuse(plan.units, Path(folder), [Path(source) for source in reused]) if reused else None


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
    request = make_request(suite, out, changes, plugins, reuse, again, engine, workers, threads, secret_noise)
    show = (lambda opened: contextlib.nullcontext(report)) if report else progress_of
    return run_request(request, engine, workers, device, track, show)[0]


def make_request(
    suite: Source,
    out: Source | None,
    changes: SuiteChanges,
    plugins: Sequence[Source],
    reuse: Sequence[Source],
    again: Sequence[str],
    engine: str,
    workers: int | None,
    threads: int | None,
    secret_noise: bool,
) -> RunRequest:
    """Return what :func:`run` is asked, in plain values."""
    return RunRequest(
        str(suite),
        None if out is None else str(out),
        changes,
        tuple(map(str, plugin_sources(plugins, suite))),
        threads,
        # The processors of this machine are shared out among them.
        workers if engine.partition("[")[0] == "processes" else None,
        tuple(map(str, reuse)),
        tuple(again),
        secret_noise,
    )


def run_request(
    request: RunRequest,
    engine: str,
    workers: int | None,
    device: str,
    track: Sequence[str],
    show: Callable[[OpenedRun], AbstractContextManager[Report]],
) -> tuple[Outcome, Registry]:
    """Plan and run; the progress is reported to what ``show`` returns, which is called once the plan is recorded."""
    with contextlib.closing(Trackings(track)) as trackings:
        for opened, registry in _openings(request, engine, track):
            with show(opened) as report:
                outcome = run_opened(opened, registry, engine, workers, report, device, trackings)
    return outcome, registry


def _openings(request: RunRequest, engine: str, track: Sequence[str]) -> Iterator[tuple[OpenedRun, Registry]]:
    """Plan a run and record the plan; where the noise is secret, again once all fits have ended."""
    opened, registry = _opened(request, engine, track)
    yield opened, registry
    if opened.awaits_noise and draw_secret_noise(opened.folder):
        scores, registry = _opened(replace(request, reuse=(), again=()), engine, track)
        yield replace(scores, reused=opened.reused), registry


def _opened(request: RunRequest, engine: str, track: Sequence[str]) -> tuple[OpenedRun, Registry]:
    """Plan in a process of its own where there is code from outside, unless it is to run in this one anyway."""
    sources = tuple(map(Path, request.sources))
    if trusts_plugins(engine) or not (has_outside(sources) or _runs_code(request)):
        registry = open_registry(sources)
        _require(registry, engine, track)
        return open_run(request, registry), registry
    registry = main_registry(sources, engine, track)
    _require(registry, engine, track)
    return open_apart(request), registry


def _runs_code(request: RunRequest) -> bool:
    """Whether an entrant of a suite of built-in plugins is a model that was saved with its code, or names code."""
    with warnings.catch_warnings():
        # Planning says the same again.
        warnings.simplefilter("ignore")
        return any(one.origins for one in load_suite(request.suite, open_registry(()), request.changes).entrants)


def _require(registry: Registry, engine: str, track: Sequence[str]) -> None:
    """Refuse an engine or a tracker that is not there before anything is done."""
    registry.configure("engine", engine)
    for spec in track:
        registry.create("tracker", spec)
