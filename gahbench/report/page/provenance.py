"""The provenance of a board on its page: suite, machine, files with their checksums, fits, failures and citations."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gahbench._util.files import read_regular
from gahbench.board.facts import NOT_RUN
from gahbench.board.results import index_or_none, saved_files
from gahbench.report import cells
from gahbench.report.page.source import Source

#: The largest record of an environment that is read, in bytes.
MAX_ENVIRONMENT = 1_000_000


def provenance_section(source: Source, addresses: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of ``provenance.html``; ``addresses`` are the links to files of the folder, by name."""
    plan, folder = source.plan, source.folder
    if plan is not None and not all(source.is_on_board(unit.dataset, unit.entrant) for unit in plan.units):
        warnings.warn(
            f"{folder}: its plan was changed after its board was written; "
            f"'gahbench leaderboard {shlex.quote(str(folder))}' writes the board again",
            stacklevel=2,
        )
    return {
        "suite": "" if plan is None else plan.suite_text,
        "changes": () if plan is None else plan.changes,
        "environment": load_environment(folder),
        "files": [(name, addresses.get(name, ""), checksum) for name, checksum in file_checksums(folder).items()],
        "works": [(", ".join(names), work) for work, names in source.results.works.items()],
    }


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


def fits_table(source: Source) -> list[dict[Hashable, Any]]:
    """Return a row for each entrant and dataset with fits: formatted values, all that occur among its seeds."""
    fits = source.results.fits.assign(
        compiled=lambda table: table["compiled"].map({True: "yes", False: "no"}),
        parameters=lambda table: table["parameters"].map(cells.count, na_action="ignore"),
    )
    texts: dict[str, Any] = dict.fromkeys(
        ("seed", "parameters", "steps", "device", "precision", "compiled", "budget"), _distinct
    )
    rows = fits.groupby(["dataset", "entrant"], sort=False).agg({**texts, "train_seconds": _range}).reset_index()
    return rows.rename(columns={"train_seconds": "time"}).to_dict("records")


def _distinct(values: pd.Series[Any]) -> str:
    texts = dict.fromkeys(str(value) for value in values if not pd.isna(value) and value != "")
    return ", ".join(texts) or cells.DASH


def _range(values: pd.Series[Any]) -> str:
    """Return the shortest and the longest of durations in seconds."""
    return " to ".join(dict.fromkeys(cells.duration(float(value)) for value in (values.min(), values.max())))


@dataclass(frozen=True)
class Failure:
    """A failed unit, and its error in one line."""

    unit: str
    error: str


def failures(source: Source) -> list[Failure]:
    """Return the failures of the board; ``gahbench why`` prints their tracebacks."""
    failed = []
    for row in source.results.failures.to_dict("records"):
        if row["error"] != NOT_RUN:
            seed = "" if pd.isna(row["seed"]) else f"seed {int(row['seed'])}"
            unit = f"{row['stage']} of {row['entrant']} on {row['dataset']}"
            failed.append(Failure(", ".join(filter(None, (unit, seed, row["metric"]))), row["error"]))
    return failed
