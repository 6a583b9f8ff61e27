"""Mixtures of Student distributions that importance sampling draws from, and that learn from what they drew."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench import generator

#: Degrees of freedom: heavy tails keep importance weights bounded where a component is too narrow.
FREEDOM = 6
#: Share of the standard normal prior in every mixture: regions that no component covers are still drawn sometimes.
DEFENCE = 0.05
#: Weight of a component's old shape against new points, in points per dimension.
PRIOR_POINTS = 2


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers that every image shares, so that its result does not depend on the batch that it is in."""

    component: Tensor
    normal: Tensor
    scale: Tensor

    @classmethod
    def named(cls, name: str, count: int, dimension: int) -> Draws:
        """Return ``count`` of them, always the same under one name, in Q = ``dimension`` dimensions."""
        numbers = even_points(name, count, 1 + dimension + FREEDOM)
        normal = torch.special.ndtri(numbers[:, 1:])
        chi_squared = normal[:, dimension:].square().sum(1)
        return cls(numbers[:, 0].contiguous(), normal[:, :dimension], (FREEDOM / chi_squared).sqrt())


def even_points(name: str, count: int, dimension: int) -> Tensor:
    """Return points that fill the open unit cube evenly, always the same under one name, shape (count, dimension)."""
    seed = generator("noise", "importance", name).initial_seed()
    sobol = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    return sobol.draw(count, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)


@dataclass(frozen=True, eq=False)
class Mixture:
    """For each of N images, a mixture of J Student distributions in Q dimensions and a share of a standard normal."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __getitem__(self, chosen: Tensor) -> Mixture:
        """Return the mixtures of some of the images."""
        return Mixture(self.weights[chosen], self.means[chosen], self.covariances[chosen])

    def sample(self, draws: Draws) -> Tensor:
        """Return points, shape (N, K, Q)."""
        device = self.means.device
        shares = torch.cat([(1 - DEFENCE) * self.weights, torch.full_like(self.weights[:, :1], DEFENCE)], dim=1)
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

    def updated(self, points: Tensor, shares: Tensor) -> Mixture:
        """Return the mixture that fits weighted points better, by a step of expectation maximisation.

        The step counts every point for all components by their probabilities, whichever it was drawn from (Cappe,
        Douc, Guillin, Marin & Robert 2008, adaptive importance sampling in general mixture classes). Components that
        few points speak for stay near what they were.
        """
        components, distances = self._log_components(points)
        dimension = points.shape[-1]
        belonging = torch.softmax(components, dim=1)[:, :-1] * shares[:, None]
        weights = belonging.sum(-1)
        # Points in a component's tails count less for its shape.
        pull = belonging * (FREEDOM + dimension) / (FREEDOM + distances)
        total = pull.sum(-1).clamp(min=torch.finfo(pull.dtype).tiny)[..., None]
        means = (pull @ points) / total
        away = points[:, None] - means[:, :, None]
        spread = (pull[..., None] * away).mT @ away / total[..., None]
        support = weights / shares.square().sum(1, keepdim=True)
        trust = (support / (support + PRIOR_POINTS * (dimension + 1)))[..., None]
        floor = 1e-3 / weights.shape[1]
        return Mixture(
            (weights + floor) / (weights + floor).sum(1, keepdim=True),
            trust * means + (1 - trust) * self.means,
            trust[..., None] * spread + (1 - trust[..., None]) * self.covariances,
        )

    def _log_components(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return log densities times shares, (N, J + 1, K) with the prior's last, and squared distances (N, J, K)."""
        dimension = points.shape[-1]
        factors = torch.linalg.cholesky(self.covariances)
        away = (points[:, None] - self.means[:, :, None]).mT
        distances = torch.linalg.solve_triangular(factors, away, upper=False).square().sum(2)
        constant = math.lgamma((FREEDOM + dimension) / 2) - math.lgamma(FREEDOM / 2)
        constant += math.log(1 - DEFENCE) - dimension / 2 * math.log(FREEDOM * math.pi)
        heights = self.weights.log() - torch.diagonal(factors, dim1=-2, dim2=-1).log().sum(-1)
        falls = (FREEDOM + dimension) / 2 * torch.log1p(distances / FREEDOM)
        student = constant + heights[..., None] - falls
        normal = math.log(DEFENCE) - dimension / 2 * math.log(2 * math.pi) - points.square().sum(-1) / 2
        return torch.cat([student, normal[:, None]], dim=1), distances
