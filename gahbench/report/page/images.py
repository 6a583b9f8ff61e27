"""Kept images of a run: clean, noisy, denoised by each entrant, and errors, as strips in palettes of few colours."""

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
from gahbench.report.denoised_images import RANGE, kept_images, pictures
from gahbench.report.page.source import MAX_DRAWN, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gahbench.store.stored_files import StoredArrays

#: Characters of all images of a page.
MAX_CHARACTERS = 200_000
#: Noise levels and images that are shown, the first pair of which all fits.
_CHOICES = ((5, 3), (3, 3), (3, 2), (2, 2), (1, 3), (1, 2), (1, 1))
_GREYS, _ERRORS, _COLOURS = 48, 16, 64
_GAP = 2  # pixels between the images of a strip
_SIDE = 88  # pixels of the screen, at least, of an image


@dataclass(frozen=True)
class Strip:
    """Images side by side."""

    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Denoised:
    """What an entrant made of the images at a noise level, its errors, and the PSNR of each."""

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


@dataclass(frozen=True)
class Gallery:
    """All images of a page."""

    pictures: Sequence[Pictures]
    note: str


def gallery(source: Source) -> Gallery:
    """Return the images that a run kept, as many as fit into :data:`MAX_CHARACTERS` characters."""
    try:
        kept = kept_images(source.folder)
    except ResultsError:
        return Gallery([], "This folder holds no images: those that a run keeps are in its units, which are not here.")
    order = {label: place for place, label in enumerate(source.results.entrants)}
    on_board = {name: [one for one in of if source.has(name, one.entrant)] for name, of in kept.items()}
    kept = {name: sorted(of, key=lambda one: order[one.entrant])[:MAX_DRAWN] for name, of in on_board.items() if of}
    if not kept:
        return Gallery([], "This folder holds no images of the entrants on this board.")
    limit = f"{MAX_CHARACTERS // 1000} kB"
    for levels, images in _CHOICES:
        found = [_pictures(dataset, of, levels, images) for dataset, of in kept.items()]
        size = sum(len(strip.address) for of in found for strip in _strips(of))
        if size <= MAX_CHARACTERS:
            break
    else:
        return Gallery([], f"The images that this run kept have more than {limit}: 'gahbench draw denoised'.")
    most = max(len(one.arrays["sigmas"]) for of in kept.values() for one in of)
    shown = max(len(one.levels) for one in found)
    images = min(images, max(len(one.arrays["clean"]) for of in kept.values() for one in of))
    note = (
        f"{images} of the images that were kept, at {shown} of {most} noise levels: {size / 1000:.0f} kB, at most "
        f"{limit}, in few greys or colours. 'gahbench draw denoised' draws all. Errors are grey for 0, white and "
        f"black for {RANGE:g} σ; of large images the centre is shown, and the PSNR is of the whole."
    )
    return Gallery(found, note)


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
    clean = pictures(kept[0].arrays["clean"])[:images]
    return Pictures(dataset, strip(clean), [_level(kept, clean, float(sigmas[place])) for place in places])


def _level(kept: Sequence[StoredArrays], clean: NDArray[np.float32], sigma: float) -> LevelImages:
    found = []
    noisy: NDArray[np.float32] | None = None
    for one in kept:
        at = np.flatnonzero(np.isclose(one.arrays["sigmas"], sigma))
        if not len(at):
            continue
        place, arrays = int(at[0]), one.arrays
        noisy = pictures(arrays["noisy"][place])[: len(clean)] if noisy is None else noisy
        denoised = pictures(arrays["denoised"][place])[: len(clean)]
        error = np.clip(0.5 + (denoised - clean) / (2 * RANGE * sigma), 0, 1).astype(np.float32)
        psnr = ", ".join(number(float(value), 1) for value in arrays["psnr"][place][: len(clean)])
        found.append(Denoised(one.entrant, strip(denoised), strip(error, _ERRORS), psnr))
    return LevelImages(level_name(sigma), strip(clean if noisy is None else noisy, _ERRORS), found)


def strip(images: NDArray[np.float32], greys: int = _GREYS) -> Strip:
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
    """The images on which an entrant loses the most against another, and those on which it gains: dB by number."""

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
    ranked = [entry.entrant for entry in entries if entry.rank is not None and entry.entrant in others]
    against = source.results.baseline if source.results.baseline in others else next(iter([*ranked, *others]), "")
    if len(others) < 2 or len(table) < 2:
        return "", []
    found = []
    for label in others:
        gains = (table[label] - table[against]).dropna().sort_values()
        if label != against and len(gains):
            ordered = [f"{image}: {number(gain, 2, sign=True)}" for image, gain in zip(gains.index, gains, strict=True)]
            found.append(Extremes(label, ", ".join(ordered[:count]), ", ".join(ordered[::-1][:count])))
    return str(against), found


def png_address(picture: Image.Image, colours: int, **options: Any) -> str:
    """Return a picture as a ``data:`` address of a PNG."""
    small = picture if picture.mode == "P" else picture.convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
