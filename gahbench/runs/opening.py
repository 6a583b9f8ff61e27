"""Opening a run: planning a suite, and recording the plan in its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gahbench._util.errors import ParameterError
from gahbench.contracts.engines import Limits
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan, make_plan
from gahbench.planning.suite import Suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import Problem, Registry
from gahbench.runs.execute import rows_of
from gahbench.runs.reuse import Reused, reuse
from gahbench.runs.rows import move_to_replaced
from gahbench.store.folder import Folder
from gahbench.store.store import Store


@dataclass(frozen=True)
class RunRequest:
    """The arguments of :func:`gahbench.run`; ``sources`` are all plugin files and folders of plugin files."""

    suite: str
    out: Path | None = None
    changes: SuiteChanges = field(default_factory=SuiteChanges)
    sources: tuple[Path, ...] = ()
    engine: str = "local"
    workers: int | None = None
    threads: int | None = None
    device: str = "auto"
    reuse: tuple[Path, ...] = ()
    again: tuple[str, ...] = ()
    track: tuple[str, ...] = ()
    shard: str = ""


@dataclass(frozen=True)
class OpenedRun:
    """A run whose plan is recorded in its folder.

    Attributes
    ----------
    folder
        Path of the results folder.
    units, todo
        All units of the plan, or of the shard, and the units that are not finished.
    threads
        Threads of each row.
    superseded
        Number of unfinished units that were finished earlier with other code or settings.
    problems
        Plugins that could not be loaded or registered.
    reused
        Units that were taken from other results folders; ``None`` if no folder was given.
    replaced
        Number of finished units that were moved away to be recomputed.
    plugins, copies
        Plugin files of the run, and their copies in the folder, for rows on other machines.
    limits
        Time limits of the suite.
    damaged
        Errors of damaged units, which were moved away.
    """

    folder: Path
    units: tuple[Unit, ...]
    todo: tuple[Unit, ...]
    threads: int
    superseded: int = 0
    problems: tuple[Problem, ...] = ()
    reused: Reused | None = None
    replaced: int = 0
    plugins: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    damaged: tuple[str, ...] = ()


def parse_shard(text: str) -> tuple[int, int]:
    """Return the index of a shard, from 1, and the number of shards, which ``I/N`` names."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ParameterError(f"shard '{text}'; accepted: I/N with I from 1 to N, such as 2/8")
    return int(index), int(count)


def open_run(plan: Plan, folder: Path, registry: Registry, request: RunRequest) -> OpenedRun:
    """Record a plan in its folder, take units from other folders, and move away units to be recomputed.

    The caller holds the lock of the folder.
    """
    store = Store(folder)
    units = shard_of(plan, request.shard)
    superseded = store.count_superseded(units)
    # Only the engine "local" divides the processors of this machine among rows.
    workers = request.workers if request.engine.partition("[")[0] == "local" else None
    recorded = Folder(folder).record(plan, registry, request.threads, workers)
    reused = reuse(units, folder, request.reuse) if request.reuse else None
    replaced = move_to_replaced(units, folder, request.again, plan.suite.name) if request.again else 0
    damaged = store.move_damaged(units)
    finished, failed = store.ended()
    for unit in units:
        if unit.folder in failed:
            store.forget_failure(unit)
    # Units with equal keys are the same unit, for example if two datasets have the same images.
    todo = {unit.key: unit for unit in units if unit.folder not in finished}
    return OpenedRun(
        folder,
        units,
        tuple(todo.values()),
        recorded.threads or 1,
        superseded,
        tuple(registry.problems),
        reused,
        replaced,
        tuple(registry.files),
        tuple(file for name in recorded.plugins for file in plugin_files(folder.resolve() / name)),
        plan.suite.limits,
        tuple(damaged.values()),
    )


def shard_of(plan: Plan, shard: str) -> tuple[Unit, ...]:
    """Return the units of a shard: whole rows, which all machines divide alike."""
    if not shard:
        return plan.units
    index, count = parse_shard(shard)
    return tuple(unit for row in rows_of(plan.units)[index - 1 :: count] for unit in row)


def plan_for(folder: Path, suite: Suite, registry: Registry) -> Plan:
    """Return the plan of a suite with the plugins of a registry; networks with fits in the folder are not tried out."""
    registry.require_files()
    finished = Store(folder).finished()
    return make_plan(suite, lambda key: f"fit-{key}" in finished)


def results_folder(suite: Suite, out: str | Path | None = None) -> Path:
    """Return the path of the results folder of a suite, by default ``runs/NAME``."""
    return Path(out) if out is not None else Path("runs") / suite.name
