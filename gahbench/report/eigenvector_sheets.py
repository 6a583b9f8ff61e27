"""Sheets of eigenvectors of published results, as figure 3 of Kadkhodaie et al. 2024: a file for each dataset.

The metric ``spectrum`` keeps eigenvectors of the Jacobian at a few images. The first row of a sheet has the clean and
the noisy images, and there is a row for each entrant, with all eigenvectors of the first image, then of the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gahbench._util.errors import ResultsError
from gahbench.report.cells import file_stems
from gahbench.report.pictures import FOLDER, Bytes, Sheet, encode_tiles, load_sheets, read_tiles
from gahbench.store.store import StoredArrays, stored_arrays

#: The metric that keeps eigenvectors, and the key of the descriptions of sheets in ``results.json``.
METRIC, KEY = "spectrum", "eigenvectors"
#: Numbers of images and of ranks, of which the first that fits into the limit is used.
_COUNTS = ((2, 8), (2, 6), (2, 4), (1, 6), (1, 4), (1, 3))
#: Values are rounded to multiples of this number, which gives 17 colours and small files; zero is 128.
_STEP = 16


def make_eigenvector_sheets(kept: Mapping[str, Sequence[StoredArrays]], limit: int) -> list[Sheet]:
    """Return the sheets of eigenvectors by dataset, of fewer images and ranks if they are larger than ``limit`` bytes.

    The list is empty if even the smallest sheets are too large.
    """
    stems = file_stems(list(kept))
    for count, ranks in _COUNTS:
        sheets = [
            _make_sheet(dataset, f"{FOLDER}/eigenvectors-{stems[dataset]}.png", stored, count, ranks)
            for dataset, stored in kept.items()
        ]
        if sum(len(sheet.content) for sheet in sheets) <= limit:
            return sheets
    return []


def _make_sheet(dataset: str, name: str, kept: Sequence[StoredArrays], count: float, ranks: float) -> Sheet:
    first = kept[0].arrays
    # All entrants have the same images, but an entrant may have been measured at another noise level.
    kept = [stored for stored in kept if np.array_equal(stored.arrays["sigmas"], first["sigmas"])]
    count, ranks = (
        int(min(limit, length)) for limit, length in ((count, len(first["clean"])), (ranks, len(first["ranks"])))
    )
    shape = first["clean"].shape[1:]
    head = np.zeros((count, ranks, *shape), np.uint8)
    head[:, 0] = first["clean"][:count]
    head[:, 1:2] = first["noisy"][:count, None]
    vectors = [stored.arrays["eigenvectors"][:count, :ranks] for stored in kept]
    rounded = [np.minimum(255, np.round(item / _STEP) * _STEP).astype(np.uint8) for item in vectors]
    rows = np.stack([head, *rounded]).reshape(1 + len(kept), count * ranks, *shape)
    record = {
        "dataset": dataset,
        "file": name,
        "shape": [count, *shape],
        "sigmas": first["sigmas"].tolist(),
        "ranks": first["ranks"][:ranks].tolist(),
        "entrants": [stored.entrant for stored in kept],
        "eigenvalues": [np.round(stored.arrays["eigenvalues"][:count, :ranks], 4).tolist() for stored in kept],
    }
    return Sheet(name, encode_tiles(rows), record)


def kept_eigenvectors(folder: str | Path) -> dict[str, list[StoredArrays]]:
    """Return the eigenvectors that a folder keeps, by dataset, for the first training seed of each entrant.

    Sheets of a published folder that were changed are left out with a warning. Images with other than 1 or 3 channels
    are left out, since they have no colours to draw.
    """
    if not (Path(folder) / "units").is_dir():
        return load_sheets(Path(folder), KEY, _read_sheet)
    try:
        all_stored = stored_arrays(folder, METRIC, required=False)
    except ResultsError:
        return {}
    kept: dict[str, dict[str, StoredArrays]] = {}
    for stored in all_stored:
        if KEY in stored.arrays and stored.arrays["clean"].shape[1] in (1, 3):
            kept.setdefault(stored.dataset, {}).setdefault(stored.entrant, stored)
    return {dataset: list(by_entrant.values()) for dataset, by_entrant in kept.items()}


def _read_sheet(folder: Path, record: Mapping[str, Any], checksums: Mapping[str, str]) -> Iterator[StoredArrays]:
    """Yield the eigenvectors of each entrant on a sheet; raise an error if the sheet does not match its description."""
    name, entrants, shape = record["file"], record["entrants"], tuple(map(int, record["shape"]))
    sigmas = np.asarray(record["sigmas"], dtype=np.float64)
    ranks = np.asarray(record["ranks"], dtype=np.int64)
    eigenvalues = np.asarray(record["eigenvalues"], dtype=np.float64)
    expected = (len(entrants), shape[0], len(ranks))
    if (
        not isinstance(record["dataset"], str)
        or (len(shape), len(sigmas), ranks.ndim) != (4, 1, 1)
        or shape[1] not in (1, 3)
        or min(*shape, *expected) < 1
        or eigenvalues.shape != expected
    ):
        raise ValueError(f"{name}: its description in results.json is not valid")
    count, *image_shape = shape
    tiles = read_tiles(folder, name, checksums, (1 + len(entrants), count * len(ranks), *image_shape))
    rows: Bytes = tiles.reshape(1 + len(entrants), count, len(ranks), *image_shape)
    for index, entrant in enumerate(entrants):
        arrays = {
            "clean": rows[0, :, 0],
            "noisy": rows[0, :, min(1, len(ranks) - 1)],
            "eigenvectors": rows[1 + index],
            "eigenvalues": eigenvalues[index],
            "ranks": ranks,
            "sigmas": sigmas,
        }
        yield StoredArrays(record["dataset"], str(entrant), METRIC, None, arrays)
