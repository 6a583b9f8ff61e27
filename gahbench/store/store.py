"""The store of units in a results folder: one folder for each finished unit, written atomically.

A process writes a unit to an attempt (:mod:`gahbench.store.attempts`), and renames the attempt to ``units/<unit>`` once
it is complete. Finished units are listed, never looked up by name, since network file systems may cache the absence
of a name for a while. Failures are recorded in ``failures/``, and the next run tries these units again.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.checks import as_text
from gahbench._util.files import delete_entry, names_in, read_regular, storing, write_json
from gahbench._util.sealed import parse_json
from gahbench.contracts.unit import Unit
from gahbench.store.attempts import PARTIAL, Attempt, attempts_at, checkpoint_time
from gahbench.store.finished import (
    DONE,
    SCORES,
    UNIT,
    DamagedError,
    Examination,
    FinishedUnit,
    is_network,
    open_finished,
    read_done,
)  # fmt: skip
from gahbench.store.records import unit_of
from gahbench.training.file_names import WEIGHTS

#: Subfolders for units that were moved away since their files were damaged, or the user asked to recompute them.
DAMAGED, REPLACED = "damaged", "replaced"


@dataclass(frozen=True)
class Counts:
    """Numbers of units that are finished, failed, blocked by a failed fit, or left, and the number of failed fits."""

    done: int
    failed: int
    blocked: int
    left: int
    failed_fits: int


class Store:
    """Finished and failed units in a results folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / "units"
        self.failures = folder / "failures"
        #: Records of the precisions that were chosen by measurement, one file each.
        self.precision = folder / "precision"

    def finished(self) -> set[str]:
        """Return the folder names of finished units."""
        return {name for name in names_in(self.units) if PARTIAL not in name}

    def failed(self) -> set[str]:
        """Return the folder names of failed units."""
        return {name.removesuffix(".json") for name in names_in(self.failures) if name.endswith(".json")}

    def ended(self) -> tuple[set[str], set[str]]:
        """Return the folder names of finished units, and of failed units that are not finished."""
        finished = self.finished()
        return finished, self.failed() - finished

    def count(self, units: Sequence[Unit], damaged: Set[str] = frozenset()) -> Counts:
        """Count units by their state; damaged units count as failed."""
        finished, failures = self.ended()
        finished, failures = finished - damaged, failures | damaged
        unfinished = [unit for unit in units if unit.folder not in finished]
        fits = sum(unit.folder in failures and unit.kind == "fit" for unit in unfinished)
        failed = sum(unit.folder in failures for unit in unfinished)
        blocked = sum(unit.folder not in failures and unit.is_blocked(failures) for unit in unfinished)
        return Counts(len(units) - len(unfinished), failed, blocked, len(unfinished) - failed - blocked, fits)

    def count_superseded(self, units: Sequence[Unit]) -> int:
        """Return for how many unfinished units the folder has a result of earlier code or other settings."""

        def identity(unit: Unit) -> tuple[object, ...]:
            return (unit.kind, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric)

        finished = self.finished()
        # Usually no units are left after the exclusion, so few records are read.
        earlier = {identity(unit) for unit in self.recorded_units(excluded={unit.folder for unit in units})}
        return len(earlier & {identity(unit) for unit in units if unit.folder not in finished})

    def path(self, unit: Unit) -> Path:
        """Return the path of the folder that holds a unit once it is finished."""
        return self.units / unit.folder

    def fit_folder(self, key: str) -> Path:
        """Return the path of the folder that holds the fit with a key once it is finished."""
        return self.units / f"fit-{key}"

    def weights_checksum(self, fit: str) -> str | None:
        """Return the SHA-256 of the weights of the fit with a key; ``None`` if the fit is not finished."""
        done = self.done_record_at(self.fit_folder(fit))
        return None if done is None else done["files"].get(WEIGHTS, {}).get("sha256")

    def undamaged(self, units: Iterable[Unit]) -> set[str]:
        """Return the folder names of finished, undamaged units that measured the weights that the store holds."""
        return set(self.examine(units).undamaged)

    def examine(self, units: Iterable[Unit], is_hashed: Callable[[str], bool] = lambda name: False) -> Examination:
        """Check finished units: scores, and files whose name ``is_hashed`` accepts, by checksum, others by size."""
        examination, listed, checksum = Examination(), self.finished(), functools.cache(self.weights_checksum)
        for unit in {unit.folder: unit for unit in units if unit.folder in listed}.values():
            try:
                finished = open_finished(self.path(unit), unit)
                measured: Mapping[str, Any] = finished.done.get("networks", {})
                # Two fits with the same key may have weights that differ by rounding.
                if any(measured.get(key) and checksum(key) not in (None, measured[key]) for key in unit.needs):
                    raise DamagedError(f"{finished.folder}: measured other weights than those in this folder")
                for name in finished.names:
                    if name == SCORES:
                        finished.read(name)
                    elif name != UNIT:
                        finished.check(name, full=is_hashed(name))
            except DamagedError as error:
                examination.damaged[unit.folder] = str(error)
            else:
                examination.undamaged[unit.folder] = finished
        return examination

    def done_record(self, unit: Unit) -> dict[str, Any] | None:
        """Return the content of ``done.json`` of a finished unit; ``None`` if it is missing or damaged."""
        return self.done_record_at(self.path(unit))

    def done_record_at(self, folder: Path) -> dict[str, Any] | None:
        """Return the content of ``done.json`` in a folder; ``None`` if it is missing or damaged."""
        try:
            return read_done(folder)[0]
        except DamagedError:
            return None

    def begin(self, unit: Unit) -> Attempt:
        """Start an attempt at a unit."""
        with storing(self.units):
            return Attempt(self.units, unit, self._failure_path(unit))

    def checkpoint_time(self, name: str) -> float:
        """Return when the last checkpoint of a unit was written, by the file server's clock; 0 if it has none."""
        return max(map(checkpoint_time, attempts_at(self.units, name)), default=0.0)

    def move_damaged(self, units: Iterable[Unit]) -> dict[Unit, str]:
        """Move damaged finished units to ``damaged/``, so that they are recomputed; return the reason for each."""
        by_name = {unit.folder: unit for unit in units}
        examination = self.examine(by_name.values(), lambda name: not is_network(name))
        pending = {key for name, unit in by_name.items() if name not in examination.undamaged for key in unit.needs}
        # Weights are hashed only if a pending unit measures them.
        fits = [by_name[name] for name in examination.undamaged if by_name[name].key in pending]
        reasons = examination.damaged | self.examine(fits, lambda name: True).damaged
        for name in examination.undamaged:
            if any(f"fit-{key}" in reasons for key in by_name[name].needs):
                reasons.setdefault(name, "measured a network that is trained again")
        self.move_away(reasons, DAMAGED)
        return {by_name[name]: reason for name, reason in reasons.items()}

    def move_away(self, names: Iterable[str], subfolder: str) -> int:
        """Move folders of units or attempts into a subfolder of the results folder; return how many were moved."""
        moved = 0
        for name in names:
            target = self.folder / subfolder / f"{name}-{uuid.uuid4().hex[:8]}"
            target.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self.units / name).rename(target)
                moved += 1
        return moved

    def moved_names(self) -> list[str]:
        """Return the names of the folders of units that were moved away as damaged or replaced."""
        return sorted(name for subfolder in (DAMAGED, REPLACED) for name in names_in(self.folder / subfolder))

    def recorded_units(self, excluded: Set[str] = frozenset()) -> Iterator[Unit]:
        """Yield the units recorded in the folders of finished units, fits first, except in the excluded folders."""
        names = sorted(self.finished() - excluded)
        for kind in ("fit", "score"):
            for folder in (self.units / name for name in names if name.startswith(f"{kind}-")):
                with contextlib.suppress(OSError, ValueError):
                    unit = unit_of(parse_json(read_regular(folder / UNIT, follow=False)))
                    if (folder / DONE).is_file() and unit.folder == folder.name:
                        yield unit

    def sweep(self) -> None:
        """Remove the attempts at units that are finished."""
        finished = self.finished()
        for name in names_in(self.units):
            unit, is_attempt, _ = name.partition(PARTIAL)
            if is_attempt and unit in finished:
                shutil.rmtree(self.units / name, ignore_errors=True)

    def fail(self, unit: Unit, error: str, details: str) -> None:
        """Record why a unit failed, unless another process has finished it."""
        if unit.folder not in self.finished():
            write_json(self._failure_path(unit), {**unit.record(), "error": error, "traceback": details})

    def failure(self, unit: Unit) -> str | None:
        """Return the error of a failed unit, in one line; ``None`` if the unit did not fail."""
        return self.failure_of(unit.folder) if unit.folder in self.failed() else None

    def failure_of(self, name: str) -> str:
        """Return the error in the failure record of a unit, in one line."""
        error = self.failure_record(name).get("error")
        return " ".join(as_text(error).split()) if isinstance(error, str) and error.strip() else "unknown"

    def failure_record(self, name: str) -> dict[str, Any]:
        """Return the failure record of a unit; empty if it cannot be read."""
        try:
            content = parse_json(read_regular(self.failures / f"{name}.json", follow=False))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def forget_failure(self, unit: Unit) -> None:
        """Delete the failure record of a unit, so that the unit is tried again."""
        delete_entry(self._failure_path(unit))

    def verify(self, folder: Path, unit: Unit | None = None) -> FinishedUnit:
        """Check the checksums of all files in the folder of a finished unit, including weights."""
        finished = open_finished(folder, unit)
        for name in finished.names:
            finished.check(name)
        return finished

    def read_scores(self, unit: Unit) -> list[tuple[float | None, int | None, float, str]]:
        """Return the rows (sigma, image, value, part) of a finished score unit."""
        return open_finished(self.path(unit), unit).scores()

    def _failure_path(self, unit: Unit) -> Path:
        return self.failures / f"{unit.folder}.json"
