"""Planning and running suites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench.registry.registry import Registry, open_registry

if TYPE_CHECKING:
    from gahbench.contracts.jobs import Event
    from gahbench.planning.plan import Plan
    from gahbench.planning.suite import Suite
    from gahbench.runs.reuse import Reused
    from gahbench.runs.runner import Outcome

Source = str | Path


@dataclass(frozen=True)
class Begun:
    """What was done to a results folder before its run.

    Parameters
    ----------
    reused
        The units that were taken from other folders; ``None`` where none were named.
    replaced
        How many finished units were moved away, to be done anew.
    """

    reused: Reused | None
    replaced: int


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
    from gahbench.runs.preparation import find_missing

    registry = open_registry(plugins)
    find_missing(registry, suite, entrants).require_datasets()
    return plan_with(registry, suite, out, entrants)


def plan_with(
    registry: Registry,
    suite: Source,
    out: Source | None = None,
    entrants: Sequence[str] = (),
    secret_noise: bool = False,
) -> Plan:
    """Return the plan of :func:`plan_suite`, with the plugins of a registry.

    In a folder of secret noise, or a new one that is to have it, it is that of the fits alone until the noise is drawn.
    """
    from gahbench.planning.plan import make_plan
    from gahbench.planning.suite import load_suite
    from gahbench.runs.secret_noise import secret_noise_of, with_secret_noise, without_scores
    from gahbench.store.store import Store

    loaded = load_suite(suite, registry, tuple(entrants))
    folder = results_folder(loaded, out)
    noise, finished = secret_noise_of(folder, secret_noise), Store(folder).finished()
    planned = make_plan(with_secret_noise(loaded, noise), registry, lambda key: f"fit-{key}" in finished)
    if noise is not None and noise["seed"] is None:
        return without_scores(planned)
    return replace(planned, secret_noise=noise)


def plans_of_run(
    registry: Registry,
    suite: Source,
    out: Source | None = None,
    entrants: Sequence[str] = (),
    secret_noise: bool = False,
) -> Iterator[Plan]:
    """Yield the plan of a run, and once it is done, where the noise was secret until then, that of its scores."""
    planned = plan_with(registry, suite, out, entrants, secret_noise)
    yield planned
    if planned.secret_noise is not None and planned.secret_noise["seed"] is None:
        from gahbench.runs.secret_noise import draw_secret_noise

        if draw_secret_noise(results_folder(planned.suite, out)):
            yield plan_with(registry, suite, out, entrants)


def results_folder(suite: Suite, out: Source | None = None) -> Path:
    """Return the results folder of a suite: the one that is given, or ``runs/`` and its name."""
    return Path(out) if out is not None else Path("runs") / suite.name


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
        Threads of each worker, which rounding depends on; by default those that the folder records, or that suit this
        machine.
    device
        ``cpu``, ``cuda``, or ``auto`` for GPUs if there are any.
    secret_noise
        Whether the seed of the noise is drawn when all fits have ended, so that no plugin can know it, and recorded in
        the folder, whose later runs keep it. What is added later is marked.
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
    registry = open_registry(plugins)
    plans = plans_of_run(registry, suite, out, entrants, secret_noise)
    return _run(registry, plans, out, reuse, again, engine, workers, threads, device, report)


def _run(
    registry: Registry,
    plans: Iterable[Plan],
    out: Source | None,
    reuse: Sequence[Source],
    again: Sequence[str],
    engine: str,
    workers: int | None,
    threads: int | None,
    device: str,
    report: Callable[[Event], None],
) -> Outcome:
    """Run the plans of a run, one after the other."""
    from gahbench.runs.runner import run_plan, workers_here

    reused: Reused | None = None
    for planned in plans:
        folder = results_folder(planned.suite, out)
        begun = begin(planned, folder, registry, threads, workers_here(engine, workers), reuse, again)
        reused, reuse, again = reused or begun.reused, (), ()
        outcome = replace(run_plan(planned, folder, registry, engine, workers, report, threads, device), reused=reused)
        if outcome.stopped or outcome.waiting:
            break
    return outcome


def begin(
    plan: Plan,
    folder: Path,
    registry: Registry,
    threads: int | None = None,
    workers: int | None = None,
    reuse: Sequence[Source] = (),
    again: Sequence[str] = (),
) -> Begun:
    """Take what other folders hold of a plan, and move away what is to be done anew, as :func:`run` does first.

    Parameters
    ----------
    threads, workers
        As of :func:`gahbench.runs.runner.open_folder`.
    """
    from gahbench.runs.again import put_back
    from gahbench.runs.reuse import reuse as reuse_units
    from gahbench.runs.runner import open_folder

    if reuse or again:
        open_folder(plan, folder, registry, threads, workers)
    reused = reuse_units(plan, folder, [Path(source) for source in reuse]) if reuse else None
    return Begun(reused, put_back(plan, folder, again) if again else 0)
