"""The Gaussian that is fitted to a set of faces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names

from .._messages import name_of
from .._papers import LEDOIT_2004
from ._derived import Derived
from ._gaussian import Gaussian

#: Images centred at a time.
CHUNK = 1024


class Fit(NamedTuple):
    """Mean and principal components of a set of images."""

    mean: Tensor
    variances: Tensor
    components: Tensor


class GaussianFaces(Derived, Gaussian):
    """Gaussian images with the mean and the covariance of the training images of a set of faces.

    Of n training images, S is the covariance, divided by n (the Gaussian of maximum likelihood). That is singular where
    there are fewer images than pixels: the 64 embedded faces span 63 dimensions of 576. So a share r, ``isotropic``, of
    the variance is spread evenly over all pixels: K = c^2 [(1 - r) S + r (tr S / d) I] (Ledoit & Wolf 2004, with a
    share that is given rather than estimated). The eigenvectors are those of S, the principal components, and the
    total variance is that of S but for c, ``contrast``. With r = 0 the Gaussian lives in the span of the faces.

    Faces are so rich in contrast that with c = 1 a Gaussian leaves [0, 1] at 2 to 5 % of its pixels, and clipping would
    end Gaussianity. So deviations from the mean face are reduced; which is no loss, as the best denoiser at sigma for
    one contrast is that at sigma / c for the full one. With the default of 0.6, 2 pixels in 1000 leave [0, 1] (embedded
    faces, 24x24; 5 in 1000 for Labeled Faces in the Wild, 40x40). Nothing is clipped. The best denoiser is the Wiener
    filter, in closed form.

    Parameters
    ----------
    faces
        The images to fit to: any dataset whose training images end.
    isotropic
        Share r of the variance that is spread evenly over all pixels.
    contrast
        Factor c on deviations from the mean face; 1 for the variance of the faces themselves.
    seed
        Seed of the images.

    Raises
    ------
    ValueError
        If the training images never end, or are fewer than 2.
    """

    citation = LEDOIT_2004
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
            holds = "never ends" if available is None else f"holds {available} training images"
            raise ValueError(
                f"faces={name_of(faces)} {holds}; accepted: a dataset of at least 2 training images that ends"
            )
        self.count = available

    @property
    def recipe(self) -> str:
        """Draws from the Gaussian."""
        return f"drawn by gahbench from a Gaussian fitted to {self.count} images"

    @property
    def mean(self) -> Tensor:
        """The mean face, shape (C, H, W), float64."""
        return self._fit.mean.reshape(self.shape)

    @property
    def energies(self) -> Tensor:
        """Variances of the coefficients, greatest first, shape (d,), float64."""
        spanned = self._spanned
        return torch.cat([spanned, self._even.expand(len(self._fit.mean) - len(spanned))])

    def eigenvectors(self) -> Tensor:
        """Return the principal components as the columns of (d, d), float64, and after them what they do not span."""
        components = self._fit.components
        complete = torch.linalg.qr(components, mode="complete").Q
        return torch.cat([components, complete[:, components.shape[1] :]], dim=1)

    def weighted(self, images: Tensor, weight: Callable[[Tensor], Tensor]) -> Tensor:
        """Multiply the coefficients of images (N, C, H, W) by a function of their energies."""
        components = self._fit.components.to(images.device)
        even = weight(self._even.to(images.device))
        flat = images.flatten(1)
        coefficients = (weight(self._spanned.to(images.device)) - even) * (flat @ components)
        return (even * flat + coefficients @ components.mT).view_as(images)

    @functools.cached_property
    def _fit(self) -> Fit:
        return principal_components(self.dataset.images("train", self.count).flatten(1))

    @property
    def _even(self) -> Tensor:
        """The variance that all directions have, a scalar."""
        return self.contrast**2 * self.isotropic * self._fit.variances.sum() / len(self._fit.mean)

    @property
    def _spanned(self) -> Tensor:
        """The variance of each principal component, shape (r,)."""
        return self.contrast**2 * (1 - self.isotropic) * self._fit.variances + self._even


def principal_components(images: Tensor) -> Fit:
    """Return mean and principal components of images, shape (n, d)."""
    count, pixels = images.shape
    mean = torch.stack([some.double().sum(0) for some in torch.split(images, CHUNK)]).sum(0) / count
    if count < pixels:
        _, singular, components = torch.linalg.svd(images.double() - mean, full_matrices=False)
        return Fit(mean, singular.square() / count, components.mT)
    covariance = torch.zeros(pixels, pixels, dtype=torch.float64)
    for some in torch.split(images, CHUNK):
        centred = some.double() - mean
        covariance += centred.mT @ centred / count
    variances, components = torch.linalg.eigh(covariance)
    # Rounding makes variances of nothing slightly negative.
    return Fit(mean, variances.flip(0).clamp(min=0), components.flip(1))
