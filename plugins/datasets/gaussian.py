"""Gaussian images, whose best denoiser is the Wiener filter: the base class, stationary fields, and faces."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names, Optimum, Posterior, Shape, Split, TrueBasis, get_spec
from gahbench.jacobian import FunctionMaps, LinearMaps
from gahbench_plugins.datasets.generated import Derived, Generated

Positive = Annotated[float, Field(gt=0)]

#: Number of impulses that are transformed at a time, and of images that are centred at a time.
CHUNK, CENTRED = 256, 1024


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


class Fit(NamedTuple):
    """Mean and principal components of a set of images."""

    mean: Tensor
    variances: Tensor
    components: Tensor


class GaussianFaces(Derived, Gaussian):
    """Gaussian images with the mean and the covariance of the training images of a set of faces.

    Let S be the maximum-likelihood covariance of the n training images (divided by n). S is singular if there are fewer
    images than pixels: the 64 embedded faces span 63 of 576 dimensions. Therefore a fraction r, ``isotropic``, of the
    variance is spread evenly over all pixels: K = c^2 [(1 - r) S + r (tr S / d) I], the shrinkage of Ledoit & Wolf 2004
    with a fixed fraction. The eigenvectors of K are the principal components, and its total variance is c^2 tr S, with
    c the ``contrast``. With r = 0, images lie in the span of the faces.

    Faces have a high contrast: with c = 1, 2 to 5 % of the pixels of a Gaussian image are outside [0, 1], and clipping
    would make the images non-Gaussian. Therefore deviations from the mean face are reduced. No generality is lost,
    since the best denoiser at sigma for contrast c is the best denoiser at sigma / c for c = 1. With the default of
    0.6, 2 pixels in 1000 are outside [0, 1] (embedded faces, 24x24; 5 in 1000 for Labeled Faces in the Wild, 40x40).
    Images are not clipped. The best denoiser is the Wiener filter, in closed form.

    Parameters
    ----------
    faces
        Dataset to fit: any dataset with finitely many training images.
    isotropic
        Fraction r of the variance that is spread evenly over all pixels.
    contrast
        Factor c on deviations from the mean face; 1 keeps the variance of the faces.
    seed
        Seed of the images.

    Raises
    ------
    ValueError
        If the training images are endless, or fewer than 2.
    """

    display_name = "Gaussian faces"
    citation = "ledoit-2004"
    label_parameters = ("faces",)

    def __init__(
        self,
        faces: Annotated[Dataset, Names("dataset", default="faces[size=24]")],
        isotropic: Annotated[float, Field(ge=0, le=1)] = 0.01,
        contrast: Positive = 0.6,
        seed: int = 0,
    ) -> None:
        super().__init__("gaussian-faces", seed)
        self.dataset = faces
        self.isotropic = isotropic
        self.contrast = contrast
        available = faces.available("train")
        if available is None or available < 2:
            count = "endless" if available is None else str(available)
            raise ValueError(
                f"faces={get_spec(faces)} has {count} training images; accepted: a finite number, at least 2"
            )
        self.count = available
        self.recipe = f"drawn by gahbench from a Gaussian fitted to {available} images"

    @property
    def mean(self) -> Tensor:
        """The mean face, shape (C, H, W), float64."""
        return self._fit.mean.reshape(self.shape)

    @property
    def energies(self) -> Tensor:
        """Variances of the coefficients, in descending order, shape (d,), float64."""
        spanned, even = self._variances
        return torch.cat([spanned, even.expand(len(self._fit.mean) - len(spanned))])

    def eigenvectors(self) -> Tensor:
        """Return the principal components, completed to an orthonormal basis, as the columns of (d, d), float64."""
        components = self._fit.components
        complete = torch.linalg.qr(components, mode="complete").Q
        return torch.cat([components, complete[:, components.shape[1] :]], dim=1)

    def apply_function(self, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Multiply the coefficients of images (N, C, H, W) by a function of their energies."""
        components = self._fit.components.to(images.device)
        spanned, even = (function(variances.to(images.device)) for variances in self._variances)
        flat = images.flatten(1)
        coefficients = (spanned - even) * (flat @ components)
        return (even * flat + coefficients @ components.mT).view_as(images)

    @functools.cached_property
    def _fit(self) -> Fit:
        return principal_components(self.dataset.images("train", self.count).flatten(1))

    @functools.cached_property
    def _variances(self) -> tuple[Tensor, Tensor]:
        """The variance of each principal component, shape (r,), and of every other direction, a scalar."""
        variances = self._fit.variances
        even = self.contrast**2 * self.isotropic * variances.sum() / len(self._fit.mean)
        return self.contrast**2 * (1 - self.isotropic) * variances + even, even


def principal_components(images: Tensor) -> Fit:
    """Return mean and principal components of images, shape (n, d)."""
    count, pixels = images.shape
    mean = torch.stack([chunk.double().sum(0) for chunk in torch.split(images, CENTRED)]).sum(0) / count
    if count < pixels:
        _, singular, components = torch.linalg.svd(images.double() - mean, full_matrices=False)
        return Fit(mean, singular.square() / count, components.mT)
    covariance = torch.zeros(pixels, pixels, dtype=torch.float64)
    for chunk in torch.split(images, CENTRED):
        centred = chunk.double() - mean
        covariance += centred.mT @ centred / count
    variances, components = torch.linalg.eigh(covariance)
    # Rounding can make zero variances negative.
    return Fit(mean, variances.flip(0).clamp(min=0), components.flip(1))
