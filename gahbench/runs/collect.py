"""Collecting finished units into the tables, the board and the figures of a results folder."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
import platform
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
from gahbench.store.plan_file import PLAN, RecordedPlan, require_plan, short_names
from gahbench.store.store import Examination, LockError, Store, open_folder, warn_of_damage
from gahbench.store.units import FinishedUnit

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.report.pictures import Sheet
    from gahbench.store.store import StoredArrays

#: The file with the date, machine and package versions of a board.
ENVIRONMENT = "environment.json"
#: The version of boards: increment it when the same units give a different board, so that boards are written again.
BOARD_VERSION = 10


def collect(folder: str | Path) -> Results:
    """Write the tables, board, figures and pictures of a results folder from its finished units.

    Units whose checksums do not match are left out with a warning. If nothing has changed since the board was written,
    no file is written.

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
        If the folder is not a results folder, is not writable, or a run is at work in it, or a unit cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import gahbench
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = gahbench.run("quick", folder, datasets=["discs"], metrics=["psnr"], only=["identity"],
    ...                            settings={"scoring.images": 2}, engine="inline", quiet=True)
    ...     results = gahbench.collect(folder)
    >>> results
    Results('quick', 1 datasets, 2 entrants, 20 scores)
    """
    from gahbench.board.results import load_results

    path = Path(folder)
    if not (path / PLAN).is_file():
        require_plan(path)  # Raises an error before the lock creates the folder.
    with Store(path).lock():
        write_results(path)
    return load_results(path)


def update_board(folder: Path) -> None:
    """Write the board of a folder if it has units, and can be written since no run is at work in it."""
    if (folder / PLAN).is_file() and (folder / "units").is_dir():
        with contextlib.suppress(LockError):
            collect(folder)


def write_results(folder: Path, problems: Sequence[Problem] = (), registry: Registry | None = None) -> frozenset[str]:
    """Write the files of a results folder as :func:`collect` does; return the folder names of damaged units.

    The caller holds the lock of the folder. Plugins of ``registry``, by default the built-in plugins, name entrants and
    datasets on the board.
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
        publish(_read_results(plan, examination, states, registry), folder, digest, *_sheets(folder, plan))
        _write_environment(folder, problems)
    store.sweep()
    return frozenset(examination.damaged)


def _sheets(folder: Path, plan: RecordedPlan) -> tuple[list[Sheet], list[Sheet]]:
    """Return sheets of denoised images and of eigenvectors, of images that anybody may redistribute."""
    from gahbench.report.contact_sheet import kept_images
    from gahbench.report.eigenvector_sheets import kept_eigenvectors, make_eigenvector_sheets
    from gahbench.report.pictures import MAX_BYTES, make_sheets

    free = {row["dataset"] for row in plan.board["datasets"] if row.get("is_free")}
    if not free or not any(unit.metric == "psnr" for unit in plan.units):
        return [], []
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # Damaged units have been warned of.
            kept = kept_images(folder), kept_eigenvectors(folder)
    except ResultsError:
        return [], []
    # Of folds, which are one dataset on the board, the first has pictures.
    pooled = pooled_names(plan.dataset_specs)
    images: dict[str, list[StoredArrays]] = {}
    vectors: dict[str, list[StoredArrays]] = {}
    for by_dataset, stored in zip((images, vectors), kept, strict=True):
        for name in filter(free.__contains__, stored):
            by_dataset.setdefault(pooled.get(name, name), stored[name])
    sheets = make_sheets(images, MAX_BYTES // 2 if vectors else MAX_BYTES)
    left = MAX_BYTES - sum(len(sheet.content) for sheet in sheets)
    return sheets, make_eigenvector_sheets(vectors, left) if vectors else []


def _write_environment(folder: Path, problems: Sequence[Problem]) -> None:
    """Write ``environment.json``: date, versions, processor, GPUs and plugin errors, but no names of hosts or users."""
    required = [Requirement(text) for text in importlib.metadata.requires("gahbench") or ()]
    names = [
        "gahbench",
        *(each.name for each in required if each.marker is None or each.marker.evaluate({"extra": ""})),
    ]
    packages = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": processor_name(),
        "processors": cpu_count(),
        "gpus": [device.name for kind in KINDS.values() if kind.is_accelerator for device in kind.devices()],
        "packages": packages,
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

    # Fits come first, so that scores that lack a network because its fit failed are not listed as failures.
    units, board = sorted(plan.units, key=lambda unit: unit.kind != "fit"), plan.board
    # The rows of a sweep follow the entrants of the suite.
    entrants = list(dict.fromkeys([*board["entrants"], *(unit.entrant for unit in units)]))
    # Citations of entrants that are not on the board are left out.
    cited = {*map(base_label, entrants), *(row["dataset"] for row in board["datasets"]), *board["needs"]}
    rows = _Rows(plan.suite)
    for unit in units:
        if (state := states[unit.folder]) != "done":
            rows.add_unfinished(unit, state)
            continue
        if (training := board["trainings"].get(unit.entrant)) is not None:
            rows.notes.append((unit.dataset, unit.entrant, OWN_TRAINING + training))
        rows.add(unit, examination.undamaged[unit.folder])
    rows.notes += [
        (dataset, label, REFUSED + reason) for dataset, label, reason in board["refused"] if label in entrants
    ]
    tables: dict[str, list[Any]] = {
        **{name: getattr(rows, name) for name in ("scores", "fits", "failures")},
        **{name: list(dict.fromkeys(getattr(rows, name))) for name in ("notes", "flags")},
        "costs": [{"dataset": dataset, "entrant": entrant, **cost} for (dataset, entrant), cost in rows.costs.items()],
        **{name: board[name] for name in ("datasets", "metrics", "ratios")},
        "citations": [row for row in board["citations"] if row["entry"] in cited],
        "checks": [(*row, *min(checks)) for row, checks in rows.checks.items()],
    }
    frames: dict[str, Any] = {name: pd.DataFrame(table, columns=list(SCHEMAS[name])) for name, table in tables.items()}
    results = Results(
        suite=plan.suite,
        entrants=entrants,
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


class _Rows:
    """The rows of the tables of results, to which units are added one by one."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.scores: list[tuple[Any, ...]] = []
        self.fits: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.notes: list[tuple[str, str, str]] = []
        self.flags: list[tuple[str, str, str]] = []
        #: The version of the checks of each row, and the kind of fresh images they used, by dataset and entrant.
        self.checks: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
        #: The cost of each row, by dataset and entrant.
        self.costs: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        self._failed_fits: set[str] = set()

    def add(self, unit: Unit, finished: FinishedUnit) -> None:
        """Add a finished unit; partners trained on split B are not listed on boards."""
        row, done = (unit.dataset, unit.entrant), finished.done
        names = {"dataset": unit.dataset, "entrant": unit.entrant, "seed": unit.seed}
        self.flags += [(*row, flag) for flag in done.get("flags", ())]
        if unit.kind == "fit":
            if unit.split != "B":
                self.fits.append({**names, **{name: done[name] for name in _FIT_FACTS}})
                self.costs[row]["training_images"] = done["steps"] * unit.payload["training"]["batch_size"]
            return
        if (unit.metric, unit.split) == AUDITED:
            # Notes may depend on the noise levels that an entrant has seen; here it has seen all levels.
            self.notes += [(*row, note) for note in done.get("notes", ())]
            checks = done.get("checks", {})
            self.checks[row].append((checks.get("version", 1), checks.get("images", "")))
            self._add_cost(row, done)
            if done.get("parameters") is not None:
                # A reference with parameters is a network that was trained elsewhere.
                self.fits.append({**names, "parameters": done["parameters"], "compiled": False})
        head = (self.suite, *row, done["kind"], unit.seed, unit.split)
        for sigma, image, value, part in finished.scores():
            self.scores.append((*head, sigma, f"{unit.metric}.{part}" if part else unit.metric, image, value))

    def _add_cost(self, row: tuple[str, str], done: Mapping[str, Any]) -> None:
        """Add the measured cost of a row; of several seeds, the fastest counts."""
        measured, environment = done.get("cost", {}), done.get("environment", {})
        if "multiply_adds" in measured:
            self.costs[row]["multiply_adds"] = measured["multiply_adds"]
        if "seconds" in measured and measured["seconds"] < self.costs[row].get("seconds", math.inf):
            device = environment.get("device", "cpu")
            machine = environment.get("processor", "") if device == "cpu" else device
            self.costs[row] |= {"seconds": measured["seconds"], "machine": machine}

    def add_unfinished(self, unit: Unit, error: str) -> None:
        """Add a unit that failed or, without an error, has not run, unless it waits for a fit that failed."""
        if unit.kind == "fit" and error:
            self._failed_fits.add(unit.key)
        if error or not self._failed_fits.intersection(unit.needs):
            names = {"dataset": unit.dataset, "entrant": unit.entrant, "seed": unit.seed}
            self.failures.append({**names, "stage": unit.kind, "metric": unit.metric, "error": error or NOT_RUN})
