"""The stochastic sampler of Kadkhodaie & Simoncelli 2020, for many images at a time, each at its own pace."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.sampling.denoisers import Denoise, residuals
from gahbench.sampling.noise import InjectedNoise, injected, starting_noise
from gahbench.sampling.samples import Gathered, Progress, Samples, Status
from gahbench.sampling.settings import Sampling


def stochastic(
    denoise: Denoise,
    shape: Shape,
    settings: Sampling,
    *,
    first: int,
    batch: int,
    device: torch.device,
    progress: Progress,
) -> Samples:
    """Climb the density that a denoiser implies, from noise to images.

    A step takes the part h of the residual s = f(y) - y, which is sigma^2 times the score, and adds noise:

        sigma_t^2 = |s|^2 / d,  gamma^2 = [(1 - beta h)^2 - (1 - h)^2] sigma_t^2,  y <- y + h s + gamma z,

    which leaves noise of (1 - beta h) sigma_t if the residual is all noise (Kadkhodaie & Simoncelli 2020, algorithm 1).
    An image is done when sigma_t is at or below ``sigma_end``, and its place in the batch goes to the next one. The
    denoising at the end is y + s with the residual that is known by then, so that n steps take n + 1 calls.

    Steps are not infinitely small, and samples have less contrast than the density: of the variance of
    ``gaussian-field[size=32]``, sampled by its best denoiser, growing steps of .01 draw 74 %, constant ones 91 %, and
    those at beta = .01 all of it, in 89, 2,600 and 12,000 steps.

    The denoiser is passed sigma_start at first, and then the sigma_t of the step before. A blind one does not need it.

    Parameters
    ----------
    denoise
        The denoiser, on ``device``.
    shape
        Shape (C, H, W) of an image.
    first
        Number of the first sample.
    batch
        How many images are denoised at a time.
    """
    done = Gathered(settings, shape, first)
    pool = _Pool(settings, shape, first, device)
    limit, furthest = settings.step_limit(), 0.0
    while pool.fill(batch):
        residual, spread = residuals(denoise, pool.images, pool.levels)
        # Drawn while a GPU is still at work on the residual; those that end here do not need it.
        noise = injected(pool.sources, pool.images)
        sigma = spread.cpu()
        # Written so that NaN has diverged.
        diverged, converged = ~(sigma <= settings.bound), sigma <= settings.sigma_end
        ended = diverged | converged | (pool.steps >= limit)
        if ended.any():
            places = ended.nonzero()[:, 0].tolist()
            last = pool.images + residual if settings.final_step else pool.images
            kept = torch.where(diverged.to(device)[:, None, None, None], pool.images, last)
            status = [_status(bool(diverged[place]), bool(converged[place])) for place in places]
            done.put([pool.places[place] for place in places], kept[places], pool.steps[places], sigma[places], status)
        going = ~ended
        pool.step(going, residual, noise, sigma)
        furthest = max(furthest, (len(done) + _share(sigma[going], settings)) / settings.count)
        progress(furthest, len(done))
    return done.samples()


def _status(diverged: bool, converged: bool) -> Status:
    return "diverged" if diverged else "converged" if converged else "out of steps"


def _share(sigma: Tensor, settings: Sampling) -> float:
    """Return the progress of images at these noise levels, summed, each in [0, 1]."""
    whole = math.log(settings.sigma_start / settings.sigma_end)
    return float(((settings.sigma_start / sigma).log() / whole).clamp(0, 1).sum())


class _Pool:
    """The images that are under way.

    Parameters
    ----------
    settings, shape, first
        As of :func:`stochastic`.
    device
        Where images are.
    """

    def __init__(self, settings: Sampling, shape: Shape, first: int, device: torch.device) -> None:
        self._settings, self._shape, self._first, self._device = settings, shape, first, device
        self._begun = 0
        self.places: list[int] = []
        self.sources: list[InjectedNoise] = []
        self.images = torch.empty(0, *shape, device=device)
        #: Noise levels passed to the denoiser, shape (N,).
        self.levels = torch.empty(0, device=device)
        #: Steps that each image has taken, shape (N,), on the CPU.
        self.steps = torch.empty(0, dtype=torch.int64)

    def fill(self, batch: int) -> int:
        """Begin new images while there are some and places for them; return how many are under way."""
        settings = self._settings
        count = min(batch - len(self.places), settings.count - self._begun)
        if count > 0:
            number = self._first + self._begun
            white = starting_noise(count, self._shape, settings.seed, number).to(self._device)
            self.images = torch.cat([self.images, settings.mean + settings.sigma_start * white])
            self.levels = torch.cat([self.levels, self.levels.new_full((count,), settings.sigma_start)])
            self.steps = torch.cat([self.steps, self.steps.new_zeros(count)])
            self.sources += [InjectedNoise(settings.seed, number + place) for place in range(count)]
            self.places += range(self._begun, self._begun + count)
            self._begun += count
        return len(self.places)

    def step(self, going: Tensor, residual: Tensor, noise: Tensor, sigma: Tensor) -> None:
        """Take a step with the images that go on, shape (N,), bool; the others leave.

        Parameters
        ----------
        residual, noise
            Shape (N, C, H, W).
        sigma
            Root mean square of the residuals, shape (N,), float64, on the CPU.
        """
        if not going.all():
            stay = going.nonzero()[:, 0].tolist()
            self.places = [self.places[place] for place in stay]
            self.sources = [self.sources[place] for place in stay]
            self.images, self.steps = self.images[stay], self.steps[stay]
            residual, noise, sigma = residual[stay], noise[stay], sigma[stay]
        self.steps = self.steps + 1
        sizes = [self._settings.step_size(number) for number in self.steps.tolist()]
        h = torch.tensor(sizes, dtype=torch.float64)
        gamma = ((1 - self._settings.beta * h).square() - (1 - h).square()).clamp(min=0).sqrt() * sigma
        self.images = self.images + self._each(h) * residual + self._each(gamma) * noise
        self.levels = sigma.to(self.levels)

    def _each(self, values: Tensor) -> Tensor:
        """Return a value for each image, to multiply images by."""
        return values.to(self.images)[:, None, None, None]
