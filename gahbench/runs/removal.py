"""Removing entrants from a results folder, selecting its rows, and claiming its units for changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from gahbench._util.errors import ResultsError, listing, suggestion
from gahbench._util.files import delete_entry, delete_folder, names_in
from gahbench.board.selection import is_chosen
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.planning.suite_changes import ENTRANT
from gahbench.runs.collect import write_results
from gahbench.store.attempts import PARTIAL
from gahbench.store.folder import Folder
from gahbench.store.leases import Leases
from gahbench.store.plan_file import RecordedPlan, require_plan, write_plan
from gahbench.store.store import DAMAGED, REPLACED, Store, recorded_unit
from gahbench.store.stored_files import StoredWeights, stored_weights


def select_rows(names: Iterable[str], labels: Iterable[str], source: str) -> set[str]:
    """Return the labels of rows that match labels, names or patterns; the label of an entrant selects all its rows."""
    rows, selected = list(dict.fromkeys(labels)), set()
    for name in names:
        matching = {label for label in rows if name in (label, base_label(label))}
        matching = matching or {label for label in rows if is_chosen(label, [name])}
        if not matching:
            accepted = list(dict.fromkeys([*map(base_label, rows), *rows]))
            raise ResultsError(
                f"{source}: no entrant '{name}'{suggestion(name, accepted)}; accepted: {listing(accepted)}"
            )
        selected |= matching
    return selected


#: How often a claim is tried, since a lease may be released or become stale in the meantime.
_ATTEMPTS = 3


@contextlib.contextmanager
def claim_all(units: Iterable[Unit], store: Store) -> Iterator[None]:
    """Claim units of a results folder for the duration of a context, so that no worker runs them."""
    leases = Leases(store.leases)
    try:
        for unit in {unit.folder: unit for unit in units}.values():
            _claim(unit, leases, store)
        yield
    finally:
        leases.close()


def _claim(unit: Unit, leases: Leases, store: Store) -> None:
    holder = "by another process"
    for _ in range(_ATTEMPTS):
        if leases.take(unit.folder) is not None:
            return
        lease = leases.inspect(unit.folder)
        if lease is None:
            continue
        holder = f"on {lease.record.host}, process {lease.record.pid}"
        if not lease.is_stale:
            break
        leases.clear(lease)
    raise ResultsError(f"{store.folder}: '{unit.label}' is being run {holder}; wait for it, or stop it")


@dataclass(frozen=True)
class Removed:
    """The outcome of removing entrants: labels of rows, and numbers of finished units that were removed and kept."""

    rows: tuple[str, ...]
    units: int
    kept: int


def remove(folder: str | Path, entrants: Sequence[str]) -> Removed:
    """Remove entrants from a results folder: their rows, units, failures and attempts, and write the board again.

    Units that other entrants need are kept. The next run of the suite plans entrants of its file again.

    Parameters
    ----------
    folder
        Path of a results folder with its units.
    entrants
        Labels, names or patterns (``unet*``) of the entrants. The label of one row of a sweep, such as
        ``unet[width=16] N=100``, selects only that row.

    Returns
    -------
    Removed
        The labels of the removed ``rows``, and the numbers of finished ``units`` that were removed and ``kept``.

    Raises
    ------
    ResultsError
        If the folder has no such entrant, the entrant is the baseline or the only entrant, or a process is running a
        unit of the entrant.
    """
    folder, store = Path(folder), Store(Path(folder))
    # The lock would create the folder, so check the folder first.
    require_plan(folder)
    if not store.units.is_dir():
        raise ResultsError(f"{folder}: holds no units; expected a results folder with its folder units/")
    with Folder(folder).lock():
        plan = require_plan(folder)
        recorded = list(store.recorded_units())
        units = [*(planned.unit for planned in plan.units), *recorded]
        rows = select_rows(entrants, (unit.entrant for unit in units), str(folder))
        remaining = plan_without(plan, rows, folder)
        own_units = {unit.folder: unit for unit in units if unit.entrant in rows}
        # A unit may have recorded an earlier label of its entrant; the label in the plan counts.
        other_units = [
            *(unit for unit in recorded if unit.folder not in own_units),
            *(planned.unit for planned in remaining.units),
        ]
        still_needed = {planned.unit.folder for planned in remaining.units}
        still_needed |= {f"fit-{key}" for unit in other_units if unit.entrant not in rows for key in unit.needs}
        removed = {name: unit for name, unit in own_units.items() if name not in still_needed}
        with claim_all(removed.values(), store):
            write_plan(folder, remaining)
            finished = store.finished()
            for unit in removed.values():
                store.forget_failure(unit)
            _delete_folders(store, removed.keys(), rows)
    write_results(folder)
    count = len(finished & removed.keys())
    return Removed(tuple(sorted(rows)), count, len(finished & own_units.keys()) - count)


def plan_without(plan: RecordedPlan, rows: set[str], folder: Path) -> RecordedPlan:
    """Return a plan without some rows."""
    baseline = plan.board["baseline"]
    if baseline in rows:
        raise ResultsError(
            f"{folder}: '{baseline}' cannot be removed: it is the baseline, from which gains are measured"
        )
    units = tuple(planned for planned in plan.units if planned.unit.entrant not in rows)
    if not units:
        raise ResultsError(f"{folder}: no entrant would be left without {listing(sorted(rows))}; delete the folder")
    remaining = {base_label(label) for label in plan.board["entrants"] if label not in rows}
    removed = {base_label(label) for label in rows} - remaining
    board = {
        "citations": [row for row in plan.board.get("citations", ()) if row["entry"] not in removed],
        "entrants": [label for label in plan.board["entrants"] if label not in rows],
        "refused": [row for row in plan.board.get("refused", ()) if row[1] not in rows],
        "trainings": {
            label: training for label, training in plan.board.get("trainings", {}).items() if label not in rows
        },
    }
    changes = tuple(option for option in plan.changes if option.removeprefix(f"{ENTRANT} ") not in removed)
    return replace(plan, units=units, board={**plan.board, **board}, changes=changes)


def _delete_folders(store: Store, removed: Set[str], rows: Set[str]) -> None:
    """Delete the folders of finished units, attempts and units that were moved away; scores before their fits."""
    for name in sorted(names_in(store.units), reverse=True):
        if name.partition(PARTIAL)[0] in removed:
            delete_folder(store.units / name)
    for folder in (
        store.folder / subfolder / name
        for subfolder in (DAMAGED, REPLACED)
        for name in names_in(store.folder / subfolder)
    ):
        unit = recorded_unit(folder)
        # An attempt has no record of its unit, but is named after it: KIND-KEY.partial...
        if folder.name.partition(PARTIAL)[0] in removed if unit is None else unit.entrant in rows:
            delete_entry(folder)


def move_to_replaced(plan: Plan, folder: Path, entrants: Sequence[str]) -> int:
    """Move the finished units of some entrants to ``replaced/``, so that a run recomputes them; return their number."""
    store = Store(folder)
    rows = select_rows(entrants, (unit.entrant for unit in plan.units), f"suite '{plan.suite.name}'")
    with Folder(folder).lock():
        replaced = {unit.folder: unit for unit in plan.units if unit.entrant in rows}
        fits = {unit.key for unit in replaced.values() if unit.kind == "fit"}
        candidates = (*plan.units, *store.recorded_units()) if fits else ()
        replaced |= {unit.folder: unit for unit in candidates if fits.intersection(unit.needs)}
        with claim_all(replaced.values(), store):
            # In reverse order, scores come before the networks that they measured.
            listed = sorted(names_in(store.units), reverse=True)
            attempts = (name for name in listed if PARTIAL in name and name.partition(PARTIAL)[0] in replaced)
            store.move_away(attempts, REPLACED)
            return store.move_away((name for name in listed if name in replaced), REPLACED)


def weights(folder: str | Path, entrant: str) -> list[StoredWeights]:
    """Return the paths of the weights, training histories and snapshots of the finished fits of an entrant.

    Parameters
    ----------
    folder
        Path of a results folder with its units.
    entrant
        Label, name or pattern (``unet*``) of a trained entrant. The label of one row of a sweep, such as
        ``unet[width=16] N=100``, selects only that row.

    Returns
    -------
    list of StoredWeights
        One item for each finished fit, in the order of the plan.

    Raises
    ------
    ResultsError
        If the folder is not a results folder, or has no such trained entrant.
    """
    plan = require_plan(Path(folder))
    trained = (planned.unit.entrant for planned in plan.units if planned.unit.kind == "fit")
    return stored_weights(Path(folder), plan, select_rows([entrant], trained, f"{folder}, trained entrants"))
