"""Where the numbers of a page came from: protocol, environment, checksums, citations, and tables to download."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.errors import GahbenchError
from gahbench._util.files import read_regular
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.results import SCORES, Results, index_or_none, saved_files
from gahbench.contracts.citation import Citation, bibliography
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.registry.configured import citations
from gahbench.registry.plugin import Kind
from gahbench.registry.spec import parse_spec
from gahbench.report.page.source import Source
from gahbench.report.publish import OVERALL
from gahbench.store.plan_file import RecordedPlan, read_plan

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
    """Return the plan of a folder; ``None`` where it has none that can be read."""
    try:
        return read_plan(folder)
    except GahbenchError:
        return None


def environment_of(folder: Path) -> dict[str, Any]:
    """Return what the folder records of its environment; nothing where it does not."""
    try:
        # A link may lead to anything.
        found = json.loads(read_regular(folder / "environment.json", MAX_ENVIRONMENT, follow=False))
    except (OSError, ValueError):
        return {}
    is_one = isinstance(found, dict) and isinstance(found.get("packages", {}), dict)
    return found if is_one and isinstance(found.get("gpus", []), list) else {}


def checksums_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that were written with the board, by name."""
    return dict(sorted(saved_files(index_or_none(folder) or {}).items()))


def protocol(plan: RecordedPlan) -> dict[str, dict[str, str]]:
    """Return what was done, by kind and label: parameters of datasets, entrants and metrics, training, and scoring."""
    found: dict[str, dict[str, str]] = {}
    for unit in plan.shown:
        payload = unit.payload
        for kind, label in (("datasets", unit.dataset), ("entrants", base_label(unit.entrant))):
            found.setdefault(kind, {}).setdefault(label, _written(_parameters(payload, kind[:-1])))
        if unit.metric is not None:
            found.setdefault("metrics", {}).setdefault(str(unit.metric), _written(_parameters(payload, "metric")))
            if unit.split == "test":
                scoring = {name: payload[name] for name in _SCORING if name in payload}
                found.setdefault("scoring", {}).setdefault(f"{unit.metric} on {unit.dataset}", _written(scoring))
        elif isinstance(payload.get("training"), Mapping):
            label = f"{unit.entrant} on {unit.dataset}"
            found.setdefault("training", {}).setdefault(label, _written(payload["training"]))
    return {kind: _merged(rows) if kind in ("training", "scoring") else rows for kind, rows in found.items()}


def _merged(rows: Mapping[str, str]) -> dict[str, str]:
    """Return settings once, with how many share them."""
    shared: dict[str, list[str]] = {}
    for label, text in rows.items():
        shared.setdefault(text, []).append(label)
    if len(shared) == 1:
        return dict.fromkeys(["all"], next(iter(shared)))
    return {f"{labels[0]}{f' and {len(labels) - 1} more' * (len(labels) > 1)}": text for text, labels in shared.items()}


def _parameters(payload: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    described = payload.get(kind)
    parameters = described.get("parameters") if isinstance(described, Mapping) else None
    return parameters if isinstance(parameters, Mapping) else {}


def _written(settings: Mapping[str, Any]) -> str:
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
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(("kind", "key", "dataset", "entrant", "seed", "split", "metric"))
    table.writerows(
        (unit.kind, unit.key, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric) for unit in units
    )
    return buffer.getvalue().encode()
