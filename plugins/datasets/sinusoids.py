"""Sinusoids of a fixed frequency and random amplitude and phase, a manifold of dimension 2."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahbench import Posterior
from gahbench_plugins.datasets.manifold import Manifold

#: Quadrature over the amplitude: number of nodes, and half width of the window in standard deviations.
NODES, HALF_WIDTH = 64, 10.0


class Sinusoids(Manifold):
    """Sinusoids of a fixed frequency and direction, whose amplitude and phase vary.

    x(i, j) = 1/2 + A cos(2 pi (rows i + columns j) / size + phase), with the phase uniform over the circle and the
    amplitude A uniform in [0, 1/2]. The images form a disc in the plane of cosine and sine, densest in the middle, and
    a manifold of dimension 2: as sigma tends to 0, the minimum squared error, summed over pixels, tends to 2 sigma^2.
    The best denoiser projects the noisy image on the plane, and shrinks the projection by an amount that depends on the
    noisy amplitude. The posterior is exact: given the projection of the noisy image, of amplitude R, the density of A
    is proportional to exp(-(A^2 + R^2) / (2 s^2)) I_0(A R / s^2), s^2 = 2 sigma^2 / d (Rice 1945), which is integrated
    by Gauss-Legendre quadrature.

    Parameters
    ----------
    size
        Height and width in pixels.
    rows, columns
        Numbers of cycles across the image, downwards and to the right; negative numbers reverse the direction.
    seed
        Seed of the images.

    Raises
    ------
    ValueError
        If both numbers of cycles are 0, or either is at least half the size: pixels would not determine the phase.
    """

    display_name = "sinusoids"
    citation = "rice-1945"
    nonlinear = 1
    intensities = 1
    offset = 0.5

    def __init__(self, size: Annotated[int, Field(ge=8)] = 64, rows: int = 1, columns: int = 1, seed: int = 0) -> None:
        super().__init__("sinusoids", seed)
        if rows == columns == 0 or 2 * max(abs(rows), abs(columns)) >= size:
            raise ValueError(
                f"rows={rows}, columns={columns} for size={size}; accepted: numbers of absolute value less than "
                "half the size, not both 0"
            )
        self.size = size
        self.rows = rows
        self.columns = columns

    def prior_transform(self, uniform: Tensor) -> Tensor:
        """Return phases in radians from uniform random numbers; both (N, 1)."""
        return 2 * math.pi * uniform

    def render(self, parameters: Tensor) -> Tensor:
        """Return the images, shape (N, 1, size, size), of (phase, twice the amplitude), (N, 2)."""
        phase, amplitude = parameters[:, :, None, None].unbind(1)
        return (self.offset + amplitude / 2 * torch.cos(self._angles(parameters) + phase)).unsqueeze(1)

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return the exact posterior mean and trace given noisy images; see :meth:`gahbench.Dataset.posterior`."""
        data = (noisy.double() - self.offset).flatten(1)
        angles = self._angles(data).flatten()
        plane = torch.stack([angles.cos(), angles.sin()])
        # Over whole cycles, cosine and sine are orthogonal with energy d / 2 each.
        energy = data.shape[1] / 2
        projection = data @ plane.mT / energy
        noisy_amplitude = projection.norm(dim=1, keepdim=True)
        std = sigma / math.sqrt(energy)
        # The mass of the posterior lies between these amplitudes.
        nearest, reach = noisy_amplitude.clamp(0, 0.5), HALF_WIDTH * std
        low, high = (nearest - reach).clamp(min=0), (nearest + reach).clamp(max=0.5)
        nodes, weights = (torch.from_numpy(array).to(data) for array in np.polynomial.legendre.leggauss(NODES))
        amplitudes = (low + high) / 2 + (high - low) / 2 * nodes
        # The exponential growth of the Bessel function completes the square.
        argument = amplitudes * noisy_amplitude / std**2
        deviations = (amplitudes - noisy_amplitude) / std
        log_weights = torch.log(weights * torch.special.i0e(argument)) - deviations.square() / 2
        shares = torch.softmax(log_weights, dim=1)
        # Mean cosine of the angle between the true and the noisy phase, given the amplitude.
        cosines = torch.special.i1e(argument) / torch.special.i0e(argument)
        along = (shares * amplitudes * cosines).sum(1, keepdim=True)
        direction = projection / noisy_amplitude.clamp(min=torch.finfo(data.dtype).tiny)
        mean = self.offset + (along * direction) @ plane
        trace = energy * ((shares * amplitudes.square()).sum(1) - along[:, 0].square())
        return Posterior(mean.reshape(noisy.shape).to(noisy.dtype), trace.clamp(min=0))

    def _angles(self, like: Tensor) -> Tensor:
        indices = torch.arange(self.size, dtype=like.dtype, device=like.device)
        return 2 * math.pi / self.size * (self.rows * indices[:, None] + self.columns * indices)
