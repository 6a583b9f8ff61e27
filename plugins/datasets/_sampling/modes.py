"""Modes of the posterior of a manifold's parameters: a search of the prior, then ascent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .intensities import log_likelihood, peak
from .proposals import Mixture, even_points
from .target import ELEMENTS, Target

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
