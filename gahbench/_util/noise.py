"""Random numbers by axis: data, noise, initialisation and batches each have seeds of their own.

Changing one axis leaves the others as they were, so that two entrants see the same images under the same noise, and
comparisons are paired.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Axis = Literal["data", "noise", "initialisation", "batches"]

#: Images are drawn in blocks of this many, each block from its own generator: the first k of n images are the k.
BLOCK = 64


def derive_seed(axis: Axis, *parts: int | float | str) -> int:
    """Return a seed in [0, 2^63) that depends on the axis and on every part."""
    text = json.dumps([axis, *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(axis: Axis, *parts: int | float | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose seed depends on the axis and on every part.

    Parameters
    ----------
    axis
        ``data``, ``noise``, ``initialisation`` or ``batches``: a change along one leaves the others as they were.
    *parts
        Further names of the draw, in order; 1 and 1.0 are different parts.
    device
        Where the generator draws; other devices draw other numbers.

    Examples
    --------
    >>> import torch
    >>> one, other = (torch.randn(3, generator=generator("data", "mine", "test", 0)) for _ in range(2))
    >>> torch.equal(one, other)
    True
    """
    return torch.Generator(device=device).manual_seed(derive_seed(axis, *parts))


def evaluation_noise(
    count: int,
    shape: tuple[int, int, int],
    sigma: float,
    *parts: int | str,
    block: int = BLOCK,
    master: int | None = None,
) -> Tensor:
    """Return noise of standard deviation ``sigma`` for the first ``count`` images of a split."""
    if count == 0:
        return torch.empty(0, *shape)
    if master is not None:
        return sigma * _averaged_noise(count, shape, master, *parts)

    def draw(number: int) -> Tensor:
        return torch.randn(block, *shape, generator=generator("noise", *parts, float(sigma), number * block))

    return sigma * in_blocks(draw, count, block=block)


def _averaged_noise(count: int, shape: tuple[int, int, int], master: int, *parts: int | str) -> Tensor:
    """Return noise of standard deviation 1 that is averaged over the blocks of a master, shape (count, C, H, W)."""
    channels, height, width = shape
    if height != width or master % height:
        raise ValueError(
            f"images of {height}x{width} pixels: accepted with a master of {master} are its block averages"
        )
    factor = master // height

    def draw(number: int) -> Tensor:
        # Not named by sigma: levels that are written with few digits are hardly ever in exact proportion.
        white = torch.randn(1, channels, master, master, generator=generator("noise", *parts, "master", number))
        # The average over blocks lowers the standard deviation by their side.
        return factor * torch.nn.functional.avg_pool2d(white, factor)

    # One image at a time, as masters may be large.
    return in_blocks(draw, count, block=1)


def in_blocks(draw: Callable[[int], Tensor], count: int, start: int = 0, block: int = BLOCK) -> Tensor:
    """Return items ``start`` to ``start + count``, at least one, of a series that is drawn in whole blocks.

    Whole blocks even at the ends: the number of items must not change how each is computed.

    Parameters
    ----------
    draw
        Returns the items of a block, given its number, shape (block, ...).
    count
        How many items.
    start
        The first of them.
    block
        Items of a block.

    Returns
    -------
    Tensor
        Shape (count, ...).

    Examples
    --------
    >>> import torch
    >>> def draw(block):
    ...     return torch.rand(BLOCK, 2, generator=generator("data", "mine", block))
    >>> in_blocks(draw, 100).shape
    torch.Size([100, 2])
    >>> torch.equal(in_blocks(draw, 100)[70:80], in_blocks(draw, 10, start=70))
    True
    """
    first, last = start // block, (start + count - 1) // block
    blocks = torch.cat([draw(number) for number in range(first, last + 1)])
    return blocks[start - first * block :][:count]
