"""The provenance of a board on its page: suite, machine, files with their checksums, fits, failures and citations."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gahbench._util.errors import GahbenchError
from gahbench._util.files import read_regular
from gahbench.board.facts import NOT_RUN
from gahbench.board.folds import pooled_names
from gahbench.board.results import index_or_none, saved_files
from gahbench.report import cells
from gahbench.report.text import table_of_rows
from gahbench.store.plan_file import RecordedPlan, read_plan

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.report.columns import Table

#: The largest record of an environment that is read, in bytes.
MAX_ENVIRONMENT = 1_000_000
#: The headings of the table of fits, and the columns of the fits of results.
_FITS = {"seeds": "seed", "parameters": "parameters", "steps": "steps", "time of a fit": "train_seconds"} | {
    name: name for name in ("device", "precision", "compiled", "budget")
}


def provenance_section(results: Results, folder: Path, addresses: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of ``provenance.html``; ``addresses`` are the links to files of the folder, by name."""
    try:
        plan = read_plan(folder)
    except GahbenchError:
        plan = None
    if plan is not None and missing_rows(results, plan):
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
        "works": [(", ".join(names), work) for work, names in results.works.items()],
    }


def missing_rows(results: Results, plan: RecordedPlan) -> set[tuple[str, str]]:
    """Return the datasets and entrants of a plan that results lack, which show several folds as one dataset."""
    pooled = pooled_names(plan.dataset_specs)
    datasets, entrants = set(results.datasets["dataset"]), set(results.entrants)
    rows = {(unit.dataset, unit.entrant) for unit in plan.units}
    return {row for row in rows if row[1] not in entrants or not datasets & {row[0], pooled.get(row[0])}}


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


def fits_table(results: Results) -> Table:
    """Return a row for each entrant and dataset with fits: all values that occur among its seeds."""
    fits = results.fits.assign(
        compiled=results.fits["compiled"].map({True: "yes", False: "no"}),
        parameters=results.fits["parameters"].map(cells.count, na_action="ignore"),
    )
    rows = []
    for (dataset, entrant), seeds in fits.groupby(["dataset", "entrant"], sort=False):
        names = [results.names.entrant(str(entrant)), results.names.dataset(str(dataset))]
        rows.append([*names, *(_values(seeds[column]) for column in _FITS.values())])
    return table_of_rows("fits", ["entrant", "dataset", *_FITS], rows, 2)


def _values(values: pd.Series[Any]) -> str:
    if values.name == "train_seconds":
        return " to ".join(dict.fromkeys(cells.duration(float(value)) for value in (values.min(), values.max())))
    return ", ".join(dict.fromkeys(str(value) for value in values if not pd.isna(value) and value != "")) or cells.DASH


def failures(results: Results) -> list[tuple[str, str]]:
    """Return the failed units of the board and their errors; ``gahbench why`` prints their tracebacks."""
    failed = []
    for row in results.failures.to_dict("records"):
        if row["error"] != NOT_RUN:
            seed = "" if pd.isna(row["seed"]) else f"seed {int(row['seed'])}"
            unit = f"{row['stage']} of {row['entrant']} on {row['dataset']}"
            failed.append((", ".join(filter(None, (unit, seed, row["metric"]))), str(row["error"])))
    return failed
