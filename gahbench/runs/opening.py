"""Opening a run: planning a suite, and recording the plan in its folder.

Planning builds plugins. If some of them are external, planning happens in a child process
(:mod:`gahbench.runs.opening_process`), so that a plugin which changes torch's settings, crashes or hangs does not
affect the process that starts units and writes the board.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gahbench.contracts.engines import Limits
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan, make_plan
from gahbench.planning.suite import Suite, load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.planning.units import AUDITED, CHECKS
from gahbench.registry.behaviour import function_digest
from gahbench.registry.registry import Problem, Registry
from gahbench.runs.reuse import PlannedUnits, Reused, reuse
from gahbench.runs.rows import move_to_replaced
from gahbench.store.folder import Folder
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.store import UNCHECKED, Store


@dataclass(frozen=True)
class RunRequest:
    """The arguments of :func:`gahbench.run`; ``sources`` are all plugin files and folders of plugin files."""

    suite: str
    out: Path | None = None
    changes: SuiteChanges = field(default_factory=SuiteChanges)
    sources: tuple[Path, ...] = ()
    engine: str = "processes"
    workers: int | None = None
    threads: int | None = None
    device: str = "auto"
    reuse: tuple[Path, ...] = ()
    again: tuple[str, ...] = ()
    track: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenedRun:
    """A run whose plan is recorded in its folder.

    Attributes
    ----------
    folder
        Path of the results folder.
    units, todo
        All units of the plan, and the units that are not finished.
    threads
        Threads of each worker.
    superseded
        Number of unfinished units that were finished earlier with other code or settings.
    problems
        Plugins that could not be loaded or registered.
    reused
        Units that were taken from other results folders; ``None`` if no folder was given.
    replaced
        Number of finished units that were moved away to be recomputed.
    files
        Plugin files of the run.
    limits
        Time limits of the suite.
    damaged
        Errors of damaged units, which were moved away.
    """

    folder: Path
    units: PlannedUnits
    todo: PlannedUnits
    threads: int
    superseded: int = 0
    problems: tuple[Problem, ...] = ()
    reused: Reused | None = None
    replaced: int = 0
    files: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    damaged: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the run as plain JSON; units are given by name, and :meth:`from_record` reads them from the plan."""
        return TypeAdapter(OpenedRun).dump_python(self, mode="json")  # type: ignore[no-any-return]

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> OpenedRun:
        """Return the run that a record describes."""
        planned = {unit.folder: unit for unit in require_plan(Path(record["folder"])).units}
        return TypeAdapter(OpenedRun).validate_python(record, context=planned)


def open_run(request: RunRequest, registry: Registry) -> OpenedRun:
    """Plan a suite in this process, and record the plan in its folder."""
    plan = plan_with(registry, request.suite, request.out, request.changes)
    folder = results_folder(plan.suite, request.out)
    # Only the engine "processes" divides the processors of this machine among workers.
    workers = request.workers if request.engine.partition("[")[0] == "processes" else None
    return open_folder(plan, folder, registry, request.threads, workers, request.reuse, request.again)


def open_folder(
    plan: Plan,
    folder: Path,
    registry: Registry,
    threads: int | None = None,
    workers: int | None = None,
    sources: Sequence[Path] = (),
    again: Sequence[str] = (),
) -> OpenedRun:
    """Record a plan in a results folder, take units from other folders, and move away units to be recomputed."""
    superseded = count_superseded(plan, folder)
    recorded, damaged = _record(plan, folder, registry, threads, workers)
    reused = reuse(plan.units, folder, sources) if sources else None
    replaced = move_to_replaced(plan, folder, again) if again else 0
    if sources or again:
        damaged += _record(plan, folder, registry, threads, workers)[1]
    finished = Store(folder).finished()
    # Units with equal keys are the same unit, for example if two datasets have the same images.
    todo = {unit.key: unit for unit in plan.units if unit.folder not in finished}
    return OpenedRun(
        folder,
        plan.units,
        tuple(todo.values()),
        recorded.threads or 1,
        superseded,
        tuple(registry.problems),
        reused,
        replaced,
        tuple(registry.files),
        plan.suite.limits,
        damaged,
    )


def _record(
    plan: Plan, folder: Path, registry: Registry, threads: int | None, workers: int | None
) -> tuple[RecordedPlan, tuple[str, ...]]:
    """Record a plan, and move finished units away that are damaged or whose checks are to be repeated."""
    results, store = Folder(folder), Store(folder)
    with results.lock():
        recorded = results.open(plan, registry, threads, workers)
        damaged = store.move_damaged(plan.units)
        store.move_away(_units_to_check_again(plan.units, store), UNCHECKED)
        failed = store.failed()
        for unit in plan.units:
            if unit.folder in failed:
                store.forget_failure(unit)
    return recorded, tuple(damaged.values())


def count_superseded(plan: Plan, folder: Path) -> int:
    """Return for how many unfinished units of a plan the folder has a result of earlier code or other settings."""

    def identity(unit: Unit) -> tuple[object, ...]:
        return unit.kind, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric

    store = Store(folder)
    finished = store.finished()
    # Usually no units are left after the exclusion, so few records are read.
    earlier = {identity(unit) for unit in store.recorded_units(excluded={unit.folder for unit in plan.units})}
    return len(earlier & {identity(unit) for unit in plan.units if unit.folder not in finished})


def _units_to_check_again(units: Iterable[Unit], store: Store) -> list[str]:
    """Return the folder names of finished scores whose denoiser was not checked by the current code."""
    finished, current_code = store.finished(), function_digest(CHECKS)
    scores = {unit.folder: unit for unit in units if (unit.metric, unit.split) == AUDITED and unit.folder in finished}
    records = {name: store.done_record(unit) or {} for name, unit in scores.items()}
    return [name for name, done in records.items() if done.get("checks", {}).get("code") != current_code]


def plan_with(
    registry: Registry,
    suite: str | Path,
    out: str | Path | None = None,
    changes: SuiteChanges | Sequence[str] = (),
) -> Plan:
    """Return the plan of a suite with the plugins of a registry; networks with finished fits are not tried out."""
    registry.require_files()
    loaded = load_suite(suite, registry, changes)
    finished = Store(results_folder(loaded, out)).finished()
    return make_plan(loaded, registry, lambda key: f"fit-{key}" in finished)


def results_folder(suite: Suite, out: str | Path | None = None) -> Path:
    """Return the path of the results folder of a suite, by default ``runs/NAME``."""
    return Path(out) if out is not None else Path("runs") / suite.name
