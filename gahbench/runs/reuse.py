"""Reuse of finished units from other results folders and archives, by which folders are also merged."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.errors import ResultsError
from gahbench.contracts.unit import Unit
from gahbench.store.store import Store, open_folder
from gahbench.store.units import DONE, open_finished


@dataclass(frozen=True)
class Reused:
    """The units that were taken from other results folders, and which units were left out, and why."""

    taken: tuple[Unit, ...] = ()
    left_out: tuple[str, ...] = ()


def reuse(units: Iterable[Unit], folder: Path, sources: Sequence[Path]) -> Reused:
    """Copy units that are finished in other results folders or archives, of any suite, but not in this folder.

    Fits come first. Each unit is taken from the first source that has it undamaged, and of the weights in the folder.
    """
    target, taken, left_out = Store(folder), dict[str, Unit](), dict[str, str]()
    finished = target.finished()
    missing = {unit.folder: unit for unit in units if unit.folder not in finished}
    with contextlib.ExitStack() as stack:
        stores = {source: Store(stack.enter_context(open_folder(source))) for source in sources}
        for source, store in stores.items():
            if source.resolve() == folder.resolve() or not store.units.is_dir():
                raise ResultsError(f"{source}: holds no units of another run; expected another results folder")
        listed = {source: store.finished() for source, store in stores.items()}
        for unit in sorted(missing.values(), key=lambda unit: unit.kind != "fit"):
            for source in (source for source in stores if unit.folder in listed[source]):
                try:
                    copy_unit(unit, stores[source], target)
                    taken[unit.folder] = unit
                    break
                except ResultsError as error:
                    left_out[unit.folder] = f"{unit.label} of {source}: {error}"
    return Reused(tuple(taken.values()), tuple(text for name, text in left_out.items() if name not in taken))


def copy_unit(unit: Unit, source: Store, target: Store) -> None:
    """Copy a finished unit; raise ``ResultsError`` if it is damaged, or a score of weights not in the target."""
    finished = open_finished(source.path(unit))
    finished.check(full=True)
    networks = finished.done.get("networks", {})
    if any(target.weights_checksum(key) != networks.get(key, "") for key in unit.needs):
        raise ResultsError("it measured weights that differ from those in this folder")
    attempt, names = target.begin(unit), {*finished.names, DONE}
    try:
        for name in names:
            shutil.copy2(finished.folder / name, attempt.folder / name)
        attempt.publish(names)
    finally:
        attempt.drop()
