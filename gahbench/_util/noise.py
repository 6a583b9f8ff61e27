"""Random numbers with independent seeds for four purposes (axes): data, noise, initialisation and batches.

The seed of one axis does not affect the random numbers of the other axes. Therefore all entrants see the same images
with the same noise, and comparisons are paired.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Axis = Literal["data", "noise", "initialisation", "batches"]

#: Number of images that share a generator, so that the first k images do not depend on the number of images.
BLOCK = 64


def derive_seed(axis: Axis, *parts: int | float | str) -> int:
    """Return a seed in [0, 2^63) that depends on the axis and on every part."""
    text = json.dumps([axis, *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(axis: Axis, *parts: int | float | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose seed depends on the axis and on all parts.

    Parameters
    ----------
    axis
        ``data``, ``noise``, ``initialisation`` or ``batches``. The axes have independent random numbers.
    *parts
        Further parts of the seed, in order; 1 and 1.0 are different parts.
    device
        Device of the generator. Different devices give different numbers.

    Examples
    --------
    >>> import torch
    >>> first, second = (torch.randn(3, generator=generator("data", "mine", "test", 0)) for _ in range(2))
    >>> torch.equal(first, second)
    True
    """
    return torch.Generator(device=device).manual_seed(derive_seed(axis, *parts))


def evaluation_noise(
    count: int,
    shape: tuple[int, int, int],
    sigma: float,
    *parts: int | str,
    block: int = BLOCK,
    render_size: int | None = None,
) -> Tensor:
    """Return noise of standard deviation ``sigma`` for the first ``count`` images of a split."""
    if count == 0:
        return torch.empty(0, *shape)
    if render_size is not None:
        return sigma * _averaged_noise(count, shape, render_size, *parts)

    def draw(number: int) -> Tensor:
        return torch.randn(block, *shape, generator=generator("noise", *parts, float(sigma), number * block))

    return sigma * draw_in_blocks(draw, count, block=block)


def _averaged_noise(count: int, shape: tuple[int, int, int], render_size: int, *parts: int | str) -> Tensor:
    """Return block averages of noise at the render size, scaled to standard deviation 1, shape (count, C, H, W)."""
    channels, height, width = shape
    if height != width or render_size % height:
        raise ValueError(
            f"images of {height}x{width} pixels: expected block averages of squares with {render_size} pixels a side"
        )
    factor = render_size // height

    def draw(number: int) -> Tensor:
        # The seed does not depend on sigma, since rounded levels of different sizes are rarely in exact proportion.
        draw = generator("noise", *parts, "master", number)
        white = torch.randn(1, channels, render_size, render_size, generator=draw)
        # Averaging over blocks divides the standard deviation by their side.
        return factor * torch.nn.functional.avg_pool2d(white, factor)

    # Draw a single image at a time, since images at the render size may be large.
    return draw_in_blocks(draw, count, block=1)


def draw_in_blocks(draw: Callable[[int], Tensor], count: int, start: int = 0, block: int = BLOCK) -> Tensor:
    """Return items ``start`` to ``start + count`` of a series that is drawn in complete blocks.

    Blocks at the ends are complete too, so that the value of an item does not depend on the number of items.

    Parameters
    ----------
    draw
        Function that returns the items of a block, shape (block, ...), given the index of the block.
    count
        Number of items, at least 1.
    start
        Index of the first item.
    block
        Number of items in a block.

    Returns
    -------
    Tensor
        Shape (count, ...).

    Examples
    --------
    >>> import torch
    >>> def draw(block):
    ...     return torch.rand(BLOCK, 2, generator=generator("data", "mine", block))
    >>> draw_in_blocks(draw, 100).shape
    torch.Size([100, 2])
    >>> torch.equal(draw_in_blocks(draw, 100)[70:80], draw_in_blocks(draw, 10, start=70))
    True
    """
    first, last = start // block, (start + count - 1) // block
    blocks = torch.cat([draw(number) for number in range(first, last + 1)])
    return blocks[start - first * block :][:count]
