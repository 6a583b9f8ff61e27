"""The store: one folder for each finished unit, written whole or not at all.

A unit is written to an attempt (:mod:`gahbench.store.attempts`), which becomes ``units/<unit>`` by one rename. Finished
units are listed, never looked up by name: network file systems remember for a while that a name was absent. A failure
is recorded under ``failures/``, and the unit is tried again on the next run.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.checks import as_text
from gahbench._util.errors import ResultsError
from gahbench._util.files import delete_entry, names_in, read_regular, storing, write_json
from gahbench._util.sealed import parse_json
from gahbench.contracts.unit import Unit
from gahbench.store.attempts import PARTIAL, Attempt, attempts_at, last_checkpoint
from gahbench.store.finished import (
    ARRAYS,
    DONE,
    SCORES,
    UNIT,
    DamagedError,
    Examined,
    Finished,
    is_network,
    open_finished,
    parsed_arrays,
    read_done,
)  # fmt: skip
from gahbench.store.leases import Leases
from gahbench.store.records import unit_of
from gahbench.training.file_names import WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Folders of units and checkpoints that were moved away: their files were damaged, they were to be done anew, or their
#: checks are to be done again.
DAMAGED, REPLACED, UNCHECKED = "damaged", "replaced", "unchecked"


class Store:
    """Finished and failed units in a results folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / "units"
        self.failures = folder / "failures"
        self.leases = folder / "leases"
        #: Precisions that were chosen by measurement, a file each.
        self.precision = folder / "precision"

    def finished(self) -> set[str]:
        """Return the folder names of finished units."""
        return {name for name in names_in(self.units) if PARTIAL not in name}

    def failed(self) -> set[str]:
        """Return the folder names of failed units."""
        return {name.removesuffix(".json") for name in names_in(self.failures) if name.endswith(".json")}

    def ended(self) -> tuple[set[str], set[str]]:
        """Return the folder names of finished and of failed units; a finished unit does not count as failed."""
        finished = self.finished()
        return finished, self.failed() - finished

    def path(self, unit: Unit) -> Path:
        """Return the folder of a finished unit."""
        return self.units / unit.folder

    def fit_folder(self, key: str) -> Path:
        """Return the folder of the fit of a key."""
        return self.units / f"fit-{key}"

    def weights_checksum(self, fit: str) -> str | None:
        """Return the SHA-256 of the weights of a finished fit, by its key; ``None`` if it is not there."""
        done = self.done_at(self.fit_folder(fit))
        return None if done is None else done["files"].get(WEIGHTS, {}).get("sha256")

    def is_done(self, unit: Unit) -> bool:
        """Whether a unit has finished, is undamaged, and measured the network that is here (:meth:`examined`)."""
        return bool(self.whole([unit]))

    def whole(self, units: Iterable[Unit]) -> set[str]:
        """Return the folder names of the units that are done, in the sense of :meth:`is_done`."""
        return set(self.examined(units).whole)

    def examined(self, units: Iterable[Unit], *, thorough: bool = False, keep: bool = False) -> Examined:
        """Return which units are done, and why finished units are damaged."""
        found, listed, checksum = Examined(), self.finished(), functools.cache(self.weights_checksum)
        for unit in {unit.folder: unit for unit in units if unit.folder in listed}.values():
            try:
                finished = open_finished(self.path(unit), unit)
                measured: Mapping[str, Any] = finished.done.get("networks", {})
                # Networks of one key may differ by rounding.
                if any(measured.get(key) and checksum(key) not in (None, measured[key]) for key in unit.needs):
                    raise DamagedError(f"{finished.folder}: measured another network than is here")
                for name in finished.names:
                    if name == SCORES:
                        content = finished.read(name)
                        if keep:
                            found.keep(unit.folder, content)
                    elif name != UNIT:
                        finished.check(name, whole=thorough and not is_network(name))
            except DamagedError as error:
                found.damaged[unit.folder] = str(error)
            else:
                found.whole[unit.folder] = finished
        return found

    def done(self, unit: Unit) -> dict[str, Any] | None:
        """Return the content of ``done.json`` of a finished unit; ``None`` if it is missing or damaged."""
        return self.done_at(self.path(unit))

    def done_at(self, folder: Path) -> dict[str, Any] | None:
        """Return the content of ``done.json`` in the folder of a finished unit, as :meth:`done` does."""
        try:
            return read_done(folder)[0]
        except DamagedError:
            return None

    def begin(self, unit: Unit) -> Attempt:
        """Begin an attempt at a unit."""
        with storing(self.units):
            return Attempt(self.units, unit, self._failure_path(unit))

    def progress(self, name: str) -> float:
        """Return when attempts at a unit last wrote a checkpoint, by the file server's clock; 0 if they never did."""
        return max(map(last_checkpoint, attempts_at(self.units, name)), default=0.0)

    def set_aside(self, units: Iterable[Unit]) -> dict[Unit, str]:
        """Move damaged finished units to ``damaged/``, so that they are done again; return them with the reasons."""
        own = {unit.folder: unit for unit in units}
        found = self.examined(own.values(), thorough=True)
        wrong = dict(found.damaged)
        measured = {key for name, unit in own.items() if name not in found.whole for key in unit.needs}
        for finished in (found.whole.get(f"fit-{key}") for key in measured):
            if finished is not None:
                try:
                    for name in filter(is_network, finished.names):
                        finished.check(name)
                except DamagedError as error:
                    wrong[finished.unit.folder] = str(error)
        fits = {f"fit-{key}" for unit in own.values() for key in unit.needs}.intersection(wrong)
        for name in found.whole:
            if any(f"fit-{key}" in fits for key in own[name].needs):
                wrong.setdefault(name, "measured a network that is done again")
        self.put_away(wrong, DAMAGED)
        return {own[name]: why for name, why in wrong.items()}

    def put_away(self, names: Iterable[str], room: str) -> int:
        """Move folders of units or attempts into another folder of the results, each under a unique name."""
        moved = 0
        for name in names:
            place = self.folder / room / f"{name}-{uuid.uuid4().hex[:8]}"
            place.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self.units / name).rename(place)
                moved += 1
        return moved

    def unchecked(self, unit: Unit) -> Finished | None:
        """Return an undamaged finished score whose checks are to be done again; ``None`` if there is none."""
        for name in names_in(self.folder / UNCHECKED):
            if name.startswith(f"{unit.folder}-"):
                with contextlib.suppress(ResultsError):
                    return self.verify(self.folder / UNCHECKED / name, unit)
        return None

    def put_back_unchecked(self) -> None:
        """Move finished units back whose checks were to be done again and were not: their scores count."""
        finished = self.finished()
        for name in names_in(self.folder / UNCHECKED):
            if (unit := name.rpartition("-")[0]) not in finished:
                with contextlib.suppress(OSError):
                    (self.folder / UNCHECKED / name).rename(self.units / unit)

    def put_aside(self) -> list[str]:
        """Return the names of the units that were moved away, since they were damaged or replaced."""
        return sorted(name for room in (DAMAGED, REPLACED) for name in names_in(self.folder / room))

    def recorded(self, but: Set[str] = frozenset()) -> Iterator[Unit]:
        """Yield finished units as their folders record them, fits first, except for some folder names."""
        names = sorted(self.finished() - but)
        for kind in ("fit", "score"):
            for folder in (self.units / name for name in names if name.startswith(f"{kind}-")):
                if (folder / DONE).is_file() and (unit := recorded_unit(folder)) and unit.folder == folder.name:
                    yield unit

    def sweep(self) -> None:
        """Remove attempts at units that have finished, and their leases."""
        names = names_in(self.units)
        finished = {name for name in names if PARTIAL not in name}
        for name in names:
            if PARTIAL in name and name.partition(PARTIAL)[0] in finished:
                shutil.rmtree(self.units / name, ignore_errors=True)
        for name in names_in(self.folder / UNCHECKED):
            if name.rpartition("-")[0] in finished:
                shutil.rmtree(self.folder / UNCHECKED / name, ignore_errors=True)
        Leases(self.leases).sweep(finished, self.failed())

    def fail(self, unit: Unit, error: str, details: str) -> None:
        """Record that a unit failed, and why, unless another process has finished it."""
        if unit.folder not in self.finished():
            write_json(self._failure_path(unit), {**unit.record(), "error": error, "traceback": details})

    def failure(self, unit: Unit) -> str | None:
        """Return why a unit failed, in one line; ``None`` if it did not."""
        return self.failure_of(unit.folder) if unit.folder in self.failed() else None

    def failure_of(self, name: str) -> str:
        """Return why a unit whose failure is listed failed, in one line."""
        error = self.failure_record(name).get("error")
        return " ".join(as_text(error).split()) if isinstance(error, str) and error.strip() else "unknown"

    def failure_record(self, name: str) -> dict[str, Any]:
        """Return the record of a failure that is listed; empty if it cannot be read."""
        try:
            content = parse_json(read_regular(self.failures / f"{name}.json", follow=False))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def forget_failure(self, unit: Unit) -> None:
        """Drop the record of a failure, before the unit is tried again."""
        delete_entry(self._failure_path(unit))

    def verify(self, folder: Path, unit: Unit | None = None) -> Finished:
        """Check all files of the folder of a finished unit, weights too."""
        finished = open_finished(folder, unit)
        for name in finished.names:
            finished.check(name)
        return finished

    def read_arrays(self, unit: Unit) -> dict[str, NDArray[Any]]:
        """Return the arrays of a finished score unit."""
        finished = open_finished(self.path(unit), unit)
        if ARRAYS not in finished.names:
            return {}
        try:
            return parsed_arrays(finished.read(ARRAYS))
        except ValueError as error:
            raise DamagedError(
                f"{finished.folder / ARRAYS}: holds no arrays ({error}); delete its folder and run again"
            ) from error

    def read_scores(self, unit: Unit) -> list[tuple[float | None, int | None, float, str]]:
        """Return the (sigma, image, value, part) of a finished score unit."""
        return Examined({unit.folder: open_finished(self.path(unit), unit)}).scores(unit.folder)

    def _failure_path(self, unit: Unit) -> Path:
        return self.failures / f"{unit.folder}.json"


def recorded_unit(folder: Path) -> Unit | None:
    """Return the unit that a folder records; ``None`` if it cannot be read."""
    try:
        return unit_of(parse_json(read_regular(folder / UNIT, follow=False)))
    except (OSError, ValueError):
        return None
