"""Images on a manifold: differentiable functions of a few random parameters, and rays, the simplest of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import (
    BLOCK,
    DataError,
    Dataset,
    Names,
    Optimum,
    Posterior,
    Split,
    TrueBasis,
    draw_in_blocks,
    get_spec,
)
from gahbench.jacobian import LARGEST_EXACT, DenseMaps, LinearMaps
from gahbench_plugins.datasets import importance
from gahbench_plugins.datasets.generated import Derived, Generated

#: Maximum number of bytes of the filters in the cache.
CACHE_BYTES = 1 << 28


class Manifold(Generated):
    """Base class of families whose images are a differentiable function x(theta) of few parameters.

    A subclass defines ``shape``, ``prior_transform`` and ``render``.

    The parameters theta are ``nonlinear`` non-linear parameters, followed by up to two ``intensities``, in which the
    image is linear: x = offset + c_1 p_1 + c_2 p_2, with c uniform in [0, 1] and independent of the non-linear
    parameters. ``prior_transform`` maps independent uniform numbers to non-linear parameters, and so defines their
    prior: for a Gaussian prior it is ``torch.special.ndtri(uniform)``. ``render`` and ``prior_transform`` must be
    differentiable by torch (forward mode), and work in float64.

    The posterior mean and trace (equations 9 and 10 of Kadkhodaie 2024) are computed by integrating the intensities in
    closed form or by quadrature, and the non-linear parameters by importance sampling around the modes, with fixed
    random numbers; the effective sample size is reported. As sigma tends to 0, the minimum squared error, summed over
    pixels, tends to m sigma^2, where m is the dimension. Therefore the optimal slope is 1, and the best denoiser
    projects on the tangent space, which is the true basis.
    """

    #: Number of non-linear parameters.
    nonlinear: int = 0
    #: Number of intensities, at most 2.
    intensities: int = 0
    #: Grey value of every pixel at intensity 0.
    offset: float = 0.0

    def __init__(self, family: str, seed: int = 0) -> None:
        super().__init__(family, seed)
        self._filters: dict[tuple[bytes, float], DenseMaps] = {}
        if self.intensities not in (0, 1, 2) or self.nonlinear < 0 or self.dimension == 0:
            raise ValueError(
                f"{type(self).__name__}: {self.nonlinear} non-linear parameters and {self.intensities} intensities; "
                "accepted: at most 2 intensities, and at least one parameter"
            )

    @property
    def dimension(self) -> int:
        """Dimension of the manifold."""
        return self.nonlinear + self.intensities

    @property
    def optimum(self) -> Optimum:
        """The posterior mean is computed; the slope is 1, as for every smooth manifold."""
        return Optimum("exact", slope=1.0)

    @abstractmethod
    def prior_transform(self, uniform: Tensor) -> Tensor:
        """Map independent numbers, uniform in [0, 1], to non-linear parameters; both have shape (N, nonlinear)."""

    @abstractmethod
    def render(self, parameters: Tensor) -> Tensor:
        """Return images, shape (N, C, H, W), of parameters (N, dimension): non-linear parameters, then intensities."""

    def parts(self, nonlinear: Tensor) -> Tensor:
        """Return the factor of each intensity, shape (N, L, C, H, W), for non-linear parameters (N, nonlinear)."""
        if self.intensities == 0:
            return (self.render(nonlinear) - self.offset)[:, None]
        units = torch.eye(self.intensities).to(nonlinear)[:, None].expand(-1, len(nonlinear), -1)
        images = [self.render(torch.cat([nonlinear, unit], dim=1)) for unit in units]
        return torch.stack(images, dim=1) - self.offset

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, C, H, W)."""
        return self.render(self.parameters_at(torch.rand(count, self.dimension, generator=generator)))

    def parameters_at(self, uniform: Tensor) -> Tensor:
        """Map uniform random numbers to parameters; both have shape (N, dimension)."""
        return torch.cat([self.prior_transform(uniform[:, : self.nonlinear]), uniform[:, self.nonlinear :]], dim=1)

    def parameters(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return the parameters of images ``start`` to ``start + count`` of a split, shape (count, dimension)."""
        return self.parameters_at(self._uniform(split, count, start))

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis:
        """Return orthonormal bases of the tangent spaces at the images, with vectors of shape (count, d, dimension)."""
        if count == 0:
            return TrueBasis(torch.empty(0, math.prod(self.shape), self.dimension, dtype=torch.float64))
        derivatives = importance.tangents(
            lambda uniform: self.render(self.parameters_at(uniform)).flatten(1),
            self._uniform(split, count, start).double(),
        )
        return TrueBasis(torch.linalg.svd(derivatives.mT, full_matrices=False)[0])

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return the posterior mean and trace given noisy images; see :meth:`gahbench.Dataset.posterior`."""
        estimate = importance.posterior(self, (noisy.double() - self.offset).flatten(1), sigma)
        mean = (estimate.mean + self.offset).reshape(noisy.shape).to(noisy.dtype)
        return Posterior(mean, estimate.trace, estimate.ess_fraction)

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps | None:
        """Return the posterior covariances divided by sigma^2, sampled as in :meth:`posterior`."""
        if noisy[0].numel() > LARGEST_EXACT:
            return None
        key = (noisy.cpu().double().numpy().tobytes(), sigma)
        if key not in self._filters:
            filters = self._sampled_filters(noisy, sigma)
            # The metrics of all denoisers need the filters of the same images.
            if sum(other.matrices().nbytes for other in (filters, *self._filters.values())) > CACHE_BYTES:
                self._filters.clear()
            self._filters[key] = filters
        return self._filters[key]

    def _sampled_filters(self, noisy: Tensor, sigma: float) -> DenseMaps:
        """Return the posterior covariances divided by sigma^2, float32, computed for a few images at a time."""
        filters = []
        batch = max(1, CACHE_BYTES // (8 * noisy[0].numel() ** 2))
        for images in torch.split((noisy.double() - self.offset).flatten(1), batch):
            covariance = importance.posterior(self, images, sigma, covariance=True).covariance
            assert covariance is not None
            filters.append((covariance / sigma**2).float())
        return DenseMaps(torch.cat(filters), self.shape)

    def parts_at(self, coordinates: Tensor) -> Tensor:
        """Return the parts, shape (..., L, d), float64, at standard normal coordinates (..., nonlinear)."""
        parts = self.parts(self.prior_transform(torch.special.ndtr(coordinates.flatten(0, -2)))).double()
        return parts.reshape(*coordinates.shape[:-1], parts.shape[1], -1)

    def _uniform(self, split: Split, count: int, start: int) -> Tensor:
        """Return the uniform random numbers of images of a split, shape (count, dimension)."""
        if count == 0:
            return torch.empty(0, self.dimension)
        return draw_in_blocks(
            lambda block: torch.rand(BLOCK, self.dimension, generator=self.generator_of(split, block)), count, start
        )


class Rays(Derived, Manifold):
    """A fixed image times a scale that is uniform in [0, 1].

    The images form a ray from black, a manifold of dimension 1. The best denoiser returns the fixed image times the
    posterior mean of the scale, which depends only on the projection of the noisy image on the fixed image. The
    posterior of the scale is a Gaussian truncated to [0, 1]. As sigma tends to 0, the minimum squared error, summed
    over pixels, tends to sigma^2.

    Parameters
    ----------
    image
        Dataset of the image, such as ``discs[size=32]``. Values outside [0, 1], which Gaussian families may have, are
        clipped.
    index
        Index of the image among the training images of the dataset.
    seed
        Seed of the scales.

    Raises
    ------
    DataError
        If the image is black.
    """

    display_name = "rays of {image}"
    recipe = "multiples of a single image, with scales drawn by gahbench; origin of the image"
    intensities = 1
    label_parameters = ("image",)

    def __init__(
        self,
        image: Annotated[Dataset, Names("dataset", default="c-alpha")],
        index: Annotated[int, Field(ge=0)] = 0,
        seed: int = 0,
    ) -> None:
        super().__init__("rays", seed)
        self.dataset = image
        self.image = self.dataset.images("train", 1, start=index)[0].clamp(0, 1)
        if not self.image.any():
            raise DataError(f"image {index} of '{get_spec(image)}' is black; accepted: images with a pixel above 0")

    def prior_transform(self, uniform: Tensor) -> Tensor:
        """Return the non-linear parameters, shape (N, 0), since the family has only an intensity."""
        return uniform

    def render(self, parameters: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W), of scales (N, 1)."""
        return parameters[:, :, None, None] * self.image.to(parameters)
