"""From the store to the tidy table."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from gahbench._util.errors import ResultsError
from gahbench._util.files import write_json
from gahbench._util.resources import cpu_count, processor_name
from gahbench.board.facts import ADOPTED, NOT_RUN, OWN_TRAINING, REFUSED
from gahbench.board.tables import SCHEMAS
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import KINDS
from gahbench.planning.units import AUDITED
from gahbench.registry.registry import Problem
from gahbench.runs.secret_noise import late_mark
from gahbench.store.finished import Examination, warn_of_damage
from gahbench.store.folder import Folder, UnwritableError
from gahbench.store.plan_file import PLAN, RecordedPlan, require_plan
from gahbench.store.store import Store

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: Raised when boards are written differently from the same units.
BOARD_VERSION = 7


@dataclass(frozen=True)
class Collected:
    """What a board was made of."""

    plan: RecordedPlan
    damaged: frozenset[str]


def collect(folder: str | Path) -> Results:
    """Write the tables, board and figures of a results folder from what is done in it so far, and return the results.

    Units count that are as they were written, by their checksums; of others it warns. Where nothing is new, the files
    stay as they are, and the folder need not be writable.

    Parameters
    ----------
    folder
        A results folder with its units.

    Raises
    ------
    ResultsError
        If it is no results folder, a finished unit cannot be read, or something is new and the folder is not writable.
    """
    from gahbench.board.results import load_results

    write_results(Path(folder))
    return load_results(folder)


def write_results(folder: Path, problems: Sequence[Problem] = ()) -> Collected:
    """Write the tables, board and figures of a results folder; see :func:`collect`."""
    from gahbench.board.results import saved_digest

    require_plan(folder)
    if saved_digest(folder) is not None and not (folder / "units").is_dir():
        raise ResultsError(f"{folder}: a published board without its units; 'gahbench leaderboard' prints it")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(Folder(folder).lock())
            refusal = None
        except UnwritableError as error:
            refusal = error
        return _collect(folder, problems, refusal)


def _collect(folder: Path, problems: Sequence[Problem], refusal: UnwritableError | None) -> Collected:
    """Write the tables if anything is new, which raises the refusal of a folder that cannot be written."""
    from gahbench.board.results import saved_digest
    from gahbench.report.publish import publish

    plan, store = require_plan(folder), Store(folder)
    if refusal is None:
        store.restore_unchecked()
    examination = store.examine(plan.shown, keep=True)
    warn_of_damage(
        examination.damaged.values(), f"and not on the board ('gahbench run' in {folder} does damaged units again)"
    )
    states = _states(plan, store, examination)
    digest = _digest(plan, states, examination, store.moved_names())
    if saved_digest(folder) != digest:
        if refusal is not None:
            raise refusal
        publish(_read_results(plan, examination, states), folder, digest)
        _write_environment(folder, problems)
    if refusal is None:
        store.sweep()
    return Collected(plan, frozenset(examination.damaged))


def _write_environment(folder: Path, problems: Sequence[Problem]) -> None:
    """Write ``environment.json``: day, versions, processor, GPUs, plugin errors; no names of machines or persons."""
    required: list[str] = []
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        required = importlib.metadata.requires("gahbench") or []
    versions = {}
    for name in ("gahbench", *(Requirement(text).name for text in required if "extra ==" not in text)):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": processor_name(),
        "processors": cpu_count(),
        "gpus": [
            device.name for kind in KINDS.values() if kind.is_accelerator and kind.is_real for device in kind.devices()
        ],
        "packages": versions,
        "plugin_problems": [problem.error for problem in problems],
    }
    write_json(folder / "environment.json", content)


def results_so_far(folder: Path) -> tuple[Results, int] | None:
    """Return the results of the units that are done in a folder, and how many are left; nothing is written."""
    from gahbench.board.results import INDEX
    from gahbench.runs.work import count_states

    if not (folder / PLAN).is_file():
        return None
    store, has_board = Store(folder), (folder / INDEX).is_file()
    if has_board and not store.units.is_dir():
        return None
    plan = require_plan(folder)
    left = count_states(plan.shown, store).left
    if has_board and not left:
        return None
    examination = store.examine(plan.shown, keep=True)
    return _read_results(plan, examination, _states(plan, store, examination)), left


def _states(plan: RecordedPlan, store: Store, examination: Examination) -> dict[str, str]:
    """Return the states of the units that a board shows, by folder name: ``done``, or why it failed, or nothing."""
    failed = store.failed()

    def state(name: str) -> str:
        if name in examination.undamaged:
            return "done"
        if name in examination.damaged:
            return "its files are damaged; the next run does it again"
        return store.failure_of(name) if name in failed else ""

    return {name: state(name) for name in dict.fromkeys(unit.folder for unit in plan.shown)}


def _read_results(plan: RecordedPlan, examination: Examination, states: Mapping[str, str]) -> Results:
    """Read finished and failed units into :class:`gahbench.board.results.Results`."""
    import pandas as pd

    from gahbench.board.results import Results

    rows = _Rows(plan.suite, list(plan.board["entrants"]))
    # Fits first: units that failed for lack of a fit are not listed again.
    for unit in sorted(plan.shown, key=lambda unit: unit.kind != "fit"):
        state = states[unit.folder]
        if state != "done":
            rows.add_unfinished(unit, state or None)
            continue
        done = examination.undamaged[unit.folder].done
        if (own := plan.board["trainings"].get(unit.entrant)) is not None:
            rows.notes[unit.dataset, unit.entrant, OWN_TRAINING + own] = None
        if done.get("adopted"):
            rows.notes[unit.dataset, unit.entrant, ADOPTED] = None
        if unit.kind == "fit":
            rows.add_fit(unit, done)
        else:
            rows.add_scores(unit, done, examination.scores(unit.folder))
            if mark := late_mark(plan, unit, done):
                rows.marks[unit.dataset, unit.entrant, mark] = None
    for dataset, entrant, why in plan.board["refused"]:
        if entrant in rows.entrants:
            rows.notes[dataset, entrant, REFUSED + why] = None
    board = plan.board
    # Works that plugins follow, but for those of entrants that the board does not show.
    cited = {*map(base_label, rows.entrants), *(row["dataset"] for row in board["datasets"]), *board["needs"]}
    tables: dict[str, list[Any]] = {
        **{name: getattr(rows, name) for name in ("scores", "fits", "failures")},
        **{name: list(getattr(rows, name)) for name in ("notes", "marks")},
        **{name: board[name] for name in ("datasets", "metrics", "ratios")},
        "citations": [row for row in board["citations"] if row["entry"] in cited],
        "checks": [(*row, *found) for row, found in rows.checks.items()],
    }
    frames: dict[str, Any] = {name: pd.DataFrame(table, columns=list(SCHEMAS[name])) for name, table in tables.items()}
    return Results(suite=plan.suite, entrants=rows.entrants, baseline=board["baseline"], **frames)


def _digest(plan: RecordedPlan, states: Mapping[str, str], examination: Examination, replaced: list[str]) -> str:
    """Return a digest of everything that a board depends on: checksums of units, and why others failed."""
    checksums = sorted((name, finished.checksum) for name, finished in examination.undamaged.items())
    facts = [BOARD_VERSION, plan.suite, dict(plan.board), sorted(states.items()), checksums, replaced]
    facts += [dict(plan.secret_noise)] if plan.secret_noise else []
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


_FIT_FACTS = ("parameters", "train_seconds", "steps", "device", "precision", "compiled", "budget")


@dataclass
class _Rows:
    """Rows of the tables of results, as units are read."""

    suite: str
    entrants: list[str]
    scores: list[tuple[Any, ...]] = field(default_factory=list)
    fits: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    #: Each once, in their order.
    notes: dict[tuple[str, str, str], None] = field(default_factory=dict)
    marks: dict[tuple[str, str, str], None] = field(default_factory=dict)
    #: By dataset and entrant: the version of its weakest checks, and the images that nobody had seen.
    checks: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    _failed_fits: set[str] = field(default_factory=set)

    def add_fit(self, unit: Unit, done: Mapping[str, Any]) -> None:
        """Add a trained network and its marks; of partners one, since boards show no difference between them."""
        names = self._named(unit)
        self._add_marks(unit, done)
        if unit.split != "B":
            self.fits.append({**names, **{name: done[name] for name in _FIT_FACTS}})

    def add_scores(
        self, unit: Unit, done: Mapping[str, Any], values: Iterable[tuple[float | None, int | None, float, str]]
    ) -> None:
        """Add the values (noise level, image, value, part) of a metric, and the notes of its entrant."""
        names = self._named(unit)
        self._add_marks(unit, done)
        if (unit.metric, unit.split) == AUDITED:
            # A note may depend on the noise levels that an entrant was given, here all of them.
            self.notes |= {(unit.dataset, unit.entrant, note): None for note in done.get("notes", ())}
            found = done.get("checks", {})
            checks = found.get("version", 1), found.get("images", "")
            row = unit.dataset, unit.entrant
            self.checks[row] = min(checks, self.checks.get(row, checks))
            if done.get("parameters") is not None:
                # It was trained elsewhere.
                self.fits.append({**names, "parameters": done["parameters"], "compiled": False})
        head = (self.suite, unit.dataset, unit.entrant, done["kind"], unit.seed, unit.split)
        for sigma, image, value, part in values:
            self.scores.append((*head, sigma, f"{unit.metric}.{part}" if part else unit.metric, image, value))

    def _add_marks(self, unit: Unit, done: Mapping[str, Any]) -> None:
        self.marks |= {(unit.dataset, unit.entrant, mark): None for mark in done.get("marks", ())}

    def add_unfinished(self, unit: Unit, error: str | None) -> None:
        """Add a unit that failed or has not run; not one that waits for a fit that failed."""
        names = self._named(unit)
        if unit.kind == "fit" and error is not None:
            self._failed_fits.add(unit.key)
        if error is not None or not self._failed_fits.intersection(unit.needs):
            self.failures.append({**names, "stage": unit.kind, "metric": unit.metric, "error": error or NOT_RUN})

    def _named(self, unit: Unit) -> dict[str, Any]:
        """Return the columns that identify a unit in the tables; entrants of the suite come first."""
        if unit.entrant not in self.entrants:
            self.entrants.append(unit.entrant)
        return {"dataset": unit.dataset, "entrant": unit.entrant, "seed": unit.seed}
