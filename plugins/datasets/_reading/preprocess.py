"""Preprocess images: crop, resize and mix channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gahbench import DataError

Colour = Literal["mean", "luma", "rgb"]

#: If the size is at least this fraction of the smaller side, images are cropped and not resized.
CROP_ONLY = 0.9
#: Side of the pooled images in the search for near duplicates.
POOLED = 20
#: Maximum number of pixels of temporary arrays in floating point.
STRIP = 1 << 21
#: Weights of R, G and B by ITU-R 601-2, as in JPEG.
LUMA = (0.299, 0.587, 0.114)


class Window(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of an image."""

    top: int
    bottom: int
    left: int
    right: int


#: Window of the faces and default size for images of CelebA's height and width (Kadkhodaie 2024), and for images of
#: half this height and width.
PRESETS: dict[tuple[int, int], tuple[Window, int]] = {
    (218, 178): (Window(29, 189, 9, 169), 80),
    (109, 89): (Window(14, 94, 4, 84), 80),
}


@dataclass(frozen=True)
class Preprocessing:
    """Crop, resize and mix the channels of images."""

    size: int | None = None
    colour: Colour = "mean"
    window: Window | None = None

    @property
    def description(self) -> dict[str, Any]:
        """The settings, as plain JSON."""
        return asdict(self)

    def __call__(self, images: NDArray[Any], where: str) -> NDArray[Any]:
        """Preprocess images (N, C, H, W)."""
        images, size = self._crop_window(images, where)
        height, width = images.shape[2:]
        side = min(height, width)
        if size is not None and size > side:
            raise DataError(f"{where}: images of {height}x{width} pixels; size={size}; accepted: at most {side}")
        is_crop = size is None or size >= CROP_ONLY * side
        if size is not None:
            kept = size if is_crop else side
            top, left = (height - kept) // 2, (width - kept) // 2
            images = images[:, :, top : top + kept, left : left + kept]
        if is_crop:
            return convert_colour(images, self.colour, where)
        batch = len(images) if images[0].size <= STRIP else 1
        levels = (_levels(images[first : first + batch], self.colour, where) for first in range(0, len(images), batch))
        parts = [functional.interpolate(level, size, mode="bicubic", antialias=True).clamp(0, 1) for level in levels]
        resized = torch.cat(parts)
        return _round(resized) if images.dtype == np.uint8 else resized.numpy()

    def pooled(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the mean of the channels pooled to 20x20 pixels, shape (N, 400), for any size and colour."""
        small: Tensor = functional.adaptive_avg_pool2d(_levels(self._crop_window(images, "")[0], "mean", ""), POOLED)
        return small.flatten(1).numpy()

    def _crop_window(self, images: NDArray[Any], where: str) -> tuple[NDArray[Any], int | None]:
        height, width = images.shape[2:]
        window, size = PRESETS.get((height, width), (None, None))
        if self.window is not None:
            window, size = self.window, None
        if window is None:
            return images, self.size
        if window.bottom > height or window.right > width:
            raise DataError(f"{where}: images of {height}x{width} pixels; accepted: at least {window[1]}x{window[3]}")
        cropped = images[:, :, window.top : window.bottom, window.left : window.right]
        return cropped, self.size or size


def grey_levels(images: NDArray[Any]) -> Tensor:
    """Return pixels as float32 in [0, 1]; 8-bit pixels are divided by 255."""
    levels = torch.from_numpy(images.astype(np.float32))
    return levels.div_(255) if images.dtype == np.uint8 else levels


def convert_colour(images: NDArray[Any], colour: Colour, where: str) -> NDArray[Any]:
    """Convert images (N, C, H, W) to the channels that ``colour`` selects; 8-bit images are rounded to 8 bits again."""
    if images.shape[1] == (3 if colour == "rgb" else 1):
        return images  # Without a copy, a memory-mapped file is not read.
    if images.dtype != np.uint8:
        return _levels(images, colour, where).numpy()
    return _by_rows(images, colour, where, np.uint8, _round)


def channels_first(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image, shape (H, W) or (H, W, C), as a batch of one image, shape (1, C, H, W)."""
    return np.atleast_3d(image).transpose(2, 0, 1)[None]


def has_colours(images: NDArray[Any]) -> bool:
    """Return whether any of the images (N, C, H, W) has three different channels."""
    return images.shape[1] == 3 and bool((images[:, :1] != images[:, 1:]).any())


def colour_notes(colour: Colour, had_colours: bool) -> tuple[str, ...]:
    """Return a note if colour images were converted to grey by default."""
    if colour != "mean" or not had_colours:
        return ()
    return ("colour images are converted to grey (colour=mean); colour=rgb keeps their colours",)


def _levels(images: NDArray[Any], colour: Colour, where: str) -> Tensor:
    """Return images with the channels that ``colour`` selects, float32 in [0, 1]."""
    return torch.from_numpy(_by_rows(images, colour, where, np.float32, Tensor.numpy))


def _by_rows(
    images: NDArray[Any],
    colour: Colour,
    where: str,
    dtype: type[np.generic],
    finish: Callable[[Tensor], NDArray[Any]],
) -> NDArray[Any]:
    """Mix the channels of a few rows at a time, so that a large image is never in floating point with all channels."""
    count, _, height, width = images.shape
    mixed = np.empty((count, 3 if colour == "rgb" else 1, height, width), dtype=dtype)
    rows = max(1, STRIP // (count * width))
    for top in range(0, height, rows):
        mixed[:, :, top : top + rows] = finish(_mix(images[:, :, top : top + rows], colour, where))
    return mixed


def _mix(images: NDArray[Any], colour: Colour, where: str) -> Tensor:
    levels = grey_levels(images)
    if colour == "rgb":
        if levels.shape[1] != 3:
            raise DataError(f"{where}: grey images; colour=rgb accepts images of 3 channels")
        return levels
    if colour == "luma" and levels.shape[1] == 3:
        return (levels * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return levels.mean(1, keepdim=True)


def _round(levels: Tensor) -> NDArray[np.uint8]:
    """Return 8-bit pixels of grey levels, the inverse of :func:`grey_levels`."""
    return (levels * 255).round().to(torch.uint8).numpy()
