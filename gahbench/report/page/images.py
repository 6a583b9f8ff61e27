"""Images of a page, in palettes of few colours: kept by a run, as strips, and samples beside training images."""

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

#: The most characters of all strips, and of all sheets of samples, of a page.
MAX_CHARACTERS, MAX_SHEET_CHARACTERS = 200_000, 1_200_000
#: Numbers of noise levels and of images: the first pair is shown whose strips fit.
_CHOICES = ((5, 3), (3, 3), (3, 2), (2, 2), (1, 3), (1, 2), (1, 1))
_GREYS, _ERRORS, _COLOURS, _SHEET_COLOURS = 48, 16, 64, 32
_GAP = 2  # pixels between the images of a strip
_SIDE = 88  # the least pixels of the screen along the longer side of an image


@dataclass(frozen=True)
class Strip:
    """Images side by side."""

    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Denoised:
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
    entrants: Sequence[Denoised]


@dataclass(frozen=True)
class Pictures:
    """The images of a dataset."""

    dataset: str
    clean: Strip
    levels: Sequence[LevelImages]


def gallery(source: Source) -> tuple[list[Pictures], str]:
    """Return the images that a run kept, as many as fit into :data:`MAX_CHARACTERS` characters, and a note."""
    try:
        stored = kept_images(source.folder)
    except ResultsError:
        return [], "This folder holds no images: those that a run keeps are in its units, which are not here."
    kept = {}
    for dataset, of_dataset in stored.items():
        if on_board := [one for one in of_dataset if source.has(dataset, one.entrant)]:
            kept[dataset] = sorted(on_board, key=lambda one: source.places[one.entrant])[:MAX_DRAWN]
    if not kept:
        return [], "This folder holds no images of the entrants on this board."
    limit = f"{MAX_CHARACTERS // 1000} kB"
    for levels, images in _CHOICES:
        shown = [_pictures(dataset, of_dataset, levels, images) for dataset, of_dataset in kept.items()]
        size = sum(len(strip.address) for one in shown for strip in _strips(one))
        if size <= MAX_CHARACTERS:
            break
    else:
        return [], f"The images that this run kept have more than {limit}: 'gahbench draw denoised'."
    arrays = [one.arrays for of_dataset in kept.values() for one in of_dataset]
    count = min(images, max(len(one["clean"]) for one in arrays))
    levels, most = max(len(one.levels) for one in shown), max(len(one["sigmas"]) for one in arrays)
    return shown, (
        f"{count} of the images that were kept, at {levels} of {most} noise levels: {size / 1000:.0f} kB, at most "
        f"{limit}, in few greys or colours. 'gahbench draw denoised' draws all. Errors are grey for 0, white and "
        f"black for {ERROR_RANGE:g} σ; of large images the centre is shown, and the PSNR is of the whole."
    )


def _strips(pictures: Pictures) -> Iterator[Strip]:
    yield pictures.clean
    for level in pictures.levels:
        yield level.noisy
        for one in level.entrants:
            yield from (one.denoised, one.error)


def _pictures(dataset: str, kept: Sequence[StoredArrays], levels: int, images: int) -> Pictures:
    sigmas = kept[0].arrays["sigmas"]
    places = sorted({round(place) for place in np.linspace(0, len(sigmas) - 1, levels + 2)[1:-1]})
    if levels >= len(sigmas):
        places = list(range(len(sigmas)))
    clean = to_pictures(kept[0].arrays["clean"])[:images]
    return Pictures(dataset, strip(clean), [_level(kept, clean, float(sigmas[place])) for place in places])


def _level(kept: Sequence[StoredArrays], clean: Floats, sigma: float) -> LevelImages:
    noisy = strip(clean, _ERRORS)
    entrants: list[Denoised] = []
    for one in kept:
        if (level := level_index(one, sigma)) is None:
            continue
        if not entrants:
            noisy = strip(to_pictures(one.arrays["noisy"][level])[: len(clean)], _ERRORS)
        denoised = to_pictures(one.arrays["denoised"][level])[: len(clean)]
        error = strip(error_pictures(denoised, clean, sigma), _ERRORS)
        psnr = ", ".join(number(float(value), 1) for value in one.arrays["psnr"][level][: len(clean)])
        entrants.append(Denoised(one.entrant, strip(denoised), error, psnr))
    return LevelImages(level_name(sigma), noisy, entrants)


def strip(images: Floats, greys: int = _GREYS) -> Strip:
    """Return images (N, H, W) or (N, H, W, 3) side by side."""
    levels = greys - 1 if images.ndim == 3 else 255
    steps = np.round(images * levels).clip(0, levels).astype(np.uint8)
    height, width = steps.shape[1:3]
    scale = max(1, -(-_SIDE // max(height, width)))
    across = len(steps) * (width + _GAP) - _GAP
    return Strip(_encoded(steps.tobytes(), steps.shape, greys), scale * across, scale * height)


@functools.lru_cache(maxsize=4096)
def _encoded(content: bytes, shape: tuple[int, ...], greys: int) -> str:
    """Return a strip as the address of a PNG; gaps between grey images are transparent."""
    steps = np.frombuffer(content, np.uint8).reshape(shape)
    gap = np.full((shape[1], _GAP, *shape[3:]), greys if len(shape) == 3 else 255, np.uint8)
    joined = np.concatenate([part for image in steps for part in (image, gap)][:-1], axis=1)
    if joined.ndim == 3:
        return png_address(Image.fromarray(joined), _COLOURS)
    picture = Image.fromarray(joined, "P")
    shades = [round(255 * step / (greys - 1)) for step in range(greys)]
    picture.putpalette([shade for step in [*shades, 255] for shade in (step, step, step)])
    return png_address(picture, _COLOURS, transparency=greys)


@dataclass(frozen=True)
class Extremes:
    """The images on which an entrant is worst and best compared with another entrant: dB by number of the image."""

    entrant: str
    worst: str
    best: str


def extremes(source: Source, dataset: str, count: int = 3) -> tuple[str, list[Extremes]]:
    """Return the images on which entrants differ the most from the baseline, or else from the best that has a rank."""
    scores = source.results.scores
    rows = scores[(scores["dataset"] == dataset) & (scores["metric"] == "psnr") & (scores["split"] == "test")]
    entries = source.drawn(source.results.board.of(dataset))
    drawn = [entry.entrant for entry in entries]
    rows = rows[rows["entrant"].isin(drawn) & rows["image"].notna()]
    table = rows.groupby(["entrant", "image"])["value"].mean().unstack("entrant")
    others = [label for label in drawn if label in table]
    if len(others) < 2 or len(table) < 2:
        return "", []
    ranked = [entry.entrant for entry in entries if entry.rank is not None and entry.entrant in others]
    against = source.results.baseline if source.results.baseline in others else [*ranked, *others][0]
    found = []
    for label in others:
        gains = (table[label] - table[against]).dropna().sort_values()
        if label != against and len(gains):
            ordered = [f"{image}: {number(gain, 2, sign=True)}" for image, gain in gains.items()]
            found.append(Extremes(label, ", ".join(ordered[:count]), ", ".join(ordered[::-1][:count])))
    return str(against), found


@dataclass(frozen=True)
class Sheet:
    """A sheet of samples, as a ``data:`` address, and its size in pixels."""

    title: str
    address: str
    width: int
    height: int


def sample_sheets(source: Source) -> list[Sheet]:
    """Return samples of pairs of networks beside their closest training images, if the folder has them."""
    try:
        pairs = paired_samples(source.folder)
    except ResultsError:
        return []
    sheets: list[Sheet] = []
    for pair, sets in pairs.items():
        title = ", ".join(reversed(pair))
        with Image.open(io.BytesIO(encode_sheet(pairs_sheet(sets, title, 6), ".png"))) as image:
            sheet = Sheet(title, png_address(image, _SHEET_COLOURS), image.width // 2, image.height // 2)
        if sum(len(one.address) for one in [*sheets, sheet]) <= MAX_SHEET_CHARACTERS:
            sheets.append(sheet)
    return sheets


def png_address(picture: Image.Image, colours: int, **options: Any) -> str:
    """Return a picture as a ``data:`` address of a PNG."""
    small = picture if picture.mode == "P" else picture.convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
