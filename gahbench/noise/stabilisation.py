"""The generalised Anscombe transform, its mean and its exact unbiased inverse.

With counts z = y / a, whose noise is Poisson of mean lambda = x / a plus Gaussian of variance s^2 = b / a^2, the
transform is f = 2 sqrt(max(z + 3/8 + s^2, 0)), whose variance is close to 1 (Starck, Murtagh & Bijaoui 1998). Its mean
M(lambda) is computed exactly on a grid: a sum over the counts, and for each count an integral over the Gaussian. The
inverse of M is the unbiased inverse of Makitalo & Foi 2013. Written as

    lambda = M^2 / 4 - 3/8 - s^2 + r(lambda),

the table holds only the slowly varying r, which tends to 1/4 as lambda + s^2 grows. All expressions below are in
h = f - 2 sqrt(3/8 + s^2) and multiplied by a, so that they tend to h = y / sqrt(b) as a tends to 0.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gahbench.noise.poisson_gaussian import PoissonGaussian, check_intensities

#: Largest mean count of the table, and its number of nodes, which are evenly spaced in sqrt(lambda).
_LARGEST_MEAN, _NODES = 256.0, 1537
#: Nodes of the integral over the Gaussian, and half its range in standard deviations.
_GAUSSIAN_NODES, _HALF_RANGE = 96, 9.0
#: Gaussian variance, in squared counts, above which r differs from 1/4, and the variance from 1, by less than 1e-4.
_MOSTLY_GAUSSIAN = 1e4
#: Limit of r.
_LIMIT = 0.25
#: Largest deviation of the variance from 1 where it counts as stable.
STABLE = 0.02


@dataclass(frozen=True)
class Stabilisation:
    """Variance stabilisation of Poisson-Gaussian noise, scaled so that denoisers of white noise apply.

    The transform is the generalised Anscombe transform, followed by the affine map that takes the expected values of
    black and white to 0 and 1. Stabilised images therefore have the range of images, and noise of standard deviation
    close to :attr:`sigma` at intensities above :attr:`stable_from`. Without photon noise (a = 0), the transform is the
    identity and ``sigma`` is sqrt(b).

    Parameters
    ----------
    noise
        The noise of the intensities.

    References
    ----------
    Starck, Murtagh & Bijaoui 1998, Image Processing and Data Analysis, Cambridge University Press; Makitalo & Foi 2013,
    Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise, IEEE Transactions on Image
    Processing 22(1).

    Examples
    --------
    >>> import torch
    >>> from gahbench.noise import PoissonGaussian, Stabilisation
    >>> stabilisation = Stabilisation(PoissonGaussian(a=0.01, b=0.0004))
    >>> f"{stabilisation.sigma:.3f}"
    '0.061'
    >>> clean = torch.tensor([0.0, 0.2, 1.0])
    >>> stabilisation.inverse(stabilisation.expected(clean)).allclose(clean, atol=1e-5)
    True
    """

    noise: PoissonGaussian

    @functools.cached_property
    def sigma(self) -> float:
        """Standard deviation of the noise of stabilised images, which denoisers receive."""
        return 1 / (self._expected_ends[1] - self._expected_ends[0])

    @functools.cached_property
    def stable_from(self) -> float:
        """The smallest intensity from which the variance of stabilised images is within 2 % of ``sigma`` squared."""
        table = _tabulate(self.noise)
        if table is None:
            return 0.0
        unstable = ((table.variance - 1).abs() > STABLE).nonzero()
        return 0.0 if len(unstable) == 0 else self.noise.a * float(table.mean[min(int(unstable.max()) + 1, _NODES - 1)])

    def forward(self, noisy: Tensor) -> Tensor:
        """Return stabilised images, in the shape of the noisy intensities."""
        return self._scale(self._transform(noisy))

    def expected(self, clean: Tensor) -> Tensor:
        """Return the expected stabilised image of clean intensities, in their shape: 0 for black, and 1 for white.

        Intensities below 0 have the expected value of 0, as in :meth:`PoissonGaussian.sample`.
        """
        check_intensities(clean)
        return self._scale(self._expected_transform(clean))

    def inverse(self, stabilised: Tensor) -> Tensor:
        """Return the intensities whose expected stabilised images are given: the exact unbiased inverse.

        Values below the expected value of black are continued linearly, to negative intensities. A clamp at 0 would
        bias the average of denoised black pixels.
        """
        low, high = self._expected_ends
        h = low + (high - low) * stabilised
        if (table := _tabulate(self.noise)) is None:
            return self._quadratic(h) + self.noise.a * _LIMIT
        lowest = float(table.transformed[0])
        inside = self._quadratic(h.clamp(min=lowest)) + self.noise.a * _interpolate(
            h, table.transformed, table.correction
        )
        slope = self.noise.a * lowest / 2 + self._root
        return inside + slope * (h - lowest).clamp(max=0)

    def deviation(self, clean: Tensor) -> Tensor:
        """Return the exact standard deviation of stabilised images, relative to ``sigma``, at each intensity."""
        check_intensities(clean)
        if (table := _tabulate(self.noise)) is None:
            return torch.ones_like(clean)
        return _interpolate(clean.clamp(min=0) / self.noise.a, table.mean, table.variance).sqrt()

    @property
    def _root(self) -> float:
        """Root of the constant under the root of the transform, in intensities."""
        return math.sqrt(3 / 8 * self.noise.a**2 + self.noise.b)

    @functools.cached_property
    def _expected_ends(self) -> tuple[float, float]:
        """Expected transforms h of black and white."""
        low, high = self._expected_transform(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        return low, high

    def _scale(self, h: Tensor) -> Tensor:
        low, high = self._expected_ends
        return (h - low) / (high - low)

    def _transform(self, noisy: Tensor) -> Tensor:
        """Return h, the transform minus its value at 0, without cancellation as a tends to 0."""
        a, root = self.noise.a, self._root
        if a:
            noisy = noisy.clamp(min=-(root**2) / a)
        return 2 * noisy / ((a * noisy + root**2).clamp(min=0).sqrt() + root)

    def _expected_transform(self, clean: Tensor) -> Tensor:
        """Return the mean of h at each intensity."""
        clean = clean.clamp(min=0)
        table, a = _tabulate(self.noise), self.noise.a
        correction = _LIMIT if table is None else _interpolate(clean / a, table.mean, table.correction)
        # The quadratic a h^2 / 4 + root h = target, solved for h.
        target = clean - a * correction
        return 2 * target / ((a * target + self._root**2).sqrt() + self._root)

    def _quadratic(self, h: Tensor) -> Tensor:
        return self.noise.a / 4 * h.square() + self._root * h


@dataclass(frozen=True, eq=False)
class _Table:
    """Mean counts, and the mean h, the variance and the correction r of the transform at each, all of shape (J,)."""

    mean: Tensor
    transformed: Tensor
    variance: Tensor
    correction: Tensor


@functools.lru_cache(maxsize=64)
def _tabulate(noise: PoissonGaussian) -> _Table | None:
    """Return the exact moments of the transform; ``None`` if the noise is so Gaussian that they are at their limits."""
    if noise.b >= _MOSTLY_GAUSSIAN * noise.a**2:
        return None
    variance = noise.b / noise.a**2
    mean = torch.linspace(0, math.sqrt(_LARGEST_MEAN), _NODES, dtype=torch.float64).square()
    count = torch.arange(_LARGEST_MEAN + 12 * math.sqrt(_LARGEST_MEAN), dtype=torch.float64)
    probability = (torch.special.xlogy(count, mean[:, None]) - mean[:, None] - torch.lgamma(count + 1)).exp()
    centre = count + 3 / 8 + variance
    first, second = _root_moments(centre, math.sqrt(variance))
    start = 2 * math.sqrt(3 / 8 + variance)
    transform = probability @ first
    h = probability @ (first - start)
    correction = mean - h.square() / 4 - h * start / 2
    return _Table(mean, h, probability @ second - transform.square(), correction)


def _root_moments(centre: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """Return the mean and mean square of 2 sqrt(max(w, 0)) for Gaussian w of means ``centre``, each of shape (K,).

    The integral is over u = sqrt(w), in which the integrand is smooth; in w, the root at 0 would slow Gauss-Hermite
    quadrature down.
    """
    if std == 0:
        return 2 * centre.sqrt(), 4 * centre
    unit_nodes, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(_GAUSSIAN_NODES))
    low = (centre - _HALF_RANGE * std).clamp(min=0).sqrt()
    high = (centre + _HALF_RANGE * std).sqrt()
    half = (high - low) / 2
    root = low[:, None] + half[:, None] * (1 + unit_nodes)
    density = (-((root.square() - centre[:, None]) / std).square() / 2).exp() / (std * math.sqrt(2 * math.pi))
    weight = half[:, None] * weights * density * 2 * root
    return (2 * root * weight).sum(1), (4 * root.square() * weight).sum(1)


def _interpolate(at: Tensor, nodes: Tensor, values: Tensor) -> Tensor:
    """Interpolate linearly between ascending nodes (J,), with constants beyond both ends."""
    nodes, values = nodes.to(at), values.to(at)
    at = at.clamp(nodes[0], nodes[-1]).contiguous()
    index = torch.searchsorted(nodes, at, right=True).clamp(1, len(nodes) - 1)
    left, right = nodes[index - 1], nodes[index]
    share = (at - left) / (right - left)
    return values[index - 1] + share * (values[index] - values[index - 1])
