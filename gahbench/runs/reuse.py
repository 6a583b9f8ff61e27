"""Reuse of finished units from other results folders and archives, by which folders are also merged."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.errors import ResultsError
from gahbench._util.files import flush
from gahbench.contracts.unit import Unit
from gahbench.store.archive import open_folder
from gahbench.store.attempts import PARTIAL, link_or_copy, publish
from gahbench.store.finished import DONE
from gahbench.store.store import Store


@dataclass(frozen=True)
class Reused:
    """The units that were taken from other results folders, and which units were left out, and why."""

    taken: tuple[Unit, ...] = ()
    left_out: tuple[str, ...] = ()


def reuse(units: Iterable[Unit], folder: Path, sources: Sequence[Path]) -> Reused:
    """Copy units that are finished in other results folders or archives, of any suite, but not in this folder.

    Fits come first. Each unit is taken from the first source that has it undamaged, and of the weights in the folder.
    """
    target = Store(folder)
    finished = target.finished()
    missing = {unit.folder: unit for unit in units if unit.folder not in finished}
    taken, left_out = dict[str, Unit](), dict[str, str]()
    with contextlib.ExitStack() as stack:
        stores = []
        for source in sources:
            if source.resolve() == folder.resolve():
                raise ResultsError(f"{source}: is the results folder of the run itself; give another folder")
            store = Store(stack.enter_context(open_folder(source)))
            if not store.units.is_dir():
                raise ResultsError(f"{source}: holds no units; expected a results folder with its folder units/")
            stores.append((source, store, store.finished()))
        for unit in sorted(missing.values(), key=lambda unit: unit.kind != "fit"):
            for source, store, names in stores:
                if unit.folder in names and unit.folder not in taken:
                    if (reason := copy_unit(unit, store, target)) is None:
                        taken[unit.folder] = unit
                    else:
                        left_out[unit.folder] = f"{unit.label} of {source}: {reason}"
    return Reused(tuple(taken.values()), tuple(text for name, text in left_out.items() if name not in taken))


def copy_unit(unit: Unit, source: Store, target: Store) -> str | None:
    """Link or copy a finished unit; return why not if it is damaged, or a score of weights not in the target."""
    try:
        finished = source.verify(source.path(unit))
    except ResultsError:
        return "damaged"
    networks = finished.done.get("networks", {})
    if any((checksum := target.weights_checksum(key)) is None or checksum != networks.get(key) for key in unit.needs):
        return "measured weights that differ from those in this folder"
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
    return None
