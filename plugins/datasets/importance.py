"""Posterior mean and trace on a manifold, by adaptive importance sampling around the modes.

Modes are found by ascent. Proposals are mixtures of Student distributions, which are fitted to points drawn from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from gahbench import OptimumError, Posterior, generator
from gahbench_plugins.datasets.intensities import integrate, log_likelihood, peak

if TYPE_CHECKING:
    from gahbench_plugins.datasets.manifold import Manifold

#: Degrees of freedom: heavy tails keep importance weights bounded where a component is too narrow.
DEGREES_OF_FREEDOM = 6
#: Weight of the standard normal prior in every mixture, which covers regions outside of all components.
DEFENSIVE_WEIGHT = 0.05
#: Weight of the previous shape of a component, as an equivalent number of points per dimension.
PRIOR_POINTS = 2
#: Maximum number of elements of a tensor of parts, which then fits in the cache.
ELEMENTS = 2**19
#: Number of points of the prior at which the posterior is evaluated, common to all images.
SEARCHED = 8192
#: Number of components of a proposal that climb to a mode, and number that stay at points of the search.
CLIMBERS, STAYERS = 4, 12
#: Effective number of points from which the components are picked; the likelihood is tempered to reach this number.
PICKED_FROM = 48.0
#: Number of steps of each climb, and maximum length of a step in standard deviations of the prior.
STEPS, LONGEST_STEP = 12, 0.5
#: Factor on covariances from the curvature: too broad a component costs less than too narrow a component.
BROADER = 1.2
#: Number of draws in each round of fitting a proposal, and number of rounds.
LEARNING_DRAWS, ROUNDS = 1024, 2
#: Initial number of draws, which is doubled up to ``DOUBLINGS`` times for images with fewer effective samples than
#: ``WANTED``.
DRAWS, DOUBLINGS, WANTED = 4096, 3, 800.0
#: Minimum effective sample size of a posterior: 100 independent samples add 1 % to the squared error of the mean.
REFUSED = 100.0
#: Weights cannot reveal a missed mode, but the residual is then too large. A squared residual is refused if it is this
#: many standard deviations of a chi-squared variable above its expectation.
MISFIT = 10.0
#: Number of images per batch of the search, and number of pixels per batch of sampling.
SEARCH_BATCH, PIXEL_BATCH = 256, 2**12


def even_points(name: str, count: int, dimension: int) -> Tensor:
    """Return fixed quasi-random points in the open unit cube, shape (count, dimension), a set for each name."""
    seed = generator("noise", "importance", name).initial_seed()
    sobol = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed)
    return sobol.draw(count, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)


@dataclass(frozen=True, eq=False)
class Mixture:
    """For each of N images, a mixture of J Student distributions in Q dimensions and a standard normal."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __getitem__(self, chosen: Tensor) -> Mixture:
        """Return the mixtures of some of the images."""
        return Mixture(self.weights[chosen], self.means[chosen], self.covariances[chosen])

    def sample(self, name: str, count: int) -> Tensor:
        """Draw points, shape (N, K, Q), by the random numbers of a name.

        All images share these numbers, so that the result of an image does not depend on its batch.
        """
        prior, dimension = self.means.shape[1:]
        numbers = even_points(name, count, 1 + dimension + DEGREES_OF_FREEDOM).to(self.means.device)
        normal = torch.special.ndtri(numbers[:, 1:])
        scale = (DEGREES_OF_FREEDOM / normal[:, dimension:].square().sum(1)).sqrt()
        normal = normal[:, :dimension]
        shares = functional.pad((1 - DEFENSIVE_WEIGHT) * self.weights, (0, 1), value=DEFENSIVE_WEIGHT)
        uniform = numbers[:, 0].expand(len(shares), -1).contiguous()
        chosen = torch.searchsorted(shares.cumsum(1), uniform, right=True).clamp(max=prior)
        image, component = torch.arange(len(shares), device=normal.device)[:, None], chosen.clamp(max=prior - 1)
        factors = torch.linalg.cholesky(self.covariances)[image, component]
        student = self.means[image, component] + scale[:, None] * (factors @ normal[..., None])[..., 0]
        return torch.where((chosen == prior)[..., None], normal, student)

    def log_density(self, points: Tensor) -> Tensor:
        """Return the logarithm of the mixture's density at points (N, K, Q), shape (N, K)."""
        return torch.logsumexp(self._log_components(points)[0], dim=1)

    def update(self, points: Tensor, shares: Tensor) -> Mixture:
        """Return a mixture that fits weighted points better, by a step of expectation maximisation.

        Every point counts for all components by their probabilities, whichever component it was drawn from (Cappe,
        Douc, Guillin, Marin & Robert 2008, adaptive importance sampling in general mixture classes). Components with
        few points change little.
        """
        components, distances = self._log_components(points)
        dimension = points.shape[-1]
        responsibilities = torch.softmax(components, dim=1)[:, :-1] * shares[:, None]
        weights = responsibilities.sum(-1)
        # Points in the tails of a component have less influence on its shape.
        pull = responsibilities * (DEGREES_OF_FREEDOM + dimension) / (DEGREES_OF_FREEDOM + distances)
        total = pull.sum(-1).clamp(min=torch.finfo(pull.dtype).tiny)[..., None]
        means = (pull @ points) / total
        deviations = points[:, None] - means[:, :, None]
        spread = (pull[..., None] * deviations).mT @ deviations / total[..., None]
        support = weights / shares.square().sum(1, keepdim=True)
        trust = (support / (support + PRIOR_POINTS * (dimension + 1)))[..., None]
        floor = 1e-3 / weights.shape[1]
        return Mixture(
            (weights + floor) / (weights + floor).sum(1, keepdim=True),
            trust * means + (1 - trust) * self.means,
            trust[..., None] * spread + (1 - trust[..., None]) * self.covariances,
        )

    def _log_components(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return weighted log densities, (N, J + 1, K) with the prior last, and squared distances, (N, J, K)."""
        dimension = points.shape[-1]
        factors = torch.linalg.cholesky(self.covariances)
        deviations = (points[:, None] - self.means[:, :, None]).mT
        distances = torch.linalg.solve_triangular(factors, deviations, upper=False).square().sum(2)
        constant = math.lgamma((DEGREES_OF_FREEDOM + dimension) / 2) - math.lgamma(DEGREES_OF_FREEDOM / 2)
        constant += math.log(1 - DEFENSIVE_WEIGHT) - dimension / 2 * math.log(DEGREES_OF_FREEDOM * math.pi)
        heights = self.weights.log() - torch.diagonal(factors, dim1=-2, dim2=-1).log().sum(-1)
        falls = (DEGREES_OF_FREEDOM + dimension) / 2 * torch.log1p(distances / DEGREES_OF_FREEDOM)
        student = constant + heights[..., None] - falls
        normal = math.log(DEFENSIVE_WEIGHT) - dimension / 2 * math.log(2 * math.pi) - points.square().sum(-1) / 2
        return torch.cat([student, normal[:, None]], dim=1), distances


@dataclass(frozen=True, eq=False)
class Target:
    """The posterior of N images in coordinates with a standard normal prior, with the intensities integrated out."""

    family: Manifold
    data: Tensor
    sigma: float

    def __getitem__(self, chosen: Tensor) -> Target:
        """Return the posterior of some of the images."""
        return Target(self.family, self.data[chosen], self.sigma)

    def statistics(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return parts, their Gram matrices and their inner products with the data at points (N, K, Q)."""
        parts = self.family.parts_at(points)
        product = parts.flatten(1, 2) @ self.data[:, :, None]
        return parts, parts @ parts.mT, product.reshape(parts.shape[:3])

    def estimate(self, points: Tensor, log_proposal: Tensor, covariance: bool = False) -> tuple[Posterior, Tensor]:
        """Return moments and normalised weights of points (N, K, Q) from a proposal with log densities (N, K)."""
        log_ratio = -points.square().sum(-1) / 2 - log_proposal
        pieces = []
        highest = torch.full_like(log_ratio[:, :1], -math.inf)
        mean, energy = torch.zeros_like(self.data), torch.zeros_like(highest)
        count, size = self.data.shape
        second = self.data.new_zeros(count, size, size) if covariance else None
        # Parts of a chunk of points fit in the cache.
        step = max(1, ELEMENTS // (max(1, self.family.intensities) * self.data.numel()))
        for chunk in (slice(first, first + step) for first in range(0, points.shape[1], step)):
            parts, gram, product = self.statistics(points[:, chunk])
            intensities = integrate(gram, product, self.sigma, self.family.intensities)
            pieces.append(log_ratio[:, chunk] + intensities.log_evidence)
            # Sums are relative to the largest weight so far, so that they cannot overflow.
            higher = torch.maximum(highest, pieces[-1].amax(1, keepdim=True))
            weights, fade = torch.exp(pieces[-1] - higher), torch.exp(highest - higher)
            coefficients = (weights[..., None] * intensities.mean).flatten(1)
            mean = fade * mean + (coefficients[:, None] @ parts.flatten(1, 2))[:, 0]
            energies = (intensities.second * gram).sum((-2, -1))
            energy = fade * energy + (weights * energies).sum(1, keepdim=True)
            if second is not None:
                # Roots of the weighted second moments turn the sum over points into a matrix product.
                roots = torch.linalg.cholesky_ex(intensities.second)[0].mT * weights[..., None, None].sqrt()
                rooted = (roots @ parts).flatten(1, 2)
                second.mul_(fade[:, :, None]).baddbmm_(rooted.mT, rooted)
            highest = higher
        log_weights = torch.cat(pieces, dim=1)
        total = torch.exp(log_weights - highest).sum(1, keepdim=True)
        mean = mean / total
        # In float64 this difference is accurate down to noise of about 1e-5.
        trace = (energy / total)[:, 0] - mean.square().sum(1)
        if second is not None:
            second.div_(total[:, :, None]).baddbmm_(mean[:, :, None], mean[:, None], alpha=-1)
        return Posterior(mean, trace.clamp(min=0), None, second), torch.softmax(log_weights, dim=1)


def posterior(family: Manifold, noisy: Tensor, sigma: float, covariance: bool = False) -> Posterior:
    """Return posterior moments of a family's images given noisy images (N, d) without their offset, float64.

    Raises
    ------
    OptimumError
        If effective samples are too few, or the nearest images found do not explain the noisy images.
    """
    pieces = []
    for images in torch.split(noisy, SEARCH_BATCH):
        target = Target(family, images, sigma)
        if family.nonlinear == 0:
            start = images.new_zeros(len(images), 1, 0), images.new_zeros(len(images), 1)
            pieces.append(target.estimate(*start, covariance)[0])
            continue
        proposals = first_proposals(target)
        batches = torch.split(torch.arange(len(images), device=noisy.device), max(1, PIXEL_BATCH // noisy.shape[1]))
        pieces += [_sample(target[batch], proposals[batch], covariance) for batch in batches]
    fractions = [piece.ess_fraction for piece in pieces if piece.ess_fraction is not None]
    covariances = [piece.covariance for piece in pieces if piece.covariance is not None]
    return Posterior(
        torch.cat([piece.mean for piece in pieces]),
        torch.cat([piece.trace for piece in pieces]),
        torch.cat(fractions) if fractions else None,
        torch.cat(covariances) if covariances else None,
    )


def _sample(target: Target, mixture: Mixture, covariance: bool) -> Posterior:
    """Return posterior moments of a batch of images by importance sampling, with as many draws as each image needs."""
    for number in range(ROUNDS):
        points = mixture.sample(f"learning {number}", LEARNING_DRAWS)
        mixture = mixture.update(points, target.estimate(points, mixture.log_density(points))[1])
    mean, trace = torch.empty_like(target.data), torch.empty_like(target.data[:, 0])
    ess_fraction = torch.empty_like(trace)
    size = target.data.shape[1]
    spread = target.data.new_empty(len(mean), size, size) if covariance else None
    part, images, draws = target, torch.arange(len(mean), device=mean.device), DRAWS
    for doubling in range(DOUBLINGS + 1):
        points = mixture.sample(f"weighing {doubling}", draws)
        found, shares = part.estimate(points, mixture.log_density(points), covariance)
        effective = 1 / shares.square().sum(1)
        mean[images], trace[images], ess_fraction[images] = found.mean, found.trace, effective / draws
        if spread is not None and found.covariance is not None:
            spread[images] = found.covariance
        # The negations include NaN.
        is_short = ~(effective >= WANTED)
        if not is_short.any():
            break
        if doubling == DOUBLINGS and not float(effective.min()) >= REFUSED:
            raise OptimumError(
                f"sigma={target.sigma:g}: the posterior of an image has {float(effective.min()):.3g} effective samples "
                f"of {draws}; accepted: at least {REFUSED:g}; leave this noise level out, or choose parameters of the "
                "family on which the image depends more evenly"
            )
        mixture = mixture[is_short].update(points[is_short], shares[is_short])
        part, images, draws = part[is_short], images[is_short], 2 * draws
    farthest = float(((target.data - mean) / target.sigma).square().sum(1).max())
    if not farthest <= size + MISFIT * (2 * size) ** 0.5:
        raise OptimumError(
            f"sigma={target.sigma:g}: the nearest images found are {(farthest / size) ** 0.5:.3g} sigma per pixel from "
            "a noisy image; accepted: about 1, as for noise; give images of this family with noise of this level, or "
            "leave the noise level out if images depend too finely on their parameters for a search"
        )
    return Posterior(mean, trace, ess_fraction, spread)


def first_proposals(target: Target) -> Mixture:
    """Return mixtures of components around modes and around likely points.

    Components around modes have the covariance given by the curvature, and cover narrow posteriors. Components around
    likely points have a share of the covariance of the points, and cover broad posteriors.
    """
    points = torch.special.ndtri(even_points("search", SEARCHED, target.family.nonlinear)).to(target.data)
    scores = _search(target, points)
    shares = _temper(scores)
    # Systematic resampling: the order of the points is independent of their positions.
    count = CLIMBERS + STAYERS
    quantiles = ((torch.arange(count) + 0.5) / count).to(points).expand(len(shares), -1).contiguous()
    chosen = torch.searchsorted(shares.cumsum(1), quantiles).clamp(max=SEARCHED - 1)
    is_climbing = torch.arange(count, device=points.device) % (count // CLIMBERS) == 0
    starts = chosen[:, is_climbing]
    starts[:, 0] = scores.argmax(1)
    modes, covariances, heights = climb(target, points[starts])
    # Silverman's rule for the bandwidth of a kernel density estimate.
    dimension = points.shape[1]
    bandwidth = float((4 / (STAYERS * (dimension + 2))) ** (2 / (dimension + 4)))
    mean = shares @ points
    squares = (shares @ (points[:, :, None] * points[:, None]).flatten(1)).reshape(-1, dimension, dimension)
    spread = squares - mean[:, :, None] * mean[:, None] + 1e-6 * torch.eye(dimension).to(points)
    weights = [torch.softmax(heights, dim=1) + 1 / CLIMBERS, points.new_full((len(shares), STAYERS), 2 / STAYERS)]
    return Mixture(
        torch.cat(weights, dim=1) / 4,
        torch.cat([modes, points[chosen[:, ~is_climbing]]], dim=1),
        torch.cat([BROADER * covariances, bandwidth * spread[:, None].expand(-1, STAYERS, -1, -1)], dim=1),
    )


def climb(target: Target, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Climb to modes by damped Gauss-Newton steps, with the best intensities; return modes, covariances, log masses."""
    points = starts
    damping = torch.full_like(points[..., 0], 1e-2)
    value, gradient, curvature = _slope(target, points)
    for _ in range(STEPS):
        damped = curvature + damping[..., None, None] * torch.diag_embed(torch.diagonal(curvature, dim1=-2, dim2=-1))
        step = torch.linalg.solve(damped, gradient[..., None])[..., 0]
        step = step * (LONGEST_STEP / step.norm(dim=-1, keepdim=True).clamp(min=LONGEST_STEP))
        new_value, new_gradient, new_curvature = _slope(target, points + step)
        is_better = new_value > value
        points = torch.where(is_better[..., None], points + step, points)
        gradient = torch.where(is_better[..., None], new_gradient, gradient)
        curvature = torch.where(is_better[..., None, None], new_curvature, curvature)
        value = torch.where(is_better, new_value, value)
        damping = torch.where(is_better, damping / 5, damping * 5).clamp(1e-8, 1e8)
    covariances = torch.linalg.inv(curvature)
    return points, (covariances + covariances.mT) / 2, value - torch.linalg.slogdet(curvature)[1] / 2


def tangents(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Return derivatives, shape (..., Q, d), of a function that maps each of the points (..., Q) to (..., d)."""
    axes = torch.eye(points.shape[-1], dtype=points.dtype, device=points.device)
    return torch.stack([torch.func.jvp(function, (points,), (axis.expand_as(points),))[1] for axis in axes], dim=-2)


def _slope(target: Target, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log density at the best intensities, its gradient and Gauss-Newton curvature at points (N, J, Q).

    The derivative is projected on the orthogonal complement of the parts, as the intensities are optimised too
    (variable projection, Kaufman 1975). The prior adds the identity to the curvature, which is therefore regular.
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


def _search(target: Target, points: Tensor) -> Tensor:
    """Return the log likelihood of the best intensities at points (M, Q), shape (N, M)."""
    intensities = target.family.intensities
    scores = []
    for chunk in torch.split(points, max(1, ELEMENTS // (max(1, intensities) * target.data.shape[1]))):
        parts = target.family.parts_at(chunk)
        gram = parts @ parts.mT
        product = (target.data @ parts.flatten(0, 1).mT).reshape(len(target.data), *parts.shape[:2])
        scores.append(log_likelihood(gram, product, peak(gram, product, intensities), target.sigma))
    return torch.cat(scores, dim=1)


def _temper(scores: Tensor) -> Tensor:
    """Return weights (N, M) proportional to the highest power, at most 1, of the likelihood with enough points."""
    relative = scores - scores.amax(1, keepdim=True)
    low, high = torch.full_like(relative[:, :1], -60), torch.zeros_like(relative[:, :1])
    for _ in range(24):
        middle = (low + high) / 2
        is_enough = 1 / torch.softmax(middle.exp() * relative, dim=1).square().sum(1, keepdim=True) >= PICKED_FROM
        low, high = torch.where(is_enough, middle, low), torch.where(is_enough, high, middle)
    return torch.softmax(low.exp() * relative, dim=1)
