"""Whole photographs of different sizes, ready to be cut into patches."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gahbench import DataError, brief, check_pixels

from . import arrays
from .cache import cache_folder, cached, cached_facts
from .decode import decoded, reason
from .encoded import LONG, Encoded
from .files import open_encoded
from .preprocess import POOLED, Colour, has_colours, in_colour
from .unusable import described
from .waiting import Waiting

#: Name in the cache.
KIND = "photographs"
#: Name of the file of all pixels.
PIXELS = "pixels.bin"


@dataclass(frozen=True, eq=False)
class Photographs:
    """Photographs, pixel after pixel in one array, so that patches of many of them are gathered at once."""

    pixels: NDArray[np.uint8]
    shapes: Tensor
    starts: Tensor
    names: tuple[str, ...]
    digest: str
    had_colours: bool = False
    unusable: Mapping[str, str] = field(default_factory=dict)

    def at_least(self, side: int) -> Photographs:
        """Return those whose sides have at least so many pixels; the others become unusable."""
        large = self.shapes.amin(1) >= side
        places = large.nonzero().flatten()
        small = [name for name, is_large in zip(self.names, large.tolist(), strict=True) if not is_large]
        return replace(
            self,
            shapes=self.shapes[places],
            starts=self.starts[places],
            names=tuple(self.names[place] for place in places.tolist()),
            unusable={**self.unusable, **dict.fromkeys(small, f"smaller than {side}x{side} pixels (size={side})")},
        )

    def pooled(self) -> Tensor:
        """Return small grey copies in which to look for likeness, shape (N, P), float32, of a part of the pixels."""
        found = []
        for (height, width), start in zip(self.shapes.tolist(), self.starts.tolist(), strict=True):
            image = self.pixels[start : start + height * width].reshape(height, width, -1)
            some = image[:: max(1, height // (4 * POOLED)), :: max(1, width // (4 * POOLED))]
            grey = torch.from_numpy(some.astype(np.float32).mean(2))
            found.append(functional.adaptive_avg_pool2d(grey[None], POOLED).flatten())
        return torch.stack(found)

    def patches(self, which: Tensor, rows: Tensor, columns: Tensor, size: int) -> Tensor:
        """Return patches, shape (K, C, size, size), float32 in [0, 1]."""
        widths = self.shapes[which, 1]
        corners = self.starts[which] + rows * widths + columns
        steps = torch.arange(size)
        places = corners[:, None, None] + steps[:, None] * widths[:, None, None] + steps
        found = torch.from_numpy(self.pixels[places.numpy()])
        return found.permute(0, 3, 1, 2).float() / 255


def read_photographs(path: Path, colour: Colour) -> Photographs:
    """Read the photographs of a folder, archive, table or array file; image files are decoded once, into the cache."""
    encoded = open_encoded(path)
    if encoded is None:
        return joined(arrays.read_named(path), colour, str(path))
    folder, facts = cached(KIND, _decides(encoded, colour), functools.partial(_decode_all, encoded, colour))
    shapes = torch.tensor(facts["shapes"])
    channels = 3 if colour == "rgb" else 1
    try:
        flat = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r")
        pixels = flat.reshape(int(shapes.prod(1).sum()), channels)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: damaged ({error}); remove it, and it is made anew") from error
    unusable: dict[int, str] = dict(facts.get("unusable", ()))
    return Photographs(
        pixels,
        shapes,
        _starts(shapes),
        tuple(name for place, name in enumerate(encoded.names) if place not in unusable),
        facts["digest"],
        facts.get("colours", False),
        {brief(encoded.names[place]): why for place, why in unusable.items()},
    )


def undecoded(path: Path, colour: Colour) -> tuple[str, ...]:
    """Return the photographs that take long to decode and are not in the cache yet, in words."""
    encoded = open_encoded(path)
    if encoded is None or encoded.size() <= LONG or cached_facts(KIND, _decides(encoded, colour)) is not None:
        return ()
    return (f"{len(encoded.names):,} photographs of {path}, decoded into {cache_folder()}",)


def _decides(encoded: Encoded, colour: Colour) -> list[Any]:
    return [str(encoded.path.resolve()), encoded.stamp(), colour]


def joined(named: dict[str, NDArray[Any]], colour: Colour, where: str) -> Photographs:
    """Join photographs of shape (H, W) or (H, W, 3), uint8."""
    if not named:
        raise DataError(f"{where}: no photographs; accepted: arrays (H, W) or (H, W, C) with C 1 or 3, uint8")
    digest, shapes = hashlib.sha256(), list[tuple[int, ...]]()
    for name, photograph in named.items():
        if (
            photograph.dtype != np.uint8
            or photograph.ndim not in (2, 3)
            or photograph.shape[2:] not in ((), (1,), (3,))
        ):
            raise DataError(
                f"{where}: {brief(name)} of shape {photograph.shape} and type {photograph.dtype}; "
                "accepted: photographs (H, W) or (H, W, C) with C 1 or 3, uint8"
            )
        height, width = photograph.shape[:2]
        check_pixels(height, width, f"{where}: {brief(name)}")
        shapes.append((height, width))
    channels = 3 if colour == "rgb" else 1
    pixels = np.empty((sum(height * width for height, width in shapes), channels), dtype=np.uint8)
    start, had_colours = 0, False
    for name, photograph in named.items():
        had_colours |= has_colours(_channels_first(photograph))
        arrays.update(digest, photograph)
        found = _pixels(photograph, colour, f"{where}: {brief(name)}")
        pixels[start : start + len(found)] = found
        start += len(found)
    sides = torch.tensor(shapes)
    return Photographs(pixels, sides, _starts(sides), tuple(named), digest.hexdigest(), had_colours)


def _starts(shapes: Tensor) -> Tensor:
    """Return where the pixels of each photograph begin, given height and width of all, shape (N, 2)."""
    areas = shapes.prod(1)
    return areas.cumsum(0) - areas


def _pixels(photograph: NDArray[np.uint8], colour: Colour, where: str) -> NDArray[np.uint8]:
    """Return the pixels of one photograph row by row, shape (H * W, C)."""
    mixed = in_colour(_channels_first(photograph), colour, where)[0]
    return np.ascontiguousarray(mixed.transpose(1, 2, 0)).reshape(-1, len(mixed))


def _channels_first(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one photograph as images, shape (1, C, H, W)."""
    return np.atleast_3d(photograph).transpose(2, 0, 1)[None]


def _decode_all(encoded: Encoded, colour: Colour, folder: Path) -> dict[str, Any]:
    """Decode every file into one of all pixels, and return their sizes and the digest of the pixels."""
    total, digest, shapes = len(encoded.names), hashlib.sha256(), list[tuple[int, ...]]()
    had_colours, unusable = False, dict[int, str]()
    waiting = Waiting(f"decoding {encoded.path.name}", total)
    with (folder / PIXELS).open("wb") as file:
        for place, photograph in enumerate(decoded(encoded)):
            waiting(place + 1)
            if isinstance(photograph, DataError):
                unusable[place] = reason(photograph, encoded, place)
                continue
            had_colours |= has_colours(_channels_first(photograph))
            arrays.update(digest, photograph)
            shapes.append(photograph.shape[:2])
            file.write(_pixels(photograph, colour, f"{encoded.path}: {brief(encoded.names[place])}").data)
    named = {brief(encoded.names[place]): why for place, why in unusable.items()}
    if not shapes:
        raise DataError(f"{encoded.path}: {described(named, total)}")
    return {
        "digest": digest.hexdigest(),
        "shapes": shapes,
        "colours": had_colours,
        "unusable": sorted(unusable.items()),
    }
