"""Batches that are halved when memory runs out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

from gahbench._util.error_text import error_text
from gahbench._util.readable import counted
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import is_out_of_memory, release_memory

Result = TypeVar("Result")
#: What needs less memory, in errors.
FEWER_WORKERS = "fewer workers (--workers, --workers-per-gpu)"
#: Images are denoised in batches of about this many values, which bounds the memory of any network.
BATCH_PIXELS = 1 << 17


class Batches:
    """How many images are computed at a time: half as many, permanently, whenever memory runs out.

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
        self.size = size

    @classmethod
    def of_images(cls, shape: Shape) -> Batches:
        """Return batches of as many images of a shape (C, H, W) as any network has memory for.

        Examples
        --------
        >>> import gahbench
        >>> gahbench.Batches.of_images((1, 64, 64)).size
        32
        """
        return cls(max(1, BATCH_PIXELS // math.prod(shape)))

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
                        f"a single image does not fit; {FEWER_WORKERS}, smaller images or --device cpu need less "
                        f"memory of a device ({error_text(error)})"
                    ) from error
            # The error holds the tensors of its batch until here.
            self.size = max(1, self.size // 2)
            _halved.append(self.size)
            release_memory()


#: Sizes to which batches were halved in this process, since :func:`take_memory_notes` was last called.
_halved: list[int] = []


def take_memory_notes() -> list[str]:
    """Return what a record should say of batches that were halved since the last call: one note, or none."""
    sizes = [*_halved]
    _halved.clear()
    return [f"out of memory: computed in batches of {counted(min(sizes), 'image')}"] if sizes else []


@contextlib.contextmanager
def memory_for(what: str, advice: str) -> Iterator[None]:
    """Return a context whose error says what does not fit when memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"{what} does not fit; {advice} need less memory ({error_text(error)})") from error
