"""The provenance section of a page: protocol, environment, fits, failures, checksums, citations, and downloads."""

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
from gahbench.board.display_names import DisplayNames
from gahbench.board.facts import NOT_RUN
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.results import SCORES, Results, index_or_none, saved_files
from gahbench.contracts.citation import Citation, bibliography
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.registry.configured import Kind, citations
from gahbench.registry.spec import parse_spec
from gahbench.report import cells
from gahbench.report.page.charts import Source
from gahbench.report.publish import OVERALL
from gahbench.store.plan_file import RecordedPlan
from gahbench.store.store import Store

#: The largest table that a page embeds, in bytes, after compression.
MAX_BYTES = 100_000
#: The largest table that is compressed to find its size, in rows: larger ones have far more bytes.
_MAX_ROWS = 20_000
#: The largest record of an environment that is read, in bytes.
MAX_ENVIRONMENT = 1_000_000
#: The largest table that is embedded without compression, in bytes.
_MAX_PLAIN = 60_000
_SCORING: tuple[str, ...] = ("images", "sigmas", "noise_seed")


@dataclass(frozen=True)
class Download:
    """A file that is embedded in a page as a ``data:`` URL, which is empty if the file is too large."""

    name: str
    description: str
    url: str
    size: int
    checksum: str


def load_environment(folder: Path) -> dict[str, Any]:
    """Return the recorded environment of a folder; empty without a valid record."""
    try:
        # Symbolic links are not followed: they may lead out of the folder.
        environment = json.loads(read_regular(folder / "environment.json", MAX_ENVIRONMENT, follow=False))
        is_valid = isinstance(environment.get("packages", {}), dict) and isinstance(environment.get("gpus", []), list)
    except (OSError, ValueError, AttributeError):
        return {}
    return environment if is_valid else {}


def file_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that were published with the board, by name."""
    return dict(sorted(saved_files(index_or_none(folder) or {}).items()))


def protocol(plan: RecordedPlan, names: DisplayNames) -> dict[str, dict[str, str]]:
    """Return the settings of datasets, entrants, metrics, training and scoring in a plan, by kind and name.

    Datasets and entrants have their labels beside their display names.
    """
    settings: dict[str, dict[str, str]] = {}
    for unit in plan.units:
        payload, dataset, entrant = unit.payload, unit.dataset, base_label(unit.entrant)
        for kind, label, name in (
            ("datasets", dataset, names.dataset(dataset)),
            ("entrants", entrant, names.entrant(entrant)),
        ):
            text = _format_settings(_parameters(payload, kind[:-1]))
            settings.setdefault(kind, {}).setdefault(label if name == label else f"{name}: {label}", text)
        if unit.metric is not None:
            settings.setdefault("metrics", {}).setdefault(
                str(unit.metric), _format_settings(_parameters(payload, "metric"))
            )
            if unit.split == "test":
                scoring = {name: payload[name] for name in _SCORING if name in payload}
                settings.setdefault("scoring", {}).setdefault(
                    f"{unit.metric} on {names.dataset_phrase(unit.dataset)}", _format_settings(scoring)
                )
        elif isinstance(payload.get("training"), Mapping):
            label = f"{names.entrant(unit.entrant)} on {names.dataset_phrase(unit.dataset)}"
            settings.setdefault("training", {}).setdefault(label, _format_settings(payload["training"]))
    return {
        kind: _merge_equal_settings(rows) if kind in ("training", "scoring") else rows
        for kind, rows in settings.items()
    }


def _merge_equal_settings(rows: Mapping[str, str]) -> dict[str, str]:
    """Merge labels with equal settings into one row, which names the first label and the number of the others."""
    shared: dict[str, list[str]] = {}
    for label, text in rows.items():
        shared.setdefault(text, []).append(label)
    if len(shared) == 1:
        return {"all": next(iter(shared))}
    return {f"{labels[0]}{f' and {len(labels) - 1} more' * (len(labels) > 1)}": text for text, labels in shared.items()}


def _parameters(payload: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    plugin = payload.get(kind)
    parameters = plugin.get("parameters") if isinstance(plugin, Mapping) else None
    return parameters if isinstance(parameters, Mapping) else {}


def _format_settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()) or "none"


def works(source: Source, plan: RecordedPlan | None) -> dict[Citation, list[str]]:
    """Return the publications that the plugins of a board implement, each with the names of these plugins."""
    if source.results.works:
        return source.results.works
    works_found: dict[Citation, list[str]] = {}
    for kind, name in dict.fromkeys(_plugins(source.results, plan)):
        try:
            plugin = source.registry.find(kind, name)
            for work in () if plugin is None else citations(plugin):
                works_found.setdefault(work, []).append(name)
        except GahbenchError:
            continue
    return works_found


def _plugins(results: Results, plan: RecordedPlan | None) -> Iterator[tuple[Kind, str]]:
    if plan is not None:
        for unit in plan.units:
            kinds_by_key: dict[str, Kind] = {"dataset": "dataset", "entrant": unit.entrant_kind, "metric": "metric"}
            for key, kind in kinds_by_key.items():
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


def downloads(results: Results, plan: RecordedPlan | None, cited_works: Iterable[Citation]) -> list[Download]:
    """Return the tables of a board that are not far too large, with six digits, and the BibTeX of the cited works."""
    tables = [
        ("leaderboard.csv", "the board: every value with its interval", results.leaderboard(full=True)),
        (OVERALL, "means over datasets", results.over_datasets()),
        ("scores.csv", f"every score, with six digits; {SCORES} in the folder has all digits", results.scores),
    ]
    files = [
        _download(name, description, table.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode())
        for name, description, table in tables
        if 0 < len(table) <= _MAX_ROWS
    ]
    if plan is not None:
        files.append(_download("units.csv", "the units of the board with their keys", _units(plan.units)))
    if entries := bibliography(cited_works):
        files.append(
            _download(
                "works.bib",
                "BibTeX of the publications that the plugins implement",
                entries.encode(),
                "application/x-bibtex",
            )
        )
    return files


def _download(name: str, description: str, content: bytes, media_type: str = "text/csv") -> Download:
    if len(content) > _MAX_PLAIN:
        # The header has no time stamp, so that equal tables give equal pages.
        content, name, media_type = gzip.compress(content, mtime=0), f"{name}.gz", "application/gzip"
    url = f"data:{media_type};base64,{base64.b64encode(content).decode()}" if len(content) <= MAX_BYTES else ""
    return Download(name, description, url, len(content), hashlib.sha256(content).hexdigest())


def _units(units: Sequence[Unit]) -> bytes:
    names = ["kind", "key", "dataset", "entrant", "seed", "split", "metric"]
    table = pd.DataFrame([[getattr(unit, name) for name in names] for unit in units], columns=names, dtype=object)
    return table.to_csv(index=False, lineterminator="\n").encode()


@dataclass(frozen=True)
class Failure:
    """A failed unit with its error in one line, and its traceback, which is empty if the folder does not have it."""

    unit: str
    error: str
    traceback: str


#: The columns of :func:`fits_table` that a fit states as they are.
_FIT_FACTS = ("device", "precision", "budget")


def fits_table(source: Source) -> list[dict[str, str]]:
    """Return a row for each entrant and dataset with fits: formatted values, all that occur among its seeds."""
    rows = []
    for (dataset, entrant), fits in source.results.fits.groupby(["dataset", "entrant"], sort=False):
        times = fits["train_seconds"].dropna()
        ends = dict.fromkeys(cells.duration(float(seconds)) for seconds in (times.min(), times.max()))
        texts = {name: _distinct(fits[name]) for name in ("seed", "steps", *_FIT_FACTS)}
        parameters = dict.fromkeys(cells.count(int(number)) for number in fits["parameters"].dropna())
        compiled = dict.fromkeys("yes" if is_compiled else "no" for is_compiled in fits["compiled"])
        texts |= {"compiled": ", ".join(compiled), "time": " to ".join(ends), "parameters": ", ".join(parameters)}
        filled = {name: text or cells.DASH for name, text in texts.items()}
        rows.append({"dataset": str(dataset), "entrant": str(entrant), **filled})
    return rows


def _distinct(values: pd.Series[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if not pd.isna(value) and value != ""))


def failures(source: Source) -> list[Failure]:
    """Return the failures of the board, with their tracebacks if the folder has them."""
    plan, store = source.plan, Store(source.folder)
    # Units of two splits share a name, so a name may have several tracebacks.
    tracebacks: dict[str, list[str]] = {}
    if plan is not None:
        names = store.failed()
        for unit in plan.units:
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
