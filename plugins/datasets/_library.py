"""Datasets of other libraries, read into an array, with the splits of their source."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gahbench import DataError, generator
from gahbench._util.readable import brief

from ._reading.decode import EIGHT_BIT_MODES
from ._reading.files import Images, from_array
from ._reading.preprocess import Colour, channels_first, has_colours
from .faces import Faces

Part = Literal["train", "validation", "test"]
_NUMBERS: dict[Part, int] = {"train": 0, "validation": 1, "test": 2}
#: Share of the training images that is used for validation if the source has no such split, and maximum number.
VALIDATION_SHARE, VALIDATION_MAX = 0.1, 1024


class Library(Faces):
    """Base class of datasets of a library, with its splits; some training images replace a missing validation split."""

    citation = None  # Each subclass has its own citation.

    def __init__(self, where: str, size: int | None, test: int | None, colour: Colour, seed: int) -> None:
        super().__init__(where, size, test, colour, None, "keep", seed)

    @abstractmethod
    def parts(self) -> Mapping[Part, Iterable[Any]]:
        """Return the images of each split, as PIL images or arrays; only ``train`` if the source has a single split."""

    @property
    def _is_own(self) -> bool:
        """False, since the images come from a library, in random order."""
        return False

    def _read(self) -> Images:
        if missing := self.missing():
            raise DataError(
                f"{self._where}: {', '.join(missing)} is not downloaded; run 'gahbench prepare' with the suite"
            )
        parts_read = {part: [_pixels(image) for image in images] for part, images in self.parts().items()}
        # Sources are often sorted by class: without a shuffle, validation images would belong to few classes.
        order = torch.randperm(len(parts_read["train"]), generator=generator("data", self.seed, "order")).tolist()
        parts_read["train"] = [parts_read["train"][index] for index in order]
        images = [image for part in parts_read.values() for image in part]
        if not images:
            raise DataError(f"{self._where}: holds no images")
        if any(image.ndim != images[0].ndim for image in images):
            images = [image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2) for image in images]
        preprocessing = self._preprocessing
        if len(shapes := {image.shape for image in images}) > 1:
            if self.size is None:
                examples = ", ".join(sorted(f"{shape[0]}x{shape[1]}" for shape in shapes)[:3])
                raise DataError(f"{self._where}: images of {len(shapes)} sizes, such as {examples}; set a 'size'")
            had_colours = any(has_colours(channels_first(image)) for image in images)
            images = [preprocessing(channels_first(image), self._where)[0] for image in images]
            result = from_array(np.stack(images), replace(preprocessing, size=None), self._where)
            result = replace(result, had_colours=had_colours)
        else:
            result = from_array(np.stack(images), preprocessing, self._where)
        if set(parts_read) == {"train"}:
            return result
        return replace(result, partition=_partition({part: len(images) for part, images in parts_read.items()}))


def _partition(counts: Mapping[Part, int]) -> NDArray[np.int64]:
    """Return the number of the split of each image, in the order of the splits."""
    partition = np.concatenate([np.full(count, _NUMBERS[part], dtype=np.int64) for part, count in counts.items()])
    if "validation" not in counts:
        (training,) = np.nonzero(partition == _NUMBERS["train"])
        count = min(max(1, min(round(VALIDATION_SHARE * len(training)), VALIDATION_MAX)), len(training) - 1)
        partition[training[len(training) - count :]] = _NUMBERS["validation"]
    return partition


def _pixels(image: Any) -> NDArray[Any]:
    """Convert a PIL image or an array to an array (H, W) or (H, W, 3) with 8 bits per channel."""
    if hasattr(image, "convert"):
        # PIL would clip 16-bit values at 255.
        if image.mode not in EIGHT_BIT_MODES or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
            raise DataError(f"an item is an image of mode {image.mode}; accepted: images with 8 bits per channel")
        image.info.pop("transparency", None)
        image = image.convert("L" if image.mode in ("L", "1") else "RGB")
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise DataError(
            f"an item is {brief(repr(type(image)))} of {pixels.dtype}; accepted: images with 8 bits per channel"
        )
    return pixels
