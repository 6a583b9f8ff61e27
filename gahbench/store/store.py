"""The store of units in a results folder: one folder for each finished unit, written atomically.

A process writes a unit to an attempt (:mod:`gahbench.store.attempts`), and renames the attempt to ``units/<unit>`` once
it is complete. Finished units are listed, never looked up by name, since network file systems may cache the absence
of a name for a while. Failures are recorded in ``failures/``, and the next run tries these units again.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in, storing, write_json
from gahbench._util.sealed import read_record
from gahbench.contracts.unit import Unit
from gahbench.store.attempts import PARTIAL, Attempt, attempts_at, checkpoint_time
from gahbench.store.finished import (
    UNIT,
    DamagedError,
    Examination,
    FinishedUnit,
    Rows,
    is_network,
    open_finished,
    read_done,
)  # fmt: skip
from gahbench.training.file_names import WEIGHTS

#: Subfolder for units that were moved away since their files were damaged.
DAMAGED = "damaged"


class BusyError(ResultsError):
    """Another run is at work in a results folder."""


class UnwritableError(ResultsError):
    """A results folder cannot be written."""


class Store:
    """A results folder, in which one run, or shards of one run, are at work at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / "units"
        self.failures = folder / "failures"
        #: Records of the precisions that were chosen by measurement, one file each.
        self.precision = folder / "precision"

    @contextlib.contextmanager
    def lock(self, shard: str = "") -> Iterator[None]:
        """Lock the folder for a run, or for a shard of one, which shares the folder with other shards.

        Raises
        ------
        BusyError
            If another run is at work in the folder.
        UnwritableError
            If the folder cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._take(stack, ".lock", is_shared=bool(shard))
                if shard:
                    self._take(stack, f".lock-{shard.replace('/', '-of-')}")
            except OSError as error:
                raise UnwritableError(f"{self.folder}: cannot be written as a results folder: {error}") from error
            yield

    def _take(self, stack: contextlib.ExitStack, name: str, is_shared: bool = False) -> None:
        """Take a lock until the stack is closed, and write who holds it."""
        # A link could lead to another file, which would be emptied.
        handle = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        file = stack.enter_context(os.fdopen(handle, "r+b", buffering=0))
        try:
            import fcntl

            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except ImportError:
            return  # The system has no file locks.
        except (BlockingIOError, PermissionError):
            holder = file.read(200).decode(errors="replace") or "shards of a run"
            raise BusyError(
                f"{self.folder}: another run is at work in this folder ({holder}); wait for it, or stop it"
            ) from None
        except OSError:
            pass  # The file system has no locks: two runs would do the same work twice, but damage nothing.
        file.truncate(0)
        if not is_shared:
            file.write(f"host {socket.gethostname()}, process {os.getpid()}".encode())

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

    def states(self, units: Sequence[Unit], damaged: Set[str] = frozenset()) -> list[str]:
        """Return the state of each unit: done, failed (or damaged), blocked by a failed fit, or left."""
        finished, failed = self.ended()
        finished, failed = finished - damaged, failed | damaged

        def state(unit: Unit) -> str:
            if unit.folder in finished:
                return "done"
            return "failed" if unit.folder in failed else "blocked" if unit.is_blocked(failed) else "left"

        return list(map(state, units))

    def path(self, unit: Unit) -> Path:
        """Return the path of the folder that holds a unit once it is finished."""
        return self.units / unit.folder

    def fit_folder(self, key: str) -> Path:
        """Return the path of the folder that holds the fit with a key once it is finished."""
        return self.units / f"fit-{key}"

    def weights_checksum(self, fit: str) -> str | None:
        """Return the SHA-256 of the weights of the fit with a key; ``None`` if the fit is not finished."""
        with contextlib.suppress(DamagedError):
            checksum: str = read_done(self.fit_folder(fit)).done["files"].get(WEIGHTS, {}).get("sha256")
            return checksum
        return None

    def undamaged(self, units: Iterable[Unit]) -> set[str]:
        """Return the folder names of finished, undamaged units that measured the weights that the store holds."""
        return set(self.examine(units).undamaged)

    def examine(self, units: Iterable[Unit], full: bool = False) -> Examination:
        """Compare the checksums of the files of finished units; of networks only the sizes, unless ``full``."""
        examination, listed, checksum = Examination(), self.finished(), functools.cache(self.weights_checksum)
        for unit in {unit.folder: unit for unit in units if unit.folder in listed}.values():
            try:
                finished = open_finished(self.path(unit))
                measured: Mapping[str, Any] = finished.done.get("networks", {})
                # Two fits with the same key may have weights that differ by rounding.
                if any(measured.get(key) and checksum(key) not in (None, measured[key]) for key in unit.needs):
                    raise DamagedError(f"{finished.folder}: measured other weights than those in this folder")
                for name in finished.names:
                    if is_network(name) and not full:
                        finished.check_size(name)
                    elif name != UNIT:
                        finished.read(name)
            except DamagedError as error:
                examination.damaged[unit.folder] = str(error)
            else:
                examination.undamaged[unit.folder] = finished
        return examination

    def verify(self, folder: Path) -> FinishedUnit:
        """Check the checksums of all files in the folder of a finished unit, including weights."""
        finished = open_finished(folder)
        for name in finished.names:
            finished.read(name)
        return finished

    def done_record(self, unit: Unit) -> Mapping[str, Any] | None:
        """Return the content of ``done.json`` of a finished unit; ``None`` if it is missing or damaged."""
        with contextlib.suppress(DamagedError):
            return read_done(self.path(unit)).done
        return None

    def read_scores(self, unit: Unit) -> Rows:
        """Return the rows (sigma, image, value, part) of a finished score unit."""
        return open_finished(self.path(unit)).scores()

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
        examination = self.examine(by_name.values())
        pending = {key for name, unit in by_name.items() if name not in examination.undamaged for key in unit.needs}
        # Weights are hashed only if a pending unit measures them.
        fits = [by_name[name] for name in examination.undamaged if by_name[name].key in pending]
        reasons = examination.damaged | self.examine(fits, full=True).damaged
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
        return " ".join(str(self.failure_record(name).get("error", "")).split()) or "unknown"

    def failure_record(self, name: str) -> dict[str, Any]:
        """Return the failure record of a unit; empty if it cannot be read."""
        return read_record(self.failures / f"{name}.json")

    def forget_failure(self, unit: Unit) -> None:
        """Delete the failure record of a unit, so that the unit is tried again."""
        self._failure_path(unit).unlink(missing_ok=True)

    def _failure_path(self, unit: Unit) -> Path:
        return self.failures / f"{unit.folder}.json"
