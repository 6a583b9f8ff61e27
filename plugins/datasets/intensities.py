"""Posterior moments, given noisy data, of the intensities of an image that is linear in these intensities.

For an image c_1 p_1 + ... + c_L p_L in white noise, the likelihood of the intensities c is a Gaussian with precision
G / sigma^2, where G is the Gram matrix of the parts p. It is truncated to [0, 1]^L, the support of the prior. For L = 1
its integral is a difference of error functions. For L = 2 the inner integral is such a difference, and the outer
integral is computed by Gauss-Legendre quadrature in three pieces over the part of [0, 1] that contains the mass. Its
accuracy is about 1e-4 for parts of correlation up to 0.9 (a disc and its background have hardly any correlation), and
3e-3 for parts of correlation 0.99.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: Regularization of Gram matrices, relative to the noise variance: a Gaussian prior of standard deviation 1,000 on the
#: intensities, which is flat on [0, 1], and keeps the Gram matrix of very weak parts regular.
RIDGE = 1e-6
#: Quadrature of the outer intensity: nodes per piece, and half width of the window in standard deviations. The log
#: density is at least as concave as a Gaussian's, so the mass lies within a few deviations around the peak.
NODES, HALF_WIDTH = 20, 6.0


class Intensities(NamedTuple):
    """Log evidence, mean and second moments of intensities given noisy data."""

    log_evidence: Tensor
    mean: Tensor
    second: Tensor


def integrate(gram: Tensor, product: Tensor, sigma: float, intensities: int) -> Intensities:
    """Return evidence and posterior moments of intensities with a uniform prior on the unit interval or square."""
    gram = gram + RIDGE * sigma**2 * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    if intensities == 0:
        known = torch.ones_like(product)
        return Intensities(log_likelihood(gram, product, known, sigma), known, known[..., None])
    if intensities == 1:
        log_evidence, mean, second = _interval(gram[..., 0, 0], product[..., 0], sigma)
        return Intensities(log_evidence, mean[..., None], second[..., None, None])
    return _square(gram, product, sigma)


def peak(gram: Tensor, product: Tensor, intensities: int) -> Tensor:
    """Return the likeliest intensities in the unit interval or square, shape (..., P)."""
    if intensities == 0:
        return torch.ones_like(product)
    diagonal = torch.diagonal(gram, dim1=-2, dim2=-1).clamp(min=torch.finfo(gram.dtype).tiny)
    if intensities == 1:
        return (product / diagonal).clamp(0, 1)
    cross = gram[..., 0, 1]
    determinant = (diagonal.prod(-1) - cross.square()).clamp(min=1e-14 * diagonal.prod(-1))
    free = (diagonal.flip(-1) * product - cross[..., None] * product.flip(-1)) / determinant[..., None]
    candidates = [free.clamp(0, 1)]
    for end in (0.0, 1.0):
        other = ((product - end * cross[..., None]) / diagonal).clamp(0, 1)
        fixed = torch.full_like(product[..., 0], end)
        candidates += [torch.stack([other[..., 0], fixed], -1), torch.stack([fixed, other[..., 1]], -1)]
    stacked = torch.stack(candidates)
    best = log_likelihood(gram, product, stacked, 1.0).argmax(0)
    return stacked.gather(0, best[None, ..., None].expand(1, *product.shape))[0]


def log_likelihood(gram: Tensor, product: Tensor, values: Tensor, sigma: float) -> Tensor:
    """Return -(c'Gc - 2h'c) / (2 sigma^2) at intensities c, shape (..., P): the log likelihood up to a constant."""
    quadratic = ((gram @ values[..., None])[..., 0] - 2 * product) * values
    return -quadratic.sum(-1) / (2 * sigma**2)


def truncated_normal(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log mass in [0, 1] of a Gaussian, and the mean and mean square of the Gaussian truncated to it."""
    low, high = -mean / std, (1 - mean) / std
    mirrored = low + high > 0
    left, right = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    tail = torch.special.log_ndtr(right)
    log_mass = tail + torch.log(-torch.expm1(torch.special.log_ndtr(left) - tail))
    at_left, at_right = (torch.exp(-end.square() / 2 - log_mass) / math.sqrt(2 * math.pi) for end in (left, right))
    shift = at_left - at_right
    # The clamps remove only rounding errors.
    variance = (1 + left * at_left - right * at_right - shift.square()).clamp(0, 1)
    centre = (mean + std * torch.where(mirrored, -shift, shift)).clamp(0, 1)
    return log_mass, centre, centre.square() + std.square() * variance


def _interval(gram: Tensor, product: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return log evidence, mean and mean square of a single intensity."""
    std = sigma / gram.sqrt()
    log_mass, mean, second = truncated_normal(product / gram, std)
    peak_value = product.square() / (2 * gram * sigma**2)
    return peak_value + torch.log(std) + 0.5 * math.log(2 * math.pi) + log_mass, mean, second


def _square(gram: Tensor, product: Tensor, sigma: float) -> Intensities:
    inner, cross, outer = gram[..., 0, 0], gram[..., 0, 1], gram[..., 1, 1]
    precision = (outer - cross.square() / inner).clamp(min=RIDGE * sigma**2)
    std = sigma / precision.sqrt()
    best = peak(gram, product, 2)
    middle = best[..., 1]
    # If the density is truncated on a slope, it decays by this slope in addition to its curvature.
    slope = (product - (gram @ best[..., None])[..., 0])[..., 1].abs() / sigma**2 * std
    reach = std * (HALF_WIDTH**2 / (slope + (slope.square() + HALF_WIDTH**2).sqrt()))
    nodes, log_weights = _quadrature(
        inner, cross, product[..., 0], (middle - reach).clamp(min=0), (middle + reach).clamp(max=1)
    )
    log_inner, mean, second = _interval(inner[..., None], product[..., 0, None] - cross[..., None] * nodes, sigma)
    exponent = log_inner - (outer[..., None] * nodes - 2 * product[..., 1, None]) * nodes / (2 * sigma**2)
    log_mass = exponent + log_weights
    # At low noise, both logarithms are so large that exp(log_mass - log_evidence) would have large rounding errors.
    share = torch.softmax(log_mass, -1)
    moments = [(share * values).sum(-1) for values in (mean, nodes, second, mean * nodes, nodes.square())]
    return Intensities(
        torch.logsumexp(log_mass, -1),
        torch.stack(moments[:2], -1),
        torch.stack([torch.stack(moments[2:4], -1), torch.stack(moments[3:], -1)], -1),
    )


def _quadrature(inner: Tensor, cross: Tensor, product: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and log weights, shape (..., 3 * NODES), of Gauss-Legendre quadrature in three pieces.

    The pieces meet where the best inner intensity is 0 or 1, or else at thirds of the window.
    """
    slope = torch.where(cross.abs() > 1e-12 * inner, cross, inner)
    ends = product / slope, (product - inner) / slope
    thirds = low + (high - low) / 3, high - (high - low) / 3
    first, second = torch.minimum(*ends), torch.maximum(*ends)
    first = torch.where((first > low) & (first < high), first, torch.minimum(thirds[0], second.clamp(min=low)))
    second = torch.where((second > low) & (second < high), second, torch.maximum(thirds[1], first))
    edges = torch.stack([low, first, second, high], -1)[..., None]
    unit_nodes, weights = (torch.from_numpy(array).to(edges) for array in np.polynomial.legendre.leggauss(NODES))
    halves = edges.diff(dim=-2) / 2
    nodes = edges[..., :-1, :] + halves * (1 + unit_nodes)
    return nodes.flatten(-2), torch.log(halves * weights).flatten(-2)
