"""Galleries of a page, in pictures of few colours: denoised images, eigenvectors of Jacobians, and samples."""

from __future__ import annotations

import base64
import functools
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from PIL import Image

from gahbench._util.errors import ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.evaluation.rates import input_psnr
from gahbench.report.board_figures import MAX_ENTRANTS
from gahbench.report.cells import number
from gahbench.report.contact_sheet import (
    ERROR_RANGE,
    encode_sheet,
    error_pictures,
    level_index,
    pairs_sheet,
    stored_samples,
)
from gahbench.report.page.source import Source
from gahbench.report.pictures import crop, kept_arrays

if TYPE_CHECKING:
    from gahbench.report.pictures import Bytes, Kind
    from gahbench.store.store import StoredArrays

#: The largest number of characters of the pictures of a gallery, and of all sheets of samples, of a page.
MAX_CHARACTERS, MAX_SHEET_CHARACTERS = 500_000, 1_200_000
#: Numbers of images, and sizes that :func:`_level` and :func:`_vectors` define; the first whose pictures fit are used.
_LIMITS: Mapping[Kind, Sequence[tuple[int, ...]]] = {
    "pictures": [(2, 3, 96), (2, 1, 96), (2, 1, 64), (2, 1, 48), (1, 1, 48), (1, 1, 32)],
    "eigenvectors": [(2, 8), (2, 5), (1, 6), (1, 4), (1, 3), (1, 2)],
}
_SIDES: Mapping[Kind, int] = {"pictures": 96, "eigenvectors": 64}  # pixels of the screen along the longer side
_COLOURS = 33  # of eigenvectors, from blue through white, which is zero, to red


class Picture(NamedTuple):
    """A picture as a ``data:`` URL, its size on the screen in pixels, its caption, and a text that describes it."""

    url: str
    width: int
    height: int
    caption: str
    text: str


class PictureRow(NamedTuple):
    """The pictures of an entrant, or the clean and the noisy images if ``entrant`` is empty."""

    entrant: str
    pictures: list[Picture]


class Group(NamedTuple):
    """The rows of a noise level, or of an image."""

    title: str
    rows: list[PictureRow]


class DatasetPictures(NamedTuple):
    """The pictures of a dataset; ``sigma`` is the noise level of all groups, and empty if each has its own."""

    dataset: str
    sigma: str
    groups: list[Group]


class Gallery(NamedTuple):
    """The pictures of a page, by dataset, and a note on what they show."""

    pictures: list[DatasetPictures]
    note: str


def gallery(source: Source) -> Gallery:
    """Return as many of the images that a run kept as fit into :data:`MAX_CHARACTERS`."""
    stored = kept_arrays(source.folder, "pictures")
    if not (kept := _in_order_of_board(stored, source)):
        reason = "holds no images of the entrants on this board" if stored else "holds no pictures"
        return Gallery(
            [], f"This folder {reason}: they are written with the PSNR, of images that may be redistributed."
        )
    if not (pictures := _fitting("pictures", kept, source, _levels)):
        return Gallery([], "The images of this run are too many for a page; 'gahbench draw denoised' draws them.")
    note = (
        f"The same test images and noise for every entrant, best first. In the errors, grey is 0; white and black are "
        f"{ERROR_RANGE:g} σ. Large images are cropped to their centre; the PSNR is of whole images."
    )
    scored = [board.dataset for board in source.results.board.datasets]
    if missing := [source.results.names.dataset(dataset) for dataset in scored if dataset not in kept]:
        note += f" There are no pictures of {listing(missing)}: a published board shows only images that are free."
    return Gallery(pictures, note)


def eigenvector_gallery(source: Source) -> list[DatasetPictures]:
    """Return as many of the eigenvectors that a folder keeps as fit into :data:`MAX_CHARACTERS`, by dataset."""
    kept = _in_order_of_board(kept_arrays(source.folder, "eigenvectors"), source)
    return _fitting("eigenvectors", kept, source, _vectors)


def _in_order_of_board(
    stored_by_dataset: Mapping[str, Sequence[StoredArrays]], source: Source
) -> dict[str, list[StoredArrays]]:
    """Return the arrays of the first entrants on the board of each dataset, in the order of the board."""
    kept = {}
    for board in source.results.board.datasets:
        by_entrant = {arrays.entrant: arrays for arrays in stored_by_dataset.get(board.dataset, ())}
        if stored := [by_entrant[entry.entrant] for entry in board.entries if entry.entrant in by_entrant]:
            kept[board.dataset] = stored[:MAX_ENTRANTS]
    return kept


def _fitting(
    kind: Kind, kept: Mapping[str, Sequence[StoredArrays]], source: Source, draw: Callable[..., tuple[str, list[Group]]]
) -> list[DatasetPictures]:
    """Return the pictures of all datasets in the first of the sizes that fits; empty if none fits."""
    for sizes in _LIMITS[kind]:
        drawn = [DatasetPictures(dataset, *draw(stored, source, *sizes)) for dataset, stored in kept.items()]
        rows = (row for pictures in drawn for group in pictures.groups for row in group.rows)
        if sum(len(picture.url) for row in rows for picture in row.pictures) <= MAX_CHARACTERS:
            return drawn
    return []


def _levels(
    kept: Sequence[StoredArrays], source: Source, count: int, level_count: int, side: int
) -> tuple[str, list[Group]]:
    """Return a group for each of a number of noise levels: clean and noisy images, then denoised ones with errors."""
    first, groups = kept[0].arrays, []
    clean = crop(first["clean"][:count], side)
    for index in sorted({round(index) for index in np.linspace(0, len(first["sigmas"]) - 1, level_count + 2)[1:-1]}):
        sigma = float(first["sigmas"][index])
        noisy = f"noisy {number(float(input_psnr(sigma)), 1)} dB"
        rows = [PictureRow("", _paired(clean, "clean", crop(first["noisy"][index][:count], side), noisy))]
        for stored in kept:
            if (level := level_index(stored, sigma)) is not None:
                name = source.results.names.entrant(stored.entrant)
                denoised = crop(stored.arrays["denoised"][level][:count], side)
                floats = [(each / np.float32(255)).astype(np.float32) for each in (denoised, clean)]
                errors = (255 * error_pictures(floats[0], floats[1], sigma)).astype(np.uint8) // 17 * 17
                psnr = [f"{number(float(value), 1)} dB" for value in stored.arrays["psnr"][level][:count]]
                pictures = _paired(denoised, psnr, errors, "error", f"denoised by {name}", f"error of {name}")
                rows.append(PictureRow(stored.entrant, pictures))
        groups.append(Group(f"σ = {level_name(sigma)}", rows))
    return "", groups


def _paired(
    first: Bytes, captions: str | list[str], second: Bytes, caption: str, text: str = "", other_text: str = ""
) -> list[Picture]:
    """Return pictures of two series of images (N, C, H, W) in turn."""
    titles = itertools.repeat(captions) if isinstance(captions, str) else captions
    pairs = enumerate(zip(first, titles, second, strict=False), start=1)
    return [
        picture
        for index, (image, title, other) in pairs
        for picture in (
            _picture(image // 5 * 5, title, f"{text or title}, image {index}", "pictures"),
            _picture(other // 5 * 5, caption, f"{other_text or caption}, image {index}", "pictures"),
        )
    ]


def _vectors(stored: Sequence[StoredArrays], source: Source, count: int, ranks: int) -> tuple[str, list[Group]]:
    """Return a group for each image: clean and noisy, then the first eigenvectors of each entrant."""
    first, groups = stored[0].arrays, []
    for index in range(min(count, len(first["clean"]))):
        images = [
            _picture(first[name][index] // 8 * 8, name, f"{name} image {index + 1}", "eigenvectors")
            for name in ("clean", "noisy")
        ]
        rows = [PictureRow("", images)]
        for item in stored:
            name, values = source.results.names.entrant(item.entrant), item.arrays["eigenvalues"][index].tolist()
            vectors = list(zip(item.arrays["eigenvectors"][index], values, item.arrays["ranks"].tolist(), strict=True))
            pictures = [
                _picture(vector, f"λ{_subscript(rank)} = {number(value)}", f"eigenvector {rank} of {name}", "P")
                for vector, value, rank in vectors[:ranks]
            ]
            rows.append(PictureRow(item.entrant, pictures))
        groups.append(Group(f"image {index + 1}", rows))
    return level_name(float(first["sigmas"][0])), groups


def _subscript(rank: int) -> str:
    return str(rank).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _picture(image: Bytes, caption: str, text: str, kind: str) -> Picture:
    """Return a picture of an image (C, H, W); kind P draws grey values as signed values."""
    height, width = image.shape[1:]
    scale = max(1, -(-_SIDES["pictures" if kind == "pictures" else "eigenvectors"] // max(height, width)))
    url = _picture_url(image.tobytes(), image.shape, kind == "P" and len(image) == 1)
    return Picture(url, scale * width, scale * height, caption, text)


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


def sample_sheets(source: Source) -> list[Picture]:
    """Return sheets of samples of pairs of networks with the closest training images; empty without stored samples."""
    try:
        pairs = stored_samples(source.folder, "pair-cosine")
    except ResultsError:
        return []
    sheets: list[Picture] = []
    for pair, sets in pairs.items():
        title = f"{source.results.names.entrant(pair[1])}, {source.results.names.dataset(pair[0])}"
        text = f"samples of two networks from the same noise, and the training images closest to each: {title}"
        with Image.open(io.BytesIO(encode_sheet(pairs_sheet(sets, title, 6), ".png"))) as image:
            sheet = Picture(png_data_url(image, 32), image.width // 2, image.height // 2, title, text)
        if sum(len(drawn_sheet.url) for drawn_sheet in [*sheets, sheet]) <= MAX_SHEET_CHARACTERS:
            sheets.append(sheet)
    return sheets


def png_data_url(picture: Image.Image, colours: int, **options: Any) -> str:
    """Return a picture as a ``data:`` URL of a PNG."""
    small = picture if picture.mode in ("P", "L") else picture.convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
