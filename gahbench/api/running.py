"""Planning and running suites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench.registry.registry import Registry, open_registry

if TYPE_CHECKING:
    from gahbench.contracts.jobs import Event
    from gahbench.planning.plan import Plan
    from gahbench.runs.opening import OpenedRun, RunRequest
    from gahbench.runs.runner import Outcome

Source = str | Path


def plan_suite(
    suite: Source, out: Source | None = None, *, entrants: Sequence[str] = (), plugins: Sequence[Source] = ()
) -> Plan:
    """Return the units of a suite, checked, without running any.

    Parameters
    ----------
    suite
        Path of a suite, or the name of one that gahbench ships.
    out
        Results folder, as for :func:`run`; networks whose fits are done there are not tried out again.
    entrants
        Further entrants, each ``name[key=value]``.
    plugins
        Plugin files, or folders of them.

    Raises
    ------
    GahbenchError
        If the suite, a plugin or a parameter is not accepted, or images must be prepared before (:func:`prepare`).
    """
    from gahbench.runs.opening import plan_with
    from gahbench.runs.preparation import find_missing

    registry = open_registry(plugins)
    find_missing(registry, suite, entrants).require_datasets()
    return plan_with(registry, suite, out, entrants)


def run(
    suite: Source,
    out: Source | None = None,
    *,
    entrants: Sequence[str] = (),
    plugins: Sequence[Source] = (),
    reuse: Sequence[Source] = (),
    again: Sequence[str] = (),
    engine: str = "processes",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    secret_noise: bool = False,
    report: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Run a suite; finished units in the results folder are not run again.

    Parameters
    ----------
    suite
        Path of a suite, or the name of one that gahbench ships.
    out
        Results folder; by default ``runs/`` and the name of the suite.
    entrants
        Further entrants, each ``name[key=value]``.
    plugins
        Plugin files, or folders of them.
    reuse
        Other results folders, of any suite, whose finished units of equal keys are taken before anything is done.
    again
        Labels of entrants whose units are done anew; what was done of them is moved to ``replaced/`` in the folder.
    engine
        Where units run: ``processes``, ``inline``, or a plugin's.
    workers
        Number of workers; the engine chooses by default.
    threads
        Threads of each worker, which rounding depends on; by default as recorded, or as suits this machine.
    device
        ``cpu``, ``cuda``, or ``auto`` for GPUs if there are any.
    secret_noise
        Whether the seed of the noise is drawn when all fits have ended, and kept; what is added later is marked.
    report
        Called with every event.

    Returns
    -------
    Outcome
        Its ``results`` hold the tidy ``scores`` and make the ``leaderboard()``.

    Raises
    ------
    GahbenchError
        If something in the suite is not accepted, or the folder belongs to something else.
    """
    from gahbench.runs.runner import run_opened

    asked = request(suite, out, entrants, plugins, reuse, again, engine, workers, threads, secret_noise)
    for opened, registry in openings(asked, engine):
        outcome = run_opened(opened, registry, engine, workers, report, device)
    return outcome


def request(
    suite: Source,
    out: Source | None,
    entrants: Sequence[str],
    plugins: Sequence[Source],
    reuse: Sequence[Source],
    again: Sequence[str],
    engine: str,
    workers: int | None,
    threads: int | None,
    secret_noise: bool = False,
) -> RunRequest:
    """Return what :func:`run` is asked, in plain values."""
    from gahbench.runs.opening import RunRequest
    from gahbench.runs.runner import workers_here

    return RunRequest(
        str(suite),
        None if out is None else str(out),
        tuple(entrants),
        tuple(map(str, plugins)),
        threads,
        workers_here(engine, workers),
        tuple(map(str, reuse)),
        tuple(again),
        secret_noise,
    )


def openings(request: RunRequest, engine: str) -> Iterator[tuple[OpenedRun, Registry]]:
    """Plan a run and record the plan; where the noise is secret, again once all fits have ended.

    Yields
    ------
    OpenedRun
        The run, or with secret noise its first part and then its second. It is to be done before the next.
    Registry
        The plugins that are to run in this process.
    """
    from gahbench.runs.secret_noise import draw_secret_noise

    opened, registry = _opened(request, engine)
    yield opened, registry
    if opened.awaits_noise and draw_secret_noise(opened.folder):
        scores, registry = _opened(replace(request, reuse=(), again=()), engine)
        yield replace(scores, reused=opened.reused), registry


def _opened(request: RunRequest, engine: str) -> tuple[OpenedRun, Registry]:
    """Plan in a process of its own where there are plugins from outside, unless they are to run in this one anyway."""
    from gahbench.runs.hooks import has_outside, main_registry, trusts_plugins
    from gahbench.runs.opening import open_run
    from gahbench.runs.opening_process import open_apart

    sources = tuple(map(Path, request.sources))
    if not has_outside(sources) or trusts_plugins(engine):
        registry = open_registry(sources)
        registry.configure("engine", engine)
        return open_run(request, registry), registry
    registry = main_registry(sources, engine)
    # What is wrong here is said before anything is done.
    registry.configure("engine", engine)
    return open_apart(request), registry
