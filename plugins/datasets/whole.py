"""Whole photographs, for testing."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahbench import Card, DataError, Shape, Split

from ._reading.files import OnError
from ._reading.photographs import PhotographSet
from ._reading.preprocess import Colour, colour_notes

Size = tuple[int, int]


class Whole(PhotographSet):
    """Whole photographs as test images, such as those of BSD68, Set12, Kodak and Urban100.

    There are only test images: nothing can be trained, fitted or tuned here, so that references that learn have no row
    here. Of each size, those that lie on their sides, compared with the majority, are turned by a quarter
    (counter-clockwise). So the two sizes of BSD68 have one shape; photographs of other sizes keep theirs, and all are
    one set: see :meth:`gahbench.Dataset.shapes`. Nothing is known about the best possible denoiser.

    Parameters
    ----------
    path
        A folder or zip archive of photographs, up to two folders deep; a Parquet table from the Hugging Face hub; or an
        array file (.npy, .pt, .npz under ``images``, or .npz with an array for each photograph), uint8. Sorted by
        name. By default one photograph that is free of rights, embedded in scikit-image.
    height, width
        Which photographs to take, turned or not; others are left out. By default all, of whatever sizes.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    sha256
        The SHA-256 of the pixels that are expected, as :meth:`fingerprint` gives it and boards record it, at least its
        first 8 digits; other pixels are refused.
    on_error
        ``raise``: files that cannot be read are an error that names all of them. ``skip``: they are left out, and named
        in a note.

    Raises
    ------
    ValueError
        If only one of height and width is given.
    """

    embedded_name = "the embedded photograph"
    # The one that photos has for testing too.
    _embedded: Sequence[str] = ("chelsea.png",)

    def __init__(
        self,
        path: str | None = None,
        height: Annotated[int, Field(ge=8)] | None = None,
        width: Annotated[int, Field(ge=8)] | None = None,
        colour: Colour = "mean",
        sha256: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None = None,
        on_error: OnError = "raise",
    ) -> None:
        if (height is None) != (width is None):
            raise ValueError(f"height={height} and width={width}: accepted are both, or neither")
        super().__init__(path, colour, on_error)
        self.height = height
        self.width = width
        self.sha256 = sha256

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of the first photograph."""
        return (self._all.pixels.shape[1], *self._upright[self._places[0]])

    def shapes(self, count: int) -> list[Shape] | None:
        """Return the shape of each of the first photographs; ``None`` where all have one, turned or not."""
        if len(set(self._upright)) == 1 or self.height is not None:
            return None
        return [(self.shape[0], *size) for size in self._upright[:count]]

    def of_shape(self, shape: Shape) -> Whole:
        """Return the set of the photographs of one shape, turned or not."""
        _, height, width = shape
        subset = Whole(self.path, height, width, self.colour, self.sha256, self.on_error)
        # They are not read again.
        subset._all, subset._digest = self._all, self._digest
        if shape != subset.shape:
            raise DataError(f"{self._where}: photographs of shape {subset.shape}, not {shape}")
        return subset

    @property
    def card(self) -> Card:
        """Origin and licence of the photographs."""
        if self.path is None:
            return Card(
                f"a photograph embedded in scikit-image: {Path(self._embedded[0]).stem}", "CC0 or public domain"
            )
        return Card(f"whole photographs of one's own, from {Path(self.path).name}", "as their owners say")

    @property
    def notes(self) -> tuple[str, ...]:
        """Say which photographs were left out, and that colours were dropped."""
        return (
            *self._all.unusable_notes(),
            *colour_notes(self.colour, self.path is not None and self._all.had_colours),
        )

    def available(self, split: Split) -> int:
        """Return how many photographs a split holds: none but for testing."""
        return len(self._places) if split == "test" else 0

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return photographs ``start`` to ``start + count``, shape (count, C, H, W), float32 in [0, 1]."""
        if start + count > self.available(split):
            raise DataError(
                f"{self._where}: {start + count} {split} images requested, but the split holds {self.available(split)}"
                + ("" if split == "test" else "; whole photographs are for testing only")
            )
        if self.shapes(1) is not None and count:
            raise DataError(
                f"{self._where}: photographs of different sizes; give the height and width of {self._sizes}"
            )
        images, pixels = [], self._all.flat_pixels()
        for place in self._places[start : start + count]:
            size = tuple(self._all.shapes[place].tolist())
            image = torch.from_numpy(np.array(pixels[place])).reshape(*size, -1).permute(2, 0, 1).float() / 255
            images.append(image if size == self._upright[place] else torch.rot90(image, 1, (1, 2)))
        return torch.stack(images) if images else torch.empty(0, *self.shape)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the pixels of all photographs of the source, in the colours that are asked for."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for (height, width), pixels in zip(self._all.shapes.tolist(), self._all.flat_pixels(), strict=True):
            digest.update(f"{height}x{width}x{pixels.shape[1]}".encode())
            digest.update(pixels.tobytes())
        pixels_digest = digest.hexdigest()
        if self.sha256 is not None and not pixels_digest.startswith(self.sha256):
            raise DataError(
                f"{self._where}: its pixels have the SHA-256 {pixels_digest}, not {self.sha256}; accepted: the files "
                "that are meant, or no 'sha256'"
            )
        return pixels_digest

    @functools.cached_property
    def _upright(self) -> list[Size]:
        """Height and width of each, those on their sides turned: as given, or as more of the size are in the file."""
        sizes: list[Size] = [(height, width) for height, width in self._all.shapes.tolist()]
        if self.height is not None and self.width is not None:
            wanted = (self.height, self.width)
            return [wanted if size in (wanted, wanted[::-1]) else size for size in sizes]
        # The most frequent way up first; of equally many, that of the first in the file.
        ways: dict[Size, Size] = {}
        for size, _ in Counter(sizes).most_common():
            ways.setdefault(size, ways.get(size[::-1], size))
        return [ways[size] for size in sizes]

    @functools.cached_property
    def _places(self) -> list[int]:
        if self.height is None:
            return list(range(len(self._upright)))
        places = [place for place, size in enumerate(self._upright) if size == (self.height, self.width)]
        if not places:
            raise DataError(f"{self._where}: none has {self.height}x{self.width} pixels; there are {self._sizes}")
        return places

    @property
    def _sizes(self) -> str:
        counts = Counter((min(size), max(size)) for size in self._all.shapes.tolist())
        return ", ".join(f"{height}x{width} ({count})" for (height, width), count in counts.most_common(8))
