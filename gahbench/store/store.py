"""The store: one folder for each finished unit, written whole or not at all.

A unit works in ``units/<unit>.partial`` (where its checkpoint may wait for the next run) and is renamed to
``units/<unit>`` once ``done.json``, written last, holds a checksum of every file. A failure is recorded under
``failures/`` and tried again on the next run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench._util.files import write_json
from gahbench.contracts.scoring import Scores
from gahbench.contracts.unit import Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORES = "scores.csv"
ARRAYS = "arrays.npz"
_COLUMNS = ("sigma", "image", "value", "part")


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

    def path(self, unit: Unit) -> Path:
        """Return the folder of a finished unit."""
        return self.units / unit.folder

    def partial(self, unit: Unit) -> Path:
        """Return the folder in which a unit works."""
        return self.units / f"{unit.folder}.partial"

    def is_done(self, unit: Unit) -> bool:
        """Whether a unit has finished and its files are all there, with the sizes they had."""
        done = self.done(unit)
        if done is None:
            return False
        for name, facts in done["files"].items():
            try:
                if (self.path(unit) / name).stat().st_size != facts["bytes"]:
                    return False
            except OSError:
                return False
        return True

    def done(self, unit: Unit) -> dict[str, Any] | None:
        """Return what ``done.json`` of a unit says; ``None`` if it is missing or damaged."""
        try:
            content = json.loads((self.path(unit) / "done.json").read_bytes())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and "files" in content else None

    def has_fit(self, key: str) -> bool:
        """Whether the fit of a key is done."""
        return (self.fit_folder(key) / "done.json").is_file()

    def fit_folder(self, key: str) -> Path:
        """Return the folder of the fit of a key."""
        return self.units / f"fit-{key}"

    def begin(self, unit: Unit) -> Path:
        """Return the folder in which a unit may work, with whatever an earlier attempt left there."""
        partial = self.partial(unit)
        partial.mkdir(parents=True, exist_ok=True)
        return partial

    def finish(self, unit: Unit, facts: dict[str, Any], keep: Iterable[str]) -> None:
        """Make a unit finished.

        Parameters
        ----------
        unit
            The unit, whose files lie in :meth:`partial`.
        facts
            What else to record: plain JSON.
        keep
            Names of the files to keep; all others are dropped.
        """
        partial, keep = self.partial(unit), set(keep)
        for file in partial.iterdir():
            if file.name not in keep:
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        write_json(partial / "unit.json", unit.record())
        files = {}
        for file in sorted(partial.iterdir()):
            data = file.read_bytes()
            files[file.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            _flush(file)
        write_json(partial / "done.json", {**facts, "files": files})
        shutil.rmtree(self.path(unit), ignore_errors=True)
        partial.rename(self.path(unit))
        _flush(self.units)
        self._failure_path(unit).unlink(missing_ok=True)

    def fail(self, unit: Unit, error: str, details: str) -> None:
        """Record that a unit failed, and why.

        Parameters
        ----------
        unit
            The unit.
        error
            One line.
        details
            The traceback, or what else is known.
        """
        self.failures.mkdir(parents=True, exist_ok=True)
        write_json(self._failure_path(unit), {**unit.record(), "error": error, "traceback": details})

    def failure(self, unit: Unit) -> str | None:
        """Return why a unit failed, in one line; ``None`` if it did not."""
        try:
            content = json.loads(self._failure_path(unit).read_bytes())
        except (OSError, ValueError):
            return None
        return str(content.get("error", "unknown"))

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

    def write_scores(self, unit: Unit, scores: Scores) -> None:
        """Write a score unit's values, exactly, and its arrays."""
        count = len(scores.value)
        with (self.partial(unit) / SCORES).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(
                zip(
                    map(repr, scores.sigma) if scores.sigma is not None else [""] * count,
                    scores.image if scores.image is not None else [""] * count,
                    map(repr, scores.value),
                    scores.part if scores.part is not None else [""] * count,
                    strict=True,
                )
            )

        if scores.arrays:
            import numpy as np

            arrays: dict[str, Any] = {name: array.detach().cpu().numpy() for name, array in scores.arrays.items()}
            np.savez_compressed(self.partial(unit) / ARRAYS, **arrays)

    def read_arrays(self, unit: Unit) -> dict[str, NDArray[Any]]:
        """Return the arrays of a finished score unit, none where it has none.

        Raises
        ------
        ResultsError
            If the file is not what was written.
        """
        import numpy as np

        path = self.path(unit) / ARRAYS
        if not path.is_file():
            return {}
        try:
            with np.load(path) as file:
                return dict(file)
        except (OSError, ValueError) as error:
            raise ResultsError(f"{path}: cannot be read ({error}); delete its folder and run again") from error

    def read_scores(self, unit: Unit) -> list[tuple[float | None, int | None, float, str]]:
        """Return the (sigma, image, value, part) of a finished score unit.

        Raises
        ------
        ResultsError
            If the file is not what was written.
        """
        path = self.path(unit) / SCORES
        facts = (self.done(unit) or {}).get("files", {}).get(SCORES, {})
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != facts.get("sha256"):
                raise ValueError("its checksum is not the recorded one")
            rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
            # Scores from before there were parts lack the last column.
            if tuple(rows[0]) not in (_COLUMNS, _COLUMNS[:-1]):
                raise ValueError(f"columns {rows[0]}")
            return [
                (float(sigma) if sigma else None, int(image) if image else None, float(value), "".join(part))
                for sigma, image, value, *part in rows[1:]
            ]
        except (OSError, ValueError, IndexError) as error:
            raise ResultsError(f"{path}: cannot be read ({error}); delete its folder and run again") from error

    def _failure_path(self, unit: Unit) -> Path:
        return self.failures / f"{unit.folder}.json"


def _flush(path: Path) -> None:
    """Have the system write a file or a folder's entries to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # Some file systems cannot; the rename is still atomic.
    finally:
        os.close(handle)
