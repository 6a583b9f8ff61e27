"""Reuse of finished units from other results folders and archives, by which folders are also merged."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gahbench._util.errors import ResultsError
from gahbench._util.files import flush
from gahbench.contracts.unit import Unit
from gahbench.store.archive import open_folder
from gahbench.store.attempts import PARTIAL, link_or_copy, publish
from gahbench.store.finished import DONE
from gahbench.store.store import Store


@dataclass(frozen=True)
class Reused:
    """The units that were taken from other results folders.

    Attributes
    ----------
    taken
        Units that were taken.
    damaged
        Folders of units that were left out as damaged.
    other_weights
        Scores that were left out, since they measured weights other than the weights in this folder.
    """

    taken: tuple[Unit, ...] = ()
    damaged: tuple[Path, ...] = ()
    other_weights: tuple[Unit, ...] = ()


def reuse(units: Iterable[Unit], folder: Path, sources: Sequence[Path]) -> Reused:
    """Copy units that are finished in other results folders or archives, of any suite, but not in this folder."""
    with contextlib.ExitStack() as stack:
        stores = []
        for source in sources:
            if source.resolve() == folder.resolve():
                raise ResultsError(f"{source}: is the results folder of the run itself; give another folder")
            stores.append(Store(stack.enter_context(open_folder(source))))
            if not stores[-1].units.is_dir():
                raise ResultsError(f"{source}: holds no units; expected a results folder with its folder units/")
        return _copy_units(units, Store(folder), stores)


def _copy_units(units: Iterable[Unit], target: Store, sources: Sequence[Store]) -> Reused:
    """Copy units, fits first, each from the first store that has it undamaged and of the weights in the target."""
    finished, listed = target.finished(), [(store, store.finished()) for store in sources]
    taken: list[Unit] = []
    damaged: list[Path] = []
    other_weights: list[Unit] = []
    missing = {unit.folder: unit for unit in units if unit.folder not in finished}
    for unit in sorted(missing.values(), key=lambda unit: unit.kind != "fit"):
        outcomes = []
        for store in (store for store, names in listed if unit.folder in names and "taken" not in outcomes):
            outcomes.append(copy_unit(unit, store, target))
            damaged += [store.path(unit)] if outcomes[-1] == "damaged" else []
        taken += [unit] if "taken" in outcomes else []
        other_weights += [unit] if outcomes[-1:] == ["other weights"] else []
    return Reused(tuple(taken), tuple(damaged), tuple(other_weights))


def copy_unit(unit: Unit, source: Store, target: Store) -> Literal["taken", "damaged", "other weights"]:
    """Link or copy a finished unit, unless it is damaged, or is a score of weights other than those in the target."""
    try:
        finished = source.verify(source.path(unit))
    except ResultsError:
        return "damaged"
    networks = finished.done.get("networks", {})
    if any((checksum := target.weights_checksum(key)) is None or checksum != networks.get(key) for key in unit.needs):
        return "other weights"
    attempt = target.units / f"{unit.folder}{PARTIAL}-{uuid.uuid4().hex}"
    try:
        attempt.mkdir(parents=True)
        for name in (*finished.names, DONE):
            link_or_copy(source.path(unit) / name, attempt / name)
            flush(attempt / name)
        publish(attempt, target.path(unit))
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    target.forget_failure(unit)
    return "taken"
