"""Pictures of published results: a sheet of denoised images for each dataset, small enough to be committed.

The units of a run hold the images that a metric kept, but units are not published. A board therefore comes with one PNG
file for each dataset: a row of clean images, and at each noise level a row of noisy images and a row for each entrant.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gahbench._util.files import read_regular
from gahbench._util.records import is_inside
from gahbench.board.results import index_or_none, saved_files
from gahbench.report.cells import file_stems
from gahbench.store.store import StoredArrays

#: The folder of the sheets in a results folder.
FOLDER = "pictures"
#: The largest size of all sheets of a board, in bytes.
MAX_BYTES = 200_000
#: Numbers of images and largest sides in pixels, of which the first that fits into :data:`MAX_BYTES` is used.
_COUNTS_AND_SIDES = ((2, 96), (2, 64), (2, 48), (2, 40), (2, 32), (1, 48), (1, 32), (1, 24))
#: Grey values are rounded to multiples of this number, which halves the files and cannot be seen.
_STEP = 4
# Limits on sheets that are read, since published folders may be forged.
_MAX_FILE_BYTES, _MAX_PIXELS = 20_000_000, 40_000_000

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sheet:
    """The sheet of a dataset: its file, its content, and its description in ``results.json``."""

    name: str
    content: bytes
    record: dict[str, Any]


def make_sheets(kept: Mapping[str, Sequence[StoredArrays]], limit: int | None = None) -> list[Sheet]:
    """Return the sheets of the images that entrants kept, by dataset: up to two images at the middle noise level.

    The images are cropped to their centre as far as is needed for the limit.

    Parameters
    ----------
    kept
        The images of each dataset, an item for each entrant.
    limit
        The largest size of all sheets in bytes, by default :data:`MAX_BYTES`.
    """
    limit = MAX_BYTES if limit is None else limit
    stems = file_stems(list(kept))
    for count, side in _COUNTS_AND_SIDES:
        sheets = [
            _make_sheet(dataset, f"{FOLDER}/{stems[dataset]}.png", stored, count, side)
            for dataset, stored in kept.items()
        ]
        if sum(len(sheet.content) for sheet in sheets) <= limit:
            return sheets
    warnings.warn(f"no pictures are published: one image of each entrant takes more than {limit} B", stacklevel=2)
    return []


def _make_sheet(dataset: str, name: str, kept: Sequence[StoredArrays], count: int, side: int) -> Sheet:
    levels_of_first = kept[0].arrays["sigmas"].tolist()
    sigmas = [levels_of_first[len(levels_of_first) // 2]]
    # An entrant may lack a noise level that other entrants have.
    kept = [stored for stored in kept if set(sigmas) <= set(stored.arrays["sigmas"].tolist())]
    levels = [[stored.arrays["sigmas"].tolist().index(sigma) for sigma in sigmas] for stored in kept]
    count = min(count, *(len(stored.arrays["clean"]) for stored in kept))

    def pick(images: NDArray[Any]) -> Bytes:
        return _cropped(images[..., :count, :, :, :], side)

    clean = pick(kept[0].arrays["clean"])
    noisy = pick(kept[0].arrays["noisy"][levels[0]])
    denoised = [pick(stored.arrays["denoised"][level]) for stored, level in zip(kept, levels, strict=True)]
    rows = [clean]
    for index in range(len(sigmas)):
        rows += [noisy[index], *(images[index] for images in denoised)]
    psnr = [
        [[_decibels(value) for value in stored.arrays["psnr"][index][:count]] for index in level]
        for stored, level in zip(kept, levels, strict=True)
    ]
    record = {
        "dataset": dataset,
        "file": name,
        "shape": list(clean.shape),
        "sigmas": sigmas,
        "entrants": [stored.entrant for stored in kept],
        "psnr": psnr,
    }
    return Sheet(name, encode_tiles(np.stack(rows)), record)


def _decibels(value: float) -> float | None:
    """Return a PSNR with two decimals; ``None``, which JSON accepts, if it is not finite."""
    return round(float(value), 2) if math.isfinite(value) else None


def _cropped(images: NDArray[Any], side: int) -> Bytes:
    """Return the centre of images (…, C, H, W) with at most ``side`` pixels per side, and 1 or 3 channels."""
    top, left = (max(0, (length - side) // 2) for length in images.shape[-2:])
    height, width = (min(side, length) for length in images.shape[-2:])
    cropped = images[..., top : top + height, left : left + width]
    if cropped.shape[-3] not in (1, 3):
        cropped = cropped.mean(axis=-3, keepdims=True)
    rounded = np.round(cropped.astype(np.float64) / _STEP) * _STEP
    return np.asarray(rounded.clip(0, 255).astype(np.uint8))


def encode_tiles(rows: Bytes) -> bytes:
    """Return rows of images, shape (R, K, C, H, W), as a PNG file."""
    count, across, channels, height, width = rows.shape
    tiled = rows.transpose(0, 3, 1, 4, 2).reshape(count * height, across * width, channels)
    buffer = io.BytesIO()
    Image.fromarray(tiled if channels == 3 else tiled[:, :, 0]).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def load_pictures(folder: Path) -> dict[str, list[StoredArrays]]:
    """Return the pictures of a published folder, by dataset; sheets that were changed are left out with a warning."""
    return load_sheets(folder, "pictures", _read_sheet)


def load_sheets(
    folder: Path, key: str, read: Callable[[Path, Mapping[str, Any], Mapping[str, str]], Iterator[StoredArrays]]
) -> dict[str, list[StoredArrays]]:
    """Return the arrays on the sheets that ``results.json`` describes under a key, by dataset.

    ``read`` yields the arrays of a sheet, given the folder, the description and the checksums of files. Sheets that do
    not match are left out with a warning.
    """
    index = index_or_none(folder) or {}
    checksums, arrays = saved_files(index), {}
    records = index.get(key, [])
    for record in records if isinstance(records, list) else []:
        try:
            stored = list(read(folder, record, checksums))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, Image.DecompressionBombError) as error:
            warnings.warn(f"{folder}: {key} are left out: {error}", stacklevel=3)
            continue
        arrays[stored[0].dataset] = stored
    return arrays


def _read_sheet(folder: Path, record: Mapping[str, Any], checksums: Mapping[str, str]) -> Iterator[StoredArrays]:
    """Yield the pictures of each entrant on a sheet; raise an error if the sheet does not match its description."""
    name, entrants, shape = record["file"], record["entrants"], tuple(map(int, record["shape"]))
    sigmas = np.asarray(record["sigmas"], dtype=np.float64)
    psnr = np.asarray(record["psnr"], dtype=np.float64)
    if not isinstance(record["dataset"], str):
        raise ValueError(f"{name}: its description in results.json is not valid")
    expected = (len(entrants), len(sigmas), shape[0])
    if len(shape) != 4 or min(shape) < 1 or shape[1] not in (1, 3) or psnr.shape != expected or 0 in expected:
        raise ValueError(f"{name}: its description in results.json is not valid")
    rows = 1 + len(sigmas) * (1 + len(entrants))
    tiles = read_tiles(folder, name, checksums, (rows, *shape))
    levels = tiles[1:].reshape(len(sigmas), 1 + len(entrants), *shape)
    for index, entrant in enumerate(entrants):
        arrays = {
            "clean": tiles[0],
            "noisy": levels[:, 0],
            "denoised": levels[:, 1 + index],
            "sigmas": sigmas,
            "psnr": psnr[index],
        }
        yield StoredArrays(record["dataset"], str(entrant), "psnr", None, arrays)


def read_tiles(folder: Path, name: str, checksums: Mapping[str, str], shape: tuple[int, ...]) -> Bytes:
    """Return the images of a sheet, shape (R, K, C, H, W); raise ``ValueError`` if the file is another one."""
    rows, count, channels, height, width = shape
    if not is_inside(name) or not name.startswith(f"{FOLDER}/"):
        raise ValueError(f"{name!r} is not the name of a sheet")
    if math.prod(shape) > _MAX_PIXELS:
        raise ValueError(f"{name}: has more than {_MAX_PIXELS} pixels")
    content = read_regular(folder / name, _MAX_FILE_BYTES)
    if hashlib.sha256(content).hexdigest() != checksums.get(name):
        raise ValueError(f"{name}: its checksum differs from that in results.json")
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        if picture.size != (count * width, rows * height) or picture.mode != ("L" if channels == 1 else "RGB"):
            raise ValueError(f"{name}: is not an image of {rows * height} by {count * width} pixels")
        pixels = np.asarray(picture)
    return pixels.reshape(rows, height, count, width, channels).transpose(0, 2, 4, 1, 3)
