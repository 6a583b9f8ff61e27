"""Whole photographs of different sizes, and patches of them."""

from __future__ import annotations

import functools
import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from gahbench import DataError, Dataset
from gahbench._util.image_files import check_pixels
from gahbench._util.readable import brief

from . import arrays
from .cache import cache_folder, cached_facts, damage_error, load_or_build
from .decode import Decoding
from .encoded import Encoded
from .fetched import skimage_file
from .files import OnError, Source, describe, open_encoded, source_path
from .preprocess import POOLED, Colour, channels_first, convert_colour, has_colours

#: Kind of the entries in the cache.
KIND = "photographs"
#: Name of the file of the pixels.
PIXELS = "pixels.bin"


@dataclass(frozen=True, eq=False, kw_only=True)
class Photographs(Source):
    """Photographs, concatenated in a single array of pixels for fast gathering of patches."""

    pixels: NDArray[np.uint8]
    shapes: Tensor
    starts: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def drop_small(self, side: int) -> Photographs:
        """Return the photographs whose sides have at least ``side`` pixels; smaller photographs become unusable."""
        is_large = self.shapes.amin(1) >= side
        indices = is_large.nonzero().flatten()
        small = [name for name, large in zip(self.names, is_large.tolist(), strict=True) if not large]
        return replace(
            self,
            shapes=self.shapes[indices],
            starts=self.starts[indices],
            names=tuple(self.names[index] for index in indices.tolist()),
            unusable={**self.unusable, **dict.fromkeys(small, f"smaller than {side}x{side} pixels (size={side})")},
        )

    def flat_pixels(self) -> list[NDArray[np.uint8]]:
        """Return the pixels of each photograph, row by row, shape (H * W, C)."""
        areas = self.shapes.prod(1).tolist()
        return [self.pixels[start : start + area] for start, area in zip(self.starts.tolist(), areas, strict=True)]

    def pooled(self) -> Tensor:
        """Return small grey copies for comparing photographs, shape (N, P), float32, from a subset of the pixels."""
        small_copies = []
        for (height, width), pixels in zip(self.shapes.tolist(), self.flat_pixels(), strict=True):
            image = pixels.reshape(height, width, -1)
            subset = image[:: max(1, height // (4 * POOLED)), :: max(1, width // (4 * POOLED))]
            grey = torch.from_numpy(subset.astype(np.float32).mean(2))
            small_copies.append(functional.adaptive_avg_pool2d(grey[None], POOLED).flatten())
        return torch.stack(small_copies)

    def patches(self, photographs: Tensor, rows: Tensor, columns: Tensor, size: int) -> Tensor:
        """Return patches, shape (K, C, size, size), float32 in [0, 1], given photographs and corners, shape (K,)."""
        widths = self.shapes[photographs, 1]
        corners = self.starts[photographs] + rows * widths + columns
        steps = torch.arange(size)
        indices = corners[:, None, None] + steps[:, None] * widths[:, None, None] + steps
        gathered = torch.from_numpy(self.pixels[indices.numpy()])
        return gathered.permute(0, 3, 1, 2).float() / 255


class PhotographSet(Dataset):
    """Base class of datasets of photographs of any size, from files or embedded in scikit-image."""

    #: Minimum side of a photograph, in pixels.
    smallest_side = 1
    #: Name of the embedded photographs in errors.
    embedded_name: str

    def __init__(self, path: str | None, colour: Colour, on_error: OnError) -> None:
        self.path = path
        self.colour = colour
        self.on_error: OnError = on_error

    @property
    @abstractmethod
    def _embedded(self) -> Sequence[str]:
        """Names of the files of scikit-image that are read if no path is given."""

    def missing(self) -> tuple[str, ...]:
        """Return a description of the photographs if they are slow to decode and not in the cache."""
        encoded = None if self.path is None else open_encoded(source_path(self.path))
        if encoded is None or not encoded.is_slow or cached_facts(KIND, encoded.key(self.colour)) is not None:
            return ()
        return (f"{len(encoded.names):,} photographs of {encoded.path}, decoded into {cache_folder()}",)

    def prepare(self) -> None:
        """Decode the photographs into the cache."""
        _ = self._all

    @property
    def _where(self) -> str:
        return self.path or self.embedded_name

    @functools.cached_property
    def _all(self) -> Photographs:
        if self.path is not None:
            photographs = read_photographs(source_path(self.path), self.colour)
        else:
            named = {}
            for name in self._embedded:
                with Image.open(skimage_file(name)) as image:
                    named[name] = np.asarray(image)
            photographs = join(named, self.colour, self._where)
        photographs = photographs.drop_small(self.smallest_side)
        photographs.check_usable(self, "raise" if self.path is None else self.on_error, self._where)
        return photographs


def read_photographs(path: Path, colour: Colour) -> Photographs:
    """Read the photographs of a folder, archive, table or array file; decoded image files are cached."""
    encoded = open_encoded(path)
    if encoded is None:
        return join(arrays.read_named(path), colour, str(path))
    folder, facts = load_or_build(KIND, encoded.key(colour), functools.partial(_decode_all, encoded, colour))
    shapes = torch.tensor(facts["shapes"])
    channels = 3 if colour == "rgb" else 1
    try:
        flat = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r")
        pixels = flat.reshape(int(shapes.prod(1).sum()), channels)
    except (OSError, ValueError) as error:
        raise damage_error(folder, error) from error
    unusable: dict[int, str] = dict(facts["unusable"])
    return Photographs(
        pixels=pixels,
        shapes=shapes,
        starts=_starts(shapes),
        names=tuple(name for index, name in enumerate(encoded.names) if index not in unusable),
        digest=facts["digest"],
        had_colours=facts["colours"],
        unusable=encoded.reasons_by_name(unusable),
    )


def join(named: dict[str, NDArray[Any]], colour: Colour, where: str) -> Photographs:
    """Concatenate named photographs of shape (H, W) or (H, W, C), uint8."""
    accepted = "(H, W) or (H, W, C) with C 1 or 3, uint8"
    if not named:
        raise DataError(f"{where}: no photographs; accepted: arrays {accepted}")
    for name, photograph in named.items():
        source = f"{where}: {brief(name)}"
        if (
            photograph.dtype != np.uint8
            or photograph.ndim not in (2, 3)
            or photograph.shape[2:] not in ((), (1,), (3,))
        ):
            raise DataError(
                f"{source} of shape {photograph.shape} and type {photograph.dtype}; accepted: photographs {accepted}"
            )
        check_pixels(photograph.shape[0], photograph.shape[1], source)
    shapes = torch.tensor([photograph.shape[:2] for photograph in named.values()])
    pixels = np.empty((int(shapes.prod(1).sum()), 3 if colour == "rgb" else 1), dtype=np.uint8)
    digest, start, had_colours = hashlib.sha256(), 0, False
    for name, photograph in named.items():
        had_colours |= has_colours(channels_first(photograph))
        arrays.update(digest, photograph)
        flat = _pixels(photograph, colour, f"{where}: {brief(name)}")
        pixels[start : start + len(flat)] = flat
        start += len(flat)
    return Photographs(
        pixels=pixels,
        shapes=shapes,
        starts=_starts(shapes),
        names=tuple(named),
        digest=digest.hexdigest(),
        had_colours=had_colours,
    )


def _starts(shapes: Tensor) -> Tensor:
    """Return the index of the first pixel of each photograph, given heights and widths, shape (N, 2)."""
    areas = shapes.prod(1)
    return areas.cumsum(0) - areas


def _pixels(photograph: NDArray[np.uint8], colour: Colour, where: str) -> NDArray[np.uint8]:
    """Return the pixels of a photograph, row by row, shape (H * W, C)."""
    mixed = convert_colour(channels_first(photograph), colour, where)[0]
    return np.ascontiguousarray(mixed.transpose(1, 2, 0)).reshape(-1, len(mixed))


def _decode_all(encoded: Encoded, colour: Colour, folder: Path) -> dict[str, Any]:
    """Decode all files into a file of pixels, and return the facts of the decoding and the sizes."""
    decoding, shapes = Decoding(encoded), list[tuple[int, ...]]()
    with (folder / PIXELS).open("wb") as file:
        for index, photograph in decoding:
            decoding.add(photograph)
            shapes.append(photograph.shape[:2])
            file.write(_pixels(photograph, colour, f"{encoded.path}: {brief(encoded.names[index])}").data)
    if not shapes:
        raise DataError(f"{encoded.path}: {describe(encoded.reasons_by_name(decoding.unusable), len(encoded.names))}")
    return {**decoding.facts(), "shapes": shapes}
