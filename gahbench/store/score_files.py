"""The files of a finished score unit: values, exactly, and arrays."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import listing
from gahbench._util.files import storing
from gahbench.contracts.metrics import Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORES = "scores.csv"
ARRAYS = "arrays.npz"
_COLUMNS = ("sigma", "image", "value", "part")


def write_scores(folder: Path, scores: Scores) -> tuple[str, ...]:
    """Write values, exactly, and arrays into the folder of an attempt; return the names of the files."""
    arrays: dict[str, Any] = {name: array.detach().cpu().numpy() for name, array in (scores.arrays or {}).items()}
    with storing(folder):
        _write_values(folder / SCORES, scores)
        if not arrays:
            return (SCORES,)
        import numpy as np

        np.savez_compressed(folder / ARRAYS, **arrays)
    return (SCORES, ARRAYS)


def _write_values(path: Path, scores: Scores) -> None:
    count = len(scores.value)
    with path.open("w", newline="", encoding="utf-8") as file:
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


def parsed_scores(content: bytes) -> list[tuple[float | None, int | None, float, str]]:
    """Return the (sigma, image, value, part) in the file of a finished unit."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise ValueError(f"columns {rows[:1]}, expected {listing(_COLUMNS)}")
    return [
        (float(sigma) if sigma else None, int(image) if image else None, float(value), part)
        for sigma, image, value, part in rows[1:]
    ]


def parsed_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays in the file of a finished unit."""
    import numpy as np

    try:
        with np.load(io.BytesIO(content)) as file:
            return dict(file)
    except Exception as error:
        # Damaged files make zipfile and numpy raise all kinds.
        raise ValueError(str(error)) from error
