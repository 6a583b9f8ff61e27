"""Sample images from any denoiser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gahbench._util.errors import ParameterError
from gahbench._util.noise import derive_seed
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import Batches, Hardware, hardware
from gahbench.sampling.denoisers import Denoise
from gahbench.sampling.flow import flow, flow_points
from gahbench.sampling.samples import Progress, Samples
from gahbench.sampling.settings import Sampling
from gahbench.sampling.stochastic import stochastic

#: Approximate number of values in a batch, on a CPU and on a GPU: larger batches use more memory and are not faster.
BATCH_PIXELS = 1 << 15
BATCH_PIXELS_GPU = 1 << 20
#: Number of steps between checks for finished images on a GPU; each check waits for the GPU.
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

    Sample k of a seed starts from the same noise and receives the same noise in each step, however many samples are
    drawn and however they are batched: drawing more samples never changes earlier samples, and two denoisers can be
    compared sample by sample.

    Parameters
    ----------
    denoise
        Function that returns the denoised images, given noisy images (N, C, H, W) and their noise levels (N,), both on
        ``device``; see :func:`wrap_network` and :func:`wrap_denoiser`.
    shape
        Shape (C, H, W) of an image.
    settings
        The sampler and its parameters.
    first
        Index of the first sample.
    batch
        Number of images to denoise at a time; by default about 33,000 values, or a million on a GPU.
    device
        Device of the images.
    progress
        Function to call with the fraction of the work that is done, in [0, 1], and the number of finished samples.

    Returns
    -------
    Samples
        The images and their status; images that diverged or ran out of steps are included.

    Raises
    ------
    ParameterError
        If ``batch`` or ``first`` is out of range.
    ValueError
        If denoised images differ in shape from noisy images.

    Examples
    --------
    >>> from gahbench.sampling import Sampling, draw_samples
    >>> shrink = lambda noisy, sigma: 0.5 + (noisy - 0.5) / (1 + 100 * sigma.view(-1, 1, 1, 1) ** 2)
    >>> drawn = draw_samples(shrink, (1, 8, 8), Sampling(sampler="flow", count=4))
    >>> drawn.images.shape, drawn.status[0]
    (torch.Size([4, 1, 8, 8]), 'converged')
    """
    settings, device_hardware = settings or Sampling(), hardware(device)
    if batch is None:
        batch = _default_batch(shape, device_hardware)
    for name, value, lower in (("batch", batch, 1), ("first", first, 0)):
        if value < lower:
            raise ParameterError(f"{name}={value}; accepted: {lower}, {lower + 1}, ...")
    report = progress or (lambda share, finished: None)
    with torch.no_grad(), device_hardware.restore_generators():
        return Batches(batch).run(lambda size: _draw(denoise, shape, settings, first, size, device_hardware, report))


def draw_path_points(
    denoise: Denoise, shape: Shape, settings: Sampling, sigmas: Sequence[float], *, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the noisy images through which the probability flow passes at given noise levels.

    The paths start from the same noise as samples of the same seed.

    Parameters
    ----------
    denoise, shape
        As for :func:`draw_samples`.
    settings
        Settings of the flow. The given noise levels are inserted in its noise levels.
    sigmas
        Noise levels of the points, at least one, from ``settings.sigma_end`` to ``settings.sigma_start``.
    device
        As for :func:`draw_samples`.

    Returns
    -------
    Tensor
        Float32 of shape (len(sigmas), settings.count, C, H, W), on the CPU; NaN where a path diverged.

    Raises
    ------
    ParameterError
        If the settings are of another sampler, or a noise level is missing or out of range.

    Examples
    --------
    >>> from gahbench.sampling import Sampling, draw_path_points
    >>> shrink = lambda noisy, sigma: 0.5 + (noisy - 0.5) / (1 + 100 * sigma.view(-1, 1, 1, 1) ** 2)
    >>> draw_path_points(shrink, (1, 8, 8), Sampling(sampler="flow", count=4), [0.5, 0.1]).shape
    torch.Size([2, 4, 1, 8, 8])
    """
    if settings.sampler != "flow":
        raise ParameterError(
            f"sampler={settings.sampler}; accepted: flow, since other samplers add noise to their paths"
        )
    if not sigmas or not all(settings.sigma_end <= sigma <= settings.sigma_start for sigma in sigmas):
        raise ParameterError(
            f"sigmas={list(sigmas)}; accepted: one or more noise levels from sigma_end={settings.sigma_end:g} to "
            f"sigma_start={settings.sigma_start:g}"
        )
    device_hardware = hardware(device)
    with torch.no_grad(), device_hardware.restore_generators():
        return Batches(_default_batch(shape, device_hardware)).run(
            lambda size: flow_points(denoise, shape, settings, sigmas, batch=size, device=device_hardware.device)
        )


def _default_batch(shape: Shape, device_hardware: Hardware) -> int:
    """Return the number of images to denoise at a time."""
    return max(1, (BATCH_PIXELS_GPU if device_hardware.is_accelerator else BATCH_PIXELS) // math.prod(shape))


def _draw(
    denoise: Denoise,
    shape: Shape,
    settings: Sampling,
    first: int,
    batch: int,
    device_hardware: Hardware,
    progress: Progress,
) -> Samples:
    """Draw samples in batches of a given size; for the arguments see :func:`draw_samples`."""
    sampler = {"stochastic": stochastic, "flow": flow}[settings.sampler]
    every, device = CHECK_EVERY_GPU if device_hardware.is_accelerator else 1, device_hardware.device
    # Some denoisers draw random numbers themselves.
    torch.manual_seed(derive_seed("noise", "samples", settings.seed, "denoiser", first))
    return sampler(denoise, shape, settings, first=first, batch=batch, every=every, device=device, progress=progress)
