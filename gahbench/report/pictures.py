"""Sheets that come with a board: denoised images and eigenvectors of each dataset, small enough to be committed.

The units of a run hold the arrays that metrics kept, but units are not published. A sheet is a PNG file of images of
one size. Its first rows have the clean and the noisy images, and there is a row for each entrant: its denoised images,
or the eigenvectors of its Jacobian at the first image, then at the second, as figure 3 of Kadkhodaie et al. 2024.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gahbench._util.files import read_regular
from gahbench._util.records import is_inside
from gahbench.board.results import index_or_none, saved_files
from gahbench.report.cells import file_stems
from gahbench.store.store import StoredArrays, stored_arrays

#: The folder of the sheets in a results folder.
FOLDER = "pictures"
#: The largest size of all sheets of a board, in bytes.
MAX_BYTES = 200_000
#: What a sheet shows; also the key of the descriptions of sheets in ``results.json``.
Kind = Literal["pictures", "eigenvectors"]
#: The metric that keeps the arrays of each kind of sheet.
METRICS: Mapping[Kind, str] = {"pictures": "psnr", "eigenvectors": "spectrum"}
#: Numbers of images, largest sides in pixels and numbers of ranks, of which the first that fits into the limit is used.
_SIZES: Mapping[Kind, Sequence[tuple[int, int, int]]] = {
    "pictures": [(2, 96, 0), (2, 64, 0), (2, 48, 0), (2, 40, 0), (2, 32, 0), (1, 48, 0), (1, 32, 0), (1, 24, 0)],
    "eigenvectors": [(2, 96, 8), (2, 96, 6), (2, 96, 4), (1, 96, 6), (1, 96, 4), (1, 96, 3)],
}
#: Values are rounded to multiples of these numbers, which gives small files. Zero of an eigenvector is 128.
_STEPS: Mapping[Kind, int] = {"pictures": 4, "eigenvectors": 16}
# Limits on sheets that are read, since published folders may be forged.
_MAX_FILE_BYTES, _MAX_PIXELS = 20_000_000, 40_000_000

Bytes = NDArray[np.uint8]
_Images = TypeVar("_Images", bound=Any)


@dataclass(frozen=True, eq=False)
class Sheet:
    """The sheet of a dataset: its file, its content, and its description in ``results.json``."""

    kind: Kind
    name: str
    content: bytes
    record: dict[str, Any]


def crop(images: _Images, side: int) -> _Images:
    """Return the centre of images (…, C, H, W) with at most ``side`` pixels per side."""
    top, left = (max(0, (length - side) // 2) for length in images.shape[-2:])
    cropped: _Images = images[..., top : top + side, left : left + side]
    return cropped


def make_sheets(kind: Kind, kept: Mapping[str, Sequence[StoredArrays]], limit: int = MAX_BYTES) -> list[Sheet]:
    """Return the sheets of what entrants kept, by dataset; empty, with a warning, if even the smallest are too large.

    Parameters
    ----------
    kind
        What the sheets show: denoised images at the middle noise level, or eigenvectors.
    kept
        The arrays of each dataset, an item for each entrant.
    limit
        The largest size of all sheets in bytes. Images are cropped to their centre as far as is needed.
    """
    stems = file_stems(list(kept))
    prefix = f"{FOLDER}/" if kind == "pictures" else f"{FOLDER}/{kind}-"
    make = _denoised if kind == "pictures" else _eigenvectors
    for size in _SIZES[kind]:
        sheets = []
        for dataset, stored in kept.items():
            rows, record = make(stored, *size)
            description = {"dataset": dataset, "file": f"{prefix}{stems[dataset]}.png", **record}
            sheets.append(Sheet(kind, description["file"], encode_tiles(rows), description))
        if sum(len(sheet.content) for sheet in sheets) <= limit:
            return sheets
    warnings.warn(f"no {kind} are published: those of one image take more than {limit} B", stacklevel=2)
    return []


def _denoised(kept: Sequence[StoredArrays], count: int, side: int, _: int) -> tuple[Bytes, dict[str, Any]]:
    """Return the rows of a sheet of denoised images, shape (R, K, C, H, W), and its description."""
    sigmas = kept[0].arrays["sigmas"].tolist()
    sigma = sigmas[len(sigmas) // 2]
    # An entrant may lack a noise level that other entrants have.
    levels = {item: item.arrays["sigmas"].tolist().index(sigma) for item in kept if sigma in item.arrays["sigmas"]}
    count = min(count, *(len(item.arrays["clean"]) for item in levels))
    first = [kept[0].arrays["clean"], kept[0].arrays["noisy"][levels[kept[0]]]]
    images = [*first, *(item.arrays["denoised"][level] for item, level in levels.items())]
    rows = crop(np.stack([each[:count] for each in images]), side)
    if rows.shape[2] not in (1, 3):
        rows = rows.mean(axis=2, keepdims=True)
    psnr = [[[_decibels(value) for value in item.arrays["psnr"][level][:count]]] for item, level in levels.items()]
    record = {"shape": list(rows.shape[1:]), "sigmas": [sigma], "entrants": [item.entrant for item in levels]}
    return _rounded(rows, "pictures"), {**record, "psnr": psnr}


def _eigenvectors(kept: Sequence[StoredArrays], count: int, side: int, ranks: int) -> tuple[Bytes, dict[str, Any]]:
    """Return the rows of a sheet of eigenvectors, shape (R, K, C, H, W), and its description."""
    first = kept[0].arrays
    # All entrants have the same images, but an entrant may have been measured at another noise level.
    kept = [item for item in kept if np.array_equal(item.arrays["sigmas"], first["sigmas"])]
    vectors = [_rounded(item.arrays["eigenvectors"][:count, :ranks], "eigenvectors") for item in kept]
    head = np.zeros_like(vectors[0])
    head[:, 0] = first["clean"][:count]
    head[:, 1:2] = first["noisy"][:count, None]
    rows = np.stack([head, *vectors])
    record = {
        "shape": [rows.shape[1], *rows.shape[3:]],
        "sigmas": first["sigmas"].tolist(),
        "ranks": first["ranks"][:ranks].tolist(),
        "entrants": [item.entrant for item in kept],
        "eigenvalues": [np.round(item.arrays["eigenvalues"][:count, :ranks], 4).tolist() for item in kept],
    }
    return crop(rows.reshape(len(rows), -1, *rows.shape[3:]), side), record


def _decibels(value: float) -> float | None:
    """Return a PSNR with two decimals; ``None``, which JSON accepts, if it is not finite."""
    return round(float(value), 2) if math.isfinite(value) else None


def _rounded(images: NDArray[Any], kind: Kind) -> Bytes:
    return np.asarray((np.round(images / _STEPS[kind]) * _STEPS[kind]).clip(0, 255).astype(np.uint8))


def encode_tiles(rows: Bytes) -> bytes:
    """Return rows of images, shape (R, K, C, H, W), as a PNG file."""
    count, across, channels, height, width = rows.shape
    tiled = rows.transpose(0, 3, 1, 4, 2).reshape(count * height, across * width, channels)
    buffer = io.BytesIO()
    Image.fromarray(tiled if channels == 3 else tiled[:, :, 0]).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def kept_arrays(folder: str | Path, kind: Kind) -> dict[str, list[StoredArrays]]:
    """Return what a folder keeps, by dataset, for the first training seed of each entrant.

    A published folder has no units, but sheets, of which those that were changed are left out with a warning.
    """
    folder = Path(folder)
    if not (folder / "units").is_dir():
        return load_sheets(folder, kind)
    kept: dict[str, dict[str, StoredArrays]] = {}
    for stored in stored_arrays(folder, METRICS[kind], required=False):
        if is_drawn(stored.arrays):
            kept.setdefault(stored.dataset, {}).setdefault(stored.entrant, stored)
    return {dataset: list(by_entrant.values()) for dataset, by_entrant in kept.items()}


def is_drawn(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether a sheet can show some arrays; eigenvectors with other than 1 or 3 channels have no colours."""
    return "denoised" in arrays or ("eigenvectors" in arrays and arrays["clean"].shape[1] in (1, 3))


def load_sheets(folder: Path, kind: Kind) -> dict[str, list[StoredArrays]]:
    """Return the arrays on the sheets of a kind that ``results.json`` describes, by dataset."""
    index = index_or_none(folder) or {}
    records, checksums, arrays = index.get(kind, []), saved_files(index), {}
    for record in records if isinstance(records, list) else []:
        try:
            stored = _read_sheet(folder, kind, record, checksums)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, Image.DecompressionBombError) as error:
            warnings.warn(f"{folder}: {kind} are left out: {error}", stacklevel=4)
            continue
        arrays[stored[0].dataset] = stored
    return arrays


def _read_sheet(
    folder: Path, kind: Kind, record: Mapping[str, Any], checksums: Mapping[str, str]
) -> list[StoredArrays]:
    """Return the arrays of each entrant on a sheet; raise an error if the sheet does not match its description."""
    name, entrants, shape = record["file"], record["entrants"], tuple(map(int, record["shape"]))
    is_denoised = kind == "pictures"
    values = np.asarray(record["psnr" if is_denoised else "eigenvalues"], dtype=np.float64)
    sigmas, ranks = np.asarray(record["sigmas"], dtype=np.float64), np.asarray(record.get("ranks", [0]), dtype=np.int64)
    expected = (len(entrants), 1, shape[0]) if is_denoised else (len(entrants), shape[0], len(ranks))
    is_valid = isinstance(record["dataset"], str) and len(shape) == 4 and shape[1] in (1, 3) and min(shape) > 0
    if not is_valid or len(sigmas) != 1 or values.shape != expected or 0 in expected:
        raise ValueError(f"{name}: its description in results.json is not valid")
    first = 2 if is_denoised else 1
    rows = _read_tiles(folder, name, checksums, (first + len(entrants), shape[0] * len(ranks), *shape[1:]))
    if is_denoised:
        shared = {"clean": rows[0], "noisy": rows[[1]], "sigmas": sigmas}
        drawn = [{"denoised": row[None], "psnr": psnr} for row, psnr in zip(rows[first:], values, strict=True)]
    else:
        rows = rows.reshape(len(rows), shape[0], len(ranks), *shape[1:])
        noisy = rows[0, :, min(1, len(ranks) - 1)]
        shared = {"clean": rows[0, :, 0], "noisy": noisy, "ranks": ranks, "sigmas": sigmas}
        drawn = [{"eigenvectors": row, "eigenvalues": own} for row, own in zip(rows[first:], values, strict=True)]
    return [
        StoredArrays(record["dataset"], str(entrant), METRICS[kind], None, {**shared, **own})
        for entrant, own in zip(entrants, drawn, strict=True)
    ]


def _read_tiles(folder: Path, name: str, checksums: Mapping[str, str], shape: tuple[int, ...]) -> Bytes:
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
