"""Gaussian images, whose best denoiser is the Wiener filter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gahbench import Optimum, Posterior, Split, TrueBasis
from gahbench.jacobian import FunctionMaps, LinearMaps

from ._generated import Generated


class Gaussian(Generated):
    """Base class of Gaussian families N(m, K): a subclass defines m, the eigenvalues of K, and how functions of K act.

    A function f of K multiplies the coefficient of each eigenvector by f of its eigenvalue. An image is m + K^(1/2) z
    with z white noise, and the best denoiser is the Wiener filter m + K (K + sigma^2)^-1 (y - m), which is the same
    for all images, and affine. Its error, summed over pixels, is sum_k sigma^2 e_k / (e_k + sigma^2), where e_k are
    the eigenvalues (Wiener 1949; Kadkhodaie 2024, equation 12, with e_k for c_k^2). Images are not clipped.
    """

    has_true_basis = True

    @property
    def optimum(self) -> Optimum:
        """The posterior mean is known in closed form."""
        return Optimum("exact")

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean image m, shape (C, H, W) or broadcastable to it, float64."""

    @property
    @abstractmethod
    def energies(self) -> Tensor:
        """All eigenvalues of K, in descending order, shape (d,), float64."""

    @abstractmethod
    def eigenvectors(self) -> Tensor:
        """Return orthonormal eigenvectors of K as the columns of (d, d), in the order of the energies."""

    @abstractmethod
    def apply_function(self, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a function of K to images."""

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, C, H, W), float32."""
        white = torch.randn(count, *self.shape, generator=generator).double()
        # The symmetric root does not depend on the signs of eigenvectors, or on their choice for repeated eigenvalues.
        return (self.mean + self.apply_function(white, torch.sqrt)).float()

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return noisy images (N, C, H, W) after the Wiener filter, float64, and its expected error."""

        def wiener_gain(energies: Tensor) -> Tensor:
            return energies / (energies + sigma**2)

        mean = self.mean.to(noisy.device)
        trace = sigma**2 * wiener_gain(self.energies).sum().to(noisy.device)
        return Posterior(mean + self.apply_function(noisy.double() - mean, wiener_gain), trace.repeat(len(noisy)))

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps:
        """Return the Wiener filter K (K + sigma^2)^-1, the same for all images."""

        def apply_filter(vectors: Tensor, indices: Sequence[int]) -> Tensor:
            # Vectors that all images share, by broadcasting, are filtered once.
            is_shared = vectors.stride(0) == 0
            images = (vectors[:1] if is_shared else vectors).reshape(-1, *self.shape)
            products = self.apply_function(images, lambda energies: energies / (energies + sigma**2))
            return products.reshape(-1, *vectors.shape[1:]).expand(vectors.shape)

        return FunctionMaps(apply_filter, len(noisy), self.shape, noisy.double())

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis:
        """Return the eigenvectors of K, shape (1, d, d), and its eigenvalues, which all images share."""
        return TrueBasis(self.eigenvectors()[None], self.energies[None])
