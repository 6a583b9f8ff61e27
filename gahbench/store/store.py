"""The store: one folder for each finished unit, written whole or not at all.

A unit works in an attempt (:mod:`gahbench.store.attempts`), which becomes ``units/<unit>`` by one rename. What is
finished is listed, never looked up by its name: network file systems remember for a while that a name was not there. A
failure is recorded under ``failures/`` and tried again on the next run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in, write_json
from gahbench.contracts.unit import Unit
from gahbench.store.attempts import PARTIAL, Attempt, attempts_at
from gahbench.store.claims import Claims
from gahbench.store.score_files import SCORES, read_arrays, read_scores
from gahbench.training.file_names import CHECKPOINT, WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Folders of units that were moved away: their files were not all there, or they were to be done anew.
DAMAGED, REPLACED = "damaged", "replaced"


class Store:
    """Finished and failed units in a results folder.

    Parameters
    ----------
    folder
        The results folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / "units"
        self.failures = folder / "failures"
        self.claims = folder / "claims"

    def finished(self) -> set[str]:
        """Return the folder names of finished units."""
        return {name for name in names_in(self.units) if PARTIAL not in name}

    def failed(self) -> set[str]:
        """Return the folder names of failed units."""
        return {name.removesuffix(".json") for name in names_in(self.failures) if name.endswith(".json")}

    def ended(self) -> tuple[set[str], set[str]]:
        """Return the folder names of finished and of failed units: what somebody has finished has not failed."""
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
        """Whether a unit has finished, its files are all there, with the sizes they had, and its network is that here.

        Networks of one key may differ by rounding: a score counts beside the weights that it measured.
        """
        return bool(self.whole([unit]))

    def whole(self, units: Iterable[Unit]) -> set[str]:
        """Return the folder names of those units that are done, as of :meth:`is_done`."""
        finished, weights = self.finished(), _Weights(self)
        return {unit.folder for unit in units if unit.folder in finished and self._is_whole(unit, weights)}

    def done(self, unit: Unit) -> dict[str, Any] | None:
        """Return what ``done.json`` of a finished unit says; ``None`` if it is missing or damaged."""
        return self.done_at(self.path(unit))

    def done_at(self, folder: Path) -> dict[str, Any] | None:
        """Return what ``done.json`` in the folder of a finished unit says, as :meth:`done`."""
        try:
            content = json.loads((folder / "done.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise ResultsError(f"{folder}: cannot be read ({error}); expected a finished unit") from error
        return content if isinstance(content, dict) and "files" in content else None

    def begin(self, unit: Unit) -> Attempt:
        """Begin an attempt at a unit."""
        return Attempt(self.units, unit, self._failure_path(unit))

    def progress(self, name: str) -> float:
        """Return when attempts at a unit last wrote a checkpoint, by the file server's clock; 0 if they never did."""
        times = [0.0]
        for attempt in attempts_at(self.units, name) if self.units.is_dir() else ():
            with contextlib.suppress(OSError):
                times.append((attempt / CHECKPOINT).stat().st_mtime)
        return max(times)

    def set_aside(self, units: Iterable[Unit]) -> list[Unit]:
        """Move finished units that are not whole to ``damaged/``, so that they are done again.

        The scores of a network that is moved go along: the next one may differ by rounding.

        Returns
        -------
        list
            Those that were moved.
        """
        finished, own = self.finished(), {unit.folder: unit for unit in units}
        there = {name: unit for name, unit in own.items() if name in finished}
        whole = self.whole(there.values())
        fits = {unit.key for name, unit in there.items() if unit.kind == "fit" and name not in whole}
        lacking = {name: unit for name, unit in there.items() if name not in whole or not fits.isdisjoint(unit.needs)}
        self.put_away(lacking, DAMAGED)
        return list(lacking.values())

    def put_away(self, names: Iterable[str], room: str) -> int:
        """Move folders of units or attempts into another folder of the results, each under a name of its own.

        Returns
        -------
        int
            How many there were.
        """
        moved = 0
        for name in names:
            place = self.folder / room / f"{name}-{uuid.uuid4().hex[:8]}"
            place.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self.units / name).rename(place)
                moved += 1
        return moved

    def put_aside(self) -> list[str]:
        """Return the names of all that was moved away, since it was damaged or replaced."""
        return sorted(name for room in (DAMAGED, REPLACED) for name in names_in(self.folder / room))

    def recorded(self, but: Set[str] = frozenset()) -> Iterator[Unit]:
        """Yield finished units as they recorded themselves, fits first, but for those in folders of some names."""
        names = sorted(self.finished() - but)
        for kind in ("fit", "score"):
            for folder in (self.units / name for name in names if name.startswith(f"{kind}-")):
                if (folder / "done.json").is_file() and (unit := recorded_unit(folder)) is not None:
                    yield unit

    def sweep(self) -> None:
        """Remove what is left of attempts at units that have finished, and of claims of them."""
        names = names_in(self.units)
        finished = {name for name in names if PARTIAL not in name}
        for name in names:
            if PARTIAL in name and name.partition(PARTIAL)[0] in finished:
                shutil.rmtree(self.units / name, ignore_errors=True)
        Claims(self.claims).sweep(finished, self.failed())

    def fail(self, unit: Unit, error: str, details: str) -> None:
        """Record that a unit failed, and why; not of one that somebody has finished.

        Parameters
        ----------
        unit
            The unit.
        error
            One line.
        details
            The traceback, or what else is known.
        """
        if unit.folder not in self.finished():
            write_json(self._failure_path(unit), {**unit.record(), "error": error, "traceback": details})

    def failure(self, unit: Unit) -> str | None:
        """Return why a unit failed, in one line; ``None`` if it did not."""
        if unit.folder not in self.failed():
            return None
        return self.failure_of(unit.folder)

    def failure_of(self, name: str) -> str:
        """Return why a unit whose failure is listed failed, in one line."""
        try:
            content = json.loads((self.failures / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return "unknown"
        return str(content.get("error", "unknown")) if isinstance(content, dict) else "unknown"

    def forget_failure(self, unit: Unit) -> None:
        """Drop the record of a failure, before the unit is tried again."""
        self._failure_path(unit).unlink(missing_ok=True)

    def verify(self, folder: Path) -> None:
        """Check the checksums of the folder of a finished unit.

        Raises
        ------
        ResultsError
            Naming the file that differs or cannot be read.
        """
        try:
            files = json.loads((folder / "done.json").read_bytes())["files"]
            for name, facts in files.items():
                if hashlib.sha256((folder / name).read_bytes()).hexdigest() != facts["sha256"]:
                    raise ResultsError(f"{folder / name}: damaged; delete its folder and run again")
        except (OSError, ValueError, KeyError) as error:
            raise ResultsError(f"{folder}: cannot be read ({error}); delete it and run again") from error

    def read_arrays(self, unit: Unit) -> dict[str, NDArray[Any]]:
        """Return the arrays of a finished score unit, none where it has none.

        Raises
        ------
        ResultsError
            If the file is not what was written.
        """
        return read_arrays(self.path(unit))

    def read_scores(self, unit: Unit) -> list[tuple[float | None, int | None, float, str]]:
        """Return the (sigma, image, value, part) of a finished score unit.

        Raises
        ------
        ResultsError
            If the file is not what was written.
        """
        facts = (self.done(unit) or {}).get("files", {}).get(SCORES, {})
        return read_scores(self.path(unit), facts.get("sha256"))

    def _is_whole(self, unit: Unit, weights: _Weights) -> bool:
        done = self.done(unit)
        if done is None or not all(weights.agree(key, done) for key in unit.needs):
            return False
        try:
            return all(_size(self.path(unit) / name) == facts["bytes"] for name, facts in done["files"].items())
        except OSError as error:
            # Not a reason to train a network anew.
            raise ResultsError(f"{self.path(unit)}: cannot be read ({error}); expected a finished unit") from error

    def _failure_path(self, unit: Unit) -> Path:
        return self.failures / f"{unit.folder}.json"


class _Weights:
    """The checksums of the weights of finished fits, each read once."""

    def __init__(self, store: Store) -> None:
        self._checksum = functools.cache(store.weights_checksum)

    def agree(self, fit: str, done: dict[str, Any]) -> bool:
        """Whether a score measured the network that is here; of earlier scores, and without a network, that is open."""
        measured, held = done.get("networks", {}).get(fit), self._checksum(fit)
        return measured is None or held is None or measured == held


def _size(file: Path) -> int | None:
    """Return the size of a file; ``None`` if it is not there."""
    try:
        # A file that is opened shows its present state, on network file systems too.
        with file.open("rb") as handle:
            return os.fstat(handle.fileno()).st_size
    except FileNotFoundError:
        return None


def recorded_unit(folder: Path) -> Unit | None:
    """Return the unit whose folder this is, as it recorded itself; ``None`` if it cannot be read."""
    try:
        return Unit.of_record(json.loads((folder / "unit.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
