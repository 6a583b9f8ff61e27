"""The stochastic sampler of Kadkhodaie & Simoncelli 2020, for many images at a time, each at its own pace."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware
from gahbench.sampling.denoisers import Denoise, residuals
from gahbench.sampling.noise import injected, starting_noise, step_noise
from gahbench.sampling.samples import Gathered, Progress, Samples
from gahbench.sampling.settings import Sampling


def stochastic(
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
    """Climb the density that a denoiser implies, from noise to images.

    A step takes the part h of the residual s = f(y) - y, which is sigma^2 times the score, and adds noise:

        sigma_t^2 = |s|^2 / d,  gamma^2 = [(1 - beta h)^2 - (1 - h)^2] sigma_t^2,  y <- y + h s + gamma z,

    which leaves noise of (1 - beta h) sigma_t if the residual is all noise (Kadkhodaie & Simoncelli 2020, algorithm 1).
    An image is done when sigma_t is at or below ``sigma_end``. The denoising at the end is y + s with the residual that
    is known by then, so that n steps take n + 1 calls. A finished image stays as it is until the next check, where its
    place in the batch goes to the next image.

    Steps are not infinitely small, and samples have less contrast than the density: of the variance of
    ``gaussian-field[size=32]``, sampled by its best denoiser, growing steps of 0.01 draw 74 %, constant steps 91 %, and
    constant steps at beta = 0.01 all of it, in 89, 2,600 and 12,000 steps.

    The denoiser is passed sigma_start at first, and then the sigma_t of the step before. A blind one does not need it.
    """
    done = Gathered(settings, shape, first, device)
    pool = _Pool(settings, shape, first, device)
    furthest = 0.0
    while pool.fill(batch):
        for _ in range(every):
            residual, sigma = residuals(denoise, pool.images, pool.levels)
            # Drawn while a GPU is still at work on the residual.
            pool.step(residual, sigma, injected(pool.sources, pool.images))
        going = pool.drop_finished(done)
        furthest = max(furthest, (len(done) + _share(going, settings)) / settings.count)
        progress(furthest, len(done))
    return done.samples()


def _share(sigma: Tensor, settings: Sampling) -> float:
    """Return the progress of images at these noise levels, summed, each in [0, 1]."""
    whole = math.log(settings.sigma_start / settings.sigma_end)
    return float(((settings.sigma_start / sigma).log() / whole).clamp(0, 1).sum())


class _Pool:
    """The images that are under way, and those that have finished since the last check."""

    def __init__(self, settings: Sampling, shape: Shape, first: int, device: torch.device) -> None:
        self._settings, self._shape, self._first, self._device = settings, shape, first, device
        self._limit = settings.step_limit()
        self._begun = 0
        self.places: list[int] = []
        self.sources: list[torch.Generator] = []
        #: Calls of the denoiser for each image, those in vain too.
        self._calls: list[int] = []
        self.images = torch.empty(0, *shape, device=device)
        #: Noise levels passed to the denoiser, shape (N,).
        self.levels = torch.empty(0, device=device)
        #: Which images go on, shape (N,), bool.
        self._going = torch.empty(0, dtype=torch.bool, device=device)
        #: Steps taken, and the noise level before the next, or that at the end, shape (2, N), float64.
        self._steps, self._sigma = torch.empty(2, 0, dtype=torch.float64, device=device)

    def fill(self, batch: int) -> int:
        """Begin new images while there are some and places for them; return how many are under way."""
        settings = self._settings
        count = min(batch - len(self.places), settings.count - self._begun)
        if count > 0:
            number = self._first + self._begun
            white = hardware(self._device).upload(starting_noise(count, self._shape, settings.seed, number))
            self.images = torch.cat([self.images, settings.mean + settings.sigma_start * white])
            self.levels = torch.cat([self.levels, self.levels.new_full((count,), settings.sigma_start)])
            self._calls += [0] * count
            self._going = torch.cat([self._going, self._going.new_ones(count)])
            self._steps, self._sigma = (torch.cat([one, one.new_zeros(count)]) for one in (self._steps, self._sigma))
            self.sources += [step_noise(settings.seed, number + place) for place in range(count)]
            self.places += range(self._begun, self._begun + count)
            self._begun += count
        return len(self.places)

    def step(self, residual: Tensor, sigma: Tensor, noise: Tensor) -> None:
        """Take a step with the images that go on, or finish them, without waiting for the device."""
        settings, (h, rate) = self._settings, self._rates()
        # Written so that NaN is not sound.
        sound = self._going & (sigma <= settings.bound)
        going = sound & (sigma > settings.sigma_end) & (self._steps < self._limit)
        following = self.images + self._each(h) * residual + self._each(rate * sigma) * noise
        if settings.final_step:
            following = torch.where(going[:, None, None, None], following, self.images + residual)
        moving = sound if settings.final_step else going
        self.images = torch.where(moving[:, None, None, None], following, self.images)
        self.levels = torch.where(going, sigma, self.levels).to(self.levels)
        self._sigma = torch.where(self._going, sigma, self._sigma)
        self._steps, self._going = self._steps + going, going

    def _rates(self) -> Tensor:
        """Return the step sizes h of the next step of each image, and gamma over sigma, shape (2, N), float64."""
        settings = self._settings
        self._calls = [calls + 1 for calls in self._calls]
        h = torch.tensor([settings.step_size(calls) for calls in self._calls], dtype=torch.float64)
        rate = ((1 - settings.beta * h).square() - (1 - h).square()).clamp(min=0).sqrt()
        return hardware(self._device).upload(torch.stack([h, rate]))

    def drop_finished(self, done: Gathered) -> Tensor:
        """Hand over the images that have finished; return the noise levels of the others, on the CPU."""
        stay, sigma = done.take_finished(self.places, self.images, self._going, self._steps, self._sigma)
        if stay is not None:
            self.places = [self.places[place] for place in stay]
            self.sources = [self.sources[place] for place in stay]
            self._calls = [self._calls[place] for place in stay]
            kept = hardware(self._device).upload(torch.tensor(stay, dtype=torch.int64))
            self.images, self.levels, self._going = self.images[kept], self.levels[kept], self._going[kept]
            self._steps, self._sigma = self._steps[kept], self._sigma[kept]
        return sigma

    def _each(self, values: Tensor) -> Tensor:
        """Return a value for each image, to multiply images by."""
        return values.to(self.images)[:, None, None, None]
