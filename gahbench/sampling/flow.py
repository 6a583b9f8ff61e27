"""The probability flow sampler: a deterministic map from noise to images, along fixed noise levels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware
from gahbench.sampling.denoisers import Denoise, residuals
from gahbench.sampling.noise import starting_noise
from gahbench.sampling.samples import Progress, SampleCollector, Samples
from gahbench.sampling.settings import Sampling


def flow(
    denoise: Denoise,
    shape: Shape,
    settings: Sampling,
    *,
    first: int,
    batch: int,
    every: int,
    device: torch.device,
    progress: Progress,
) -> Samples:
    """Integrate dy / d sigma = (y - f(y, sigma)) / sigma down the noise levels; see :func:`draw_samples`.

    If f is the optimal denoiser and the flow starts from the distribution of noisy images, it has the distribution of
    noisy images at every sigma (Song et al. 2021, equation 13; Karras et al. 2022, equation 1 with sigma(t) = t).
    Heun's method corrects each Euler step by the slope at its end (Karras et al. 2022, algorithm 1). The final
    denoising is the Euler step to 0. A blind denoiser estimates the noise level itself; for a poor denoiser that level
    drifts away from sigma, as the final sigma shows.

    The flow is invertible and starts from pure noise, so samples lack variance if sigma_start is small: for
    ``gaussian-field[size=32]`` and its optimal denoiser, samples have 28 % of the variance of the images for
    sigma_start = 1, and 96 % for sigma_start = 10.
    """
    collector = SampleCollector(settings, shape, first, device)
    levels = settings.schedule()
    total_steps = -(-settings.count // batch) * len(levels)
    for start in range(0, settings.count, batch):
        indices = list(range(start, min(start + batch, settings.count)))
        white = hardware(device).upload(starting_noise(len(indices), shape, settings.seed, first + start))
        batch_flow = _Flow(denoise, settings, indices, settings.mean + levels[0] * white, collector)
        for index, level in enumerate(levels):
            next_level = levels[index + 1] if index + 1 < len(levels) else None
            if batch_flow.indices:
                batch_flow.step(level, next_level)
            if next_level is None or (index + 1) % every == 0:
                batch_flow.drop_finished(are_last=next_level is None)
            progress((start // batch * len(levels) + index + 1) / total_steps, len(collector))
    return collector.samples()


def flow_points(
    denoise: Denoise, shape: Shape, settings: Sampling, sigmas: Sequence[float], *, batch: int, device: torch.device
) -> Tensor:
    """Return the points of the flow at noise levels; see :func:`gahbench.sampling.draw_path_points`."""
    points = torch.full((len(sigmas), settings.count, *shape), torch.nan)
    last = min(sigmas)
    levels = sorted({level for level in (*settings.schedule(), *sigmas) if level >= last}, reverse=True)
    for start in range(0, settings.count, batch):
        indices = list(range(start, min(start + batch, settings.count)))
        white = hardware(device).upload(starting_noise(len(indices), shape, settings.seed, start))
        collector = SampleCollector(settings, shape, 0, device)
        batch_flow = _Flow(denoise, settings, indices, settings.mean + levels[0] * white, collector)
        for level, next_level in itertools.zip_longest(levels, levels[1:]):
            for index, sigma in enumerate(sigmas):
                if sigma == level:
                    points[index, start : start + len(indices)] = batch_flow.valid_images().cpu()
            if next_level is not None:
                batch_flow.step(level, next_level)
    return points


class _Flow:
    """A batch of images that follow the flow, and images that diverged since the last check."""

    def __init__(
        self, denoise: Denoise, settings: Sampling, indices: list[int], images: Tensor, collector: SampleCollector
    ) -> None:
        self._denoise, self._settings, self._collector = denoise, settings, collector
        self.indices = indices
        self.images = images
        #: Whether each image has not diverged, shape (N,), bool.
        self._is_valid = torch.ones(len(images), dtype=torch.bool, device=images.device)
        #: Number of steps, and the last measured noise level, of each image, shape (2, N), float64.
        self._steps, self._sigma = images.new_zeros(2, len(images), dtype=torch.float64)

    def step(self, level: float, next_level: float | None) -> None:
        """Integrate from one noise level to the next, or finish at the last level, without waiting for the device."""
        residual = self._residual(self.images, level)
        if next_level is None:
            target = self.images + residual if self._settings.final_step else self.images
        else:
            # The slope is minus the residual over sigma.
            fraction = (level - next_level) / level
            target = self.images + fraction * residual
            if self._settings.solver == "heun":
                # Diverged images do not change, so that the denoiser never receives invalid values.
                corrected = self._residual(self._move_valid(target), next_level)
                target = self.images + (fraction * residual + (level - next_level) / next_level * corrected) / 2
            self._steps = self._steps + self._is_valid
        self.images = self._move_valid(target)

    def valid_images(self) -> Tensor:
        """Return the images, shape (N, C, H, W), with NaN in place of diverged images."""
        return torch.where(self._is_valid[:, None, None, None], self.images, torch.nan)

    def _residual(self, images: Tensor, level: float) -> Tensor:
        """Return the residuals at a noise level, and record which images have diverged."""
        residual, sigma = residuals(self._denoise, images, images.new_full((len(images),), level))
        self._sigma = torch.where(self._is_valid, sigma, self._sigma)
        # NaN compares as false, and so is not valid.
        self._is_valid = self._is_valid & (sigma <= self._settings.bound)
        return residual

    def _move_valid(self, images: Tensor) -> Tensor:
        """Return the new images, with the current images in place of diverged images."""
        return torch.where(self._is_valid[:, None, None, None], images, self.images)

    def drop_finished(self, are_last: bool) -> None:
        """Move diverged images, or all images at the last noise level, to the collector."""
        is_active = self._is_valid & (not are_last)
        positions, _ = self._collector.collect_finished(self.indices, self.images, is_active, self._steps, self._sigma)
        if positions is not None:
            self.indices = [self.indices[position] for position in positions]
            active = hardware(self.images.device).upload(torch.tensor(positions, dtype=torch.int64))
            self.images, self._is_valid = self.images[active], self._is_valid[active]
            self._steps, self._sigma = self._steps[active], self._sigma[active]
