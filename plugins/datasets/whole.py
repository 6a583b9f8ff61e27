"""Whole photographs, for testing."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahbench import DataError, Shape, Split
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.photos import Photographs

Size = tuple[int, int]


class Whole(Photographs):
    """Whole photographs as test images, such as the sets BSD68, Set12, Kodak and Urban100.

    There are only test images, so entrants that are trained, fitted or tuned on a dataset have no row. If photographs
    of the same size have both orientations, the photographs in the rarer orientation are rotated by 90 degrees
    (counter-clockwise). All photographs of BSD68 then have the same shape. Photographs of other sizes keep their
    shapes, and belong to the same set: see :meth:`gahbench.Dataset.shapes`. The best possible denoiser is unknown.

    Parameters
    ----------
    path
        A folder of photographs, up to two folders deep; or an array file (.npy, .npz under ``images``, or .npz with an
        array for each photograph), uint8. Photographs are sorted by name. The default is a photograph in the public
        domain or CC0, embedded in scikit-image.
    height, width
        Size of the photographs to use, in pixels, in either orientation; other photographs are left out. By default
        photographs of all sizes are used.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    sha256
        Expected SHA-256 of the pixels, as :meth:`fingerprint` returns it and boards record it, or at least its first 8
        digits; other pixels are refused.
    on_error
        ``raise``: files that cannot be read raise an error that names all of them. ``skip``: such files are left out,
        and named in a note.

    Raises
    ------
    ValueError
        If ``height`` is given without ``width``, or ``width`` without ``height``.
    """

    display_name = "whole photographs, {path}"
    # ``photos`` also has this photograph for testing.
    embedded = ("chelsea.png",)

    def __init__(
        self,
        path: str | None = None,
        height: Annotated[int, Field(ge=8)] | None = None,
        width: Annotated[int, Field(ge=8)] | None = None,
        colour: reading.Colour = "mean",
        sha256: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None = None,
        on_error: reading.OnError = "raise",
    ) -> None:
        if (height is None) != (width is None):
            raise ValueError(f"height={height} and width={width}: give both, or neither")
        super().__init__(path, colour, on_error)
        self.height = height
        self.width = width
        self.sha256 = sha256

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of the first photograph."""
        return (3 if self.colour == "rgb" else 1, *self._oriented_sizes[self._indices[0]])

    def shapes(self, count: int) -> list[Shape] | None:
        """Return the shapes of the first ``count`` photographs; ``None`` if all shapes are equal up to orientation."""
        if len(set(self._oriented_sizes)) == 1 or self.height is not None:
            return None
        return [(self.shape[0], *size) for size in self._oriented_sizes[:count]]

    def of_shape(self, shape: Shape) -> Whole:
        """Return the dataset of the photographs of the given shape, in either orientation."""
        _, height, width = shape
        subset = Whole(self.path, height, width, self.colour, self.sha256, self.on_error)
        # Share the photographs, which are not read again.
        subset.photographs, subset._digest = self.photographs, self._digest
        if shape != subset.shape:
            raise DataError(f"{self.where}: photographs of shape {subset.shape}, not {shape}")
        return subset

    def available(self, split: Split) -> int:
        """Return the number of photographs of a split; 0 except for ``test``."""
        return len(self._indices) if split == "test" else 0

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return photographs ``start`` to ``start + count``, shape (count, C, H, W), float32 in [0, 1]."""
        advice = "" if split == "test" else "; whole photographs are for testing only"
        reading.check_count(self.where, split, start + count, self.available(split), advice)
        if self.shapes(1) is not None and count:
            raise DataError(
                f"{self.where}: photographs of different sizes; set 'height' and 'width' to one of {self._sizes}"
            )
        images = []
        for index in self._indices[start : start + count]:
            pixels = self.photographs.results[index]
            turned = pixels if pixels.shape[:2] == self._oriented_sizes[index] else np.rot90(pixels)
            images.append(torch.from_numpy(turned.copy()).permute(2, 0, 1).float() / 255)
        return torch.stack(images) if images else torch.empty(0, *self.shape)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the pixels of all photographs of the source, in the requested colours."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for pixels in self.photographs.results:
            digest.update("x".join(map(str, pixels.shape)).encode() + pixels.tobytes())
        pixels_digest = digest.hexdigest()
        if self.sha256 is not None and not pixels_digest.startswith(self.sha256):
            raise DataError(
                f"{self.where}: its pixels have the SHA-256 {pixels_digest}, not {self.sha256}; accepted: matching "
                "files, or no 'sha256'"
            )
        return pixels_digest

    @functools.cached_property
    def _oriented_sizes(self) -> list[Size]:
        """Height and width of each photograph after rotation to the given, or the more frequent, orientation."""
        sizes: list[Size] = [pixels.shape[:2] for pixels in self.photographs.results]
        if self.height is not None and self.width is not None:
            wanted = (self.height, self.width)
            return [wanted if size in (wanted, wanted[::-1]) else size for size in sizes]
        # The most frequent orientation is first; the first photograph decides ties.
        orientations: dict[Size, Size] = {}
        for size, _ in Counter(sizes).most_common():
            orientations.setdefault(size, orientations.get(size[::-1], size))
        return [orientations[size] for size in sizes]

    @functools.cached_property
    def _indices(self) -> list[int]:
        if self.height is None:
            return list(range(len(self._oriented_sizes)))
        indices = [index for index, size in enumerate(self._oriented_sizes) if size == (self.height, self.width)]
        if not indices:
            raise DataError(
                f"{self.where}: no photograph has {self.height}x{self.width} pixels; accepted sizes: {self._sizes}"
            )
        return indices

    @property
    def _sizes(self) -> str:
        counts = Counter(tuple(sorted(pixels.shape[:2])) for pixels in self.photographs.results)
        return ", ".join(f"{height}x{width} ({count})" for (height, width), count in counts.most_common(8))
