"""Images as a benchmark sees them: cropped, resized, grey or in colour."""

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

#: A size of at least this share of the smaller side is cropped, not resized.
CROP_ONLY = 0.9
#: Side of the images that near repeats are looked for in.
POOLED = 20
#: Pixels that are in floating point at a time, where images are not to stay so.
STRIP = 1 << 21
#: ITU-R 601-2, as in JPEG.
LUMA = (0.299, 0.587, 0.114)


class Window(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of an image."""

    top: int
    bottom: int
    left: int
    right: int


#: For sources of CelebA's height and width, whole (Kadkhodaie 2024) or halved: the window of the faces, and the size
#: to give it by default.
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
        """The settings that decide the outcome, as plain JSON."""
        return asdict(self)

    def __call__(self, images: NDArray[Any], where: str) -> NDArray[Any]:
        """Preprocess images."""
        images, size = self._windowed(images, where)
        height, width = images.shape[2:]
        side = min(height, width)
        if size is not None and size > side:
            raise DataError(f"{where}: images of {height}x{width} pixels; size={size}, accepted is {side} at most")
        crops = size is None or size >= CROP_ONLY * side
        if size is not None:
            kept = size if crops else side
            top, left = (height - kept) // 2, (width - kept) // 2
            images = images[:, :, top : top + kept, left : left + kept]
        if crops:
            return in_colour(images, self.colour, where)
        together = len(images) if images[0].size <= STRIP else 1
        levels = (
            _levels(images[first : first + together], self.colour, where) for first in range(0, len(images), together)
        )
        parts = [functional.interpolate(level, size, mode="bicubic", antialias=True).clamp(0, 1) for level in levels]
        resized = torch.cat(parts)
        return _rounded(resized) if images.dtype == np.uint8 else resized.numpy()

    def pooled(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the mean of the channels pooled to 20x20 pixels, shape (N, 400), whatever size and colour are."""
        small: Tensor = functional.adaptive_avg_pool2d(_levels(self._windowed(images, "")[0], "mean", ""), POOLED)
        return small.flatten(1).numpy()

    def _windowed(self, images: NDArray[Any], where: str) -> tuple[NDArray[Any], int | None]:
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
    """Return pixels as float32 in [0, 1]; 8-bit ones are divided by 255."""
    levels = torch.from_numpy(images.astype(np.float32))
    return levels.div_(255) if images.dtype == np.uint8 else levels


def in_colour(images: NDArray[Any], colour: Colour, where: str) -> NDArray[Any]:
    """Return images (N, C, H, W) with the channels that a colour asks for; 8-bit ones are rounded to 8 bits again."""
    if images.shape[1] == (3 if colour == "rgb" else 1):
        return images  # Not a copy: a large file stays on the disk.
    if images.dtype != np.uint8:
        return _levels(images, colour, where).numpy()
    return _by_rows(images, colour, where, np.uint8, _rounded)


def channels_first(image: NDArray[Any]) -> NDArray[Any]:
    """Return one image, shape (H, W) or (H, W, C), as images, shape (1, C, H, W)."""
    return np.atleast_3d(image).transpose(2, 0, 1)[None]


def has_colours(images: NDArray[Any]) -> bool:
    """Whether some images (N, C, H, W) have three channels that differ."""
    return images.shape[1] == 3 and bool((images[:, :1] != images[:, 1:]).any())


def colour_notes(colour: Colour, had_colours: bool) -> tuple[str, ...]:
    """Return what to say where images were turned to grey by the default."""
    if colour != "mean" or not had_colours:
        return ()
    return ("its images are in colour, and are turned to grey (colour=mean); colour=rgb keeps their colours",)


def _levels(images: NDArray[Any], colour: Colour, where: str) -> Tensor:
    """Return images with the channels that a colour asks for, as float32 in [0, 1]."""
    return torch.from_numpy(_by_rows(images, colour, where, np.float32, Tensor.numpy))


def _by_rows(
    images: NDArray[Any],
    colour: Colour,
    where: str,
    dtype: type[np.generic],
    finish: Callable[[Tensor], NDArray[Any]],
) -> NDArray[Any]:
    """Mix the channels of a few rows at a time, so that a large image is never in floating point with all of them."""
    count, _, height, width = images.shape
    mixed = np.empty((count, 3 if colour == "rgb" else 1, height, width), dtype=dtype)
    rows = max(1, STRIP // (count * width))
    for top in range(0, height, rows):
        mixed[:, :, top : top + rows] = finish(_mixed(images[:, :, top : top + rows], colour, where))
    return mixed


def _mixed(images: NDArray[Any], colour: Colour, where: str) -> Tensor:
    levels = grey_levels(images)
    if colour == "rgb":
        if levels.shape[1] != 3:
            raise DataError(f"{where}: grey images; colour=rgb accepts images of 3 channels")
        return levels
    if colour == "luma" and levels.shape[1] == 3:
        return (levels * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return levels.mean(1, keepdim=True)


def _rounded(levels: Tensor) -> NDArray[np.uint8]:
    """Return 8-bit pixels, of which :func:`grey_levels` makes floating point again."""
    return (levels * 255).round().to(torch.uint8).numpy()
