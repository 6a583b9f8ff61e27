"""The command ``gahbench work``, which runs the remaining units of a planned folder."""

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
class WorkOutcome:
    """The numbers of units in a folder by state after working in it, and whether the user stopped the work."""

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
) -> WorkOutcome:
    """Do the remaining units of a planned folder; any number of processes may do so at the same time.

    Parameters
    ----------
    folder
        Path of a results folder with a plan.
    workers
        Number of worker processes, at least 1; by default ``workers_per_gpu`` for each GPU or, on CPU, one for every
        ``threads`` processors, where the plan records the threads.
    workers_per_gpu
        Number of worker processes that share a GPU, at least 1; by default a number that suits the memory and the
        networks.
    device
        Where networks compute: ``cpu``, ``cuda``, or ``auto`` (the default) for GPUs if there are any.
    retry
        Whether to try failed units again; by default ``False``.
    report
        Function to call with each :class:`gahbench.Event`.

    Returns
    -------
    WorkOutcome
        The numbers of units that are ``done``, ``failed`` and ``left``.

    Raises
    ------
    ResultsError
        If the folder is not a results folder, or was planned with other code; the error names the files that differ.

    Examples
    --------
    >>> import tempfile
    >>> import gahbench
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = gahbench.run("quick", folder, datasets=["discs"], metrics=["psnr"], only=["identity"],
    ...                            settings={"scoring.images": 2}, engine="inline", report=lambda event: None)
    ...     gahbench.work(folder)
    WorkOutcome(done=2, failed=0, left=0, stopped=False)
    """
    folder, stop = Path(folder), threading.Event()
    plan, store = require_plan(folder), Store(folder)
    files = [file for name in plan.plugins for file in plugin_files(folder / name)]
    registry = main_registry(files, "processes")
    check_code(plan, files)
    if retry:
        # Forget only failures recorded before the start, not failures that other processes record later.
        failed = store.failed()
        for unit in (unit for unit in plan.units if unit.folder in failed):
            store.forget_failure(unit)
    job = Job(
        plan.units,
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
            raise ResultsError(f"{folder}: {error}: {describe_changed_files(plan, files)}") from error
    counts = count_states(plan.units, store)
    return WorkOutcome(counts.done, counts.failed + counts.blocked, counts.left, stop.is_set())


@dataclass(frozen=True)
class Counts:
    """Numbers of units that are finished, failed, blocked by a failed fit, or left, and the number of failed fits."""

    done: int
    failed: int
    blocked: int
    left: int
    failed_fits: int


def count_states(units: Sequence[Unit], store: Store, damaged: Set[str] = frozenset()) -> Counts:
    """Count units by their state."""
    finished, failures = store.ended()
    finished, failures = finished - damaged, failures | damaged
    unfinished = [unit for unit in units if unit.folder not in finished]
    fits = sum(unit.folder in failures and unit.kind == "fit" for unit in unfinished)
    failed = sum(unit.folder in failures for unit in unfinished)
    blocked = sum(unit.folder not in failures and unit.is_blocked(failures) for unit in unfinished)
    return Counts(len(units) - len(unfinished), failed, blocked, len(unfinished) - failed - blocked, fits)


def check_code(plan: RecordedPlan, files: Sequence[Path]) -> None:
    """Raise an error if a folder was planned with code of gahbench other than the current code."""
    planned = {(unit.kind, unit.metric, (unit.document or {}).get("code")) for unit in plan.units}
    needs = {metric: frozenset(names) for metric, names in plan.board["needs"].items()}
    for kind, metric, digest in planned:
        if digest is None or (kind == "score" and metric not in needs):
            continue
        if digest != (function_digest(FIT) if metric is None else function_digest(SCORE, needs[metric])):
            raise ResultsError(
                f"the folder was planned with other code of gahbench: {describe_changed_files(plan, files)}"
            )


def describe_changed_files(plan: RecordedPlan, files: Sequence[Path]) -> str:
    """Return in words the files in which the current code differs from the code that planned."""
    changed = changed_files(plan.code, files)
    if not changed:
        return "its files are the same, but the version of Python or of other packages differs"
    return f"{listing(changed)} differ; install the version that planned, or plan again with this version"
