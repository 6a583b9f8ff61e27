"""Base classes of families that are drawn at random, and of datasets derived from another dataset."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from gahbench import BLOCK, Card, Dataset, Shape, Split, draw_in_blocks, generator


class Generated(Dataset):
    """Base class of image families that are drawn at random: a subclass defines ``draw``, and ``shape`` or ``size``.

    Parameters
    ----------
    family
        Name of the family, which selects its random numbers.
    seed
        Seed of the images.
    """

    #: Number of images in a block, which is drawn by one generator.
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

        def block_of(number: int) -> Tensor:
            # The last block is cached, since training reads a block in several batches.
            if self._last is None or self._last[0] != (split, number):
                self._last = ((split, number), self.draw_block(split, number))
            return self._last[1]

        # `draw_in_blocks` copies, so that callers cannot change the cached block.
        return draw_in_blocks(block_of, count, start, self.block_size).float()

    def generator_of(self, split: Split, block: int) -> torch.Generator:
        """Return the random generator of a block of a split."""
        return generator("data", self.seed, self.family, split, block)

    def draw_block(self, split: Split, block: int) -> Tensor:
        """Draw the images of a block."""
        return self.draw(self.generator_of(split, block), self.block_size)


class Derived(Dataset):
    """Base class of datasets derived from another dataset, ``dataset``, with its shape, card, notes and fingerprint."""

    dataset: Dataset
    #: How the images are derived, as text for the card.
    recipe: str

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of an image of the dataset."""
        return self.dataset.shape

    @property
    def card(self) -> Card:
        """Origin and licence of the dataset."""
        return replace(self.dataset.card, origin=f"{self.recipe}: {self.dataset.card.origin}")

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the dataset."""
        return self.dataset.notes

    def fingerprint(self) -> str | None:
        """Return the fingerprint of the dataset."""
        return self.dataset.fingerprint()
