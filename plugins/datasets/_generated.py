"""Endless families of images that are drawn at random."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from gahbench import BLOCK, Card, Dataset, Shape, Split, draw_in_blocks, generator


class Generated(Dataset):
    """Base class of image families that are drawn at random: a subclass defines ``draw``, and ``shape`` or ``size``."""

    #: Number of images in a block.
    block_size: int = BLOCK
    #: Height and width of grey images.
    size: int

    def __init__(self, family: str, seed: int = 0) -> None:
        self.family = family
        self.seed = seed
        self._last: tuple[tuple[str, int], Tensor] | None = None

    @property
    def shape(self) -> Shape:
        """Shape (1, size, size) of an image; families with other shapes override it."""
        return (1, self.size, self.size)

    @property
    def card(self) -> Card:
        """Origin and licence of the images."""
        return Card(f"drawn by gahbench from the seed {self.seed}, any number of images", "none needed", is_free=True)

    @abstractmethod
    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, C, H, W), with every random number from ``generator``."""

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32."""
        if count == 0:
            return torch.empty(0, *self.shape)
        # `draw_in_blocks` copies, so that callers cannot change the cached block.
        return draw_in_blocks(lambda block: self._block(split, block), count, start, self.block_size).float()

    def generator_of(self, split: Split, block: int) -> torch.Generator:
        """Return the random generator of a block of a split."""
        return generator("data", self.seed, self.family, split, block)

    def _block(self, split: Split, block: int) -> Tensor:
        """Return a block, cached if it was the last block read: training reads a block in several batches."""
        if self._last is None or self._last[0] != (split, block):
            self._last = ((split, block), self._draw_block(split, block))
        return self._last[1]

    def _draw_block(self, split: Split, block: int) -> Tensor:
        return self.draw(self.generator_of(split, block), self.block_size)
