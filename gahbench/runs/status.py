"""The state of a results folder during a run, from directory listings alone and without torch."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.error_text import remove_library_frames
from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in
from gahbench._util.sealed import read_record
from gahbench.board.selection import choose_labels
from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import require_plan
from gahbench.store.store import DAMAGED, Store
from gahbench.store.units import PARTIAL, PROGRESS

#: Seconds that a run takes in addition to its units: to start worker processes, and to write the board and its figures.
OVERHEAD = 6.0
#: The maximum number of finished units whose durations are read.
_MAX_UNITS = 1000


@dataclass(frozen=True)
class Status:
    """The state of a results folder.

    Attributes
    ----------
    suite
        Name of the suite.
    done, failed, blocked, waiting
        Numbers of units that are finished, have failed, cannot run since their fit failed, and are left to do
        (including the running ones).
    running
        The last report of each attempt at a unit that has not ended, by the label of the unit: ``host``, ``process``,
        ``seconds`` since its start, ``silent`` (seconds since the report, by the clock of this machine) and, for a fit,
        the fields of :class:`gahbench.training.trainer.Progress`. An attempt whose process was killed stays until the
        next run.
    failures
        The error of each failed unit, by its label.
    remaining
        Estimated seconds until all units are done; ``None`` if unknown.
    is_published
        Whether the folder is a published board without its units.
    damaged
        Number of units that were moved to ``damaged/``.
    """

    suite: str
    done: int
    failed: int
    blocked: int
    waiting: int
    running: Mapping[str, Mapping[str, Any]]
    failures: Mapping[str, str]
    remaining: float | None
    is_published: bool
    damaged: int


def status(folder: str | Path) -> Status:
    """Return the state of a results folder: finished, failed and running units, and the estimated time left.

    Files of units are not read or compared with their checksums, as runs and :func:`gahbench.collect` do.

    Parameters
    ----------
    folder
        Path of a results folder.

    Returns
    -------
    Status
        The numbers of units that are ``done``, ``failed`` and ``waiting``, the ``running`` units, the ``failures``, and
        the ``remaining`` seconds.

    Raises
    ------
    ResultsError
        If the folder is not a results folder.

    Examples
    --------
    In a clone of the repository, a published board without its units:

    >>> import gahbench
    >>> state = gahbench.status("results/quick")
    >>> state.suite, state.is_published
    ('quick', True)
    """
    folder = Path(folder)
    plan, store = require_plan(folder), Store(folder)
    states = store.states(plan.units)
    by_state = list(zip(plan.units, states, strict=True))
    failures = {unit.label: store.failure_of(unit.folder) for unit, state in by_state if state == "failed"}
    waiting = [unit for unit, state in by_state if state == "left"]
    running = _running({unit.folder: unit for unit in waiting}, store)
    estimate = estimate_durations(plan.units, plan.board["datasets"], store)
    times = [seconds for unit in waiting if (seconds := estimate(unit)) is not None]
    # Units without an estimate are assumed to take as long as the others.
    rounds = len(waiting) / max(1, len(running))
    return Status(
        suite=plan.suite,
        done=states.count("done"),
        failed=states.count("failed"),
        blocked=states.count("blocked"),
        waiting=len(waiting),
        running=running,
        failures=failures,
        remaining=OVERHEAD + rounds * statistics.mean(times) if times else None,
        is_published=not store.units.is_dir() and (folder / "results.json").is_file(),
        damaged=sum(PARTIAL not in name for name in names_in(folder / DAMAGED)),
    )


def _running(waiting: Mapping[str, Unit], store: Store) -> dict[str, dict[str, Any]]:
    """Return the last report of attempts at units that have not ended; of several attempts at a unit, the newest."""
    newest: dict[str, tuple[float, Path]] = {}
    for name in names_in(store.units):
        key, separator, _ = name.partition(PARTIAL)
        if separator and key in waiting:
            with contextlib.suppress(OSError):
                touched = (store.units / name / PROGRESS).stat().st_mtime
                newest[key] = max(newest.get(key, (0.0, Path())), (touched, store.units / name))
    running, now = {}, time.time()
    for key, (touched, attempt) in sorted(newest.items()):
        report = {"host": "unknown", "process": None, "started": touched, **read_record(attempt / PROGRESS)}
        times = {"seconds": max(0.0, now - report.pop("started")), "silent": max(0.0, now - touched)}
        running[waiting[key].label] = report | times
    return running


def estimate_durations(
    units: Iterable[Unit], datasets: Iterable[Mapping[str, Any]], store: Store
) -> Callable[[Unit], float | None]:
    """Return a function that estimates the seconds of a unit from finished units of a plan; ``None`` without any.

    The durations of fits are proportional to their work, and those of each metric to the number of values.
    """
    values = {row["dataset"]: math.prod(row[name] for name in ("channels", "height", "width")) for row in datasets}

    def size(unit: Unit) -> float:
        if unit.kind == "fit":
            return unit.work if unit.work < math.inf else 0.0
        levels = max(1, len(unit.payload.get("sigmas", ())))
        return float(unit.payload.get("images", 1) * levels * values.get(unit.dataset, 0))

    finished = store.finished()
    done = [unit for unit in units if unit.folder in finished and size(unit)]
    seconds, sizes = defaultdict[str | None, float](float), defaultdict[str | None, float](float)
    for unit in done[:: 1 + len(done) // _MAX_UNITS]:
        with contextlib.suppress(ResultsError):
            record = store.done_record(unit) or {}
            # The training time of a fit that was resumed includes earlier attempts.
            seconds[unit.metric] += max(record.get(name) or 0.0 for name in ("seconds", "train_seconds"))
            sizes[unit.metric] += size(unit)

    def estimate(unit: Unit) -> float | None:
        if unit.kind == "fit" and (budget := unit.payload.get("training", {}).get("seconds")) is not None:
            return float(budget)
        return size(unit) * seconds[unit.metric] / sizes[unit.metric] if seconds[unit.metric] and size(unit) else None

    return estimate


@dataclass(frozen=True)
class Failure:
    """Units that failed with the same error and traceback, and the number of units that they block."""

    units: tuple[str, ...]
    error: str
    traceback: str
    blocked: int


def failures(folder: Path, entrants: Sequence[str] = (), full: bool = False) -> list[Failure]:
    """Return the failures of a results folder, grouped by error and traceback."""
    units, store = require_plan(folder).units, Store(folder)
    labels = list(dict.fromkeys(unit.entrant for unit in units))
    rows = choose_labels(entrants, labels, "entrant", ResultsError)
    failed = store.failed()
    groups: dict[tuple[str, str], dict[str, Unit]] = {}
    for unit in units:
        if unit.folder in failed and unit.entrant in rows:
            details = store.failure_record(unit.folder).get("traceback")
            text = details.strip("\n") if isinstance(details, str) else ""
            reason = store.failure_of(unit.folder), text if full else remove_library_frames(text)
            groups.setdefault(reason, {})[unit.folder] = unit
    return [
        Failure(
            tuple(unit.label for unit in group.values()),
            error,
            text,
            sum(unit.folder not in failed and unit.is_blocked(group.keys()) for unit in units),
        )
        for (error, text), group in groups.items()
    ]
