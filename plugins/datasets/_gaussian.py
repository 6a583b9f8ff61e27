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
    """Base of Gaussian families N(m, K): an author gives m, the eigenvalues of K, and how its functions act.

    A function f of K multiplies the coefficient of each eigenvector by f of its eigenvalue. All else follows: an image
    is m + K^(1/2) z with z white, and the best denoiser is the Wiener filter m + K (K + sigma^2)^-1 (y - m), which is
    linear and the same for all images. Its error, summed over pixels, is sum_k sigma^2 e_k / (e_k + sigma^2), the e_k
    being the eigenvalues (Wiener 1949; Kadkhodaie 2024, equation 12, with e_k for c_k^2). Nothing is clipped.
    """

    @property
    def optimum(self) -> Optimum:
        """The posterior mean is known in closed form."""
        return Optimum("exact")

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean image m, shape (C, H, W), float64, or one that broadcasts to it."""

    @property
    @abstractmethod
    def energies(self) -> Tensor:
        """All eigenvalues of K, greatest first, shape (d,), float64."""

    @abstractmethod
    def eigenvectors(self) -> Tensor:
        """Return orthonormal eigenvectors of K as the columns of (d, d), in the order of the energies."""

    @abstractmethod
    def weighted(self, images: Tensor, weight: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a function of K to images."""

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, C, H, W), float32."""
        white = torch.randn(count, *self.shape, generator=generator).double()
        # The symmetric root does not depend on which eigenvectors were found: signs and repeated eigenvalues are free.
        return (self.mean + self.weighted(white, torch.sqrt)).float()

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return noisy images (N, C, H, W) after the Wiener filter, float64, and its expected error."""

        def wiener(energies: Tensor) -> Tensor:
            return energies / (energies + sigma**2)

        mean = self.mean.to(noisy.device)
        trace = sigma**2 * wiener(self.energies).sum().to(noisy.device)
        return Posterior(mean + self.weighted(noisy.double() - mean, wiener), trace.repeat(len(noisy)))

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps:
        """Return the Wiener filter K (K + sigma^2)^-1, the same for all images."""

        def filtered(vectors: Tensor, places: Sequence[int]) -> Tensor:
            # The same vectors for all images, as for matrices, are filtered once.
            same = vectors.stride(0) == 0
            images = (vectors[:1] if same else vectors).reshape(-1, *self.shape)
            products = self.weighted(images, lambda energies: energies / (energies + sigma**2))
            return products.reshape(-1, *vectors.shape[1:]).expand(vectors.shape)

        return FunctionMaps(filtered, len(noisy), self.shape, noisy.double())

    @property
    def has_true_basis(self) -> bool:
        """The eigenvectors of K are known."""
        return True

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis:
        """Return the eigenvectors of K, shape (1, d, d), and its eigenvalues: all images share them."""
        return TrueBasis(self.eigenvectors()[None], self.energies[None])
