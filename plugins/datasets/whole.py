"""Whole photographs of one size, for testing."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from gahbench import Card, DataError, Dataset, Shape, Split, listing

from ._reading.fetched import skimage_file
from ._reading.files import source_path
from ._reading.photographs import Photographs, joined, read_photographs, undecoded
from ._reading.preprocess import Colour, colour_notes

#: The embedded photograph, which photos has for testing too.
EMBEDDED = "chelsea.png"


class Whole(Dataset):
    """Whole photographs of one size, as test images, such as those of BSD68 and Set12.

    There are only test images: nothing can be trained, fitted or tuned here, so that references that learn have no row
    here. Those of the size lying on its side are turned by a quarter (counter-clockwise), so that all have one shape.
    Nothing is known about the best possible denoiser.

    Parameters
    ----------
    path
        A folder or zip archive of photographs, up to two folders deep; a Parquet table from the Hugging Face hub; or an
        array file (.npy, .pt, .npz under ``images``, or .npz with an array for each photograph), uint8. Sorted by
        name. By default one photograph that is free of rights, embedded in scikit-image.
    height, width
        Which photographs to take; others are left out. By default all, which then must have one size, turned or not.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, .299 R + .587 G + .114 B; ``rgb``.

    Raises
    ------
    ValueError
        If only one of height and width is given.
    """

    def __init__(
        self,
        path: str | None = None,
        height: Annotated[int, Field(ge=8)] | None = None,
        width: Annotated[int, Field(ge=8)] | None = None,
        colour: Colour = "mean",
    ) -> None:
        if (height is None) != (width is None):
            raise ValueError(f"height={height} and width={width}: accepted are both, or neither")
        self.path = path
        self.height = height
        self.width = width
        self.colour = colour

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of one photograph."""
        height, width = self._size
        return (self._all.pixels.shape[1], height, width)

    @property
    def card(self) -> Card:
        """Origin and licence of the photographs."""
        if self.path is None:
            return Card(f"a photograph embedded in scikit-image: {Path(EMBEDDED).stem}", "CC0 or public domain")
        return Card(f"whole photographs of one's own, from {Path(self.path).name}", "as their owners say")

    @property
    def notes(self) -> tuple[str, ...]:
        """Say that colours were dropped."""
        return colour_notes(self.colour, self.path is not None and self._all.had_colours)

    def missing(self) -> tuple[str, ...]:
        """Return the photographs that take long to decode and are not in the cache yet, in words."""
        return undecoded(source_path(self.path), self.colour) if self.path is not None else ()

    def prepare(self) -> None:
        """Decode the photographs into the cache.

        Raises
        ------
        DataError
            If they cannot be read.
        """
        _ = self._all

    def available(self, split: Split) -> int:
        """Return how many photographs a split holds: none but for testing."""
        return len(self._places) if split == "test" else 0

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return photographs ``start`` to ``start + count``, shape (count, C, H, W), float32 in [0, 1].

        Raises
        ------
        DataError
            If the split holds fewer, or the photographs cannot be read or have different sizes.
        """
        if start + count > self.available(split):
            raise DataError(
                f"{self._where}: {start + count} {split} images requested, but the split holds {self.available(split)}"
                + ("" if split == "test" else "; whole photographs are for testing only")
            )
        chosen = self._places[start : start + count]
        return torch.stack([self._image(place) for place in chosen]) if chosen else torch.empty(0, *self.shape)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the pixels of the photographs, as the files hold them."""
        return self._all.digest

    @property
    def _where(self) -> str:
        return self.path or "the embedded photograph"

    @functools.cached_property
    def _all(self) -> Photographs:
        if self.path is not None:
            return read_photographs(source_path(self.path), self.colour)
        with Image.open(skimage_file(EMBEDDED)) as image:
            return joined({EMBEDDED: np.asarray(image)}, self.colour, self._where)

    @functools.cached_property
    def _size(self) -> tuple[int, int]:
        """Height and width of all, whether they are on their sides in the file or not."""
        sizes = [(height, width) for height, width in self._all.shapes.tolist()]
        found = Counter((min(size), max(size)) for size in sizes)
        counted = listing(f"{height}x{width} ({count})" for (height, width), count in found.most_common(8))
        if self.height is not None and self.width is not None:
            if (min(self.height, self.width), max(self.height, self.width)) not in found:
                raise DataError(f"{self._where}: none has {self.height}x{self.width} pixels; there are {counted}")
            return (self.height, self.width)
        if len(found) > 1:
            raise DataError(
                f"{self._where}: photographs of different sizes; give the height and width of those to take, one of "
                f"{counted}"
            )
        return Counter(sizes).most_common(1)[0][0]

    @functools.cached_property
    def _places(self) -> list[int]:
        wanted = (self._size, self._size[::-1])
        return [place for place, size in enumerate(self._all.shapes.tolist()) if tuple(size) in wanted]

    def _image(self, place: int) -> Tensor:
        """Return a photograph, shape (C, H, W)."""
        height, width = self._all.shapes[place].tolist()
        first = int(self._all.starts[place])
        pixels = np.array(self._all.pixels[first : first + height * width])
        image = torch.from_numpy(pixels).reshape(height, width, -1).permute(2, 0, 1).float() / 255
        return (image if (height, width) == self._size else torch.rot90(image, 1, (1, 2))).contiguous()
