"""What a results folder holds during a run and afterwards, from directory listings and without torch."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError, remove_library_frames
from gahbench._util.files import names_in
from gahbench._util.records import read_record
from gahbench.contracts.row_labels import choose_labels
from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store, StoredWeights, stored_weights
from gahbench.store.units import PARTIAL, PROGRESS

#: Seconds that a run takes in addition to its units: to start worker processes, and to write the board and its figures.
OVERHEAD = 6.0
#: The maximum number of finished units whose durations are read.
_MAX_UNITS = 1000


@dataclass(frozen=True)
class Status:
    """The state of a results folder: numbers of units by state, where ``waiting`` includes the running ones.

    ``running`` holds, by the label of a unit, the last report of its newest attempt: ``host``, ``process``, ``seconds``
    since its start, ``silent`` seconds since the report and, for a fit, the report of
    :class:`gahbench.training.trainer.Trainer`. An attempt whose process was killed stays until the next run.
    ``remaining`` is the estimated seconds until all units are done, if known; ``is_published`` says whether the folder
    is a published board without its units.
    """

    suite: str
    done: int
    failed: int
    blocked: int
    waiting: int
    running: Mapping[str, Mapping[str, Any]]
    remaining: float | None
    is_published: bool


def status(folder: Path) -> Status:
    """Return the state of a results folder, without reading the files of its units."""
    plan, store = require_plan(folder), Store(folder)
    states, estimate = store.states(plan.units), estimate_durations(plan.units, store)
    left = [unit for unit, state in zip(plan.units, states, strict=True) if state == "left"]
    running = _running({unit.folder: unit.label for unit in left}, store)
    times = [seconds for unit in left if (seconds := estimate(unit)) is not None]
    # Units without an estimate are assumed to take as long as the others.
    remaining = OVERHEAD + len(left) / max(1, len(running)) * statistics.mean(times) if times else None
    return Status(
        plan.suite,
        *(states.count("done"), states.count("failed"), states.count("blocked"), len(left)),
        running,
        remaining,
        is_published=not store.units.is_dir() and (folder / "results.json").is_file(),
    )


def _running(labels: Mapping[str, str], store: Store) -> dict[str, dict[str, Any]]:
    """Return the last report on units, by label, given the labels by folder name; the newest attempt counts."""
    running, now = dict[str, dict[str, Any]](), time.time()
    for name in names_in(store.units):
        folder, _, attempt = name.partition(PARTIAL)
        file = store.units / name / PROGRESS
        with contextlib.suppress(OSError):
            if attempt and folder in labels:
                silent = max(0.0, now - file.stat().st_mtime)
                report = {"host": "unknown", "process": None, "started": now, **read_record(file), "silent": silent}
                report["seconds"] = max(silent, now - report.pop("started"))
                if silent <= running.get(labels[folder], report)["silent"]:
                    running[labels[folder]] = report
    return running


def estimate_durations(units: Iterable[Unit], store: Store) -> Callable[[Unit], float | None]:
    """Return a function that estimates the seconds of a unit from finished units of a plan; ``None`` if unknown.

    The durations of fits are proportional to their work. A score takes as long as others by its metric on its dataset.
    """

    def group(unit: Unit) -> tuple[object, float]:
        # Units with the same name have the same rate, relative to their size.
        return ("fit", unit.work) if unit.kind == "fit" else ((unit.metric, unit.dataset), 1.0)

    finished, seconds, sizes = store.finished(), defaultdict[object, float](float), defaultdict[object, float](float)
    done = [unit for unit in units if unit.folder in finished and group(unit)[1] > 0]
    for unit in done[:: 1 + len(done) // _MAX_UNITS]:
        (name, size), record = group(unit), store.done_record(unit) or {}
        # The training time of a fit that was resumed includes earlier attempts.
        seconds[name] += max(record.get("seconds", 0.0), record.get("train_seconds", 0.0))
        sizes[name] += size

    def estimate(unit: Unit) -> float | None:
        name, size = group(unit)
        return size * seconds[name] / (sizes[name] or 1.0) or None

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
    labels = dict.fromkeys(unit.entrant for unit in units)
    rows = choose_labels(entrants, labels, "entrant", ResultsError)
    blocked, groups = list[Unit](), defaultdict[tuple[str, str], list[Unit]](list)
    for unit, state in zip(units, store.states(units), strict=True):
        if state == "blocked":
            blocked.append(unit)
        elif state == "failed" and unit.entrant in rows:
            text = str(store.failure_record(unit.folder).get("traceback", "")).strip("\n")
            groups[store.failure_of(unit.folder), text if full else remove_library_frames(text)].append(unit)
    found = []
    for reason, group in groups.items():
        names = {unit.folder for unit in group}
        waiting = sum(unit.is_blocked(names) for unit in blocked)
        found.append(Failure(tuple(unit.label for unit in group), *reason, waiting))
    return found


def weights(folder: str | Path, entrant: str) -> list[StoredWeights]:
    """Return the files of the finished fits of trained entrants, given by a label, name or pattern (``unet*``)."""
    plan = require_plan(Path(folder))
    trained = dict.fromkeys(unit.entrant for unit in plan.units if unit.kind == "fit")
    return stored_weights(Path(folder), plan, set(choose_labels([entrant], trained, "trained entrant", ResultsError)))
