"""Batch sizes that are halved when memory runs out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

from gahbench._util.errors import error_text
from gahbench._util.readable import pluralize
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import is_out_of_memory, release_memory

Result = TypeVar("Result")
#: Advice for reducing memory, in error messages.
FEWER_WORKERS = 'fewer workers (--workers, --engine "local[workers_per_gpu=1]")'
#: Approximate number of values in a batch of images, small enough for the memory of any network.
BATCH_PIXELS = 1 << 17


class Batches:
    """A batch size that is halved permanently whenever memory runs out.

    Parameters
    ----------
    size
        Initial number of images in a batch.

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
    def for_images(cls, shape: Shape) -> Batches:
        """Return batches of images of shape (C, H, W) that fit into memory for any network.

        Examples
        --------
        >>> import gahbench
        >>> gahbench.Batches.for_images((1, 64, 64)).size
        32
        """
        return cls(max(1, BATCH_PIXELS // math.prod(shape)))

    def run(self, compute: Callable[[int], Result]) -> Result:
        """Return ``compute(size)``; whenever memory runs out, halve the size and compute again from the start.

        Parameters
        ----------
        compute
            Function that computes all images in batches of a given size. If it draws random numbers, it must seed them,
            so that calls agree.

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
            # Halve outside the handler, where the error no longer keeps the tensors of the failed batch alive.
            self.size = max(1, self.size // 2)
            _halved.append(self.size)
            release_memory()


#: Sizes to which batches were halved in this process since the last call of :func:`take_memory_notes`.
_halved: list[int] = []


def take_memory_notes() -> list[str]:
    """Return a note for records if batches were halved since the last call, as a list of at most one note."""
    sizes = [*_halved]
    _halved.clear()
    return [f"out of memory: computed in batches of {pluralize(min(sizes), 'image')}"] if sizes else []


@contextlib.contextmanager
def memory_for(what: str, advice: str) -> Iterator[None]:
    """Return a context in which out-of-memory errors name the object that does not fit, and how to use less memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"{what} does not fit; {advice} need less memory ({error_text(error)})") from error
