"""Gaussian images fitted to a set of faces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names, get_spec
from gahbench_plugins.datasets.gaussian_field import Gaussian
from gahbench_plugins.datasets.generated import Derived

#: Number of images that are centred at a time.
CHUNK = 1024


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
        contrast: Annotated[float, Field(gt=0)] = 0.6,
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
    mean = torch.stack([chunk.double().sum(0) for chunk in torch.split(images, CHUNK)]).sum(0) / count
    if count < pixels:
        _, singular, components = torch.linalg.svd(images.double() - mean, full_matrices=False)
        return Fit(mean, singular.square() / count, components.mT)
    covariance = torch.zeros(pixels, pixels, dtype=torch.float64)
    for chunk in torch.split(images, CHUNK):
        centred = chunk.double() - mean
        covariance += centred.mT @ centred / count
    variances, components = torch.linalg.eigh(covariance)
    # Rounding can make zero variances negative.
    return Fit(mean, variances.flip(0).clamp(min=0), components.flip(1))
