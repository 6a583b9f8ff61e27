"""Collecting finished units into the tables, the board and the figures of a results folder."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from gahbench._util.errors import ResultsError
from gahbench._util.files import write_json
from gahbench._util.resources import cpu_count, processor_name
from gahbench.board.combined import pool_folds, pooled_names
from gahbench.board.tables import NOT_RUN, OWN_TRAINING, REFUSED, SCHEMAS
from gahbench.devices.hardware import KINDS
from gahbench.planning.units import AUDITED
from gahbench.registry.registry import Registry, built_in_registry
from gahbench.store.plan_file import PLAN, RecordedPlan, require_plan, short_names
from gahbench.store.store import Examination, LockError, Store, StoredArrays, open_folder, warn_of_damage

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.report.pictures import Sheet

#: The version of boards: increment it when the same units give a different board, so that boards are written again.
BOARD_VERSION = 11
_FIT_FACTS = ("parameters", "train_seconds", "steps", "device", "precision", "compiled", "budget")


def collect(folder: Path) -> Results:
    """Write the board of a results folder from its finished units, as runs do, and return the results so far."""
    from gahbench.board.results import load_results

    require_plan(folder)  # Raises an error before the lock creates the folder.
    with Store(folder).lock():
        write_results(folder)
    return load_results(folder)


def update_board(folder: Path) -> None:
    """Write the board of a folder if it has units, and can be written since no run is at work in it."""
    if (folder / PLAN).is_file() and (folder / "units").is_dir():
        with contextlib.suppress(LockError):
            collect(folder)


def write_results(folder: Path, registry: Registry | None = None) -> frozenset[str]:
    """Write the tables, figures and pictures of a results folder; return the folder names of damaged units.

    Damaged units are left out with a warning. If nothing has changed since the board was written, no file is written.
    The caller holds the lock of the folder. Plugins of ``registry``, by default the built-in plugins, name entrants and
    datasets on the board.
    """
    from gahbench.board.results import saved_digest
    from gahbench.report.publish import publish

    plan, store, saved = require_plan(folder), Store(folder), saved_digest(folder)
    if saved is not None and not store.units.is_dir():
        raise ResultsError(f"{folder}: is a published board without its units; 'gahbench leaderboard' prints it")
    examination = store.examine(plan.units)
    outcome = f"and not on the board ('gahbench run' in {folder} recomputes damaged units)"
    warn_of_damage(examination.damaged.values(), outcome)
    errors = dict(_errors(plan, store, examination))
    checksums = sorted((name, finished.checksum) for name, finished in examination.undamaged.items())
    facts = (BOARD_VERSION, plan.suite, plan.board, plan.version and asdict(plan.version), errors, checksums)
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    if saved != digest:
        results = _read_results(plan, examination, errors, registry)
        publish(results, folder, digest, _draw_sheets(plan, examination))
        _write_environment(folder)
    store.sweep()
    return frozenset(examination.damaged)


def _errors(plan: RecordedPlan, store: Store, examination: Examination) -> Iterator[tuple[str, str]]:
    """Yield why units are not on the board, by folder name, unless they wait for a fit that failed."""
    for unit, state in zip(plan.units, store.states(plan.units, examination.damaged.keys()), strict=True):
        if unit.folder in examination.damaged:
            yield unit.folder, "its files are damaged; the next run recomputes it"
        elif unit.folder not in examination.undamaged and state != "blocked":
            yield unit.folder, store.failure_of(unit.folder) if state == "failed" else NOT_RUN


def _draw_sheets(plan: RecordedPlan, examination: Examination) -> list[Sheet]:
    """Return sheets of denoised images and of eigenvectors, of images that anybody may redistribute."""
    from gahbench.report.pictures import METRICS, first_seeds, make_sheets

    free = {row["dataset"] for row in plan.board["datasets"] if row.get("is_free")}
    pooled, first_folds = pooled_names(plan.dataset_specs), dict[str, str]()
    kept: dict[str, list[StoredArrays]] = {metric: [] for metric in METRICS.values()}
    for unit in plan.units:
        metric, label = str(unit.metric).partition("[")[0], pooled.get(unit.dataset, unit.dataset)
        # Of folds, which are one dataset on the board, and of training seeds, the first has pictures.
        is_shown = unit.dataset in free and first_folds.setdefault(label, unit.dataset) == unit.dataset
        if metric in kept and is_shown and unit.folder in examination.undamaged:
            arrays = examination.undamaged[unit.folder].arrays()
            kept[metric].append(StoredArrays(label, unit.entrant, metric, unit.seed, arrays))
    return [sheet for kind, metric in METRICS.items() for sheet in make_sheets(kind, first_seeds(kept[metric]))]


def _write_environment(folder: Path) -> None:
    """Write ``environment.json``: date, versions, processor and GPUs, but no names of hosts or users."""
    required = map(Requirement, importlib.metadata.requires("gahbench") or ())
    packages = {}
    for name in ("gahbench", *(each.name for each in required if each.marker is None)):
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
    }
    write_json(folder / "environment.json", content)


def load_rows(paths: Sequence[Path], registry: Registry | None = None) -> tuple[Results, dict[Path, int]]:
    """Return the combined results of folders and archives, and the number of units left in each.

    If the board of a folder is incomplete, its finished units are read, and nothing is written.
    """
    from gahbench.board.combined import combine
    from gahbench.board.results import load_results

    parts: dict[str, Results] = {}
    left = dict.fromkeys(paths, 0)
    for name, path in zip(short_names(paths), paths, strict=True):
        with open_folder(path) as folder:
            store, has_board = Store(folder), (folder / "results.json").is_file()
            if (folder / PLAN).is_file() and (store.units.is_dir() or not has_board):
                plan = require_plan(folder)
                left[path] = store.states(plan.units).count("left")
                if left[path] or not has_board:
                    examination = store.examine(plan.units)
                    parts[name] = _read_results(plan, examination, dict(_errors(plan, store, examination)), registry)
            if name not in parts:
                parts[name] = load_results(folder, registry)
    return next(iter(parts.values())) if len(parts) == 1 else combine(parts), left


def _add_seconds(cost: dict[str, Any], done: Mapping[str, Any]) -> None:
    """Keep the seconds per megapixel of the fastest of several seeds, and its machine."""
    if (seconds := done.get("cost", {}).get("seconds", math.inf)) < cost.get("seconds", math.inf):
        device = done["environment"]["device"]
        cost |= {"machine": done["environment"]["processor"] if device == "cpu" else device, "seconds": seconds}


def _read_results(
    plan: RecordedPlan, examination: Examination, errors: Mapping[str, str], registry: Registry | None = None
) -> Results:
    """Read finished and failed units into :class:`gahbench.board.results.Results`."""
    import pandas as pd

    from gahbench.board.results import Results

    board, tables = plan.board, defaultdict[str, list[Any]](list)
    tables["notes"] = [(dataset, label, REFUSED + reason) for dataset, label, reason in board["refused"]]
    checks, costs = defaultdict[Any, list[Any]](list), defaultdict[Any, dict[str, Any]](dict)
    pixels = {row["dataset"]: row["height"] * row["width"] for row in board["datasets"]}
    for unit in plan.units:
        row, payload = (unit.dataset, unit.entrant), unit.payload
        names = {"dataset": unit.dataset, "entrant": unit.entrant, "seed": unit.seed}
        if unit.folder not in examination.undamaged:
            if unit.folder in errors:
                failure = {"stage": unit.kind, "metric": unit.metric, "error": errors[unit.folder]}
                tables["failures"].append(names | failure)
            continue
        finished = examination.undamaged[unit.folder]
        done, cost = finished.done, costs[row]
        if unit.entrant in board["trainings"]:
            tables["notes"].append((*row, OWN_TRAINING + board["trainings"][unit.entrant]))
        tables["flags"] += [(*row, flag) for flag in done.get("flags", ())]
        if unit.kind == "fit":
            # Partners that are trained on split B are not listed on boards.
            if unit.split != "B":
                tables["fits"].append(names | {name: done[name] for name in _FIT_FACTS})
                cost["training_images"] = done["steps"] * payload["training"]["batch_size"]
            continue
        if (unit.metric, unit.split) == AUDITED:
            # Notes may depend on the noise levels that an entrant has seen; here it has seen all levels.
            tables["notes"] += [(*row, note) for note in done.get("notes", ())]
            check = done.get("checks", {})
            checks[row].append((check.get("version", 1), check.get("images", "")))
            if unit.work > 0:
                cost["multiply_adds"] = unit.work / (payload["images"] * len(payload["sigmas"]) * pixels[unit.dataset])
            _add_seconds(cost, done)
            if done.get("parameters") is not None:
                # A reference with parameters is a network that was trained elsewhere.
                tables["fits"].append(names | {"parameters": done["parameters"], "compiled": False})
        head = (plan.suite, *row, done["kind"], unit.seed, unit.split)
        for sigma, image, value, part in finished.scores():
            tables["scores"].append((*head, sigma, f"{unit.metric}.{part}" if part else unit.metric, image, value))
    tables |= {name: list(dict.fromkeys(tables[name])) for name in ("notes", "flags")}
    tables["costs"] = [{"dataset": row[0], "entrant": row[1], **cost} for row, cost in costs.items() if cost]
    tables["checks"] = [(*row, *min(versions)) for row, versions in checks.items()]
    tables |= {name: board[name] for name in ("datasets", "metrics", "ratios", "parameters", "citations")}
    frames: Any = {name: pd.DataFrame(tables[name], columns=list(SCHEMAS[name])) for name in SCHEMAS}
    results = Results(
        suite=plan.suite,
        entrants=board["entrants"],
        baseline=board["baseline"],
        version=plan.version,
        registry=built_in_registry if registry is None else lambda: registry,
        **frames,
    )
    return pool_folds(results)
