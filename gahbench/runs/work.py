"""The loop of ``gahbench work``, which does the units that are left in a planned folder."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.errors import ResultsError, listing
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.planning.units import FIT, SCORE
from gahbench.registry.behaviour import function_digest
from gahbench.registry.plugin_files import plugin_files
from gahbench.runs.hooks import main_registry, notify
from gahbench.runs.protocol import CodeChangedError
from gahbench.runs.supervisor import stop_on_signals, supervise
from gahbench.store.code_files import changed_files
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.store import Store


@dataclass(frozen=True)
class Worked:
    """The state of a folder after working in it."""

    done: int
    failed: int
    left: int
    stopped: bool


def work(
    folder: str | Path,
    *,
    workers: int | None = None,
    workers_per_gpu: int | None = None,
    device: str = "auto",
    retry: bool = False,
    report: Callable[[Event], None] = lambda event: None,
) -> Worked:
    """Do the units that are left in a planned folder, beside any number of others, until none is left anywhere.

    Parameters
    ----------
    folder, workers, workers_per_gpu
        A results folder with a plan; number of worker processes, and how many share a GPU, by default as suits the
        memory and the networks or, on CPU, one worker to each share of the plan's threads.
    device, retry, report
        ``cpu``, ``cuda``, or ``auto`` for GPUs if there are any; whether units that have failed are tried again; a
        function that is called with every event.

    Returns
    -------
    Worked
        How many units are ``done``, ``failed`` and ``left``.

    Raises
    ------
    ResultsError
        If it is no results folder, or was planned with other code; names the files that differ.
    """
    folder, stop = Path(folder), threading.Event()
    plan, store = require_plan(folder), Store(folder)
    files = [file for name in plan.plugins for file in plugin_files(folder / name)]
    registry = main_registry(files, "processes")
    check_code(plan, files)
    if retry:
        # Failures that other processes record from now on stay.
        failed = store.failed()
        for unit in (one for one in plan.shown if one.folder in failed):
            store.forget_failure(unit)
    job = Job(
        plan.shown,
        store,
        registry,
        functools.partial(notify, registry, report),
        stop,
        plan.threads or 1,
        workers,
        device,
        planned_here=False,
        files=files,
        limits=plan.limits,
    )
    with stop_on_signals(stop):
        try:
            supervise(job, workers, workers_per_gpu)
        except CodeChangedError as error:
            raise ResultsError(f"{folder}: {error}: {differing(plan, files)}") from error
    counts = count_states(plan.shown, store)
    return Worked(counts.done, counts.failed + counts.blocked, counts.left, stop.is_set())


@dataclass(frozen=True)
class Counts:
    """Numbers of units that are finished, failed, blocked by a failed fit, or left; and of fits that failed."""

    done: int
    failed: int
    blocked: int
    left: int
    failed_fits: int


def count_states(units: Sequence[Unit], store: Store, damaged: Set[str] = frozenset()) -> Counts:
    """Count units by their state."""
    finished, failures = store.ended()
    finished, failures = finished - damaged, failures | damaged
    others = [unit for unit in units if unit.folder not in finished]
    fits = sum(unit.folder in failures and unit.kind == "fit" for unit in others)
    failed = sum(unit.folder in failures for unit in others)
    blocked = sum(unit.folder not in failures and unit.is_blocked(failures) for unit in others)
    return Counts(len(units) - len(others), failed, blocked, len(others) - failed - blocked, fits)


def check_code(plan: RecordedPlan, files: Sequence[Path]) -> None:
    """Refuse a folder that was planned with other code of gahbench than there is here."""
    planned = {(unit.kind, unit.metric, (unit.document or {}).get("code")) for unit in plan.shown}
    needs = {metric: frozenset(names) for metric, names in plan.board["needs"].items()}
    for kind, metric, digest in planned:
        if digest is None or (kind == "score" and metric not in needs):
            continue
        if digest != (function_digest(FIT) if metric is None else function_digest(SCORE, needs[metric])):
            raise ResultsError(f"the code of gahbench here is not that which planned: {differing(plan, files)}")


def differing(plan: RecordedPlan, files: Sequence[Path]) -> str:
    """Return the files in which the code here differs from that which planned, in words."""
    changed = changed_files(plan.code, files)
    if not changed:
        return "the same files, in another version of Python or with other packages"
    return f"{listing(changed)} differ; install the version that planned, or plan again with this one"
