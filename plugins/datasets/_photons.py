"""Posterior mean and trace of a family's images under Poisson-Gaussian noise, by importance sampling.

Intensities cannot be integrated in closed form under this noise. So they are sampled with the other parameters, as
further coordinates with a standard normal prior. Proposals come from the stabilised noisy image, whose noise is almost
white and Gaussian; the weights use the exact likelihood of the noisy image.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench import Posterior
from gahbench.noise import PoissonGaussian, Stabilisation

from . import _importance as importance
from ._importance import ELEMENTS, Estimate, Family, Mixture
from ._intensities import peak

#: Number of nodes of the likelihood of a pixel, evenly spaced in the square root of its intensity.
NODES = 257
#: Largest number of counts of a white pixel for which the sum over counts is exact; above, it is a saddle point.
EXACT_COUNTS = 4000.0
#: Largest number of photons of a white pixel for which the counts of an image without read noise are integers.
INTEGER_COUNTS = 1e5
#: Smallest likelihood of a pixel, and number of Newton steps to the saddle point.
SMALLEST, NEWTON_STEPS = 1e-300, 60
#: Intensities of components are at least this far from black and white.
MARGIN = 1e-3
#: Factor on the standard deviations of intensities in components that do not climb.
BROADER = 2.0
#: Number of components that climb, and largest number of derivatives of pixels per batch of climbs.
CLIMBERS, CLIMB_BATCH = 4, 2**22


def posterior(family: Family, noisy: Tensor, noise: PoissonGaussian) -> Posterior:
    """Return the posterior of images given noisy intensities (N, d), float64; ``noise.a`` is greater than 0."""
    stabilisation = Stabilisation(noise)
    smooth = importance.Target(family, stabilisation.forward(noisy), stabilisation.sigma)
    pieces = [
        _posterior(smooth[images], noisy[images], stabilisation)
        for images in torch.split(torch.arange(len(noisy), device=noisy.device), importance.SEARCH_BATCH)
    ]
    fractions = [piece.ess_fraction for piece in pieces if piece.ess_fraction is not None]
    mean, trace = (torch.cat([getattr(piece, name) for piece in pieces]) for name in ("mean", "trace"))
    return Posterior(mean, trace, torch.cat(fractions))


def _posterior(smooth: importance.Target, noisy: Tensor, stabilisation: Stabilisation) -> Posterior:
    proposals = importance.first_proposals(smooth)
    whole = Whole(smooth.family)
    size = CLIMB_BATCH // (CLIMBERS * (whole.nonlinear + 1) * noisy.shape[1])
    batches = torch.split(torch.arange(len(noisy), device=noisy.device), max(1, size))
    lifted = [_lift(smooth[images], proposals[images], stabilisation) for images in batches]
    names = ("weights", "means", "covariances")
    mixture = Mixture(*(torch.cat([getattr(part, name) for part in lifted]) for name in names))
    return importance.sample_posterior(PhotonTarget(whole, noisy, stabilisation.noise), mixture)


@dataclass(frozen=True)
class Whole:
    """A family whose intensities are further coordinates: an image is a single part, without intensities."""

    family: Family
    intensities: int = 0

    @property
    def nonlinear(self) -> int:
        """Number of coordinates."""
        return self.family.nonlinear + self.family.intensities

    def parts_at(self, coordinates: Tensor) -> Tensor:
        """Return images, shape (..., 1, d), at standard normal coordinates (..., Q + P)."""
        parts = self.family.parts_at(coordinates[..., : self.family.nonlinear])
        intensities = torch.special.ndtr(coordinates[..., self.family.nonlinear :])
        images: Tensor = intensities[..., None, :] @ parts
        return images


@dataclass(frozen=True)
class Stabilised:
    """The images of :class:`Whole` as they are expected to be after stabilisation."""

    whole: Whole
    stabilisation: Stabilisation
    intensities: int = 0

    @property
    def nonlinear(self) -> int:
        """Number of coordinates."""
        return self.whole.nonlinear

    def parts_at(self, coordinates: Tensor) -> Tensor:
        """Return stabilised images, shape (..., 1, d), at standard normal coordinates."""
        return self.stabilisation.expected(self.whole.parts_at(coordinates))


def _lift(smooth: importance.Target, proposals: Mixture, stabilisation: Stabilisation) -> Mixture:
    """Add intensities to components that were found in stabilised images, and let the heaviest climb to modes."""
    _, gram, product = smooth.statistics(proposals.means)
    family = smooth.family
    intensities = stabilisation.inverse(peak(gram, product, family.intensities)).clamp(MARGIN, 1 - MARGIN)
    coordinates = torch.special.ndtri(intensities)
    means = torch.cat([proposals.means, coordinates], dim=-1)
    # The variance of an intensity at fixed contours, in standard normal coordinates.
    variance = stabilisation.noise.variance(intensities) / torch.diagonal(gram, dim1=-2, dim2=-1).clamp(min=1e-3)
    density = torch.exp(-coordinates.square() / 2) / math.sqrt(2 * math.pi)
    variance = (BROADER**2 * variance / density.square()).clamp(max=1)
    covariances = torch.zeros(*means.shape, means.shape[-1]).to(means)
    covariances[..., : family.nonlinear, : family.nonlinear] = proposals.covariances
    torch.diagonal(covariances, dim1=-2, dim2=-1)[..., family.nonlinear :] = variance
    target = importance.Target(Stabilised(Whole(family), stabilisation), smooth.data, smooth.sigma)
    modes, curved, _ = importance.climb(target, means[:, :CLIMBERS])
    means[:, :CLIMBERS], covariances[:, :CLIMBERS] = modes, importance.BROADER * curved
    return Mixture(proposals.weights, means, covariances)


@dataclass(frozen=True, eq=False)
class PhotonTarget:
    """The posterior of N images under Poisson-Gaussian noise, in coordinates with a standard normal prior."""

    family: Family
    data: Tensor
    noise: PoissonGaussian

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, chosen: Tensor) -> PhotonTarget:
        """Return the posterior of some of the images."""
        return PhotonTarget(self.family, self.data[chosen], self.noise)

    @property
    def level(self) -> str:
        """Noise, for messages."""
        return f"a={self.noise.a:g}, b={self.noise.b:g}"

    def residuals(self, mean: Tensor) -> Tensor:
        """Return the distances of the data from images (N, d), in standard deviations of the noise."""
        # Near black and without read noise, a single count would be infinitely many standard deviations.
        return (self.data - mean) / (self.noise.variance(mean) + self.noise.a**2).sqrt()

    def log_density(self, points: Tensor) -> Tensor:
        """Return the log density, up to a constant, at points (N, K, Q), shape (N, K)."""
        pieces = [self._log_likelihood(self._images(points[:, chunk])) for chunk in self._chunks(points.shape[1])]
        return torch.cat(pieces, dim=1) - points.square().sum(-1) / 2

    def estimate(self, points: Tensor, log_proposal: Tensor, covariance: bool = False) -> Estimate:
        """Return posterior moments from points (N, K, Q), drawn from a proposal with log densities (N, K)."""
        log_weights = self.log_density(points) - log_proposal
        shares = torch.softmax(log_weights, dim=1)
        mean, energy = torch.zeros_like(self.data), torch.zeros_like(shares[:, 0])
        for chunk in self._chunks(points.shape[1]):
            images = self._images(points[:, chunk])
            mean += (shares[:, None, chunk] @ images)[:, 0]
            energy += (shares[:, chunk] * images.square().sum(-1)).sum(1)
        trace = (energy - mean.square().sum(1)).clamp(min=0)
        return Estimate(mean, trace, 1 / shares.square().sum(1), shares)

    def _images(self, points: Tensor) -> Tensor:
        return self.family.parts_at(points)[:, :, 0]

    def _log_likelihood(self, images: Tensor) -> Tensor:
        """Return the sum over pixels of the log likelihood of images (N, K, d), by cubic interpolation."""
        values, slopes = self._table
        position = images.clamp(0, 1).sqrt().mT * (NODES - 1)
        left = position.floor().clamp(max=NODES - 2)
        share, index = position - left, left.long()
        low, high = (values.gather(2, index + step) for step in (0, 1))
        low_slope, high_slope = (slopes.gather(2, index + step) for step in (0, 1))
        rise = high - low
        cubic = low_slope - rise - share * (low_slope + high_slope - 2 * rise)
        return (low + share * (rise + (1 - share) * cubic)).sum(1)

    @functools.cached_property
    def _table(self) -> tuple[Tensor, Tensor]:
        """Log likelihoods of each pixel, and their derivatives per node, at the nodes, each of shape (N, d, NODES)."""
        root = torch.linspace(0, 1, NODES).to(self.data)
        # At 0, a pixel with counts has likelihood 0.
        root[0] = 1e-4
        values, slopes = log_likelihoods(self.data.flatten(), root.square(), self.noise)
        slopes = slopes * 2 * root / (NODES - 1)
        return values.reshape(*self.data.shape, NODES), slopes.reshape(*self.data.shape, NODES)

    def _chunks(self, count: int) -> list[slice]:
        step = max(1, ELEMENTS // (len(self) * self.data.shape[1]))
        return [slice(first, first + step) for first in range(0, count, step)]


def log_likelihoods(noisy: Tensor, clean: Tensor, noise: PoissonGaussian) -> tuple[Tensor, Tensor]:
    """Return log p(y | x), and its derivatives with respect to x, for noisy y (M,) and clean x > 0 (G,): (M, G)."""
    rate = clean / noise.a
    if noise.b == 0:
        count = (noisy / noise.a).clamp(min=0)[:, None]
        if 1 / noise.a <= INTEGER_COUNTS:
            count = count.round()
        return torch.xlogy(count, rate) - rate - torch.lgamma(count + 1), (count / rate - 1) / noise.a
    if 1 / noise.a <= EXACT_COUNTS:
        return _sum_over_counts(noisy, rate, noise)
    return _saddle_point(noisy[:, None], clean, noise)


def _sum_over_counts(noisy: Tensor, rate: Tensor, noise: PoissonGaussian) -> tuple[Tensor, Tensor]:
    """Return log likelihoods and derivatives as exact sums over counts."""
    largest = float(rate.max())
    count = torch.arange(math.ceil(largest + 12 * math.sqrt(largest) + 20)).to(noisy)
    # One count more, so that the distribution can be shifted.
    probability = (torch.xlogy(count, rate[:, None]) - rate[:, None] - torch.lgamma(count + 1)).exp()
    shifted = torch.nn.functional.pad(probability[:, :-1], (1, 0))
    exponent = -(noisy[:, None] - noise.a * count).square() / (2 * noise.b)
    # Values far below black have small likelihoods at all counts.
    highest = exponent.amax(1, keepdim=True)
    kernel = (exponent - highest).exp()
    likelihood, derivative = kernel @ probability.mT, kernel @ (shifted - probability).mT
    floored = likelihood.clamp(min=SMALLEST)
    slope = torch.where(likelihood > SMALLEST, derivative / floored, 0) / noise.a
    return floored.log() + highest - math.log(2 * math.pi * noise.b) / 2, slope


def _saddle_point(noisy: Tensor, clean: Tensor, noise: PoissonGaussian) -> tuple[Tensor, Tensor]:
    """Return log likelihoods and derivatives by the saddle point of the cumulant generating function.

    With K(t) = (x / a)(e^(a t) - 1) + b t^2 / 2, the saddle point solves x e^(a t) + b t = y.
    """
    a, b = noise.a, noise.b
    t = (noisy - clean) / (a * clean + b)
    for _ in range(NEWTON_STEPS):
        growth = clean * (a * t).clamp(max=50).exp()
        t = t - ((growth + b * t - noisy) / (a * growth + b)).clamp(-2 / a, 2 / a)
    growth = (a * t).clamp(max=50).exp()
    variance = a * clean * growth + b
    value = clean * torch.expm1(a * t) / a + b * t.square() / 2 - t * noisy - (2 * math.pi * variance).log() / 2
    # The derivative of the exponent at fixed t, and of the variance, with dt/dx = -e^(a t) / K''(t).
    change = a * growth - a**2 * clean * growth.square() / variance
    return value, (growth - 1) / a - change / (2 * variance)
