"""Samples of any denoiser, by either sampler."""

from __future__ import annotations

import math

import torch

from gahbench._util.errors import ParameterError
from gahbench._util.noise import derive_seed
from gahbench._util.shapes import Shape
from gahbench.devices.batches import Batches
from gahbench.devices.hardware import Hardware, hardware
from gahbench.sampling.denoisers import Denoise
from gahbench.sampling.flow import flow
from gahbench.sampling.samples import Progress, Samples
from gahbench.sampling.settings import Sampling
from gahbench.sampling.stochastic import stochastic

#: Images are denoised in batches of about this many values: it bounds the memory, and more are no faster.
BATCH_PIXELS = 1 << 15
BATCH_PIXELS_GPU = 1 << 20
#: Steps between checks of which images have finished, on a GPU, which a check would keep from working ahead.
CHECK_EVERY_GPU = 4


def draw_samples(
    denoise: Denoise,
    shape: Shape,
    settings: Sampling | None = None,
    *,
    first: int = 0,
    batch: int | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Samples:
    """Sample images from a denoiser.

    Sample k of a seed starts from the same noise and is given the same, however many are drawn and however they are
    batched: more samples never change the first ones, and two denoisers may be compared sample by sample.

    Parameters
    ----------
    denoise
        Returns the denoised images, given noisy ones (N, C, H, W) and the noise level of each (N,), both on ``device``;
        see :func:`of_network` and :func:`of_denoiser`.
    shape
        Shape (C, H, W) of an image.
    settings
        The sampler and its parameters.
    first
        Number of the first sample.
    batch
        How many images are denoised at a time; by default as many as have some 33,000 values, a million on a GPU.
    device
        Where the images are.
    progress
        Called with the share of the work that is done and the number of finished samples.

    Returns
    -------
    Samples
        The images, and the status of each: images that diverged, or ran out of steps, are included.

    Raises
    ------
    ParameterError, ValueError
        If an argument is not accepted; if denoised images have another shape than noisy ones.

    Examples
    --------
    >>> from gahbench.sampling import Sampling, draw_samples
    >>> shrink = lambda noisy, sigma: 0.5 + (noisy - 0.5) / (1 + 100 * sigma.view(-1, 1, 1, 1) ** 2)
    >>> drawn = draw_samples(shrink, (1, 8, 8), Sampling(sampler="flow", count=4))
    >>> drawn.images.shape, drawn.status[0]
    (torch.Size([4, 1, 8, 8]), 'converged')
    """
    settings, there = settings or Sampling(), hardware(device)
    if batch is None:
        batch = max(1, (BATCH_PIXELS_GPU if there.has_large_batches else BATCH_PIXELS) // math.prod(shape))
    for name, value, lower in (("batch", batch, 1), ("first", first, 0)):
        if value < lower:
            raise ParameterError(f"{name}={value}: accepted are {lower}, {lower + 1}, ...")
    report = progress or (lambda share, finished: None)
    with torch.no_grad(), there.restored():
        return Batches(batch).run(lambda size: _draw(denoise, shape, settings, first, size, there, report))


def _draw(
    denoise: Denoise, shape: Shape, settings: Sampling, first: int, batch: int, there: Hardware, progress: Progress
) -> Samples:
    """Draw samples, computed in batches of a size; the arguments are those of :func:`draw_samples`."""
    sampler = {"stochastic": stochastic, "flow": flow}[settings.sampler]
    every, device = CHECK_EVERY_GPU if there.is_accelerator else 1, there.device
    # For denoisers that draw random numbers of their own.
    torch.manual_seed(derive_seed("noise", "samples", settings.seed, "denoiser", first))
    return sampler(denoise, shape, settings, first=first, batch=batch, every=every, device=device, progress=progress)
