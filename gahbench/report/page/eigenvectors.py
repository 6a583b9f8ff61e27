"""Eigenvectors of Jacobians on a page, as figure 3 of Kadkhodaie et al. 2024: a row for each denoiser."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from PIL import Image

from gahbench._util.readable import level_name
from gahbench.report.cells import number
from gahbench.report.eigenvector_sheets import kept_eigenvectors
from gahbench.report.page.charts import Source
from gahbench.report.page.images import MAX_CHARACTERS, Picture, PictureRow, in_order_of_board, png_data_url

if TYPE_CHECKING:
    from gahbench.report.pictures import Bytes
    from gahbench.store.store import StoredArrays

#: Numbers of images and of eigenvectors, the first of which that fits into :data:`MAX_CHARACTERS` is used.
_LIMITS = ((2, 8), (2, 5), (1, 6), (1, 4), (1, 3), (1, 2))
_COLOURS = 33  # from blue through white, which is zero, to red
_SIDE = 64  # pixels of the screen along the longer side of an image


@dataclass(frozen=True)
class DatasetEigenvectors:
    """The eigenvectors at the images of a dataset: rows for each image."""

    dataset: str
    sigma: str
    images: Sequence[Sequence[PictureRow]]


def eigenvector_gallery(source: Source) -> list[DatasetEigenvectors]:
    """Return as many of the eigenvectors that a folder keeps as fit into :data:`MAX_CHARACTERS`, by dataset."""
    kept = in_order_of_board(kept_eigenvectors(source.folder), source)
    for count, ranks in _LIMITS:
        drawn = [_draw(dataset, stored, source, count, ranks) for dataset, stored in kept.items()]
        rows = (row for of_dataset in drawn for image in of_dataset.images for row in image)
        if sum(len(picture.url) for row in rows for picture in row.pictures) <= MAX_CHARACTERS:
            return drawn
    return []


def _draw(dataset: str, stored: Sequence[StoredArrays], source: Source, count: int, ranks: int) -> DatasetEigenvectors:
    first = stored[0].arrays
    images = []
    for index in range(min(count, len(first["clean"]))):
        test_images = [
            _picture(first[name][index], name, f"{name} image {index + 1}", "L") for name in ("clean", "noisy")
        ]
        rows = [PictureRow("", test_images)]
        for item in stored:
            name, arrays = source.results.names.entrant(item.entrant), item.arrays
            pictures = [
                _picture(vector, f"λ{_subscript(rank)} = {number(value)}", f"eigenvector {rank} of {name}", "P")
                for vector, value, rank in zip(
                    arrays["eigenvectors"][index][:ranks],
                    arrays["eigenvalues"][index].tolist(),
                    arrays["ranks"].tolist(),
                    strict=False,
                )
            ]
            rows.append(PictureRow(item.entrant, pictures))
        images.append(rows)
    return DatasetEigenvectors(dataset, level_name(float(first["sigmas"][0])), images)


def _subscript(rank: int) -> str:
    return str(rank).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _picture(image: Bytes, caption: str, text: str, mode: str) -> Picture:
    """Return a picture of an image (C, H, W) of one or three channels; mode P draws grey values as signed values."""
    height, width = image.shape[1:]
    scale = max(1, -(-_SIDE // max(height, width)))
    return Picture(_picture_url(image.tobytes(), image.shape, mode), scale * width, scale * height, caption, text)


@functools.lru_cache(maxsize=8192)
def _picture_url(content: bytes, shape: tuple[int, ...], mode: str) -> str:
    image = np.frombuffer(content, np.uint8).reshape(shape)
    if len(image) == 3:
        return png_data_url(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), 2 * _COLOURS)
    if mode == "L":
        return png_data_url(Image.fromarray((image[0] // 8 * 8).astype(np.uint8)), _COLOURS)
    middle = _COLOURS // 2
    steps = np.round((image[0].astype(float) - 128) / 127 * middle) + middle
    picture = Image.fromarray(steps.clip(0, _COLOURS - 1).astype(np.uint8), "P")
    colours = mpl.colormaps["RdBu_r"](np.linspace(0, 1, _COLOURS))[:, :3]
    picture.putpalette(np.round(255 * colours).astype(np.uint8).tobytes())
    return png_data_url(picture, _COLOURS)
