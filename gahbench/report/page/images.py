"""Galleries of a page, in pictures of few colours: denoised images, eigenvectors of Jacobians, and samples.

A gallery has groups of rows for each dataset: ``(dataset, [(title, [(entrant, pictures)])])``. The first row of a
group, of the clean and the noisy images, has no entrant.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import matplotlib as mpl
import numpy as np
from PIL import Image

from gahbench._util.errors import ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.evaluation.rates import input_psnr
from gahbench.report.board_figures import MAX_ENTRANTS
from gahbench.report.cells import number
from gahbench.report.contact_sheet import ERROR_RANGE, error_pictures, level_index, pairs_sheet, stored_samples
from gahbench.report.drawing import encode
from gahbench.report.pictures import crop, kept_arrays

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.report.pictures import Bytes, Kind
    from gahbench.store.store import StoredArrays

#: The largest number of characters of the pictures of a gallery, and of all sheets of samples, of a page.
MAX_CHARACTERS, MAX_SHEET_CHARACTERS = 500_000, 1_200_000
#: Numbers of images, and sizes that :func:`_levels` and :func:`_vectors` define; the first whose pictures fit are used.
_LIMITS: Mapping[Kind, Sequence[tuple[int, ...]]] = {
    "pictures": [(2, 3, 96), (2, 1, 96), (2, 1, 64), (2, 1, 48), (1, 1, 48), (1, 1, 32)],
    "eigenvectors": [(2, 8), (2, 5), (1, 6), (1, 4), (1, 3), (1, 2)],
}
_IMAGE_SIDE, _VECTOR_SIDE = 96, 64  # pixels of the screen along the longer side
_COLOURS = 33  # of eigenvectors, from blue through white, which is zero, to red
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Picture(NamedTuple):
    """A picture as a ``data:`` URL, its size on the screen in pixels, its caption, and a text that describes it."""

    url: str
    width: int
    height: int
    caption: str
    text: str


_Groups: TypeAlias = list[tuple[str, list[tuple[str, list[Picture]]]]]
Gallery: TypeAlias = list[tuple[str, _Groups]]


def gallery(results: Results, folder: Path) -> tuple[Gallery, str]:
    """Return as many of the images that a run kept as fit into :data:`MAX_CHARACTERS`, and a note on them."""
    stored = kept_arrays(folder, "pictures")
    if not (kept := _in_order_of_board(stored, results)):
        reason = "holds no images of the entrants on this board" if stored else "holds no pictures"
        return [], f"This folder {reason}: they are written with the PSNR, of images that may be redistributed."
    if not (pictures := _fitting("pictures", kept, results)):
        return [], "The images of this run are too many for a page; 'gahbench draw denoised' draws them."
    note = (
        f"The same test images and noise for every entrant, best first. In the errors, grey is 0; white and black are "
        f"{ERROR_RANGE:g} σ. Large images are cropped to their centre; the PSNR is of whole images."
    )
    scored = [board.dataset for board in results.board.datasets]
    if missing := [results.names.dataset(dataset) for dataset in scored if dataset not in kept]:
        note += f" There are no pictures of {listing(missing)}: a published board shows only images that are free."
    return pictures, note


def eigenvector_gallery(results: Results, folder: Path) -> Gallery:
    """Return as many of the eigenvectors that a folder keeps as fit into :data:`MAX_CHARACTERS`."""
    return _fitting("eigenvectors", _in_order_of_board(kept_arrays(folder, "eigenvectors"), results), results)


def _in_order_of_board(
    stored: Mapping[str, Sequence[StoredArrays]], results: Results
) -> dict[str, list[tuple[str, StoredArrays]]]:
    """Return the names and arrays of the first entrants on the board of each dataset, in the order of the board."""
    kept = {}
    for board in results.board.datasets:
        by_entrant = {arrays.entrant: arrays for arrays in stored.get(board.dataset, ())}
        labels = [entry.entrant for entry in board.entries if entry.entrant in by_entrant][:MAX_ENTRANTS]
        if labels:
            kept[board.dataset] = [(results.names.entrant(label), by_entrant[label]) for label in labels]
    return kept


def _fitting(kind: Kind, kept: Mapping[str, Sequence[tuple[str, StoredArrays]]], results: Results) -> Gallery:
    """Return the pictures of all datasets in the first of the sizes that fits; empty if none fits."""
    draw: Any = _levels if kind == "pictures" else _vectors
    for sizes in _LIMITS[kind]:
        drawn: Gallery = [(results.names.dataset(label), draw(stored, *sizes)) for label, stored in kept.items()]
        rows = (row for _, groups in drawn for _, rows in groups for row in rows)
        if sum(len(picture.url) for _, pictures in rows for picture in pictures) <= MAX_CHARACTERS:
            return drawn
    return []


def _levels(kept: Sequence[tuple[str, StoredArrays]], count: int, level_count: int, side: int) -> _Groups:
    """Return a group for each of a number of noise levels: clean and noisy images, then denoised ones with errors."""
    first, groups = kept[0][1].arrays, []
    clean = crop(first["clean"][:count], side)
    for index in sorted({round(index) for index in np.linspace(0, len(first["sigmas"]) - 1, level_count + 2)[1:-1]}):
        sigma = float(first["sigmas"][index])
        noisy = f"noisy {number(float(input_psnr(sigma)), 1)} dB"
        rows = [("", _pairs(clean, ["clean"] * count, crop(first["noisy"][index][:count], side), noisy))]
        for name, stored in kept:
            if (level := level_index(stored, sigma)) is None:
                continue
            denoised = crop(stored.arrays["denoised"][level][:count], side)
            floats = [(images / np.float32(255)).astype(np.float32) for images in (denoised, clean)]
            errors = (255 * error_pictures(floats[0], floats[1], sigma)).astype(np.uint8) // 17 * 17
            psnr = [f"{number(float(value), 1)} dB" for value in stored.arrays["psnr"][level][:count]]
            rows.append((name, _pairs(denoised, psnr, errors, "error", f"denoised by {name}", f"error of {name}")))
        groups.append((f"σ = {level_name(sigma)}", rows))
    return groups


def _vectors(kept: Sequence[tuple[str, StoredArrays]], count: int, ranks: int) -> _Groups:
    """Return a group for each image: clean and noisy, then the first eigenvectors of each entrant."""
    first, groups = kept[0][1].arrays, []
    for index in range(min(count, len(first["clean"]))):
        images = [
            _picture(first[name][index] // 8 * 8, name, f"{name} image {index + 1}", _VECTOR_SIDE)
            for name in ("clean", "noisy")
        ]
        rows = [("", images)]
        for name, stored in kept:
            columns = (
                stored.arrays["eigenvectors"][index],
                stored.arrays["eigenvalues"][index],
                stored.arrays["ranks"],
            )
            pictures = []
            for vector, value, rank in list(zip(*columns, strict=True))[:ranks]:
                caption = f"λ{str(rank).translate(_SUBSCRIPTS)} = {number(float(value))}"
                pictures.append(
                    _picture(vector, caption, f"eigenvector {rank} of {name}", _VECTOR_SIDE, len(vector) == 1)
                )
            rows.append((name, pictures))
        groups.append((f"image {index + 1}, σ = {level_name(float(first['sigmas'][0]))}", rows))
    return groups


def _pairs(
    first: Bytes, captions: Sequence[str], second: Bytes, caption: str, text: str = "", other: str = ""
) -> list[Picture]:
    """Return pictures of two series of images (N, C, H, W) in turn, with a caption for each image of the first."""
    pictures = []
    for index, (image, title, partner) in enumerate(zip(first, captions, second, strict=False), start=1):
        pictures.append(_picture(image // 5 * 5, title, f"{text or title}, image {index}", _IMAGE_SIDE))
        pictures.append(_picture(partner // 5 * 5, caption, f"{other or caption}, image {index}", _IMAGE_SIDE))
    return pictures


def _picture(image: Bytes, caption: str, text: str, side: int, is_signed: bool = False) -> Picture:
    """Return a picture of an image (C, H, W), with at least ``side`` pixels along its longer side."""
    height, width = image.shape[1:]
    scale = max(1, -(-side // max(height, width)))
    return Picture(_picture_url(image.tobytes(), image.shape, is_signed), scale * width, scale * height, caption, text)


@functools.lru_cache(maxsize=8192)
def _picture_url(content: bytes, shape: tuple[int, ...], is_signed: bool) -> str:
    image = np.frombuffer(content, np.uint8).reshape(shape)
    if not is_signed:
        pixels = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0).astype(np.uint8)
        return png_data_url(Image.fromarray(np.ascontiguousarray(pixels)), 64)
    middle = _COLOURS // 2
    steps = np.round((image[0].astype(float) - 128) / 127 * middle) + middle
    picture = Image.fromarray(steps.clip(0, _COLOURS - 1).astype(np.uint8), "P")
    colours = mpl.colormaps["RdBu_r"](np.linspace(0, 1, _COLOURS))[:, :3]
    picture.putpalette(np.round(255 * colours).astype(np.uint8).tobytes())
    return png_data_url(picture, _COLOURS)


def sample_sheets(results: Results, folder: Path) -> list[Picture]:
    """Return sheets of samples of pairs of networks with the closest training images; empty without stored samples."""
    try:
        pairs = stored_samples(folder, "pair-cosine")
    except ResultsError:
        return []
    sheets: list[Picture] = []
    for pair, sets in pairs.items():
        title = f"{results.names.entrant(pair[1])}, {results.names.dataset(pair[0])}"
        text = f"samples of two networks from the same noise, and the training images closest to each: {title}"
        with Image.open(io.BytesIO(encode(pairs_sheet(sets, title, 6), ".png"))) as image:
            sheet = Picture(png_data_url(image, 32), image.width // 2, image.height // 2, title, text)
        if sum(len(drawn_sheet.url) for drawn_sheet in [*sheets, sheet]) <= MAX_SHEET_CHARACTERS:
            sheets.append(sheet)
    return sheets


def png_data_url(picture: Image.Image, colours: int) -> str:
    """Return a picture as a ``data:`` URL of a PNG."""
    small = picture if picture.mode in ("P", "L") else picture.convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
