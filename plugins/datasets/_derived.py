"""Datasets derived from the images of another dataset."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from gahbench import Card, Dataset, Shape


class Derived(Dataset):
    """Base class of datasets derived from another dataset, ``dataset``, with its shape, card and notes."""

    dataset: Dataset

    @property
    @abstractmethod
    def recipe(self) -> str:
        """How the images are derived, as text for the card."""

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
