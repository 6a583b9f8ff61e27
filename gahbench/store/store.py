"""The store of units in a results folder: one folder for each finished unit, written atomically.

A process writes a unit to an attempt (:mod:`gahbench.store.units`), and renames the attempt to ``units/<unit>`` once it
is complete. Finished units are listed, never looked up by name, since network file systems may cache the absence of a
name for a while. Failures are recorded in ``failures/``, and the next run tries these units again.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import socket
import tempfile
import uuid
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in, storing, write_json
from gahbench._util.readable import pluralize, shorten
from gahbench._util.records import read_record
from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.units import PARTIAL, Attempt, DamagedError, FinishedUnit, Rows, open_finished
from gahbench.training.file_names import HISTORY, WEIGHTS, checkpoints_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Subfolder for units that were moved away since their files were damaged.
DAMAGED = "damaged"
#: Limits of an archive: the number of members, and the bytes of all members when unpacked.
MAX_MEMBERS, MAX_BYTES = 100_000, 4 * 2**30


class LockError(ResultsError):
    """A results folder cannot be locked, since another run is at work in it, or since it cannot be written."""


@dataclass
class Examination:
    """The outcome of :meth:`Store.examine`: undamaged units, and the reasons for damaged ones, by folder name."""

    undamaged: dict[str, FinishedUnit] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


class Store:
    """A results folder, in which one run, or shards of one run, are at work at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / "units"
        self.failures = folder / "failures"

    @contextlib.contextmanager
    def lock(self, shard: str = "") -> Iterator[None]:
        """Lock the folder for a run, or for a shard of one, which shares the folder with other shards."""
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                for name in (".lock", f".lock-{shard.replace('/', '-of-')}") if shard else (".lock",):
                    # A link could lead to another file, which would be emptied.
                    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
                    file = os.fdopen(os.open(self.folder / name, flags, 0o666), "r+b", buffering=0)
                    self._take(stack.enter_context(file), is_shared=bool(shard) and name == ".lock")
            except OSError as error:
                raise LockError(f"{self.folder}: cannot be written as a results folder: {error}") from error
            yield

    def _take(self, file: io.FileIO, is_shared: bool) -> None:
        """Take a lock until the file is closed, and write who holds it."""
        # On systems and file systems without locks, two runs would do the same work twice, but damage nothing.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            try:
                fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                holder = file.read(200).decode(errors="replace") or "shards of a run"
                text = f"another run is at work in this folder ({holder}); wait for it, or stop it"
                raise LockError(f"{self.folder}: {text}") from None
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

    def states(self, units: Iterable[Unit], damaged: Set[str] = frozenset()) -> list[str]:
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

    def weights_checksum(self, fit: str) -> str | None:
        """Return the SHA-256 of the weights of the fit with a key; ``None`` if the fit is not finished."""
        with contextlib.suppress(DamagedError, KeyError):
            return str(FinishedUnit(self.units / f"fit-{fit}").done["files"][WEIGHTS]["sha256"])
        return None

    def examine(self, units: Iterable[Unit], full: bool = False) -> Examination:
        """Compare the checksums of the files of finished units; of networks only the sizes, unless ``full``.

        A score is damaged too if the network that it measured is damaged, or was replaced by another one.
        """
        examination, listed, checksum = Examination(), self.finished(), functools.cache(self.weights_checksum)
        finished_units = {unit.folder: unit for unit in units if unit.folder in listed}
        for name, unit in sorted(finished_units.items(), key=lambda item: item[1].kind != "fit"):
            try:
                finished = open_finished(self.path(unit))
                measured: Mapping[str, Any] = finished.done.get("networks", {})
                for key in unit.needs:
                    # Two fits with the same key may have weights that differ by rounding.
                    is_other = measured.get(key) and checksum(key) not in (None, measured[key])
                    if is_other or f"fit-{key}" in examination.damaged:
                        raise DamagedError(f"{finished.folder}: its weights are not those in this folder")
                finished.check(full)
            except DamagedError as error:
                examination.damaged[name] = str(error)
            else:
                examination.undamaged[name] = finished
        return examination

    def done_record(self, unit: Unit) -> Mapping[str, Any] | None:
        """Return the content of ``done.json`` of a finished unit; ``None`` if it cannot be read."""
        with contextlib.suppress(ResultsError):
            return FinishedUnit(self.path(unit)).done
        return None

    def read_scores(self, unit: Unit) -> Rows:
        """Return the rows (sigma, image, value, part) of a finished score unit."""
        return open_finished(self.path(unit)).scores()

    def begin(self, unit: Unit) -> Attempt:
        """Start an attempt at a unit; a fit resumes from earlier attempts, while scores have no checkpoints."""
        earlier = [folder for _, folder in self._attempts_at(unit.folder)] if unit.kind == "fit" else []
        with storing(self.units):
            return Attempt(self.units, unit, self._failure_path(unit.folder), earlier)

    def checkpoint_time(self, name: str) -> float:
        """Return when the last checkpoint of a unit was written, by the file server's clock; 0 if it has none."""
        return max((written for written, _ in self._attempts_at(name)), default=0.0)

    def _attempts_at(self, name: str) -> list[tuple[float, Path]]:
        """Return the attempts at a unit in the order of their last checkpoints, with the times of those."""
        attempts = []
        for folder in (self.units / entry for entry in names_in(self.units) if entry.startswith(f"{name}{PARTIAL}")):
            times = [0.0]
            for _, file in checkpoints_in(folder):
                # The process that wrote the file may delete it in the meantime.
                with contextlib.suppress(OSError):
                    times.append(file.stat().st_mtime)
            attempts.append((max(times), folder))
        return sorted(attempts)

    def move_damaged(self, units: Sequence[Unit]) -> Mapping[str, str]:
        """Move damaged units to ``damaged/``, so that they are recomputed; return the reason for each folder name."""
        found = self.examine(units)
        # Weights are hashed only if a pending unit measures them.
        needed = {f"fit-{key}" for unit in units if unit.folder not in found.undamaged for key in unit.needs}
        fits = [unit for unit in units if unit.folder in needed]
        if self.examine(fits, full=True).damaged.keys() - found.damaged.keys():
            found = self.examine(units, full=True)
        damaged = found.damaged
        for name in damaged:
            target = self.folder / DAMAGED / f"{name}-{uuid.uuid4().hex[:8]}"
            target.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self.units / name).rename(target)
        return damaged

    def sweep(self) -> None:
        """Remove the attempts at units that are finished."""
        finished = self.finished()
        for name in names_in(self.units):
            if PARTIAL in name and name.partition(PARTIAL)[0] in finished:
                shutil.rmtree(self.units / name, ignore_errors=True)

    def fail(self, unit: Unit, error: str, details: str) -> None:
        """Record why a unit failed, unless another process has finished it."""
        if unit.folder not in self.finished():
            write_json(self._failure_path(unit.folder), {**unit.record(), "error": error, "traceback": details})

    def failure_record(self, name: str) -> dict[str, Any]:
        """Return the failure record of a unit; empty if it cannot be read."""
        return read_record(self._failure_path(name))

    def failure_of(self, name: str) -> str:
        """Return the error in the failure record of a unit, in one line."""
        return " ".join(str(self.failure_record(name).get("error", "")).split()) or "no reason was recorded"

    def forget_failure(self, unit: Unit) -> None:
        """Delete the failure record of a unit, so that the unit is tried again."""
        self._failure_path(unit.folder).unlink(missing_ok=True)

    def _failure_path(self, name: str) -> Path:
        return self.failures / f"{name}.json"


def warn_of_damage(reasons: Iterable[str], outcome: str) -> None:
    """Warn about damaged finished units, if there are any."""
    if listed := list(reasons):
        units = f"{pluralize(len(listed), 'finished unit')} {'was' if len(listed) == 1 else 'were'}"
        warnings.warn(f"{units} damaged, {outcome}: {shorten('; '.join(listed), 1000)}", stacklevel=3)


@dataclass(frozen=True, eq=False)
class StoredArrays:
    """The arrays that a metric stored for one unit."""

    dataset: str
    entrant: str
    metric: str
    seed: int | None
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class StoredWeights:
    """The files of a finished fit."""

    dataset: str
    entrant: str
    seed: int | None
    split: str | None
    weights: Path
    history: Path
    snapshots: dict[int, Path]


def stored_arrays(folder: str | Path, metric: str, *, required: bool = True) -> list[StoredArrays]:
    """Return the arrays that a metric stored, in the order of the plan; raise if there are none, but ``required``."""
    units = [unit for unit in require_plan(Path(folder)).units if str(unit.metric).partition("[")[0] == metric]
    stored = [
        StoredArrays(unit.dataset, unit.entrant, str(unit.metric), unit.seed, arrays)
        for unit, finished in _undamaged(Path(folder), units)
        if (arrays := finished.arrays())
    ]
    if required and not stored:
        raise ResultsError(f"{folder}: has no images of {metric}; expected a results folder with its folder units/")
    return stored


def stored_weights(folder: Path, plan: RecordedPlan, rows: Set[str]) -> list[StoredWeights]:
    """Return the files of the finished fits of some rows, in the order of the plan, after checking their checksums."""
    units = [unit for unit in plan.units if unit.kind == "fit" and unit.entrant in rows]
    return [
        StoredWeights(
            *(unit.dataset, unit.entrant, unit.seed, unit.split),
            *(finished.folder / WEIGHTS, finished.folder / HISTORY),
            {step: finished.folder / name for step, name in finished.snapshots.items()},
        )
        for unit, finished in _undamaged(folder, units, full=True)
    ]


def _undamaged(folder: Path, units: Sequence[Unit], full: bool = False) -> list[tuple[Unit, FinishedUnit]]:
    """Return those units that are finished and undamaged, and warn about damaged units."""
    examination = Store(folder).examine(units, full)
    warn_of_damage(examination.damaged.values(), "and left out here ('gahbench run' recomputes damaged units)")
    return [(unit, examination.undamaged[unit.folder]) for unit in units if unit.folder in examination.undamaged]


def is_archive(path: Path) -> bool:
    """Return whether a path is named like an archive, and is a file."""
    return path.suffix == ".zip" and path.is_file()


@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[Path]:
    """Yield a results folder, or a temporary folder of the archive's name to which the archive is unpacked."""
    if not is_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="gahbench-archive-") as scratch:
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
                if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_BYTES:
                    raise ValueError(f"too large; accepted: {MAX_MEMBERS:,} members of {MAX_BYTES:,} bytes in total")
                # zipfile writes only regular files inside the folder, and no more bytes than the recorded sizes.
                archive.extractall(folder := Path(scratch) / path.stem)
        except Exception as error:
            # On damaged archives, zipfile raises errors of many types.
            raise ResultsError(f"{path}: cannot be unpacked ({error}); expected an archive of results") from error
        yield folder
