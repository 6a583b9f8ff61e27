"""The beginning of a run: a suite is planned, and the plan recorded in its folder.

Planning builds plugins. Where some are from outside, it is done in a process of its own
(:mod:`gahbench.runs.opening_process`): one that changes torch's settings, crashes or hangs does so there, not where
units are started and the board is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gahbench.contracts.engines import Limits
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan, make_plan
from gahbench.planning.replan import Replanner
from gahbench.planning.suite import Suite, load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.planning.units import AUDITED, CHECKS
from gahbench.registry.behaviour import computed_by
from gahbench.registry.registry import Problem, Registry
from gahbench.runs.adoption import current_key, superseded
from gahbench.runs.removal import put_back
from gahbench.runs.reuse import Named, Reused, reuse
from gahbench.runs.secret_noise import secret_noise_of, with_secret_noise, without_scores
from gahbench.store.folder import Folder, Opened
from gahbench.store.plan_file import recorded_plan
from gahbench.store.store import UNCHECKED, Store


@dataclass(frozen=True)
class RunRequest:
    """What is to be run, in plain values."""

    suite: str
    out: str | None = None
    changes: SuiteChanges = field(default_factory=SuiteChanges)
    sources: tuple[str, ...] = ()
    threads: int | None = None
    workers: int | None = None
    reuse: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    secret_noise: bool = False


@dataclass(frozen=True)
class OpenedRun:
    """A run whose plan is recorded in its folder."""

    folder: Path
    units: Named
    todo: Named
    threads: int
    unfinished: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    superseded: int = 0
    problems: tuple[Problem, ...] = ()
    reused: Reused | None = None
    replaced: int = 0
    files: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    awaits_noise: bool = False
    damaged: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return all of it as plain JSON, for a process that reads the units from the folder's plan."""
        return TypeAdapter(OpenedRun).dump_python(self, mode="json")  # type: ignore[no-any-return]

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> OpenedRun:
        """Return the run of a record."""
        planned = {one.unit.folder: one.unit for one in recorded_plan(Path(record["folder"])).units}
        return TypeAdapter(OpenedRun).validate_python(record, context=planned)


def open_run(request: RunRequest, registry: Registry) -> OpenedRun:
    """Plan a suite in this process, and record the plan in its folder."""
    plan = plan_with(registry, request.suite, request.out, request.changes, request.secret_noise)
    folder = results_folder(plan.suite, request.out)
    again = superseded(plan, folder)
    reused, replaced = None, 0
    before: Opened | None = None
    if request.reuse or request.again:
        before = open_folder(plan, folder, registry, request.threads, request.workers)[0]
        reused = reuse(plan.units, folder, [Path(source) for source in request.reuse]) if request.reuse else None
        replaced = put_back(plan, folder, request.again) if request.again else 0
    opened, todo = open_folder(plan, folder, registry, request.threads, request.workers)
    return OpenedRun(
        folder,
        plan.units,
        tuple(todo),
        opened.plan.threads or 1,
        opened.unfinished,
        opened.left_out,
        opened.outdated,
        opened.stale,
        (before or opened).dropped,
        again,
        tuple(registry.problems),
        reused,
        replaced,
        tuple(registry.files),
        plan.suite.limits,
        plan.secret_noise is not None and plan.secret_noise["seed"] is None,
        (*(before.damaged if before else ()), *opened.damaged),
    )


def open_folder(
    plan: Plan,
    folder: Path,
    registry: Registry,
    threads: int | None = None,
    workers: int | None = None,
    replaces_board: bool = True,
) -> tuple[Opened, list[Unit]]:
    """Record a plan in a results folder, and return with it the units that are to be done."""
    home, store, replanner = Folder(folder), Store(folder), Replanner(registry)
    with home.lock():
        opened = home.open(
            plan,
            registry,
            threads,
            workers,
            lambda unit: current_key(unit, replanner) in (None, unit.key),
            replaces_board,
        )
        damaged = store.set_aside(plan.units)
        store.put_away(_with_other_checks(plan.units, store), UNCHECKED)
        finished = store.finished()
        # Units of one key are one: files of equal content, say, under two names.
        todo = list({unit.key: unit for unit in plan.units if unit.folder not in finished}.values())
        failed = store.failed()
        for unit in plan.units:
            if unit.folder in failed:
                store.forget_failure(unit)
    return replace(opened, damaged=tuple(damaged.values())), todo


def _with_other_checks(units: Iterable[Unit], store: Store) -> list[str]:
    """Return the folder names of finished scores whose denoiser was checked by other code than there is here."""
    finished, code = store.finished(), computed_by(CHECKS)
    scores = {unit.folder: unit for unit in units if (unit.metric, unit.split) == AUDITED and unit.folder in finished}
    records = {name: store.done(unit) or {} for name, unit in scores.items()}
    return [name for name, done in records.items() if done.get("checks", {}).get("code") != code]


def plan_with(
    registry: Registry,
    suite: str | Path,
    out: str | Path | None = None,
    changes: SuiteChanges | Sequence[str] = (),
    secret_noise: bool = False,
) -> Plan:
    """Return the plan of a suite with the plugins of a registry; networks done in its folder are not tried out."""
    registry.require_files()
    loaded = load_suite(suite, registry, changes)
    folder = results_folder(loaded, out)
    noise, finished = secret_noise_of(folder, secret_noise), Store(folder).finished()
    plan = make_plan(with_secret_noise(loaded, noise), registry, lambda key: f"fit-{key}" in finished)
    if noise is not None and noise["seed"] is None:
        return without_scores(plan)
    return replace(plan, secret_noise=noise)


def results_folder(suite: Suite, out: str | Path | None = None) -> Path:
    """Return the results folder of a suite: the one that is given, or ``runs/`` and its name."""
    return Path(out) if out is not None else Path("runs") / suite.name
