"""The probability flow: noise to images without chance, along noise levels that are the same for all."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware
from gahbench.sampling.denoisers import Denoise, residuals
from gahbench.sampling.noise import starting_noise
from gahbench.sampling.samples import Gathered, Progress, Samples
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
    """Follow dy / d sigma = (y - f(y, sigma)) / sigma down the noise levels; parameters are those of ``stochastic``.

    At every sigma the flow has the distribution of images under that noise, if it starts from it and f is the best
    denoiser (Song et al. 2021, equation 13; Karras et al. 2022, equation 1 with sigma(t) = t). Heun's method corrects
    each Euler step by the slope where it leads (Karras et al. 2022, algorithm 1). Denoising at the end is the Euler
    step to 0. A blind denoiser goes by the noise that it sees, which the flow keeps near sigma only as far as the
    denoiser is good, which the final sigma shows.

    The flow is invertible. Parts of the images that its start, pure noise, lacks are missing in the end: of the
    variance of ``gaussian-field[size=32]``, the best denoiser draws 28 % from sigma_start = 1, and 96 % from 10.
    """
    done = Gathered(settings, shape, first, device)
    levels = settings.schedule()
    whole = -(-settings.count // batch) * len(levels)
    for begun in range(0, settings.count, batch):
        places = list(range(begun, min(begun + batch, settings.count)))
        white = hardware(device).upload(starting_noise(len(places), shape, settings.seed, first + begun))
        flowing = _Flow(denoise, settings, places, settings.mean + levels[0] * white, done)
        for number, level in enumerate(levels):
            following = levels[number + 1] if number + 1 < len(levels) else None
            if flowing.places:
                flowing.step(level, following)
            if following is None or (number + 1) % every == 0:
                flowing.drop_finished(are_last=following is None)
            progress((begun // batch * len(levels) + number + 1) / whole, len(done))
    return done.samples()


class _Flow:
    """Images that flow together, and those that have ended since the last check."""

    def __init__(self, denoise: Denoise, settings: Sampling, places: list[int], images: Tensor, done: Gathered) -> None:
        self._denoise, self._settings, self._done = denoise, settings, done
        self.places = places
        self.images = images
        #: Which images have not diverged, shape (N,), bool.
        self._sound = torch.ones(len(images), dtype=torch.bool, device=images.device)
        #: Steps taken, and the noise level before the next, or that at the end, shape (2, N), float64.
        self._steps, self._sigma = images.new_zeros(2, len(images), dtype=torch.float64)

    def step(self, level: float, following: float | None) -> None:
        """Go from one noise level to the following, or end at the last, without waiting for the device."""
        residual = self._residual(self.images, level)
        if following is None:
            last = self.images + residual if self._settings.final_step else self.images
        else:
            # The slope is minus the residual over sigma.
            part = (level - following) / level
            last = self.images + part * residual
            if self._settings.solver == "heun":
                # Images that have diverged stay where they are in this call too.
                corrected = self._residual(self._moved_to(last), following)
                last = self.images + (part * residual + (level - following) / following * corrected) / 2
            self._steps = self._steps + self._sound
        self.images = self._moved_to(last)

    def _residual(self, images: Tensor, level: float) -> Tensor:
        """Return the residuals at a noise level, and note which images have diverged."""
        residual, sigma = residuals(self._denoise, images, images.new_full((len(images),), level))
        self._sigma = torch.where(self._sound, sigma, self._sigma)
        # NaN is not sound.
        self._sound = self._sound & (sigma <= self._settings.bound)
        return residual

    def _moved_to(self, images: Tensor) -> Tensor:
        """Return images, and in place of those that have diverged what they were before."""
        return torch.where(self._sound[:, None, None, None], images, self.images)

    def drop_finished(self, are_last: bool) -> None:
        """Hand over the images that have diverged, or at the last noise level all."""
        going = self._sound & (not are_last)
        stay, _ = self._done.take_finished(self.places, self.images, going, self._steps, self._sigma)
        if stay is not None:
            self.places = [self.places[place] for place in stay]
            kept = hardware(self.images.device).upload(torch.tensor(stay, dtype=torch.int64))
            self.images, self._sound = self.images[kept], self._sound[kept]
            self._steps, self._sigma = self._steps[kept], self._sigma[kept]
