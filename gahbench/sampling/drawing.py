"""The samplers: stochastic ascent of the density that a denoiser implies, and the probability flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from gahbench._util.errors import ParameterError
from gahbench._util.noise import BLOCK, derive_seed, draw_in_blocks, generator
from gahbench._util.shapes import Shape
from gahbench.devices.hardware import Batches, Hardware, hardware
from gahbench.sampling.denoisers import Denoise
from gahbench.sampling.samples import Samples
from gahbench.sampling.settings import Sampling

#: Approximate number of values in a batch, on a CPU and on a GPU: larger batches use more memory and are not faster.
BATCH_PIXELS, BATCH_PIXELS_GPU = 1 << 15, 1 << 20
#: The share of the work that is done; and the images, number of steps and last measured noise level of a batch.
State = tuple[float, Tensor, Tensor, Tensor]


def draw_samples(
    denoise: Denoise,
    shape: Shape,
    settings: Sampling | None = None,
    *,
    first: int = 0,
    batch: int | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Samples:
    """Sample images from a denoiser.

    Sample k of a seed starts from the same noise and receives the same noise in each step, however many samples are
    drawn and however they are batched: drawing more samples never changes earlier samples, and two denoisers can be
    compared sample by sample.

    The stochastic sampler adds a fraction h of the residual s = f(y) - y, which is sigma^2 times the score, and noise::

        sigma_t^2 = |s|^2 / d,  gamma^2 = [(1 - beta h)^2 - (1 - h)^2] sigma_t^2,  y <- y + h s + gamma z

    A step leaves noise of level (1 - beta h) sigma_t if the residual is all noise (Kadkhodaie & Simoncelli 2020,
    algorithm 1). An image is finished when sigma_t is at or below ``sigma_end``. The final denoising is y + s with the
    last residual. The denoiser receives sigma_start in the first step, and sigma_t of the previous step later. Since
    steps are not infinitely small, samples have less contrast than the images of the density. For
    ``gaussian-field[size=32]`` and its optimal denoiser, samples have 74 % of the variance of the images for growing
    steps of 0.01 (89 steps), 91 % for constant steps (2,600 steps), and the full variance for constant steps with
    beta = 0.01 (12,000 steps).

    The flow integrates dy / d sigma = (y - f(y, sigma)) / sigma. If f is the optimal denoiser and the flow starts from
    the distribution of noisy images, it has the distribution of noisy images at every sigma (Song et al. 2021, equation
    13; Karras et al. 2022, equation 1 with sigma(t) = t). Heun's method corrects each Euler step by the slope at its
    end (Karras et al. 2022, algorithm 1). The final denoising is the Euler step to 0. The flow starts from pure noise,
    so samples lack variance if sigma_start is small: for ``gaussian-field[size=32]`` and its optimal denoiser, they
    have 28 % of the variance of the images for sigma_start = 1, and 96 % for sigma_start = 10.

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
        Function to call with the share of the work that is done, in [0, 1].

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
    settings, target = settings or Sampling(), hardware(device)
    for name, value, lower in (("batch", batch, 1), ("first", first, 0)):
        if value is not None and value < lower:
            raise ParameterError(f"{name}={value}; accepted: {lower}, {lower + 1}, ...")

    def draw(size: int) -> list[State]:
        # Some denoisers draw random numbers themselves.
        torch.manual_seed(derive_seed("noise", "samples", settings.seed, "denoiser", first))
        results = []
        for indices, images in _batches(settings, shape, first, size, target):
            if settings.sampler == "flow":
                states = _flow(denoise, images, settings, settings.schedule())
            else:
                states = _stochastic(denoise, images, settings, indices)
            for state in states:
                if progress is not None:
                    progress((indices.start - first + len(indices) * state[0]) / settings.count)
            results.append(state)
        return results

    with torch.no_grad(), target.restore_generators():
        results = Batches(batch or _default_batch(shape, target)).run(draw)
    images, steps, sigma = (torch.cat(values).cpu() for values in list(zip(*results, strict=True))[1:])
    return Samples(images.float(), steps, sigma, settings, first)


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
    levels = sorted({level for level in (*settings.schedule(), *sigmas) if level >= min(sigmas)}, reverse=True)
    target = hardware(device)

    def draw(size: int) -> Tensor:
        batches = []
        for _, images in _batches(settings, shape, 0, size, target):
            states = zip(levels, _flow(denoise, images, settings, levels), strict=False)
            points = {
                level: torch.where(_per_image(sigma <= settings.bound), images, torch.nan).cpu()
                for level, (_, images, _, sigma) in states
                if level in sigmas
            }
            batches.append(torch.stack([points[sigma] for sigma in sigmas]))
        return torch.cat(batches, 1)

    with torch.no_grad(), target.restore_generators():
        return Batches(_default_batch(shape, target)).run(draw)


def starting_noise(count: int, shape: Shape, seed: int = 0, first: int = 0) -> Tensor:
    """Return the white noise that samples start from, shape (count, C, H, W), on the CPU.

    Sample k is the same for any count.
    """
    if count == 0:
        return torch.empty(0, *shape)
    block_noise = lambda block: torch.randn(BLOCK, *shape, generator=_generator(seed, "start", block))  # noqa: E731
    return draw_in_blocks(block_noise, count, first)


def _generator(seed: int, kind: str, index: int) -> torch.Generator:
    return generator("noise", "samples", seed, kind, index)


def _default_batch(shape: Shape, target: Hardware) -> int:
    return max(1, (BATCH_PIXELS_GPU if target.is_accelerator else BATCH_PIXELS) // math.prod(shape))


def _batches(
    settings: Sampling, shape: Shape, first: int, size: int, target: Hardware
) -> Iterator[tuple[range, Tensor]]:
    """Yield the indices of the samples of each batch, and the images that they start from."""
    end = first + settings.count
    for start in range(first, end, size):
        indices = range(start, min(start + size, end))
        white = target.upload(starting_noise(len(indices), shape, settings.seed, start))
        yield indices, settings.mean + settings.sigma_start * white


def _stochastic(denoise: Denoise, images: Tensor, settings: Sampling, indices: range) -> Iterator[State]:
    """Yield the state of the stochastic sampler after each step, and at last with all images finished."""
    generators = [_generator(settings.seed, "steps", index) for index in indices]
    noise, target = torch.empty(images.shape), hardware(images.device)
    # The images that are still sampled, and the noise levels that the denoiser receives.
    rows = torch.arange(len(images), device=images.device)
    levels = images.new_full((len(images),), settings.sigma_start)
    steps, sigma = torch.zeros_like(rows), levels.double()
    share, limit = 0.0, settings.step_limit()
    for number in range(limit + 1):
        h = settings.step_size(number + 1)
        rate = math.sqrt(max(0.0, (1 - settings.beta * h) ** 2 - (1 - h) ** 2))
        current = images[rows]
        residual, measured = _residuals(denoise, current, levels)
        # The noise is drawn on the CPU while a GPU computes the residual.
        for random, image in zip(generators, noise, strict=False):
            image.normal_(generator=random)
        is_valid = measured <= settings.bound
        is_active = is_valid & (measured > settings.sigma_end) & (number < limit)
        z = target.upload(noise[: len(rows)])
        stepped = current + h * residual + _per_image(rate * measured).to(current) * z
        final = current + residual if settings.final_step else current
        final = torch.where(_per_image(is_valid), final, current)
        images[rows] = torch.where(_per_image(is_active), stepped, final).to(images)
        sigma[rows], steps[rows] = measured, steps[rows] + is_active
        # Read once in a step, since reading waits for a GPU.
        known = torch.where(is_active, measured, 0.0).tolist()
        active = [index for index, level in enumerate(known) if level]
        chosen = target.upload(torch.tensor(active, dtype=torch.int64))
        rows, levels, generators = rows[chosen], measured[chosen].to(levels), [generators[index] for index in active]
        left = sum(math.log(known[index] / settings.sigma_end) for index in active)
        share = max(share, 1 - left / math.log(settings.sigma_start / settings.sigma_end) / len(images))
        yield share, images, steps, sigma
        if not generators:
            return


def _flow(denoise: Denoise, images: Tensor, settings: Sampling, levels: Sequence[float]) -> Iterator[State]:
    """Yield the state of the flow at each noise level, and at last after the final denoising."""
    steps = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    sigma = steps.double()

    def residuals_at(images: Tensor, level: float) -> Tensor:
        nonlocal sigma
        residual, measured = _residuals(denoise, images, images.new_full((len(images),), level))
        sigma = torch.where(sigma <= settings.bound, measured, sigma)
        return residual

    def moved(target: Tensor) -> Tensor:
        # Diverged images do not change, so that the denoiser never receives invalid values.
        return torch.where(_per_image(sigma <= settings.bound), target, images)

    for index, (level, next_level) in enumerate(pairwise(levels)):
        yield index / len(levels), images, steps, sigma
        # The slope is minus the residual over sigma.
        step = (level - next_level) / level * residuals_at(images, level)
        target = images + step
        if settings.solver == "heun":
            corrected = residuals_at(moved(target), next_level)
            target = images + (step + (level - next_level) / next_level * corrected) / 2
        steps, images = steps + (sigma <= settings.bound), moved(target)
    yield 1 - 1 / len(levels), images, steps, sigma
    residual = residuals_at(images, levels[-1])
    yield 1.0, moved(images + residual) if settings.final_step else images, steps, sigma


def _residuals(denoise: Denoise, noisy: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the residuals f(y) - y, and the root mean square of each, shape (N,), float64."""
    denoised = denoise(noisy, sigma)
    if denoised.shape != noisy.shape:
        # Broadcasting would hide the wrong shape.
        raise ValueError(f"the denoiser returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
    residual = denoised - noisy
    return residual, residual.flatten(1).square().mean(1).double().sqrt()


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
