"""The probability flow: noise to images without chance, along noise levels that are the same for all."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.sampling.denoisers import Denoise, residuals
from gahbench.sampling.noise import starting_noise
from gahbench.sampling.samples import Gathered, Progress, Samples, Status
from gahbench.sampling.settings import Sampling


def flow(
    denoise: Denoise,
    shape: Shape,
    settings: Sampling,
    *,
    first: int,
    batch: int,
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
    done = Gathered(settings, shape, first)
    levels = settings.schedule()
    whole = -(-settings.count // batch) * len(levels)
    for begun in range(0, settings.count, batch):
        places = list(range(begun, min(begun + batch, settings.count)))
        white = starting_noise(len(places), shape, settings.seed, first + begun).to(device)
        course = _Course(denoise, settings, places, settings.mean + levels[0] * white, done)
        for number, level in enumerate(levels):
            following = levels[number + 1] if number + 1 < len(levels) else None
            if course.places:
                course.step(number, level, following)
            progress((begun // batch * len(levels) + number + 1) / whole, len(done))
    return done.samples()


class _Course:
    """Images that flow together.

    Parameters
    ----------
    places
        Their places among the samples.
    images
        Shape (N, C, H, W).
    done
        Where they go when they end.
    """

    def __init__(self, denoise: Denoise, settings: Sampling, places: list[int], images: Tensor, done: Gathered) -> None:
        self._denoise, self._settings, self._done = denoise, settings, done
        self.places = places
        self.images = images

    def step(self, number: int, level: float, following: float | None) -> None:
        """Go from one noise level to the following; at the last, end."""
        residual, sigma = self._residuals(self.images, level)
        residual, sigma = self._drop(self._sound(sigma), number, sigma, residual, sigma)
        if following is None:
            last = self.images + residual if self._settings.final_step else self.images
            self._end(list(range(len(self.places))), last, number, sigma, "converged")
            return
        # The slope is minus the residual over sigma.
        part = (level - following) / level
        ahead = self.images + part * residual
        if self._settings.solver == "heun" and self.places:
            corrected, there = self._residuals(ahead, following)
            ahead = self.images + (part * residual + (level - following) / following * corrected) / 2
            (ahead,) = self._drop(self._sound(there), number, there, ahead)
        self.images = ahead

    def _residuals(self, images: Tensor, level: float) -> tuple[Tensor, Tensor]:
        residual, spread = residuals(self._denoise, images, images.new_full((len(images),), level))
        return residual, spread.cpu()

    def _sound(self, sigma: Tensor) -> Tensor:
        """Return which residuals are within bounds; NaN is not."""
        return sigma <= self._settings.bound

    def _drop(self, sound: Tensor, number: int, sigma: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """End the images that have diverged, and return the data of the others."""
        if sound.all():
            return others
        self._end((~sound).nonzero()[:, 0].tolist(), self.images, number, sigma, "diverged")
        stay = sound.nonzero()[:, 0].tolist()
        self.images, self.places = self.images[stay], [self.places[place] for place in stay]
        return tuple(other[stay] for other in others)

    def _end(self, ended: list[int], images: Tensor, number: int, sigma: Tensor, status: str) -> None:
        steps = torch.full((len(ended),), number)
        where = [self.places[place] for place in ended]
        self._done.put(where, images[ended], steps, sigma[ended], [cast(Status, status)] * len(ended))
