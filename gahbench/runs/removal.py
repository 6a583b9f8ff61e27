"""Entrants taken out of a results folder."""

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


def named_rows(names: Iterable[str], labels: Iterable[str], where: str) -> set[str]:
    """Return the labels of the rows that are named: an entrant's label names all its rows."""
    rows, found = list(dict.fromkeys(labels)), set()
    for name in names:
        own = {label for label in rows if name in (label, base_label(label))}
        own = own or {label for label in rows if is_chosen(label, [name])}
        if not own:
            accepted = list(dict.fromkeys([*map(base_label, rows), *rows]))
            raise ResultsError(
                f"{where}: no entrant '{name}'{suggestion(name, accepted)}; accepted are {listing(accepted)}"
            )
        found |= own
    return found


#: A lease may be given up, or become stale, while it is looked at.
_TRIES = 3


@contextlib.contextmanager
def hold(units: Iterable[Unit], store: Store) -> Iterator[None]:
    """Claim units of a results folder, and release them at the end."""
    leases = Leases(store.leases)
    try:
        for unit in {unit.folder: unit for unit in units}.values():
            _claim(unit, leases, store)
        yield
    finally:
        leases.close()


def _claim(unit: Unit, leases: Leases, store: Store) -> None:
    where = "by another process"
    for _ in range(_TRIES):
        if leases.take(unit.folder) is not None:
            return
        seen = leases.inspect(unit.folder)
        if seen is None:
            continue
        where = f"on {seen.record.host}, process {seen.record.pid}"
        if not seen.is_stale:
            break
        leases.clear(seen)
    raise ResultsError(f"{store.folder}: '{unit.label}' is being done {where}; wait for it, or end it")


@dataclass(frozen=True)
class Removed:
    """The outcome of removing entrants."""

    rows: tuple[str, ...]
    units: int
    kept: int


def remove(folder: str | Path, entrants: Sequence[str]) -> Removed:
    """Remove entrants from a results folder: rows, units, failures, attempts; units that others need stay.

    The board is written anew. An entrant of the suite's file is planned again by the next run of the suite.

    Parameters
    ----------
    folder
        A results folder.
    entrants
        Their labels, names or patterns such as ``unet*``; the label of a row of a sweep, ``unet[width=16] N=100``,
        names that row alone.

    Raises
    ------
    ResultsError
        If there is no such entrant, it is the baseline, no other would be left, or a process is doing one of its
        units.
    """
    folder, store = Path(folder), Store(Path(folder))
    # Before anything is written.
    require_plan(folder)
    if not store.units.is_dir():
        raise ResultsError(f"{folder}: holds no units; expected a results folder as its run left it")
    with Folder(folder).lock():
        plan = require_plan(folder)
        recorded = list(store.recorded_units())
        units = [*(one.unit for one in plan.units), *recorded]
        rows = named_rows(entrants, (unit.entrant for unit in units), str(folder))
        left = _without(plan, rows, folder)
        own = {unit.folder: unit for unit in units if unit.entrant in rows}
        # Where a unit has another label now, the label of the plan counts.
        others = [*(unit for unit in recorded if unit.folder not in own), *(one.unit for one in left.units)]
        needed = {one.unit.folder for one in left.units}
        needed |= {f"fit-{key}" for unit in others if unit.entrant not in rows for key in unit.needs}
        gone = {name: unit for name, unit in own.items() if name not in needed}
        with hold(gone.values(), store):
            write_plan(folder, left)
            finished = store.finished()
            for unit in gone.values():
                store.forget_failure(unit)
            _remove(store, gone.keys(), rows)
    write_results(folder)
    count = len(finished & gone.keys())
    return Removed(tuple(sorted(rows)), count, len(finished & own.keys()) - count)


def _without(plan: RecordedPlan, rows: set[str], folder: Path) -> RecordedPlan:
    """Return a plan without some rows."""
    baseline = plan.board["baseline"]
    if baseline in rows:
        raise ResultsError(
            f"{folder}: '{baseline}' is the baseline, from which gains are measured; it cannot be removed"
        )
    units = tuple(one for one in plan.units if one.unit.entrant not in rows)
    if not units:
        raise ResultsError(f"{folder}: no entrant would be left besides {listing(sorted(rows))}; delete the folder")
    left = {base_label(label) for label in plan.board["entrants"] if label not in rows}
    gone = {base_label(label) for label in rows} - left
    kept = {
        "citations": [row for row in plan.board.get("citations", ()) if row["entry"] not in gone],
        "entrants": [label for label in plan.board["entrants"] if label not in rows],
        "refused": [one for one in plan.board.get("refused", ()) if one[1] not in rows],
        "trainings": {label: own for label, own in plan.board.get("trainings", {}).items() if label not in rows},
    }
    changes = tuple(option for option in plan.changes if option.removeprefix(f"{ENTRANT} ") not in gone)
    return replace(plan, units=units, board={**plan.board, **kept}, changes=changes)


def _remove(store: Store, gone: Set[str], rows: Set[str]) -> None:
    """Delete folders of units: finished, attempts, and folders that were moved away; scores before their fits."""
    for name in sorted(names_in(store.units), reverse=True):
        if name.partition(PARTIAL)[0] in gone:
            delete_folder(store.units / name)
    for folder in (
        store.folder / room / name for room in (DAMAGED, REPLACED) for name in names_in(store.folder / room)
    ):
        unit = recorded_unit(folder)
        # Attempts record nothing: KIND-KEY.partial...
        if folder.name.partition(PARTIAL)[0] in gone if unit is None else unit.entrant in rows:
            delete_entry(folder)


def put_back(plan: Plan, folder: Path, entrants: Sequence[str]) -> int:
    """Move the finished units of some entrants into ``replaced/``, so that a run does them again."""
    store = Store(folder)
    rows = named_rows(entrants, (unit.entrant for unit in plan.units), f"suite '{plan.suite.name}'")
    with Folder(folder).lock():
        own = {unit.folder: unit for unit in plan.units if unit.entrant in rows}
        fits = {unit.key for unit in own.values() if unit.kind == "fit"}
        others = (*plan.units, *store.recorded_units()) if fits else ()
        own |= {unit.folder: unit for unit in others if fits.intersection(unit.needs)}
        with hold(own.values(), store):
            # Scores before the networks that they measured.
            listed = sorted(names_in(store.units), reverse=True)
            attempts = (name for name in listed if PARTIAL in name and name.partition(PARTIAL)[0] in own)
            store.move_away(attempts, REPLACED)
            return store.move_away((name for name in listed if name in own), REPLACED)


def weights(folder: str | Path, entrant: str) -> list[StoredWeights]:
    """Return where the weights, histories and snapshots of the finished fits of an entrant are.

    Parameters
    ----------
    folder
        A results folder with its units.
    entrant
        Its label or name, or a pattern such as ``unet*``; the label of a row of a sweep, ``unet[width=16] N=100``,
        names that row alone.

    Raises
    ------
    ResultsError
        If it is no results folder, or has no such entrant that is trained.
    """
    plan = require_plan(Path(folder))
    trained = (one.unit.entrant for one in plan.units if one.unit.kind == "fit")
    return stored_weights(Path(folder), plan, named_rows([entrant], trained, f"{folder}, entrants that are trained"))
