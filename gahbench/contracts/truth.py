"""What noisy images were made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gahbench.contracts.datasets import Dataset, Split

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Truth:
    """What noisy images were made from.

    Parameters
    ----------
    clean
        The clean images, shape (N, C, H, W).
    dataset
        The dataset that they are from.
    split, start
        Which of its images they are: ``start`` to ``start + N`` of a split.
    """

    clean: Tensor
    dataset: Dataset | None = None
    split: Split = "test"
    start: int = 0

    def __len__(self) -> int:
        return len(self.clean)

    def double(self) -> Truth:
        """Return it with the clean images in float64."""
        return replace(self, clean=self.clean.double())

    def batches(self, size: int) -> Iterator[Truth]:
        """Yield the truth of at most ``size`` images at a time."""
        for first in range(0, len(self), size):
            yield replace(self, clean=self.clean[first : first + size], start=self.start + first)
