"""Reuse of finished units from other results folders and archives, by which folders are also merged."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gahbench._util.errors import ResultsError
from gahbench._util.readable import pluralize, shorten
from gahbench.contracts.unit import Unit
from gahbench.store.store import Store, open_folder
from gahbench.store.units import DONE, open_finished


def reuse(units: Iterable[Unit], folder: Path, sources: Sequence[Path]) -> Iterator[str]:
    """Copy units that are finished in other results folders or archives, of any suite; yield notes for the user.

    Fits come first. Each unit is taken from the first source that has it undamaged, and of the weights in the folder.
    """
    target, taken, left_out = Store(folder), list[str](), dict[str, str]()
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
                    taken.append(unit.kind)
                    left_out.pop(unit.folder, None)
                    break
                except ResultsError as error:
                    left_out[unit.folder] = f"{unit.label} of {source}: {error}"
    yield f"{pluralize(len(taken), 'unit')} taken from other folders, {pluralize(taken.count('fit'), 'fit')} among them"
    if left_out:
        yield f"{pluralize(len(left_out), 'unit')} not taken: {shorten('; '.join(left_out.values()), 1000)}"


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
