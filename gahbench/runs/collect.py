"""Collecting finished units into the tables, the board and the figures of a results folder."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
import platform
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from gahbench._util.errors import ResultsError
from gahbench._util.files import write_json
from gahbench._util.resources import cpu_count, processor_name
from gahbench.board.facts import NOT_RUN, OWN_TRAINING, REFUSED
from gahbench.board.folds import pool_folds, pooled_names
from gahbench.board.tables import SCHEMAS
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import KINDS
from gahbench.planning.units import AUDITED
from gahbench.registry.registry import Problem, Registry, built_in_registry
from gahbench.store.archive import open_folder
from gahbench.store.finished import Examination, warn_of_damage
from gahbench.store.plan_file import PLAN, RecordedPlan, require_plan, short_names
from gahbench.store.store import BusyError, Store, UnwritableError

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.report.pictures import Sheet
    from gahbench.store.stored_files import StoredArrays

#: The file with the date, machine and package versions of a board.
ENVIRONMENT = "environment.json"
#: The version of boards: increment it when the same units give a different board, so that boards are written again.
BOARD_VERSION = 10


def collect(folder: str | Path) -> Results:
    """Write the tables, board, figures and pictures of a results folder from its finished units.

    Units whose checksums do not match are left out with a warning. If nothing has changed since the board was written,
    no file is written, and the folder need not be writable.

    Parameters
    ----------
    folder
        Path of a results folder with its units.

    Returns
    -------
    Results
        The results so far.

    Raises
    ------
    ResultsError
        If the folder is not a results folder, a run is at work in it, a finished unit cannot be read, or the board must
        be written but the folder is not writable.

    Examples
    --------
    >>> import tempfile
    >>> import gahbench
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = gahbench.run("quick", folder, datasets=["discs"], metrics=["psnr"], only=["identity"],
    ...                            settings={"scoring.images": 2}, engine="inline", report=lambda event: None)
    ...     results = gahbench.collect(folder)
    >>> results
    Results('quick', 1 datasets, 2 entrants, 20 scores)
    """
    from gahbench.board.results import load_results

    refusal = None
    require_plan(Path(folder))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(Store(Path(folder)).lock())
        except UnwritableError as error:
            refusal = error
        write_results(Path(folder), refusal=refusal)
    return load_results(folder)


def update_board(folder: Path) -> bool:
    """Write the board of a folder if it has units; return ``False`` if it has none, or a run is at work in it."""
    if not (folder / PLAN).is_file() or not (folder / "units").is_dir():
        return False
    try:
        collect(folder)
    except (BusyError, UnwritableError):
        return False
    return True


def write_results(
    folder: Path,
    problems: Sequence[Problem] = (),
    registry: Registry | None = None,
    refusal: UnwritableError | None = None,
) -> frozenset[str]:
    """Write the files of a results folder as :func:`collect` does; return the folder names of damaged units.

    The caller holds the lock of the folder, or passes the error why it cannot be written, which is raised if the board
    is out of date. Plugins of ``registry``, by default the built-in plugins, name entrants and datasets on the board.
    """
    from gahbench.board.results import saved_digest
    from gahbench.report.publish import publish

    plan, store, saved = require_plan(folder), Store(folder), saved_digest(folder)
    if saved is not None and not store.units.is_dir():
        raise ResultsError(f"{folder}: is a published board without its units; 'gahbench leaderboard' prints it")
    examination = store.examine(plan.units)
    warn_of_damage(
        examination.damaged.values(), f"and not on the board ('gahbench run' in {folder} recomputes damaged units)"
    )
    states = _unit_states(plan, store, examination)
    digest = _digest(plan, states, examination)
    if saved != digest:
        if refusal is not None:
            raise refusal
        results, sheets = _read_results(plan, examination, states, registry), _sheets(folder, plan)
        publish(results, folder, digest, *sheets)
        _write_environment(folder, problems)
    if refusal is None:
        store.sweep()
    return frozenset(examination.damaged)


def _sheets(folder: Path, plan: RecordedPlan) -> tuple[list[Sheet], list[Sheet]]:
    """Return sheets of denoised images and of eigenvectors, of images that anybody may redistribute."""
    from gahbench.report.contact_sheet import kept_images
    from gahbench.report.eigenvector_sheets import kept_eigenvectors, make_eigenvector_sheets
    from gahbench.report.pictures import MAX_BYTES, make_sheets

    free = {row["dataset"] for row in plan.board["datasets"] if row.get("is_free")}
    has_images = any(unit.kind == "score" and unit.metric == "psnr" for unit in plan.units)
    if not free or not has_images:
        return [], []
    try:
        # Damaged units have been warned of.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            kept_arrays, kept_vectors = kept_images(folder), kept_eigenvectors(folder)
    except ResultsError:
        return [], []
    # Of folds, which are one dataset on the board, the first has pictures.
    pooled = pooled_names(plan.dataset_specs)
    images: dict[str, list[StoredArrays]] = {}
    vectors: dict[str, list[StoredArrays]] = {}
    for shown, of_datasets in ((images, kept_arrays), (vectors, kept_vectors)):
        for name, stored in of_datasets.items():
            if name in free:
                shown.setdefault(pooled.get(name, name), stored)
    sheets = make_sheets(images, MAX_BYTES // 2 if vectors else MAX_BYTES)
    left = MAX_BYTES - sum(len(sheet.content) for sheet in sheets)
    return sheets, make_eigenvector_sheets(vectors, left) if vectors else []


def _write_environment(folder: Path, problems: Sequence[Problem]) -> None:
    """Write ``environment.json``: date, versions, processor, GPUs and plugin errors, but no names of hosts or users."""
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
        "gpus": [device.name for kind in KINDS.values() if kind.is_accelerator for device in kind.devices()],
        "packages": versions,
        "plugin_problems": [problem.error for problem in problems],
    }
    write_json(folder / ENVIRONMENT, content)


def results_so_far(folder: Path) -> tuple[Results, int] | None:
    """Return the results of the finished units and the number of units left, without writing anything.

    The result is ``None`` if the folder has no plan, or its board is complete.
    """
    from gahbench.board.results import INDEX

    if not (folder / PLAN).is_file():
        return None
    store, has_board = Store(folder), (folder / INDEX).is_file()
    if has_board and not store.units.is_dir():
        return None
    plan = require_plan(folder)
    left = store.states(plan.units).count("left")
    if has_board and not left:
        return None
    examination = store.examine(plan.units)
    return _read_results(plan, examination, _unit_states(plan, store, examination)), left


def load_rows(paths: Sequence[Path], registry: Registry | None = None) -> tuple[Results, dict[Path, int]]:
    """Return the combined results of folders and archives, and the number of unfinished units in each."""
    from gahbench.board.combined import combine
    from gahbench.board.results import load_results

    parts: dict[str, Results] = {}
    unfinished: dict[Path, int] = {}
    for name, path in zip(short_names(paths), paths, strict=True):
        with open_folder(path) as folder:
            parts[name], unfinished[path] = results_so_far(folder) or (load_results(folder, registry), 0)
    return next(iter(parts.values())) if len(parts) == 1 else combine(parts), unfinished


def _unit_states(plan: RecordedPlan, store: Store, examination: Examination) -> dict[str, str]:
    """Return the state of each unit on a board, by folder name: ``done``, the error, or an empty string if not run."""
    failed = store.failed()

    def state(name: str) -> str:
        if name in examination.undamaged:
            return "done"
        if name in examination.damaged:
            return "its files are damaged; the next run recomputes it"
        return store.failure_of(name) if name in failed else ""

    return {name: state(name) for name in dict.fromkeys(unit.folder for unit in plan.units)}


def _read_results(
    plan: RecordedPlan, examination: Examination, states: Mapping[str, str], registry: Registry | None = None
) -> Results:
    """Read finished and failed units into :class:`gahbench.board.results.Results`."""
    import pandas as pd

    from gahbench.board.results import Results

    rows = _Rows(plan.suite, list(plan.board["entrants"]))
    # Fits come first, so that scores that lack a network because its fit failed are not listed as failures.
    for unit in sorted(plan.units, key=lambda unit: unit.kind != "fit"):
        state = states[unit.folder]
        if state != "done":
            rows.add_unfinished(unit, state or None)
            continue
        finished = examination.undamaged[unit.folder]
        done = finished.done
        if (training := plan.board["trainings"].get(unit.entrant)) is not None:
            rows.notes[unit.dataset, unit.entrant, OWN_TRAINING + training] = None
        if unit.kind == "fit":
            rows.add_fit(unit, done)
        else:
            rows.add_scores(unit, done, finished.scores())
    for dataset, entrant, reason in plan.board["refused"]:
        if entrant in rows.entrants:
            rows.notes[dataset, entrant, REFUSED + reason] = None
    board = plan.board
    # Citations of entrants that are not on the board are left out.
    cited = {*map(base_label, rows.entrants), *(row["dataset"] for row in board["datasets"]), *board["needs"]}
    tables: dict[str, list[Any]] = {
        **{name: getattr(rows, name) for name in ("scores", "fits", "failures")},
        **{name: list(getattr(rows, name)) for name in ("notes", "flags")},
        "costs": [{"dataset": dataset, "entrant": entrant, **cost} for (dataset, entrant), cost in rows.costs.items()],
        **{name: board[name] for name in ("datasets", "metrics", "ratios")},
        "citations": [row for row in board["citations"] if row["entry"] in cited],
        "checks": [(*row, *checks) for row, checks in rows.checks.items()],
    }
    frames: dict[str, Any] = {name: pd.DataFrame(table, columns=list(SCHEMAS[name])) for name, table in tables.items()}
    results = Results(
        suite=plan.suite,
        entrants=rows.entrants,
        baseline=board["baseline"],
        version=plan.version,
        registry=built_in_registry if registry is None else lambda: registry,
        **frames,
    )
    return pool_folds(results)


def _digest(plan: RecordedPlan, states: Mapping[str, str], examination: Examination) -> str:
    """Return a digest of everything that a board depends on: plan, checksums of units, and errors of failed units."""
    checksums = sorted((name, finished.checksum) for name, finished in examination.undamaged.items())
    facts = [BOARD_VERSION, plan.suite, dict(plan.board), sorted(states.items()), checksums]
    facts += [asdict(plan.version)] if plan.version else []
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


_FIT_FACTS = ("parameters", "train_seconds", "steps", "device", "precision", "compiled", "budget")


@dataclass
class _Rows:
    """The rows of the tables of results, to which units are added one by one."""

    suite: str
    entrants: list[str]
    scores: list[tuple[Any, ...]] = field(default_factory=list)
    fits: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    #: Dictionaries serve as ordered sets.
    notes: dict[tuple[str, str, str], None] = field(default_factory=dict)
    flags: dict[tuple[str, str, str], None] = field(default_factory=dict)
    #: The version of the oldest checks of each row, and the kind of fresh images they used, by dataset and entrant.
    checks: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    #: The cost of each row, by dataset and entrant.
    costs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    _failed_fits: set[str] = field(default_factory=set)

    def add_fit(self, unit: Unit, done: Mapping[str, Any]) -> None:
        """Add a trained network and its flags; partners trained on split B are not listed on boards."""
        names = self._identify(unit)
        self._add_flags(unit, done)
        if unit.split != "B":
            self.fits.append({**names, **{name: done[name] for name in _FIT_FACTS}})
            images = done["steps"] * unit.payload["training"]["batch_size"]
            self.costs.setdefault((unit.dataset, unit.entrant), {})["training_images"] = images

    def add_scores(
        self, unit: Unit, done: Mapping[str, Any], values: Iterable[tuple[float | None, int | None, float, str]]
    ) -> None:
        """Add the values (sigma, image, value, part) of a metric, and the notes and checks of its entrant."""
        names = self._identify(unit)
        self._add_flags(unit, done)
        if (unit.metric, unit.split) == AUDITED:
            # Notes may depend on the noise levels that an entrant has seen; here it has seen all levels.
            self.notes |= {(unit.dataset, unit.entrant, note): None for note in done.get("notes", ())}
            recorded = done.get("checks", {})
            checks = recorded.get("version", 1), recorded.get("images", "")
            row = unit.dataset, unit.entrant
            self.checks[row] = min(checks, self.checks.get(row, checks))
            self._add_cost(row, done)
            if done.get("parameters") is not None:
                # A reference with parameters is a network that was trained elsewhere.
                self.fits.append({**names, "parameters": done["parameters"], "compiled": False})
        head = (self.suite, unit.dataset, unit.entrant, done["kind"], unit.seed, unit.split)
        for sigma, image, value, part in values:
            self.scores.append((*head, sigma, f"{unit.metric}.{part}" if part else unit.metric, image, value))

    def _add_cost(self, row: tuple[str, str], done: Mapping[str, Any]) -> None:
        """Add the measured cost of a row; of several seeds, the fastest counts."""
        measured, environment = done.get("cost", {}), done.get("environment", {})
        if not measured:
            return
        cost = self.costs.setdefault(row, {})
        if "multiply_adds" in measured:
            cost["multiply_adds"] = measured["multiply_adds"]
        if measured.get("seconds", math.inf) < cost.get("seconds", math.inf):
            device = environment.get("device", "cpu")
            cost["seconds"] = measured["seconds"]
            cost["machine"] = environment.get("processor", "") if device == "cpu" else device

    def _add_flags(self, unit: Unit, done: Mapping[str, Any]) -> None:
        self.flags |= {(unit.dataset, unit.entrant, flag): None for flag in done.get("flags", ())}

    def add_unfinished(self, unit: Unit, error: str | None) -> None:
        """Add a unit that failed or has not run, unless it waits for a fit that failed."""
        names = self._identify(unit)
        if unit.kind == "fit" and error is not None:
            self._failed_fits.add(unit.key)
        if error is not None or not self._failed_fits.intersection(unit.needs):
            self.failures.append({**names, "stage": unit.kind, "metric": unit.metric, "error": error or NOT_RUN})

    def _identify(self, unit: Unit) -> dict[str, Any]:
        """Return the columns that identify a unit, and list a new entrant after the entrants of the suite."""
        if unit.entrant not in self.entrants:
            self.entrants.append(unit.entrant)
        return {"dataset": unit.dataset, "entrant": unit.entrant, "seed": unit.seed}
