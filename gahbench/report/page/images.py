"""Images of a page, reduced to few colours: strips of denoised images, and sheets of samples."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gahbench._util.errors import ResultsError
from gahbench._util.readable import level_name
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
    from gahbench.store.stored_files import StoredArrays

#: The largest number of characters of all strips, and of all sheets of samples, of a page.
MAX_CHARACTERS, MAX_SHEET_CHARACTERS = 200_000, 1_200_000
#: Numbers of noise levels and of images; the first pair whose strips fit is used.
_LEVEL_AND_IMAGE_COUNTS = ((5, 3), (3, 3), (3, 2), (2, 2), (1, 3), (1, 2), (1, 1))
_GREYS, _ERRORS, _COLOURS, _SHEET_COLOURS = 48, 16, 64, 32
_GAP = 2  # pixels between the images of a strip
_MIN_SIDE = 88  # pixels of the screen along the longer side of an image


@dataclass(frozen=True)
class Strip:
    """Images side by side as a ``data:`` URL of a PNG, and its size in pixels."""

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class DenoisedImages:
    """The images that an entrant denoised at a noise level, its errors, and the PSNR of each image."""

    entrant: str
    denoised: Strip
    error: Strip
    psnr: str


@dataclass(frozen=True)
class LevelImages:
    """The images of a dataset at a noise level."""

    sigma: str
    noisy: Strip
    entrants: Sequence[DenoisedImages]


@dataclass(frozen=True)
class DatasetImages:
    """The images of a dataset."""

    dataset: str
    clean: Strip
    levels: Sequence[LevelImages]


def gallery(source: Source) -> tuple[list[DatasetImages], str]:
    """Return as many of the images that a run kept as fit into :data:`MAX_CHARACTERS`, and a note for the page."""
    try:
        stored_by_dataset = kept_images(source.folder)
    except ResultsError:
        return [], "This folder holds no images: a run keeps them in its units, which this folder does not have."
    kept = {}
    for dataset, of_dataset in stored_by_dataset.items():
        if on_board := [images for images in of_dataset if source.is_on_board(dataset, images.entrant)]:
            kept[dataset] = sorted(on_board, key=lambda images: source.indices[images.entrant])[:MAX_DRAWN]
    if not kept:
        return [], "This folder holds no images of the entrants on this board."
    limit = f"{MAX_CHARACTERS // 1000} kB"
    for level_count, image_count in _LEVEL_AND_IMAGE_COUNTS:
        pictures_by_dataset = [
            _dataset_images(dataset, stored, level_count, image_count) for dataset, stored in kept.items()
        ]
        size = sum(len(strip.url) for pictures in pictures_by_dataset for strip in _strips(pictures))
        if size <= MAX_CHARACTERS:
            break
    else:
        return [], f"The images of this run take more than {limit}; 'gahbench draw denoised' draws them."
    arrays = [stored.arrays for of_dataset in kept.values() for stored in of_dataset]
    count = min(image_count, max(len(stored["clean"]) for stored in arrays))
    levels = max(len(pictures.levels) for pictures in pictures_by_dataset)
    max_levels = max(len(stored["sigmas"]) for stored in arrays)
    return pictures_by_dataset, (
        f"{count} of the images that the run kept, at {levels} of {max_levels} noise levels, with few greys or colours "
        f"({size / 1000:.0f} kB of at most {limit}). 'gahbench draw denoised' draws all. In the errors, grey is 0; "
        f"white and black are {ERROR_RANGE:g} σ. Large images are cropped to their centre; the PSNR is of whole images."
    )


def _strips(pictures: DatasetImages) -> Iterator[Strip]:
    yield pictures.clean
    for level in pictures.levels:
        yield level.noisy
        for entrant in level.entrants:
            yield from (entrant.denoised, entrant.error)


def _dataset_images(dataset: str, kept: Sequence[StoredArrays], level_count: int, image_count: int) -> DatasetImages:
    sigmas = kept[0].arrays["sigmas"]
    indices = sorted({round(index) for index in np.linspace(0, len(sigmas) - 1, level_count + 2)[1:-1]})
    if level_count >= len(sigmas):
        indices = list(range(len(sigmas)))
    clean = to_pictures(kept[0].arrays["clean"])[:image_count]
    return DatasetImages(
        dataset, make_strip(clean), [_level_images(kept, clean, float(sigmas[index])) for index in indices]
    )


def _level_images(kept: Sequence[StoredArrays], clean: Floats, sigma: float) -> LevelImages:
    noisy = make_strip(clean, _ERRORS)
    entrants: list[DenoisedImages] = []
    for stored in kept:
        if (level := level_index(stored, sigma)) is None:
            continue
        if not entrants:
            noisy = make_strip(to_pictures(stored.arrays["noisy"][level])[: len(clean)], _ERRORS)
        denoised = to_pictures(stored.arrays["denoised"][level])[: len(clean)]
        error = make_strip(error_pictures(denoised, clean, sigma), _ERRORS)
        psnr = ", ".join(number(float(value), 1) for value in stored.arrays["psnr"][level][: len(clean)])
        entrants.append(DenoisedImages(stored.entrant, make_strip(denoised), error, psnr))
    return LevelImages(level_name(sigma), noisy, entrants)


def make_strip(images: Floats, greys: int = _GREYS) -> Strip:
    """Return a strip of images (N, H, W) or (N, H, W, 3)."""
    levels = greys - 1 if images.ndim == 3 else 255
    steps = np.round(images * levels).clip(0, levels).astype(np.uint8)
    height, width = steps.shape[1:3]
    scale = max(1, -(-_MIN_SIDE // max(height, width)))
    across = len(steps) * (width + _GAP) - _GAP
    return Strip(_strip_url(steps.tobytes(), steps.shape, greys), scale * across, scale * height)


@functools.lru_cache(maxsize=4096)
def _strip_url(content: bytes, shape: tuple[int, ...], greys: int) -> str:
    """Return the ``data:`` URL of a strip; gaps between grey images are transparent."""
    steps = np.frombuffer(content, np.uint8).reshape(shape)
    gap = np.full((shape[1], _GAP, *shape[3:]), greys if len(shape) == 3 else 255, np.uint8)
    joined = np.concatenate([part for image in steps for part in (image, gap)][:-1], axis=1)
    if joined.ndim == 3:
        return png_data_url(Image.fromarray(joined), _COLOURS)
    picture = Image.fromarray(joined, "P")
    shades = [round(255 * step / (greys - 1)) for step in range(greys)]
    picture.putpalette([shade for step in [*shades, 255] for shade in (step, step, step)])
    return png_data_url(picture, _COLOURS, transparency=greys)


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


@dataclass(frozen=True)
class Sheet:
    """A sheet of samples as a ``data:`` URL of a PNG, and its size in pixels."""

    title: str
    url: str
    width: int
    height: int


def sample_sheets(source: Source) -> list[Sheet]:
    """Return sheets of samples of pairs of networks with the closest training images; empty without stored samples."""
    try:
        pairs = paired_samples(source.folder)
    except ResultsError:
        return []
    sheets: list[Sheet] = []
    for pair, sets in pairs.items():
        title = f"{source.results.names.entrant(pair[1])}, {source.results.names.dataset(pair[0])}"
        with Image.open(io.BytesIO(encode_sheet(pairs_sheet(sets, title, 6), ".png"))) as image:
            sheet = Sheet(title, png_data_url(image, _SHEET_COLOURS), image.width // 2, image.height // 2)
        if sum(len(drawn_sheet.url) for drawn_sheet in [*sheets, sheet]) <= MAX_SHEET_CHARACTERS:
            sheets.append(sheet)
    return sheets


def png_data_url(picture: Image.Image, colours: int, **options: Any) -> str:
    """Return a picture as a ``data:`` URL of a PNG."""
    small = picture if picture.mode == "P" else picture.convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
