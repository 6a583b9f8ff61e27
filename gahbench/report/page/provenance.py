"""Origins of the numbers of a page: protocol, environment, fits, failures, checksums, citations, and downloads."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gahbench._util.errors import GahbenchError
from gahbench._util.files import read_regular
from gahbench.board.facts import NOT_RUN
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.results import SCORES, Results, index_or_none, saved_files
from gahbench.contracts.citation import Citation, bibliography
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.registry.configured import citations
from gahbench.registry.plugin import Kind
from gahbench.registry.spec import parse_spec
from gahbench.report import cells
from gahbench.report.page.charts import Source
from gahbench.report.publish import OVERALL
from gahbench.store.plan_file import RecordedPlan, read_plan
from gahbench.store.store import Store

#: Bytes of a table, compressed, that a page still holds.
MAX_BYTES = 100_000
#: Bytes of the record of an environment.
MAX_ENVIRONMENT = 1_000_000
#: Bytes of a table that is not compressed.
_MAX_PLAIN = 60_000
_SCORING: tuple[str, ...] = ("images", "sigmas", "noise_seed")


@dataclass(frozen=True)
class Download:
    """A file that a page holds."""

    name: str
    what: str
    address: str
    size: int
    checksum: str


def recorded_plan_of(folder: Path) -> RecordedPlan | None:
    """Return the plan of a folder; ``None`` if it has no plan that can be read."""
    try:
        return read_plan(folder)
    except GahbenchError:
        return None


def environment_of(folder: Path) -> dict[str, Any]:
    """Return the record of a folder's environment; empty without a valid record."""
    try:
        # Symbolic links are not followed: they may lead out of the folder.
        found = json.loads(read_regular(folder / "environment.json", MAX_ENVIRONMENT, follow=False))
        is_valid = isinstance(found.get("packages", {}), dict) and isinstance(found.get("gpus", []), list)
    except (OSError, ValueError, AttributeError):
        return {}
    return found if is_valid else {}


def checksums_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that were written with the board, by name."""
    return dict(sorted(saved_files(index_or_none(folder) or {}).items()))


def protocol(plan: RecordedPlan) -> dict[str, dict[str, str]]:
    """Return the settings of a plan by kind and label: of datasets, entrants, metrics, training, and scoring."""
    found: dict[str, dict[str, str]] = {}
    for unit in plan.shown:
        payload = unit.payload
        for kind, label in (("datasets", unit.dataset), ("entrants", base_label(unit.entrant))):
            found.setdefault(kind, {}).setdefault(label, _settings_text(_parameters(payload, kind[:-1])))
        if unit.metric is not None:
            found.setdefault("metrics", {}).setdefault(str(unit.metric), _settings_text(_parameters(payload, "metric")))
            if unit.split == "test":
                scoring = {name: payload[name] for name in _SCORING if name in payload}
                found.setdefault("scoring", {}).setdefault(f"{unit.metric} on {unit.dataset}", _settings_text(scoring))
        elif isinstance(payload.get("training"), Mapping):
            label = f"{unit.entrant} on {unit.dataset}"
            found.setdefault("training", {}).setdefault(label, _settings_text(payload["training"]))
    return {kind: _merged(rows) if kind in ("training", "scoring") else rows for kind, rows in found.items()}


def _merged(rows: Mapping[str, str]) -> dict[str, str]:
    """Return equal settings once, with the number of labels that share them."""
    shared: dict[str, list[str]] = {}
    for label, text in rows.items():
        shared.setdefault(text, []).append(label)
    if len(shared) == 1:
        return {"all": next(iter(shared))}
    return {f"{labels[0]}{f' and {len(labels) - 1} more' * (len(labels) > 1)}": text for text, labels in shared.items()}


def _parameters(payload: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    described = payload.get(kind)
    parameters = described.get("parameters") if isinstance(described, Mapping) else None
    return parameters if isinstance(parameters, Mapping) else {}


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()) or "none"


def works(source: Source, plan: RecordedPlan | None) -> dict[Citation, list[str]]:
    """Return the works that the plugins of a board follow, each with the names of these plugins."""
    if source.results.works:
        return source.results.works
    found: dict[Citation, list[str]] = {}
    for kind, name in dict.fromkeys(_plugins(source.results, plan)):
        try:
            plugin = source.registry.find(kind, name)
            for work in () if plugin is None else citations(plugin):
                found.setdefault(work, []).append(name)
        except GahbenchError:
            continue
    return found


def _plugins(results: Results, plan: RecordedPlan | None) -> Iterator[tuple[Kind, str]]:
    if plan is not None:
        for unit in plan.shown:
            of: dict[str, Kind] = {"dataset": "dataset", "entrant": unit.entrant_kind, "metric": "metric"}
            for key, kind in of.items():
                if isinstance(described := unit.payload.get(key), Mapping):
                    yield kind, str(described.get("name"))
        return
    labels: list[tuple[str, tuple[Kind, ...]]]
    labels = [(base_label(label), ("architecture", "reference")) for label in results.entrants]
    labels += [(str(label), ("dataset",)) for label in results.datasets["dataset"]]
    labels += [(parse_metric_name(str(label)).label, ("metric",)) for label in results.scores["metric"].unique()]
    for label, kinds in labels:
        try:
            name = parse_spec(label).name
        except GahbenchError:
            continue
        yield from ((kind, name) for kind in kinds)


def downloads(results: Results, plan: RecordedPlan | None, followed: Iterable[Citation]) -> list[Download]:
    """Return the tables of a board as files that the page holds, numbers to six digits, and BibTeX of works."""
    tables = [
        ("leaderboard.csv", "the board: every value with its interval", results.leaderboard(full=True)),
        (OVERALL, "means over datasets", results.over_datasets()),
        ("scores.csv", f"every score; {SCORES} of the folder has all digits", results.scores),
    ]
    found = [
        _download(name, what, table.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode())
        for name, what, table in tables
        if not table.empty
    ]
    if plan is not None:
        found.append(_download("units.csv", "the units of the board with their keys", _units(plan.shown)))
    if entries := bibliography(followed):
        found.append(_download("works.bib", "the works that plugins follow", entries.encode(), "application/x-bibtex"))
    return found


def _download(name: str, what: str, content: bytes, kind: str = "text/csv") -> Download:
    if len(content) > _MAX_PLAIN:
        # Without the time, so that equal tables give equal pages.
        content, name, kind = gzip.compress(content, mtime=0), f"{name}.gz", "application/gzip"
    address = f"data:{kind};base64,{base64.b64encode(content).decode()}" if len(content) <= MAX_BYTES else ""
    return Download(name, what, address, len(content), hashlib.sha256(content).hexdigest())


def _units(units: Sequence[Unit]) -> bytes:
    names = ["kind", "key", "dataset", "entrant", "seed", "split", "metric"]
    table = pd.DataFrame([[getattr(unit, name) for name in names] for unit in units], columns=names, dtype=object)
    return table.to_csv(index=False, lineterminator="\n").encode()


@dataclass(frozen=True)
class Failure:
    """A unit that failed, its error in a line, and its traceback, empty if the folder does not hold it."""

    unit: str
    error: str
    traceback: str


def fits_table(source: Source) -> list[dict[str, Any]]:
    """Return the fits of the board, a row each, with texts for time and number of parameters."""
    return [
        {
            **{str(name): "–" if pd.isna(value) or value == "" else value for name, value in row.items()},
            "parameters": cells.count(None if pd.isna(row["parameters"]) else int(row["parameters"])),
            "time": cells.duration(float(row["train_seconds"])),
        }
        for row in source.results.fits.to_dict("records")
    ]


def failures(source: Source) -> list[Failure]:
    """Return the failures of the board, with tracebacks if the folder has them."""
    plan, store = recorded_plan_of(source.folder), Store(source.folder)
    # Units of two splits have one name.
    tracebacks: dict[str, list[str]] = {}
    if plan is not None:
        names = store.failed()
        for unit in plan.shown:
            if unit.folder in names:
                details = store.failure_record(unit.folder).get("traceback")
                name = _unit_name(unit.kind, unit.entrant, unit.dataset, unit.seed, unit.metric)
                tracebacks.setdefault(name, []).append(details if isinstance(details, str) else "")
    failed = []
    for row in source.results.failures.to_dict("records"):
        if row["error"] == NOT_RUN:
            continue
        seed = None if pd.isna(row["seed"]) else int(row["seed"])
        name = _unit_name(row["stage"], row["entrant"], row["dataset"], seed, row["metric"])
        failed.append(Failure(name, row["error"], tracebacks[name].pop(0) if tracebacks.get(name) else ""))
    return failed


def _unit_name(stage: str, entrant: str, dataset: str, seed: int | None, metric: str | None) -> str:
    seeds = "" if seed is None else f"seed {seed}"
    return ", ".join(filter(None, (f"{stage} of {entrant} on {dataset}", seeds, metric)))
