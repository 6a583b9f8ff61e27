"""Noise for sampling, which depends only on the seed and the index of the sample."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gahbench._util.noise import BLOCK, draw_in_blocks, generator
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware


def starting_noise(count: int, shape: Shape, seed: int = 0, first: int = 0) -> Tensor:
    """Return the white noise that samples start from.

    Parameters
    ----------
    count
        Number of samples.
    shape
        Shape (C, H, W) of an image.
    seed
        Seed of the noise.
    first
        Index of the first sample.

    Returns
    -------
    Tensor
        Float32 of shape (count, C, H, W), of standard deviation 1, on the CPU. Sample k is the same for any count.

    Examples
    --------
    >>> import torch
    >>> torch.equal(starting_noise(8, (1, 4, 4))[5:], starting_noise(3, (1, 4, 4), first=5))
    True
    """
    if count == 0:
        return torch.empty(0, *shape)

    def draw(block: int) -> Tensor:
        return torch.randn(BLOCK, *shape, generator=generator("noise", "samples", seed, "start", block))

    return draw_in_blocks(draw, count, first)


def step_noise(seed: int, number: int) -> torch.Generator:
    """Return the generator of the white noise that is added to sample ``number`` in its steps."""
    return generator("noise", "samples", seed, "steps", number)


def draw_step_noise(generators: Iterable[torch.Generator], like: Tensor) -> Tensor:
    """Draw the noise of the next step, in the shape (N, C, H, W) and on the device of the images ``like``."""
    noise = torch.empty(like.shape)
    for random, image in zip(generators, noise, strict=True):
        image.normal_(generator=random)
    return hardware(like.device).upload(noise)
