"""The files of a finished score unit: values, exactly, and arrays."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench.contracts.scoring import Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORES = "scores.csv"
ARRAYS = "arrays.npz"
_COLUMNS = ("sigma", "image", "value", "part")


def write_scores(folder: Path, scores: Scores) -> None:
    """Write values, exactly, and arrays into the folder of an attempt."""
    count = len(scores.value)
    with (folder / SCORES).open("w", newline="", encoding="utf-8") as file:
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
        np.savez_compressed(folder / ARRAYS, **arrays)


def read_scores(folder: Path, checksum: str | None) -> list[tuple[float | None, int | None, float, str]]:
    """Return the (sigma, image, value, part) in the folder of a finished unit.

    Parameters
    ----------
    checksum
        The SHA-256 that was recorded.

    Raises
    ------
    ResultsError
        If the file is not what was written.
    """
    path = folder / SCORES
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != checksum:
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


def read_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays in the folder of a finished unit, none where it has none.

    Raises
    ------
    ResultsError
        If the file is not what was written.
    """
    import numpy as np

    path = folder / ARRAYS
    if not path.is_file():
        return {}
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); delete its folder and run again") from error
