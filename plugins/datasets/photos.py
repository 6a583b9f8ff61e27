"""Natural patches, cut from photographs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahbench import BLOCK, Card, DataError, Shape, Split, generator, in_blocks

from ._reading.files import OnError
from ._reading.photographs import PhotographSet
from ._reading.preprocess import Colour, colour_notes
from ._reading.splits import TEST_MAX, TEST_SHARE, SplitRule, alike_neighbours, consecutive, order_notes, ordered

#: Photographs that scikit-image installs with its code, in CC0 or the public domain by their documentation: what each
#: is for, and whether it is in colour. Its others are drawings, scans, micrographs, or of unstated licence.
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


class Photos(PhotographSet):
    """Natural patches of eight embedded photographs, or of one's own.

    Nothing is known about the best possible denoiser. Splits are by photograph, so that no patch for testing is from a
    photograph that was trained on. Training patches are an endless stream: each is at a random position, all positions
    of all training photographs alike. ``A`` and ``B`` are such streams from one half of the training photographs each.
    Patches for validation and testing end: they are the squares side by side that a photograph divides into, in random
    order, so that no pixel counts twice.

    The embedded photographs, of scikit-image and free of rights (CC0 or public domain), are for training astronaut,
    brick, coffee and grass, for validation rocket and gravel, for testing chelsea (a cat) and camera; in colour only
    astronaut, coffee, rocket and chelsea.

    Parameters
    ----------
    path
        A folder or zip archive of photographs, up to two folders deep; a Parquet table from the Hugging Face hub; or an
        array file (.npy, .pt, .npz under ``images``, or .npz with an array for each photograph), uint8. Image files
        are decoded once, into a cache: $GAHBENCH_CACHE, or else ~/.cache/gahbench. By default the embedded ones.
    size
        Height and width of the patches.
    test
        Number of photographs for testing, half as many for validation; by default 24 % of all, at most 1024. Only
        with a path.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    seed
        Seed of the positions, and of random splits.
    split
        ``consecutive``: the last photographs in sorted order are for testing, those before them for validation.
        ``random``: photographs are shuffled first, by the seed.
    on_error
        ``raise``: photographs that cannot be read, or are smaller than ``size``, are an error that names all of them.
        ``skip``: they are left out, and named in a note.

    Raises
    ------
    ValueError
        If ``test`` or ``split=random`` is given without a path.
    """

    embedded_name = "the embedded photographs"

    def __init__(
        self,
        path: str | None = None,
        size: Annotated[int, Field(ge=8)] = 64,
        test: Annotated[int, Field(ge=2)] | None = None,
        colour: Colour = "mean",
        seed: int = 0,
        split: SplitRule = "consecutive",
        on_error: OnError = "raise",
    ) -> None:
        if path is None and (test is not None or split == "random"):
            given = f"test={test}" if test is not None else f"split={split}"
            raise ValueError(f"{given}: accepted only with a 'path'; the embedded photographs have fixed splits")
        super().__init__(path, colour, on_error)
        self.size = self.smallest_side = size
        self.test = test
        self.seed = seed
        self.split: SplitRule = split

    @property
    def shape(self) -> Shape:
        """Shape (C, size, size) of one patch."""
        return (self._all.pixels.shape[1], self.size, self.size)

    @property
    def card(self) -> Card:
        """Origin and licence of the photographs."""
        if self.path is None:
            names = ", ".join(Path(name).stem for name in self._embedded)
            return Card(f"patches of photographs embedded in scikit-image: {names}", "CC0 or public domain")
        return Card(f"patches of photographs of one's own, from {Path(self.path).name}", "as their owners say")

    @property
    def notes(self) -> tuple[str, ...]:
        """Say which photographs were left out, and that colours were dropped or neighbours look alike."""
        if self.path is None:
            return ()
        colours = colour_notes(self.colour, self._all.had_colours)
        return (*self._all.unusable_notes(), *self._order_notes, *colours)

    @functools.cached_property
    def _order_notes(self) -> tuple[str, ...]:
        return () if self.split == "random" else order_notes(alike_neighbours(self._all.pooled()))

    def available(self, split: Split) -> int | None:
        """Return how many patches a split holds; ``None`` for training."""
        return len(self._tiles[split]) if split in HELD_OUT else None

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return patches ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32 in [0, 1]."""
        if count == 0:
            return torch.empty(0, *self.shape)
        if split in HELD_OUT:
            tiles = self._tiles[split]
            if start + count > len(tiles):
                raise DataError(
                    f"{self._where}: {start + count} {split} patches requested, but the split holds {len(tiles)} of "
                    f"{self.size}x{self.size} pixels; ask for at most {len(tiles)}, or for smaller patches"
                )
            which, rows, columns = tiles[start : start + count].unbind(1)
        else:
            which, rows, columns = self._positions(split, count, start).unbind(1)
        return self._all.patches(which, rows, columns, self.size)

    def sources(self, split: Split, count: int) -> list[int] | None:
        """Return the photograph that each patch for validation or testing is from."""
        return self._tiles[split][:count, 0].tolist() if split in HELD_OUT else None

    def fingerprint(self) -> str:
        """Return the SHA-256 of the pixels of the photographs, as the files hold them."""
        return self._all.digest

    @property
    def _embedded(self) -> list[str]:
        return [name for name, (_, colours) in EMBEDDED.items() if colours or self.colour != "rgb"]

    @functools.cached_property
    def _photographs(self) -> dict[Split, Tensor]:
        """The photographs of each split, by their places."""
        if self.path is None:
            purpose = [EMBEDDED[name][0] for name in self._embedded]
            parts = {
                split: torch.tensor([place for place, other in enumerate(purpose) if other == split])
                for split in dict.fromkeys(purpose)
            }
            return parts | {"train": torch.cat([parts["A"], parts["B"]])}
        total = len(self._all.names)
        test = self.test if self.test is not None else min(max(2, round(TEST_SHARE * total)), TEST_MAX)
        cut = consecutive(ordered(np.arange(total), self.split, self.seed), test, self._where)
        train = torch.from_numpy(cut["train"])
        if len(train) < 2:
            raise DataError(
                f"{self._where}: {total} photographs, of which {len(train)} for training; accepted: at least 5, "
                "2 of them for training"
            )
        mixed = train[torch.randperm(len(train), generator=generator("data", self.seed, "photos", "halves"))]
        first, second = mixed.tensor_split(2)
        held_out = {split: torch.from_numpy(cut[split]) for split in HELD_OUT}
        return held_out | {"train": train, "A": first, "B": second}

    @functools.cached_property
    def _tiles(self) -> dict[Split, Tensor]:
        """Photograph, row and column of every patch for validation and testing, shape (K, 3)."""
        by_split: dict[Split, Tensor] = {}
        for split in HELD_OUT:
            tiles = [torch.empty(0, 3, dtype=torch.long)]
            for place in self._photographs[split]:
                height, width = (self._all.shapes[place] // self.size).tolist()
                rows, columns = torch.arange(height) * self.size, torch.arange(width) * self.size
                tiles.append(torch.cartesian_prod(place[None], rows, columns))
            every = torch.cat(tiles)
            order = torch.randperm(len(every), generator=generator("data", self.seed, "photos", split))
            by_split[split] = every[order]
        return by_split

    def _positions(self, split: Split, count: int, start: int) -> Tensor:
        """Draw photograph, row and column of patches ``start`` to ``start + count`` of a stream, shape (count, 3)."""
        photographs = self._photographs[split]
        free = self._all.shapes[photographs] - self.size + 1
        ends = free.prod(1).cumsum(0)

        def draw(block: int) -> Tensor:
            seeded = generator("data", self.seed, "photos", split, block)
            return torch.randint(int(ends[-1]), (BLOCK,), generator=seeded)

        positions = in_blocks(draw, count, start)
        which = torch.searchsorted(ends, positions, right=True)
        within = positions - (ends - free.prod(1))[which]
        widths = free[which, 1]
        return torch.stack([photographs[which], within // widths, within % widths], dim=1)
