"""Batches that are halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gahbench._util.error_text import error_text
from gahbench._util.readable import counted
from gahbench.devices.hardware import is_out_of_memory, release_memory

Result = TypeVar("Result")


class Batches:
    """How many images are computed at a time: half as many, for good, whenever memory runs out.

    Parameters
    ----------
    size
        The number to begin with.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> images = torch.rand(5, 1, 8, 8)
    >>> def blur(size):
    ...     return torch.cat([torch.nn.functional.avg_pool2d(batch, 2) for batch in torch.split(images, size)])
    >>> gahbench.Batches(4).run(blur).shape
    torch.Size([5, 1, 4, 4])
    """

    def __init__(self, size: int) -> None:
        self.size = self._begun_with = size

    @property
    def note(self) -> str | None:
        """What a record should say: that memory ran out; ``None`` where it did not."""
        if self.size == self._begun_with:
            return None
        return f"out of memory: denoised in batches of {counted(self.size, 'image')}"

    def run(self, compute: Callable[[int], Result]) -> Result:
        """Return ``compute(size)``, called again from the start with half the size whenever memory runs out.

        Parameters
        ----------
        compute
            Computes all batches, of a given size. It seeds what it draws, so that a second call draws the same.

        Raises
        ------
        MemoryError
            If memory runs out for a single image.
        """
        while True:
            try:
                return compute(self.size)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.size == 1:
                    raise MemoryError(
                        "a single image does not fit; fewer workers (--workers, --workers-per-gpu), smaller images "
                        f"or --device cpu need less memory of a device ({error_text(error)})"
                    ) from error
            # The error holds the tensors of its batch until here.
            self.size = max(1, self.size // 2)
            release_memory()
