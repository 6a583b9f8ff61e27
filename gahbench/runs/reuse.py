"""Finished units of other results folders, taken instead of being done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gahbench._util.errors import ResultsError
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.store.folder import Folder
from gahbench.store.store import Store
from gahbench.store.taking import Taker


@dataclass
class Reused:
    """The units that were taken from other results folders."""

    taken: list[Unit] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    other_weights: list[Unit] = field(default_factory=list)


def reuse(plan: Plan, folder: Path, sources: Sequence[Path]) -> Reused:
    """Take units of a plan that are finished in other results folders, of any suite, and not in its own."""
    stores = [_source(source, folder) for source in sources]
    found, target = Reused(), Store(folder)
    with Folder(folder).lock():
        taker, finished = Taker(target), target.finished()
        held = [(store, store.finished()) for store in stores]
        # Fits come first in a plan.
        for unit in {unit.folder: unit for unit in plan.units if unit.folder not in finished}.values():
            _take(unit, [store for store, names in held if unit.folder in names], taker, found)
    return found


def _take(unit: Unit, stores: list[Store], taker: Taker, found: Reused) -> None:
    ending = None
    for store in stores:
        ending = taker.take(store, unit)
        if ending == "taken":
            found.taken.append(unit)
            return
        if ending == "damaged":
            found.damaged.append(store.path(unit))
    if ending == "other weights":
        found.other_weights.append(unit)


def _source(source: Path, folder: Path) -> Store:
    store = Store(source)
    if source.resolve() == folder.resolve():
        raise ResultsError(f"{source}: is the results folder itself; accepted are others")
    if not store.units.is_dir():
        raise ResultsError(f"{source}: holds no units; expected a results folder as its run left it")
    return store
