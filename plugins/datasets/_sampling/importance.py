"""Posterior mean and spread on a manifold: adaptive importance sampling around the modes, which ascent finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gahbench import OptimumError, Posterior

from .intensities import Intensities, integrate, log_likelihood, peak
from .proposals import Draws, Mixture, even_points

#: Elements of a tensor of parts: small enough for the cache, and a bound on the memory.
ELEMENTS = 2**19


class Family(Protocol):
    """A manifold for sampling: parts p of its images, of which an image is c_1 p_1 + ... + c_L p_L."""

    nonlinear: int
    intensities: int

    def parts_at(self, coordinates: Tensor) -> Tensor:
        """Return the parts, shape (..., P, d), float64, at standard normal coordinates (..., Q), Q = nonlinear."""
        ...


@dataclass(frozen=True, eq=False)
class Estimate:
    """Estimates for each image from weighted points."""

    mean: Tensor
    trace: Tensor
    ess: Tensor
    shares: Tensor
    covariance: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Target:
    """The posterior of N images in coordinates z whose prior is standard normal, intensities integrated out."""

    family: Family
    data: Tensor
    sigma: float

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, chosen: Tensor) -> Target:
        """Return the posterior of some of the images."""
        return Target(self.family, self.data[chosen], self.sigma)

    def statistics(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return parts, their Gram matrices and their inner products with the data at points (N, K, Q)."""
        parts = self.family.parts_at(points)
        product = parts.flatten(1, 2) @ self.data[:, :, None]
        return parts, parts @ parts.mT, product.reshape(parts.shape[:3])

    def log_density(self, points: Tensor) -> Tensor:
        """Return the logarithm of the density, up to a constant, at points (N, K, Q), shape (N, K)."""
        pieces = []
        for chunk in self._chunks(points.shape[1]):
            _, gram, product = self.statistics(points[:, chunk])
            pieces.append(self._integrate(gram, product).log_evidence)
        return torch.cat(pieces, dim=1) - points.square().sum(-1) / 2

    def estimate(self, points: Tensor, log_proposal: Tensor, covariance: bool = False) -> Estimate:
        """Return the posterior's moments from points (N, K, Q) of a proposal with log densities (N, K)."""
        log_ratio = -points.square().sum(-1) / 2 - log_proposal
        pieces = []
        highest = torch.full_like(log_ratio[:, :1], -math.inf)
        mean, energy = torch.zeros_like(self.data), torch.zeros_like(highest)
        count, size = self.data.shape
        second = self.data.new_zeros(count, size, size) if covariance else None
        for chunk in self._chunks(points.shape[1]):
            parts, gram, product = self.statistics(points[:, chunk])
            found = self._integrate(gram, product)
            pieces.append(log_ratio[:, chunk] + found.log_evidence)
            # Sums are kept relative to the greatest weight so far, lest they overflow.
            higher = torch.maximum(highest, pieces[-1].amax(1, keepdim=True))
            weights, fade = torch.exp(pieces[-1] - higher), torch.exp(highest - higher)
            coefficients = (weights[..., None] * found.mean).flatten(1)
            mean = fade * mean + (coefficients[:, None] @ parts.flatten(1, 2))[:, 0]
            energies = (found.second * gram).sum((-2, -1))
            energy = fade * energy + (weights * energies).sum(1, keepdim=True)
            if second is not None:
                # A root of the weighed second moments of the intensities: their sum is a product of matrices.
                roots = torch.linalg.cholesky_ex(found.second)[0].mT * weights[..., None, None].sqrt()
                rooted = (roots @ parts).flatten(1, 2)
                second.mul_(fade[:, :, None]).baddbmm_(rooted.mT, rooted)
            highest = higher
        log_weights = torch.cat(pieces, dim=1)
        total = torch.exp(log_weights - highest).sum(1, keepdim=True)
        mean = mean / total
        # In float64 the difference keeps its precision down to noise of 1e-5 or so.
        trace = (energy / total)[:, 0] - mean.square().sum(1)
        shares = torch.softmax(log_weights, dim=1)
        if second is not None:
            second.div_(total[:, :, None]).baddbmm_(mean[:, :, None], mean[:, None], alpha=-1)
        return Estimate(mean, trace.clamp(min=0), 1 / shares.square().sum(1), shares, second)

    def _integrate(self, gram: Tensor, product: Tensor) -> Intensities:
        return integrate(gram, product, self.sigma, self.family.intensities)

    def _chunks(self, count: int) -> list[slice]:
        """Cut points into pieces whose parts fit in the cache."""
        step = max(1, ELEMENTS // (len(self) * max(1, self.family.intensities) * self.data.shape[1]))
        return [slice(first, first + step) for first in range(0, count, step)]


#: Points of the prior that are searched, common to all images.
SEARCHED = 8192
#: Components of a proposal that climb to a mode, and that stay where the search found them.
CLIMBERS = 4
STAYERS = 12
#: Effective number of the searched points that these are picked from: the likelihood is tempered to reach it.
PICKED_FROM = 48.0
#: Steps of each climb, and the length of the longest, in standard deviations of the prior.
STEPS = 12
LONGEST_STEP = 0.5
#: Components are so much broader than the curvature says; too broad costs less than too narrow.
BROADER = 1.2


def first_proposals(target: Target) -> Mixture:
    """Return mixtures of components around modes, as broad as the curvature says, and around likely points, as broad
    as their neighbourhood: where the posterior is a needle the first cover it, where it is broad the others.
    """  # noqa: D205
    places = torch.special.ndtri(even_points("search", SEARCHED, target.family.nonlinear)).to(target.data)
    scores = _search(target, places)
    shares = _tempered(scores)
    # One in each of equal parts of the total weight; the points' order has nothing to do with where they are.
    count = CLIMBERS + STAYERS
    quantiles = ((torch.arange(count) + 0.5) / count).to(places).expand(len(target), -1).contiguous()
    chosen = torch.searchsorted(shares.cumsum(1), quantiles).clamp(max=SEARCHED - 1)
    climbing = torch.zeros(count, dtype=torch.bool, device=places.device)
    climbing[:: count // CLIMBERS] = True
    starts = chosen[:, climbing]
    starts[:, 0] = scores.argmax(1)
    modes, covariances, heights = climb(target, places[starts])
    spread = _bandwidth(STAYERS, places.shape[1]) * _covariance(places, shares)
    weights = [torch.softmax(heights, dim=1) + 1 / CLIMBERS, places.new_full((len(target), STAYERS), 2 / STAYERS)]
    return Mixture(
        torch.cat(weights, dim=1) / 4,
        torch.cat([modes, places[chosen[:, ~climbing]]], dim=1),
        torch.cat([BROADER * covariances, spread[:, None].expand(-1, STAYERS, -1, -1)], dim=1),
    )


def climb(target: Target, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Climb to modes by damped Gauss-Newton steps, with the intensities at their best throughout."""
    points = starts
    damping = torch.full_like(points[..., 0], 1e-2)
    value, gradient, curvature = _slope(target, points)
    for _ in range(STEPS):
        damped = curvature + damping[..., None, None] * torch.diag_embed(torch.diagonal(curvature, dim1=-2, dim2=-1))
        step = torch.linalg.solve(damped, gradient[..., None])[..., 0]
        step = step * (LONGEST_STEP / step.norm(dim=-1, keepdim=True).clamp(min=LONGEST_STEP))
        new_value, new_gradient, new_curvature = _slope(target, points + step)
        better = new_value > value
        points = torch.where(better[..., None], points + step, points)
        gradient = torch.where(better[..., None], new_gradient, gradient)
        curvature = torch.where(better[..., None, None], new_curvature, curvature)
        value = torch.where(better, new_value, value)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-8, 1e8)
    covariances = torch.linalg.inv(curvature)
    return points, (covariances + covariances.mT) / 2, value - torch.linalg.slogdet(curvature)[1] / 2


def tangents(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Return derivatives, shape (..., Q, d), of a function that takes points (..., Q) to (..., d), each alone."""
    axes = torch.eye(points.shape[-1], dtype=points.dtype, device=points.device)
    return torch.stack([torch.func.jvp(function, (points,), (axis.expand_as(points),))[1] for axis in axes], dim=-2)


def _slope(target: Target, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log density at the best intensities, its gradient and its Gauss-Newton curvature at points (N, J, Q).

    The derivative is taken on the complement of the parts, which is how the residual moves when the intensities follow
    (variable projection, Kaufman 1975). The prior adds the identity to the curvature, so that it is never singular.
    """
    family = target.family
    parts, gram, product = target.statistics(points)
    best = peak(gram, product, family.intensities)
    residual = target.data[:, None] - (best[..., None, :] @ parts)[..., 0, :]
    tangent = tangents(lambda moved: (best[..., None, :] @ family.parts_at(moved))[..., 0, :], points)
    if family.intensities:
        ridge = 1e-9 * torch.diagonal(gram, dim1=-2, dim2=-1).sum(-1) + 1e-12
        regular = gram + ridge[..., None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        tangent = tangent - torch.linalg.solve(regular, parts @ tangent.mT).mT @ parts
    variance = target.sigma**2
    value = -(residual.square().sum(-1) / variance + points.square().sum(-1)) / 2
    gradient = (tangent @ residual[..., None])[..., 0] / variance - points
    return value, gradient, tangent @ tangent.mT / variance + torch.eye(points.shape[-1]).to(points)


def _search(target: Target, places: Tensor) -> Tensor:
    """Return the log likelihood of the best intensities at places (M, Q) of the prior, shape (N, M)."""
    intensities = target.family.intensities
    scores = []
    step = max(1, ELEMENTS // (max(1, intensities) * target.data.shape[1]))
    for first in range(0, len(places), step):
        parts = target.family.parts_at(places[first : first + step])
        gram = parts @ parts.mT
        product = (target.data @ parts.flatten(0, 1).mT).reshape(len(target), *parts.shape[:2])
        scores.append(log_likelihood(gram, product, peak(gram, product, intensities), target.sigma))
    return torch.cat(scores, dim=1)


def _tempered(scores: Tensor) -> Tensor:
    """Return weights (N, M) proportional to a power of the likelihood: the greatest, up to 1, that enough share."""
    relative = scores - scores.amax(1, keepdim=True)
    low, high = torch.full_like(relative[:, :1], -60), torch.zeros_like(relative[:, :1])
    for _ in range(24):
        middle = (low + high) / 2
        effective = 1 / torch.softmax(middle.exp() * relative, dim=1).square().sum(1, keepdim=True)
        low, high = (
            torch.where(effective >= PICKED_FROM, middle, low),
            torch.where(effective >= PICKED_FROM, high, middle),
        )
    return torch.softmax(low.exp() * relative, dim=1)


def _covariance(places: Tensor, shares: Tensor) -> Tensor:
    """Return covariances of weighted points, shape (N, Q, Q), positive definite."""
    products = (places[:, :, None] * places[:, None]).flatten(1)
    mean = shares @ places
    squares = (shares @ products).reshape(len(shares), *2 * places.shape[1:])
    return squares - mean[:, :, None] * mean[:, None] + 1e-6 * torch.eye(places.shape[1]).to(places)


def _bandwidth(points: int, dimension: int) -> float:
    """Return the share of their covariance that smooths a number of points best (Silverman's rule)."""
    return float((4 / (points * (dimension + 2))) ** (2 / (dimension + 4)))


#: Draws of each round that a proposal learns from, and the number of rounds.
LEARNING_DRAWS = 1024
ROUNDS = 2
#: Draws that are weighed, and how often they are doubled for images with fewer effective samples than wanted.
DRAWS = 4096
DOUBLINGS = 3
WANTED = 800.0
#: With fewer effective samples a posterior is refused: independent ones add 1 % to the squared error of the mean.
REFUSED = 100.0
#: Weights do not show a mode that was never found; but then the noisy image is too far from what was. A squared
#: distance is refused from so many standard deviations above its expectation, those of a chi-squared variable.
MISFIT = 10.0
#: Images that are searched for together, and pixels of images that are sampled together.
SEARCHED_TOGETHER = 256
PIXELS_TOGETHER = 2**12


def posterior(family: Family, noisy: Tensor, sigma: float, covariance: bool = False) -> Posterior:
    """Return the posterior of a family's images given noisy ones."""
    pieces = [_posterior(Target(family, images, sigma), covariance) for images in torch.split(noisy, SEARCHED_TOGETHER)]
    sampled = [piece.ess_fraction for piece in pieces if piece.ess_fraction is not None]
    spread = [piece.covariance for piece in pieces if piece.covariance is not None]
    return Posterior(
        torch.cat([piece.mean for piece in pieces]),
        torch.cat([piece.trace for piece in pieces]),
        torch.cat(sampled) if sampled else None,
        torch.cat(spread) if spread else None,
    )


def _posterior(target: Target, covariance: bool) -> Posterior:
    if target.family.nonlinear == 0:
        start = target.data.new_zeros(len(target), 1, 0), target.data.new_zeros(len(target), 1)
        estimate = target.estimate(*start, covariance)
        return Posterior(estimate.mean, estimate.trace, None, estimate.covariance)
    proposals = first_proposals(target)
    mean, trace = torch.empty_like(target.data), torch.empty_like(target.data[:, 0])
    ess_fraction = torch.empty_like(trace)
    size = target.data.shape[1]
    spread = target.data.new_empty(len(target), size, size) if covariance else None
    together = max(1, PIXELS_TOGETHER // target.data.shape[1])
    for images in torch.split(torch.arange(len(target), device=trace.device), together):
        mixture = _learned(target[images], proposals[images])
        draws = DRAWS
        for doubling in range(DOUBLINGS + 1):
            points, estimate = _weighed(target[images], mixture, f"weighing {doubling}", draws, covariance)
            if spread is not None and estimate.covariance is not None:
                spread[images] = estimate.covariance
            mean[images], trace[images], ess_fraction[images] = (
                estimate.mean,
                estimate.trace,
                estimate.ess / draws,
            )
            # Not a number is short, too.
            short = ~(estimate.ess >= WANTED)
            if not short.any():
                break
            if doubling == DOUBLINGS:
                _check_weights(estimate.ess, target.sigma, draws)
            mixture = mixture[short].updated(points[short], estimate.shares[short])
            images, draws = images[short], 2 * draws
    _check_distances((target.data - mean) / target.sigma, target.sigma)
    return Posterior(mean, trace, ess_fraction, spread)


def _learned(target: Target, mixture: Mixture) -> Mixture:
    for number in range(ROUNDS):
        points = mixture.sample(Draws.named(f"learning {number}", LEARNING_DRAWS, target.family.nonlinear))
        log_weights = target.log_density(points) - mixture.log_density(points)
        mixture = mixture.updated(points, torch.softmax(log_weights, dim=1))
    return mixture


def _weighed(target: Target, mixture: Mixture, name: str, draws: int, covariance: bool) -> tuple[Tensor, Estimate]:
    points = mixture.sample(Draws.named(name, draws, target.family.nonlinear))
    return points, target.estimate(points, mixture.log_density(points), covariance)


def _check_weights(ess: Tensor, sigma: float, draws: int) -> None:
    """Raise ``OptimumError`` if one of the effective sample sizes is too small."""
    lowest = float(ess.min())
    if not lowest >= REFUSED:
        raise OptimumError(
            f"sigma={sigma:g}: the posterior of an image rests on {lowest:.3g} effective samples of {draws}, accepted "
            f"are at least {REFUSED:g}; leave this noise level out, or give the family parameters that the image "
            "depends on more evenly"
        )


def _check_distances(residuals: Tensor, sigma: float) -> None:
    """Raise ``OptimumError`` if residuals (N, d), in standard deviations of the noise, are not like noise."""
    farthest, pixels = float(residuals.square().sum(1).max()), residuals.shape[1]
    if not farthest <= pixels + MISFIT * (2 * pixels) ** 0.5:
        raise OptimumError(
            f"sigma={sigma:g}: the nearest images found are {(farthest / pixels) ** 0.5:.3g} sigma per pixel from a "
            "noisy one, accepted are about 1, as for noise; give images of this family with noise of this sigma, "
            "or leave the noise level out: with parameters that matter so finely the posterior cannot be searched"
        )
