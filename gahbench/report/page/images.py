"""Images of a page, reduced to few colours: denoised images, and sheets of samples."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gahbench._util.errors import ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import number
from gahbench.report.contact_sheet import (
    ERROR_RANGE,
    encode_sheet,
    error_pictures,
    kept_images,
    level_index,
    paired_samples,
    pairs_sheet,
    to_pictures,
)
from gahbench.report.page.charts import MAX_DRAWN, Source

if TYPE_CHECKING:
    from gahbench.report.contact_sheet import Floats
    from gahbench.store.store import StoredArrays

#: The largest number of characters of all pictures, and of all sheets of samples, of a page.
MAX_CHARACTERS, MAX_SHEET_CHARACTERS = 500_000, 1_200_000
#: Numbers of noise levels and of images, and the largest side in pixels; the first whose pictures fit are used.
_LIMITS = ((3, 2, 96), (1, 2, 96), (1, 2, 64), (1, 2, 48), (1, 1, 48), (1, 1, 32))
#: The note of a page without pictures.
NO_PICTURES = "This folder holds no pictures: they are written with the PSNR, of images that anybody may redistribute."
_GREYS, _ERRORS, _COLOURS, _SHEET_COLOURS = 48, 16, 64, 32
_MIN_SIDE = 96  # pixels of the screen along the longer side of an image


@dataclass(frozen=True)
class Picture:
    """A picture as a ``data:`` URL of a PNG, its size on the screen in pixels, its caption, and its text.

    The text is for readers who do not see the picture.
    """

    url: str
    width: int
    height: int
    caption: str
    text: str


@dataclass(frozen=True)
class PictureRow:
    """The pictures of an entrant, or the clean and the noisy images if ``entrant`` is empty."""

    entrant: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class LevelPictures:
    """The rows of a gallery at a noise level: clean and noisy images, then denoised images, each with its error."""

    sigma: str
    rows: Sequence[PictureRow]


@dataclass(frozen=True)
class DatasetPictures:
    """The gallery of a dataset."""

    dataset: str
    levels: Sequence[LevelPictures]


@dataclass(frozen=True)
class Gallery:
    """The pictures of a page, by dataset, and a note on what they show."""

    pictures: Sequence[DatasetPictures]
    note: str


def in_order_of_board(
    stored_by_dataset: Mapping[str, Sequence[StoredArrays]], source: Source
) -> dict[str, list[StoredArrays]]:
    """Return the arrays of the first entrants on the board of each dataset, in the order of the board."""
    kept = {}
    for board in source.results.board.datasets:
        ranking = [entry.entrant for entry in board.entries]
        stored = [arrays for arrays in stored_by_dataset.get(board.dataset, ()) if arrays.entrant in ranking]
        if stored:
            kept[board.dataset] = sorted(stored, key=lambda arrays: ranking.index(arrays.entrant))[:MAX_DRAWN]
    return kept


def gallery(source: Source) -> Gallery:
    """Return as many of the images that a run kept as fit into :data:`MAX_CHARACTERS`."""
    try:
        stored_by_dataset = kept_images(source.folder)
    except ResultsError:
        return Gallery([], NO_PICTURES)
    kept = in_order_of_board(stored_by_dataset, source)
    if not kept:
        return Gallery([], "This folder holds no images of the entrants on this board.")
    for limits in _LIMITS:
        pictures = [_dataset_pictures(dataset, stored, source, *limits) for dataset, stored in kept.items()]
        if sum(len(picture.url) for picture in _all_pictures(pictures)) <= MAX_CHARACTERS:
            return Gallery(pictures, _note(source, pictures))
    return Gallery([], "The images of this run are too many for a page; 'gahbench draw denoised' draws them.")


def _note(source: Source, pictures: Sequence[DatasetPictures]) -> str:
    note = (
        f"The same test images and noise for every entrant, best first. In the errors, grey is 0; white and black are "
        f"{ERROR_RANGE:g} σ. Large images are cropped to their centre; the PSNR is of whole images."
    )
    drawn = {of_dataset.dataset for of_dataset in pictures}
    scored = [board.dataset for board in source.results.board.datasets]
    if missing := [source.results.names.dataset(dataset) for dataset in scored if dataset not in drawn]:
        note += f" There are no pictures of {listing(missing)}: a published board shows only images that are free."
    return note


def _all_pictures(pictures: Sequence[DatasetPictures]) -> Iterator[Picture]:
    rows = (row for of_dataset in pictures for level in of_dataset.levels for row in level.rows)
    return (picture for row in rows for picture in row.pictures)


def _dataset_pictures(
    dataset: str, kept: Sequence[StoredArrays], source: Source, level_count: int, image_count: int, side: int
) -> DatasetPictures:
    sigmas = kept[0].arrays["sigmas"]
    indices = sorted({round(index) for index in np.linspace(0, len(sigmas) - 1, level_count + 2)[1:-1]})
    sheets = [_level_pictures(kept, float(sigmas[index]), source, image_count, side) for index in indices]
    return DatasetPictures(dataset, sheets)


def _level_pictures(kept: Sequence[StoredArrays], sigma: float, source: Source, count: int, side: int) -> LevelPictures:
    clean, level = _pictures_of(kept[0].arrays["clean"], count, side), level_index(kept[0], sigma)
    noisy = _pictures_of(kept[0].arrays["noisy"][level], count, side)
    input_level = f"{number(float(input_psnr(sigma)), 1)} dB"
    rows = [PictureRow("", _alternate(_drawn(clean, "clean"), _drawn(noisy, f"noisy {input_level}")))]
    for stored in kept:
        if (level := level_index(stored, sigma)) is None:
            continue
        name = source.results.names.entrant(stored.entrant)
        denoised = _pictures_of(stored.arrays["denoised"][level], count, side)
        captions = [f"{number(float(value), 1)} dB" for value in stored.arrays["psnr"][level][: len(denoised)]]
        errors = _drawn(error_pictures(denoised, clean, sigma), "error", _ERRORS, text=f"error of {name}")
        pictures = _drawn(denoised, captions, text=f"denoised by {name}")
        rows.append(PictureRow(stored.entrant, _alternate(pictures, errors)))
    return LevelPictures(level_name(sigma), rows)


def _alternate(first: Sequence[Picture], second: Sequence[Picture]) -> list[Picture]:
    return [picture for pair in zip(first, second, strict=True) for picture in pair]


def _pictures_of(images: NDArray[np.uint8], count: int, side: int) -> Floats:
    """Return the first images (N, C, H, W), cropped to their centre, as pictures in [0, 1]."""
    top, left = (max(0, (length - side) // 2) for length in images.shape[-2:])
    return to_pictures(images[:count, :, top : top + side, left : left + side])


def _drawn(pictures: Floats, captions: str | Sequence[str], greys: int = _GREYS, text: str = "") -> list[Picture]:
    """Return pictures (N, H, W) or (N, H, W, 3) with captions, and with texts for readers who do not see them."""
    count, height, width = pictures.shape[:3]
    captions = [captions] * count if isinstance(captions, str) else captions
    scale = max(1, -(-_MIN_SIDE // max(height, width)))
    levels = greys - 1 if pictures.ndim == 3 else 255
    # Grey values on a coarse scale give small files.
    steps = np.round(np.round(pictures * levels).clip(0, levels) * (255 / levels)).astype(np.uint8)
    texts = [f"{text or caption}, image {index}" for index, caption in enumerate(captions, start=1)]
    return [
        Picture(_picture_url(image.tobytes(), image.shape), scale * width, scale * height, caption, alternative)
        for image, caption, alternative in zip(steps, captions, texts, strict=True)
    ]


@functools.lru_cache(maxsize=8192)
def _picture_url(content: bytes, shape: tuple[int, ...]) -> str:
    """Return the ``data:`` URL of a picture."""
    picture = Image.fromarray(np.frombuffer(content, np.uint8).reshape(shape))
    return png_data_url(picture, _COLOURS)


@dataclass(frozen=True)
class ExtremeImages:
    """The images on which an entrant is worst and best compared with another entrant: numbers and gains in dB."""

    entrant: str
    worst: str
    best: str


def extremes(source: Source, dataset: str, count: int = 3) -> tuple[str, list[ExtremeImages]]:
    """Return the baseline, or without a baseline the best ranked entrant, and the images with extreme gains over it."""
    scores = source.results.scores
    rows = scores[(scores["dataset"] == dataset) & (scores["metric"] == "psnr") & (scores["split"] == "test")]
    entries = source.drawn_entries(source.results.board.for_dataset(dataset))
    drawn = [entry.entrant for entry in entries]
    rows = rows[rows["entrant"].isin(drawn) & rows["image"].notna()]
    table = rows.groupby(["entrant", "image"])["value"].mean().unstack("entrant")
    others = [label for label in drawn if label in table]
    if len(others) < 2 or len(table) < 2:
        return "", []
    ranked = [entry.entrant for entry in entries if entry.rank is not None and entry.entrant in others]
    against = source.results.baseline if source.results.baseline in others else [*ranked, *others][0]
    extremes_by_entrant = []
    for label in others:
        gains = (table[label] - table[against]).dropna().sort_values()
        if label != against and len(gains):
            ordered = [f"{image}: {number(gain, 2, sign=True)}" for image, gain in gains.items()]
            extremes_by_entrant.append(
                ExtremeImages(label, ", ".join(ordered[:count]), ", ".join(ordered[::-1][:count]))
            )
    return str(against), extremes_by_entrant


def sample_sheets(source: Source) -> list[Picture]:
    """Return sheets of samples of pairs of networks with the closest training images; empty without stored samples."""
    try:
        pairs = paired_samples(source.folder)
    except ResultsError:
        return []
    sheets: list[Picture] = []
    for pair, sets in pairs.items():
        title = f"{source.results.names.entrant(pair[1])}, {source.results.names.dataset(pair[0])}"
        text = f"samples of two networks from the same noise, and the training images closest to each: {title}"
        with Image.open(io.BytesIO(encode_sheet(pairs_sheet(sets, title, 6), ".png"))) as image:
            url = png_data_url(image, _SHEET_COLOURS)
            sheet = Picture(url, image.width // 2, image.height // 2, title, text)
        if sum(len(drawn_sheet.url) for drawn_sheet in [*sheets, sheet]) <= MAX_SHEET_CHARACTERS:
            sheets.append(sheet)
    return sheets


def png_data_url(picture: Image.Image, colours: int, **options: Any) -> str:
    """Return a picture as a ``data:`` URL of a PNG."""
    small = picture if picture.mode in ("P", "L") else picture.convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
