"""Posterior mean and trace on a manifold, by adaptive importance sampling around the modes.

Modes are found by ascent. Proposals are mixtures of Student distributions, which are fitted to points drawn from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gahbench import OptimumError, Posterior, generator

from ._intensities import Intensities, integrate, log_likelihood, peak

#: Degrees of freedom: heavy tails keep importance weights bounded where a component is too narrow.
DEGREES_OF_FREEDOM = 6
#: Weight of the standard normal prior in every mixture, which covers regions outside of all components.
DEFENSIVE_WEIGHT = 0.05
#: Weight of the previous shape of a component, as an equivalent number of points per dimension.
PRIOR_POINTS = 2


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers that all images share, so that the result of an image does not depend on its batch."""

    component: Tensor
    normal: Tensor
    scale: Tensor

    @classmethod
    def named(cls, name: str, count: int, dimension: int) -> Draws:
        """Return ``count`` draws in Q = ``dimension`` dimensions, which depend only on the arguments."""
        numbers = even_points(name, count, 1 + dimension + DEGREES_OF_FREEDOM)
        normal = torch.special.ndtri(numbers[:, 1:])
        chi_squared = normal[:, dimension:].square().sum(1)
        return cls(numbers[:, 0].contiguous(), normal[:, :dimension], (DEGREES_OF_FREEDOM / chi_squared).sqrt())


def even_points(name: str, count: int, dimension: int) -> Tensor:
    """Return fixed quasi-random points in the open unit cube, shape (count, dimension), a set for each name."""
    seed = generator("noise", "importance", name).initial_seed()
    sobol = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
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

    def sample(self, draws: Draws) -> Tensor:
        """Draw points, shape (N, K, Q)."""
        device = self.means.device
        shares = torch.cat(
            [(1 - DEFENSIVE_WEIGHT) * self.weights, torch.full_like(self.weights[:, :1], DEFENSIVE_WEIGHT)], dim=1
        )
        uniform = draws.component.to(device).expand(len(shares), -1).contiguous()
        prior = self.weights.shape[1]
        chosen = torch.searchsorted(shares.cumsum(1), uniform, right=True).clamp(max=prior)
        image, component = torch.arange(len(shares), device=device)[:, None], chosen.clamp(max=prior - 1)
        normal, scale = draws.normal.to(device), draws.scale.to(device)
        factors = torch.linalg.cholesky(self.covariances)[image, component]
        student = self.means[image, component] + scale[:, None] * (factors @ normal[..., None])[..., 0]
        return torch.where((chosen == prior)[..., None], normal, student)

    def log_density(self, points: Tensor) -> Tensor:
        """Return the logarithm of the mixture's density at points (N, K, Q), shape (N, K)."""
        components, _ = self._log_components(points)
        return torch.logsumexp(components, dim=1)

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


#: Maximum number of elements of a tensor of parts, which then fits in the cache.
ELEMENTS = 2**19


class Family(Protocol):
    """A family of images c_1 p_1 + ... + c_L p_L, with intensities c and parts p."""

    @property
    def nonlinear(self) -> int:
        """Number of non-linear parameters."""
        ...

    @property
    def intensities(self) -> int:
        """Number of intensities."""
        ...

    def parts_at(self, coordinates: Tensor) -> Tensor:
        """Return the parts, shape (..., P, d), float64, at standard normal coordinates (..., Q), Q = nonlinear."""
        ...


@dataclass(frozen=True, eq=False)
class Estimate:
    """Posterior moments of each image, effective sample size and normalised weights of the points."""

    mean: Tensor
    trace: Tensor
    ess: Tensor
    shares: Tensor
    covariance: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Target:
    """The posterior of N images in coordinates with a standard normal prior, with the intensities integrated out."""

    family: Family
    data: Tensor
    sigma: float

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, chosen: Tensor) -> Target:
        """Return the posterior of some of the images."""
        return Target(self.family, self.data[chosen], self.sigma)

    @property
    def level(self) -> str:
        """The noise level, for messages."""
        return f"sigma={self.sigma:g}"

    def residuals(self, mean: Tensor) -> Tensor:
        """Return the distances of the data from images (N, d), in standard deviations of the noise."""
        return (self.data - mean) / self.sigma

    def statistics(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return parts, their Gram matrices and their inner products with the data at points (N, K, Q)."""
        parts = self.family.parts_at(points)
        product = parts.flatten(1, 2) @ self.data[:, :, None]
        return parts, parts @ parts.mT, product.reshape(parts.shape[:3])

    def log_density(self, points: Tensor) -> Tensor:
        """Return the log density, up to a constant, at points (N, K, Q), shape (N, K)."""
        pieces = []
        for chunk in self._chunks(points.shape[1]):
            _, gram, product = self.statistics(points[:, chunk])
            pieces.append(self._integrate(gram, product).log_evidence)
        return torch.cat(pieces, dim=1) - points.square().sum(-1) / 2

    def estimate(self, points: Tensor, log_proposal: Tensor, covariance: bool = False) -> Estimate:
        """Return posterior moments from points (N, K, Q), drawn from a proposal with log densities (N, K)."""
        log_ratio = -points.square().sum(-1) / 2 - log_proposal
        pieces = []
        highest = torch.full_like(log_ratio[:, :1], -math.inf)
        mean, energy = torch.zeros_like(self.data), torch.zeros_like(highest)
        count, size = self.data.shape
        second = self.data.new_zeros(count, size, size) if covariance else None
        for chunk in self._chunks(points.shape[1]):
            parts, gram, product = self.statistics(points[:, chunk])
            intensities = self._integrate(gram, product)
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
        shares = torch.softmax(log_weights, dim=1)
        if second is not None:
            second.div_(total[:, :, None]).baddbmm_(mean[:, :, None], mean[:, None], alpha=-1)
        return Estimate(mean, trace.clamp(min=0), 1 / shares.square().sum(1), shares, second)

    def _integrate(self, gram: Tensor, product: Tensor) -> Intensities:
        return integrate(gram, product, self.sigma, self.family.intensities)

    def _chunks(self, count: int) -> list[slice]:
        """Divide ``count`` points into chunks whose parts fit in the cache."""
        step = max(1, ELEMENTS // (len(self) * max(1, self.family.intensities) * self.data.shape[1]))
        return [slice(first, first + step) for first in range(0, count, step)]


#: Number of points of the prior at which the posterior is evaluated, common to all images.
SEARCHED = 8192
#: Number of components of a proposal that climb to a mode, and number that stay at points of the search.
CLIMBERS = 4
STAYERS = 12
#: Effective number of points from which the components are picked; the likelihood is tempered to reach this number.
PICKED_FROM = 48.0
#: Number of steps of each climb, and maximum length of a step in standard deviations of the prior.
STEPS = 12
LONGEST_STEP = 0.5
#: Factor on covariances from the curvature: too broad a component costs less than too narrow a component.
BROADER = 1.2


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
    quantiles = ((torch.arange(count) + 0.5) / count).to(points).expand(len(target), -1).contiguous()
    chosen = torch.searchsorted(shares.cumsum(1), quantiles).clamp(max=SEARCHED - 1)
    is_climbing = torch.zeros(count, dtype=torch.bool, device=points.device)
    is_climbing[:: count // CLIMBERS] = True
    starts = chosen[:, is_climbing]
    starts[:, 0] = scores.argmax(1)
    modes, covariances, heights = climb(target, points[starts])
    # Silverman's rule for the bandwidth of a kernel density estimate.
    dimension = points.shape[1]
    bandwidth = (4 / (STAYERS * (dimension + 2))) ** (2 / (dimension + 4))
    spread = float(bandwidth) * _covariance(points, shares)
    weights = [torch.softmax(heights, dim=1) + 1 / CLIMBERS, points.new_full((len(target), STAYERS), 2 / STAYERS)]
    return Mixture(
        torch.cat(weights, dim=1) / 4,
        torch.cat([modes, points[chosen[:, ~is_climbing]]], dim=1),
        torch.cat([BROADER * covariances, spread[:, None].expand(-1, STAYERS, -1, -1)], dim=1),
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
    step = max(1, ELEMENTS // (max(1, intensities) * target.data.shape[1]))
    for first in range(0, len(points), step):
        parts = target.family.parts_at(points[first : first + step])
        gram = parts @ parts.mT
        product = (target.data @ parts.flatten(0, 1).mT).reshape(len(target), *parts.shape[:2])
        scores.append(log_likelihood(gram, product, peak(gram, product, intensities), target.sigma))
    return torch.cat(scores, dim=1)


def _temper(scores: Tensor) -> Tensor:
    """Return weights (N, M) proportional to the highest power, at most 1, of the likelihood with enough points."""
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


def _covariance(points: Tensor, shares: Tensor) -> Tensor:
    """Return covariances of weighted points, shape (N, Q, Q), positive definite."""
    products = (points[:, :, None] * points[:, None]).flatten(1)
    mean = shares @ points
    squares = (shares @ products).reshape(len(shares), *2 * points.shape[1:])
    return squares - mean[:, :, None] * mean[:, None] + 1e-6 * torch.eye(points.shape[1]).to(points)


#: Number of draws in each round of fitting a proposal, and number of rounds.
LEARNING_DRAWS = 1024
ROUNDS = 2
#: Initial number of draws, which is doubled up to ``DOUBLINGS`` times for images with fewer effective samples than
#: ``WANTED``.
DRAWS = 4096
DOUBLINGS = 3
WANTED = 800.0
#: Minimum effective sample size of a posterior: 100 independent samples add 1 % to the squared error of the mean.
REFUSED = 100.0
#: Weights cannot reveal a missed mode, but the residual is then too large. A squared residual is refused if it is this
#: many standard deviations of a chi-squared variable above its expectation.
MISFIT = 10.0
#: Number of images per batch of the search, and number of pixels per batch of sampling.
SEARCH_BATCH = 256
PIXEL_BATCH = 2**12


def posterior(family: Family, noisy: Tensor, sigma: float, covariance: bool = False) -> Posterior:
    """Return the posterior of a family's images given noisy images."""
    pieces = [_posterior(Target(family, images, sigma), covariance) for images in torch.split(noisy, SEARCH_BATCH)]
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
    return sample_posterior(target, first_proposals(target), covariance)


class Sampled(Protocol):
    """A posterior from whose points moments can be estimated."""

    @property
    def family(self) -> Family:
        """The family of the images."""
        ...

    @property
    def data(self) -> Tensor:
        """The noisy images, shape (N, d)."""
        ...

    @property
    def level(self) -> str:
        """The noise, for messages."""
        ...

    def __getitem__(self, chosen: Tensor) -> Sampled:
        """Return the posterior of some of the images."""
        ...

    def log_density(self, points: Tensor) -> Tensor:
        """Return the log density, up to a constant, at points (N, K, Q), shape (N, K)."""
        ...

    def estimate(self, points: Tensor, log_proposal: Tensor, covariance: bool = False) -> Estimate:
        """Return posterior moments from points, drawn from a proposal with known log densities."""
        ...

    def residuals(self, mean: Tensor) -> Tensor:
        """Return the distances of the data from images, in standard deviations of the noise."""
        ...


def sample_posterior(target: Sampled, proposals: Mixture, covariance: bool = False) -> Posterior:
    """Return posterior moments by importance sampling, with as many draws as they need."""
    mean, trace = torch.empty_like(target.data), torch.empty_like(target.data[:, 0])
    ess_fraction = torch.empty_like(trace)
    size = target.data.shape[1]
    spread = target.data.new_empty(len(target.data), size, size) if covariance else None
    batch = max(1, PIXEL_BATCH // target.data.shape[1])
    for images in torch.split(torch.arange(len(target.data), device=trace.device), batch):
        part = target[images]
        mixture = _fit(part, proposals[images])
        draws = DRAWS
        for doubling in range(DOUBLINGS + 1):
            points = mixture.sample(Draws.named(f"weighing {doubling}", draws, target.family.nonlinear))
            estimate = part.estimate(points, mixture.log_density(points), covariance)
            if spread is not None and estimate.covariance is not None:
                spread[images] = estimate.covariance
            mean[images], trace[images] = estimate.mean, estimate.trace
            ess_fraction[images] = estimate.ess / draws
            # The negation includes NaN.
            is_short = ~(estimate.ess >= WANTED)
            if not is_short.any():
                break
            if doubling == DOUBLINGS:
                _check_weights(estimate.ess, target.level, draws)
            mixture = mixture[is_short].update(points[is_short], estimate.shares[is_short])
            part, images, draws = part[is_short], images[is_short], 2 * draws
    _check_distances(target.residuals(mean), target.level)
    return Posterior(mean, trace, ess_fraction, spread)


def _fit(target: Sampled, mixture: Mixture) -> Mixture:
    for number in range(ROUNDS):
        points = mixture.sample(Draws.named(f"learning {number}", LEARNING_DRAWS, target.family.nonlinear))
        log_weights = target.log_density(points) - mixture.log_density(points)
        mixture = mixture.update(points, torch.softmax(log_weights, dim=1))
    return mixture


def _check_weights(ess: Tensor, level: str, draws: int) -> None:
    """Raise ``OptimumError`` if any effective sample size is too small."""
    lowest = float(ess.min())
    if not lowest >= REFUSED:
        raise OptimumError(
            f"{level}: the posterior of an image has {lowest:.3g} effective samples of {draws}; accepted: at "
            f"least {REFUSED:g}; leave this noise level out, or choose parameters of the family on which the image "
            "depends more evenly"
        )


def _check_distances(residuals: Tensor, level: str) -> None:
    """Raise ``OptimumError`` if residuals (N, d), in standard deviations of the noise, are larger than noise."""
    farthest, pixels = float(residuals.square().sum(1).max()), residuals.shape[1]
    if not farthest <= pixels + MISFIT * (2 * pixels) ** 0.5:
        raise OptimumError(
            f"{level}: the nearest images found are {(farthest / pixels) ** 0.5:.3g} sigma per pixel from a "
            "noisy image; accepted: about 1, as for noise; give images of this family with noise of this level, "
            "or leave the noise level out if images depend too finely on their parameters for a search"
        )
