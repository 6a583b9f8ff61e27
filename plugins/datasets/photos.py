"""Patches of photographs, and whole photographs for testing; the base classes of photographs and of test images."""

from __future__ import annotations

import copy
import functools
import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from gahbench import BLOCK, Card, DataError, Dataset, Shape, Split, draw_in_blocks, generator, image_shape
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.images import (
    TEST_MAX,
    TEST_SHARE,
    Loaded,
    Source,
    SplitRule,
    order_indices,
    split_indices,
)

#: Split of each photograph that scikit-image installs with its code, and whether it is in colour. These photographs are
#: in CC0 or the public domain according to their documentation; other images are drawings, scans or micrographs, or
#: state no licence.
EMBEDDED: dict[str, tuple[Split, bool]] = {
    "astronaut.png": ("A", True),
    "brick.png": ("A", False),
    "coffee.png": ("B", True),
    "grass.png": ("B", False),
    "rocket.jpg": ("validation", True),
    "gravel.png": ("validation", False),
    "chelsea.png": ("test", True),
    "camera.png": ("test", False),
}
HELD_OUT: tuple[Split, ...] = ("validation", "test")
#: Splits in the order of rotation: in fold k, the photographs of the split k positions after ``test`` are for testing.
TURNS: tuple[Split, ...] = ("test", "validation", "A", "B")


class Photographs(Dataset):
    """Base class of datasets of photographs of any size, from files or embedded in scikit-image.

    Parameters
    ----------
    path
        A folder of photographs, or a file of arrays; ``None`` for the embedded photographs.
    colour, on_error
        As for ``photos``.
    """

    #: Minimum side of a photograph, in pixels.
    smallest_side = 1
    #: Names of the files of scikit-image that are read if no path is given.
    embedded: Sequence[str] = ()

    def __init__(self, path: str | None, colour: reading.Colour, on_error: reading.OnError) -> None:
        self.path = path
        self.colour: reading.Colour = colour
        self.on_error: reading.OnError = on_error
        self.where = path or "the embedded photographs"

    @functools.cached_property
    def photographs(self) -> Loaded:
        """The usable photographs, shape (H, W, C), uint8, the SHA-256 of the files' pixels, and notes."""
        source = self._source()
        if not source.names:
            raise DataError(f"{self.where}: no photographs; accepted: arrays (H, W) or (H, W, C) with C 1 or 3, uint8")
        return source.load(self._convert, self.colour, "raise" if self.path is None else self.on_error, self.where)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on omitted photographs, and on dropped colours."""
        return () if self.path is None else self.photographs.notes

    @property
    def card(self) -> Card:
        """Origin and licence of the photographs."""
        if self.path is None:
            names = ", ".join(Path(name).stem for name in self.embedded)
            return Card(f"photographs embedded in scikit-image: {names}", "CC0 or public domain", is_free=True)
        return Card(f"user's photographs from {Path(self.path).name}", "not known; ask their owners")

    def _source(self) -> Source:
        if self.path is None:
            files = [reading.embedded_file(name) for name in self.embedded]
            return Source(self.embedded, lambda index: reading.read_image(files[index]))
        path = reading.user_path(self.path)
        if path.is_dir():
            return Source.of_folder(path)
        arrays = reading.read_arrays(path)
        named = {name if name.isprintable() else ascii(name): array for name, array in sorted(arrays.items())}
        if "images" in arrays:
            named = {f"image {number}": image for number, image in enumerate(np.atleast_1d(arrays["images"]))}
        return Source(list(named), list(named.values()).__getitem__)

    def _convert(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a photograph with the requested channels, shape (H, W, C)."""
        if stored.dtype != np.uint8 or stored.ndim not in (2, 3) or stored.shape[2:] not in ((), (1,), (3,)):
            raise DataError(
                f"shape {stored.shape} and type {stored.dtype}; accepted: (H, W) or (H, W, C) with C 1 or 3, uint8"
            )
        reading.check_size(*stored.shape[:2])
        if min(stored.shape[:2]) < self.smallest_side:
            raise DataError(
                f"smaller than {self.smallest_side}x{self.smallest_side} pixels (size={self.smallest_side})"
            )
        mixed = reading.to_bytes(reading.mix_channels(reading.channels_first(stored), self.colour))
        return np.ascontiguousarray(mixed.transpose(1, 2, 0))


class TestImages(Dataset):
    """Base class of sets of images of any sizes for testing: a subclass defines ``load_tests``, ``where`` and ``kind``.

    A set of several sizes is scored shape by shape: see :meth:`gahbench.Dataset.shapes`.
    """

    #: Name of the source in errors, and what its images are.
    where: str
    kind: str
    #: How a user gets images of one size.
    advice: str

    @abstractmethod
    def load_tests(self) -> list[Any]:
        """Return the test images, in order; :meth:`clean` returns the pixels of one."""

    @functools.cached_property
    def _tests(self) -> list[Any]:
        return self.load_tests()

    @staticmethod
    def clean(test: Any) -> Tensor:
        """Return the clean image of a test image, shape (C, H, W), float32, or uint8 in 0-255."""
        image: Tensor = test
        return image

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of the first image."""
        return image_shape(self.clean(self._tests[0])[None])

    def shapes(self, count: int) -> list[Shape] | None:
        """Return the shapes of the first ``count`` images; ``None`` if all images have the same shape."""
        shapes = [image_shape(self.clean(test)[None]) for test in self._tests]
        return None if len(set(shapes)) == 1 else shapes[:count]

    def of_shape(self, shape: Shape) -> Self:
        """Return the dataset of the images of the given shape."""
        subset = copy.copy(self)
        # A cached property is replaced by an entry of this name.
        vars(subset)["_tests"] = [test for test in self._tests if tuple(self.clean(test).shape) == tuple(shape)]
        if not subset._tests:
            raise DataError(f"{self.where}: no image of shape {shape}")
        return subset

    def available(self, split: Split) -> int:
        """Return the number of images of a split; 0 except for ``test``."""
        return len(self._tests) if split == "test" else 0

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return the clean images ``start`` to ``start + count``, shape (count, C, H, W), float32."""
        advice = "" if split == "test" else f"; {self.kind} are for testing only"
        reading.check_count(self.where, split, start + count, self.available(split), advice)
        if count and (shapes := self.shapes(len(self._tests))) is not None:
            sizes = _count([shape[1:] for shape in shapes])
            raise DataError(f"{self.where}: images of different sizes, {sizes}; {self.advice}")
        chosen = [self.clean(test) for test in self._tests[start : start + count]]
        images = torch.stack(chosen) if chosen else torch.empty(0, *self.shape)
        return images.float() / 255 if images.dtype == torch.uint8 else images


def _count(sizes: Sequence[tuple[int, ...]]) -> str:
    """Return the most frequent sizes, in either orientation, with the number of images of each."""
    counts = Counter(tuple(sorted(size)) for size in sizes).most_common(8)
    return ", ".join(f"{height}x{width} ({count})" for (height, width), count in counts)


class Photos(Photographs):
    """Patches of eight embedded photographs, or of the user's photographs.

    The best possible denoiser is unknown. Photographs are divided into splits, so that no test patch is from a training
    photograph. Training patches are an endless stream of random positions, uniform over all positions in all training
    photographs. ``A`` and ``B`` are such streams from disjoint halves of the training photographs. Patches for
    validation and testing are the non-overlapping squares of a regular grid over each photograph, in random order.

    The embedded photographs come with scikit-image and are in CC0 or the public domain: astronaut, brick, coffee and
    grass for training, rocket and gravel for validation, chelsea (a cat) and camera for testing. With ``colour=rgb``
    only astronaut, coffee, rocket and chelsea are used. Each photograph is for testing in one of four folds: a suite
    that lists ``photos[fold=0]`` to ``photos[fold=3]`` scores every entrant on all eight, never on a photograph that it
    was trained on, and its board shows the four folds as one dataset.

    Parameters
    ----------
    path
        A folder of photographs, up to two folders deep; or an array file (.npy, .npz under ``images``, or .npz with an
        array for each photograph), uint8. The default is the embedded photographs.
    size
        Height and width of the patches, in pixels.
    test
        Number of photographs for testing; half as many are for validation. By default 24 % of all photographs, at most
        1024. Accepted only with a path.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    seed
        Seed of the positions, and of random splits.
    split
        ``consecutive``: the last photographs in sorted order are for testing, the photographs before them for
        validation. ``random``: photographs are shuffled first, by the seed.
    on_error
        ``raise``: photographs that cannot be read, or are smaller than ``size``, raise an error that names all of them.
        ``skip``: such photographs are left out, and named in a note.
    fold
        0 to 3: which of four pairs of embedded photographs is for testing. The pairs take turns in the order chelsea
        and camera, rocket and gravel, astronaut and brick, coffee and grass; the next pair is for validation, and the
        other two are for training.

    Raises
    ------
    ValueError
        If ``test`` or ``split=random`` is given without a path, or ``fold`` with a path.
    """

    display_name = "photographs, {path}, fold {fold}"

    def __init__(
        self,
        path: str | None = None,
        size: Annotated[int, Field(ge=8)] = 64,
        test: Annotated[int, Field(ge=2)] | None = None,
        colour: reading.Colour = "mean",
        seed: int = 0,
        split: SplitRule = "consecutive",
        on_error: reading.OnError = "raise",
        fold: Annotated[int, Field(ge=0, le=3)] = 0,
    ) -> None:
        if path is not None and fold:
            raise ValueError(f"fold={fold}: accepted only without a 'path', for the embedded photographs")
        if path is None and (test is not None or split == "random"):
            given = f"test={test}" if test is not None else f"split={split}"
            raise ValueError(f"{given}: accepted only with a 'path'; the embedded photographs have fixed splits")
        super().__init__(path, colour, on_error)
        self.size = self.smallest_side = size
        self.test = test
        self.seed = seed
        self.split: SplitRule = split
        self.fold = fold
        self.embedded = [name for name, (_, colours) in EMBEDDED.items() if colours or colour != "rgb"]

    @property
    def shape(self) -> Shape:
        """Shape (C, size, size) of a patch."""
        return (3 if self.colour == "rgb" else 1, self.size, self.size)

    def available(self, split: Split) -> int | None:
        """Return the number of patches of a split; ``None`` for training, which is endless."""
        return len(self._tiles[split]) if split in HELD_OUT else None

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return patches ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32 in [0, 1]."""
        if count == 0:
            return torch.empty(0, *self.shape)
        if split in HELD_OUT:
            tiles = self._tiles[split]
            advice = f" of {self.size}x{self.size} pixels; ask for fewer, or for smaller patches"
            reading.check_count(self.where, split, start + count, len(tiles), advice)
            corners = tiles[start : start + count]
        else:
            corners = self._positions(split, count, start)
        pixels, size = self.photographs.results, self.size
        patches = [pixels[index][row : row + size, column : column + size] for index, row, column in corners.tolist()]
        return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).float() / 255

    def sources(self, split: Split, count: int) -> list[int] | None:
        """Return the index of the photograph of each patch, for validation and testing."""
        return self._tiles[split][:count, 0].tolist() if split in HELD_OUT else None

    def fingerprint(self) -> str:
        """Return the SHA-256 of the pixels of the photographs, as stored in the files."""
        return self.photographs.digest

    @functools.cached_property
    def _photographs(self) -> dict[Split, Tensor]:
        """Indices of the photographs of each split."""
        if self.path is None:
            splits = [TURNS[(TURNS.index(EMBEDDED[name][0]) - self.fold) % len(TURNS)] for name in self.embedded]
            parts = {
                split: torch.tensor([index for index, other in enumerate(splits) if other == split]) for split in TURNS
            }
            return parts | {"train": torch.cat([parts["A"], parts["B"]])}
        total = len(self.photographs.results)
        test = self.test if self.test is not None else min(max(2, round(TEST_SHARE * total)), TEST_MAX)
        cut = split_indices(order_indices(np.arange(total), self.split, self.seed), test, self.where)
        train = torch.from_numpy(cut["train"])
        if len(train) < 2:
            raise DataError(
                f"{self.where}: {total} photographs, {len(train)} of them for training; accepted: at least 5, with "
                "at least 2 for training"
            )
        shuffled = train[torch.randperm(len(train), generator=generator("data", self.seed, "photos", "halves"))]
        first, second = shuffled.tensor_split(2)
        held_out = {split: torch.from_numpy(cut[split]) for split in HELD_OUT}
        return held_out | {"train": train, "A": first, "B": second}

    @property
    def _sizes(self) -> Tensor:
        """Height and width of each photograph, shape (N, 2)."""
        return torch.tensor([pixels.shape[:2] for pixels in self.photographs.results])

    @functools.cached_property
    def _tiles(self) -> dict[Split, Tensor]:
        """Photograph, row and column of every patch for validation and testing, shape (K, 3)."""
        by_split: dict[Split, Tensor] = {}
        for split in HELD_OUT:
            tiles = [torch.empty(0, 3, dtype=torch.long)]
            for photograph in self._photographs[split]:
                height, width = (self._sizes[photograph] // self.size).tolist()
                rows, columns = torch.arange(height) * self.size, torch.arange(width) * self.size
                tiles.append(torch.cartesian_prod(photograph[None], rows, columns))
            all_tiles = torch.cat(tiles)
            order = torch.randperm(len(all_tiles), generator=generator("data", self.seed, "photos", split))
            by_split[split] = all_tiles[order]
        return by_split

    def _positions(self, split: Split, count: int, start: int) -> Tensor:
        """Draw photograph, row and column of patches ``start`` to ``start + count`` of a stream, shape (count, 3)."""
        photographs = self._photographs[split]
        # Number of rows and columns in which the corner of a patch can lie.
        corners = self._sizes[photographs] - self.size + 1
        ends = corners.prod(1).cumsum(0)

        def draw(block: int) -> Tensor:
            return torch.randint(
                int(ends[-1]), (BLOCK,), generator=generator("data", self.seed, "photos", split, block)
            )

        positions = draw_in_blocks(draw, count, start)
        indices = torch.searchsorted(ends, positions, right=True)
        offsets = positions - (ends - corners.prod(1))[indices]
        widths = corners[indices, 1]
        return torch.stack([photographs[indices], offsets // widths, offsets % widths], dim=1)


class Whole(Photographs, TestImages):
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
    kind = "whole photographs"
    advice = "set 'height' and 'width' to one of these sizes"
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

    def load_tests(self) -> list[Tensor]:
        """Return the photographs of the requested sizes, rotated to the given, or the more frequent, orientation."""
        photographs = self.photographs.results
        sizes = [pixels.shape[:2] for pixels in photographs]
        # The most frequent orientation is first; the first photograph decides ties.
        orientations: dict[tuple[int, ...], tuple[int, ...]] = {}
        wanted = [] if self.height is None or self.width is None else [(self.height, self.width)]
        for size in wanted or [size for size, _ in Counter(sizes).most_common()]:
            if size not in orientations:
                orientations |= {size[::-1]: size, size: size}
        chosen = [
            pixels if orientations[size] == size else np.rot90(pixels)
            for pixels, size in zip(photographs, sizes, strict=True)
            if size in orientations
        ]
        if not chosen:
            raise DataError(
                f"{self.where}: no photograph has {self.height}x{self.width} pixels; accepted sizes: {_count(sizes)}"
            )
        return [torch.from_numpy(pixels.copy()).permute(2, 0, 1) for pixels in chosen]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the pixels of all photographs of the source, in the requested colours."""
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
