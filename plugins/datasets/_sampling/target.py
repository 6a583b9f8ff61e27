"""The posterior density of a manifold's parameters, and estimates of the image from weighted points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .intensities import Intensities, integrate

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
