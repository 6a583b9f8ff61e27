"""Real faces, 100 of them embedded, or images of one's own."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor

from gahbench.contracts import Dataset, Shape, Split
from gahbench.errors import DataError

from .files import Decoded, from_array, read_images

#: Where scikit-image keeps its sample of Labeled Faces in the Wild, and how many of the rows are faces.
EMBEDDED_FILE = Path("data", "lfw_subset.npy")
EMBEDDED_FACES = 100
# Of all images, the share that is for testing unless told otherwise, and at most how many.
TEST_SHARE = 0.24
TEST_MOST = 1024


class Faces(Dataset):
    """Faces: the 100 embedded in scikit-image (25x25 pixels, grey), or those of a file or folder.

    The embedded ones are from Labeled Faces in the Wild (Huang et al. 2007). Nothing is known about the best
    possible denoiser. Splits are consecutive in the order of the files, so that they never overlap: first
    training, then validation, last test images; there are half as many validation as test images. Of the
    embedded faces 64 are for training, 12 for validation, 24 for testing.

    Parameters
    ----------
    path
        An .npz file (key ``images``, uint8 in 0-255 or floating point in 0-1, shape (N, H, W), (N, H, W, C)
        or (N, C, H, W)), or a folder of images in formats that PIL reads, in sorted order, up to two folders
        deep. By default the embedded faces.
    size
        Height and width to give the images: within 10 % of the smaller side the centre is cropped (25 to 24
        keeps every pixel), else the largest centred square is resized, bicubic and anti-aliased. By default
        as they are.
    test
        Number of test images; by default 24 % of all, at most 1024.
    colour
        Keep 3 channels; by default images are grey, the unweighted mean of their channels.
    """

    def __init__(
        self,
        path: str | None = None,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: bool = False,
    ) -> None:
        self.path = path
        self.size = size
        self.test = test
        self.colour = colour

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of one image."""
        channels, height, width = self._decoded.images.shape[1:]
        return (channels, height, width)

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32 in [0, 1].

        Raises
        ------
        DataError
            If the split holds fewer, or the source cannot be read.
        """
        first, last = self._places(split)
        held = last - first
        if start + count > held:
            raise DataError(
                f"{self._where}: {start + count} {split} images asked for, but the split holds {held} "
                f"of {len(self._decoded.images)}; ask for at most {held}, or change 'test'"
            )
        return self._decoded.images[first + start : first + start + count].clone()

    def available(self, split: Split) -> int:
        """Return how many images a split holds."""
        first, last = self._places(split)
        return last - first

    def fingerprint(self) -> str:
        """Return the SHA-256 of the decoded pixels, before any crop or resize."""
        return self._decoded.digest

    @property
    def _where(self) -> str:
        return self.path or "the embedded faces"

    @functools.cached_property
    def _decoded(self) -> Decoded:
        if self.path is None:
            return _embedded(self.size, colour=self.colour)
        decoded = read_images(Path(self.path).expanduser(), self.size, colour=self.colour)
        if not len(decoded.images):
            raise DataError(f"{self.path}: holds 0 images; accepted: at least one")
        return decoded

    def _places(self, split: Split) -> tuple[int, int]:
        """Return where the images of a split lie among all."""
        total = len(self._decoded.images)
        test = max(1, min(round(TEST_SHARE * total), TEST_MOST)) if self.test is None else self.test
        validation = test // 2
        if test + validation > total:
            raise DataError(
                f"{self._where}: test={test} and {validation} validation images out of {total}; "
                f"accepted: test up to {(2 * total + 1) // 3}"
            )
        train = total - test - validation
        places: dict[Split, tuple[int, int]] = {
            "train": (0, train),
            "validation": (train, total - test),
            "test": (total - test, total),
        }
        return places[split]


def _embedded(size: int | None, *, colour: bool) -> Decoded:
    """Read the faces from scikit-image's own folder; its loader would need pooch and may download."""
    found = importlib.util.find_spec("skimage")
    file = Path(found.origin).parent / EMBEDDED_FILE if found and found.origin else Path("skimage", EMBEDDED_FILE)
    if not file.is_file():
        raise DataError(
            f"{file}: the embedded faces are not where scikit-image 0.23 to 0.26 has them; "
            "install such a version, or give a 'path'"
        )
    return from_array(np.load(file)[:EMBEDDED_FACES], size, colour=colour, where="the embedded faces")
