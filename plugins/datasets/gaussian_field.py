"""Gaussian images, whose best denoiser is the Wiener filter: the base class, and stationary fields."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Optimum, Posterior, Shape, Split, TrueBasis
from gahbench.jacobian import FunctionMaps, LinearMaps
from gahbench_plugins.datasets.generated import Generated

Positive = Annotated[float, Field(gt=0)]

#: Number of impulses that are transformed at a time.
CHUNK = 256


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
        mean = self.mean.to(noisy.device)
        trace = sigma**2 * _wiener(self.energies, sigma).sum().to(noisy.device)
        denoised = mean + self.apply_function(noisy.double() - mean, lambda energies: _wiener(energies, sigma))
        return Posterior(denoised, trace.repeat(len(noisy)))

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps:
        """Return the Wiener filter K (K + sigma^2)^-1, the same for all images."""

        def apply_filter(vectors: Tensor, indices: Sequence[int]) -> Tensor:
            # Vectors that all images share, by broadcasting, are filtered once.
            is_shared = vectors.stride(0) == 0
            images = (vectors[:1] if is_shared else vectors).reshape(-1, *self.shape)
            products = self.apply_function(images, lambda energies: _wiener(energies, sigma))
            return products.reshape(-1, *vectors.shape[1:]).expand(vectors.shape)

        return FunctionMaps(apply_filter, len(noisy), self.shape, noisy.double())

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis:
        """Return the eigenvectors of K, shape (1, d, d), and its eigenvalues, which all images share."""
        return TrueBasis(self.eigenvectors()[None], self.energies[None])


def _wiener(energies: Tensor, sigma: float) -> Tensor:
    return energies / (energies + sigma**2)


class GaussianField(Gaussian):
    """Stationary Gaussian fields with a power-law spectrum, on a periodic grid.

    The amplitude at the integer frequency k is proportional to |k|^-(alpha + 1), and at k = 0 equal to the amplitude at
    |k| = 1. Such fields are C^alpha up to logarithms. The mean is 1/2, and every pixel has the standard deviation
    ``std``: at the default of 0.14, 4 pixels in 10,000 are outside [0, 1]. Images are not clipped. Channels of colour
    fields are independent.

    The best denoiser is the Wiener filter. Since the grid is periodic, the covariance is a circular convolution: its
    eigenvectors are waves, and the exact filter takes O(d log d) operations at any size. The eigenvectors are the real
    waves of the Hartley transform, cos(2 pi k.x / size) + sin(2 pi k.x / size), which form a fixed orthonormal basis.

    The n-th largest of the energies |k|^-2(alpha + 1) decays as n^-(alpha + 1), since about pi |k|^2 frequencies are
    below |k|. Therefore the optimal slope is alpha / (alpha + 1) (Kadkhodaie 2024, equation 13) while sigma^2 is in the
    range of the energies. If sigma^2 is below the smallest energy, every coefficient is kept, and the slope tends to 1,
    as on any finite grid.

    Parameters
    ----------
    alpha
        Regularity of the fields.
    size
        Height and width in pixels.
    std
        Standard deviation of a pixel, in units of the grey scale.
    colour
        ``grey``: one channel; ``rgb``: three.
    seed
        Seed of the images. The same seed gives the same random numbers for every alpha.
    """

    display_name = "Gaussian fields"
    citation = "kadkhodaie-2024"
    label_parameters = ("alpha",)

    def __init__(
        self,
        alpha: Positive = 2.0,
        size: Annotated[int, Field(ge=8)] = 64,
        std: Positive = 0.14,
        colour: Literal["grey", "rgb"] = "grey",
        seed: int = 0,
    ) -> None:
        super().__init__("gaussian-field", seed)
        self.alpha = alpha
        self.size = size
        self.std = std
        self.colour = colour

    @property
    def shape(self) -> Shape:
        """Shape (1 or 3, size, size) of an image."""
        return (3 if self.colour == "rgb" else 1, self.size, self.size)

    @property
    def optimum(self) -> Optimum:
        """The posterior mean is known in closed form; the slope is alpha / (alpha + 1)."""
        return Optimum("exact", slope=self.alpha / (self.alpha + 1))

    @property
    def mean(self) -> Tensor:
        """The mean grey value 1/2, shape (1, 1, 1)."""
        return torch.full((1, 1, 1), 0.5, dtype=torch.float64)

    @property
    def energies(self) -> Tensor:
        """Variances of the coefficients, in descending order, shape (d,), float64."""
        return self._spectra().sort(descending=True, stable=True).values

    def spectrum(self) -> Tensor:
        """Return the variance of each coefficient of a channel, shape (size, size), ``fft2`` layout, float64."""
        along = torch.fft.fftfreq(self.size, 1 / self.size, dtype=torch.float64)
        moduli = torch.hypot(along[:, None], along)
        moduli[0, 0] = 1
        # The amplitude at |k| = 1 is 1 for every alpha, so that the power cannot overflow.
        power: Tensor = moduli.pow(-2 * (self.alpha + 1))
        # The variance of a pixel is the mean variance of the coefficients.
        return self.std**2 * power / power.mean()

    def eigenvectors(self) -> Tensor:
        """Return the waves as the columns of (d, d), float32, in descending order of energy."""
        order = self._spectra().sort(descending=True, stable=True).indices
        impulses = torch.eye(len(order))[order].reshape(-1, *self.shape)
        return torch.cat([hartley(chunk.double()).float() for chunk in torch.split(impulses, CHUNK)]).flatten(1).mT

    def apply_function(self, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Multiply the coefficients of images (N, C, size, size) by a function of their energies."""
        return hartley(function(self.spectrum().to(images.device)) * hartley(images))

    def _spectra(self) -> Tensor:
        """Return the variance of each coefficient of an image, shape (d,)."""
        return self.spectrum().flatten().repeat(self.shape[0])


def hartley(images: Tensor) -> Tensor:
    """Return the Hartley transform over the last two axes: real, orthonormal, symmetric, and its own inverse."""
    spectrum = torch.fft.fft2(images, norm="ortho")
    transformed: Tensor = spectrum.real - spectrum.imag
    return transformed
