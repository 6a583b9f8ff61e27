"""Datasets: image families, their splits, and the optimal denoiser on them."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from gahbench._util.errors import DataError, OptimumError
from gahbench._util.shapes import Shape
from gahbench.contracts.preparation import Preparable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from gahbench.jacobian import LinearMaps

#: Names of splits.
Split = Literal["train", "validation", "test", "A", "B"]
OptimumKind = Literal["exact", "bracket", "rate", "none"]

#: The splits. They share no images, except that A and B are disjoint halves of a finite ``train``, and except in
#: families with ``splits_overlap``.
SPLITS: tuple[Split, ...] = get_args(Split)
#: Kinds of recorded noise: white and Gaussian, with the given noise levels; of independent pixels, with any
#: distribution; or noise of which neither is known.
NoiseKind = Literal["white", "independent", "unknown"]
#: The noise of scores whose noisy images were recorded.
MEASURED = "measured"


@dataclass(frozen=True)
class Optimum:
    """Known properties of the optimal denoiser of a dataset.

    Parameters
    ----------
    kind
        ``exact``: the posterior mean can be computed; ``bracket``: a lower and an upper bound on its error are known;
        ``rate``: only the slope is known; ``none``: nothing is known.
    slope
        The optimal slope of output PSNR against input PSNR as sigma tends to 0, in dB per dB: alpha/(alpha+1) if
        coefficients decay as k^-(alpha+1) (Kadkhodaie 2024, equation 13).

    Examples
    --------
    >>> import gahbench
    >>> gahbench.create("dataset", "c-alpha", alpha=3.0, size=16).optimum
    Optimum(kind='bracket', slope=0.75)
    """

    kind: OptimumKind = "none"
    slope: float | None = None


@dataclass(frozen=True)
class Card:
    """The origin and licence of images.

    Parameters
    ----------
    origin
        The origin of the images, in a sentence.
    licence
        The permitted use, in a sentence.
    is_free
        Whether anybody may redistribute the images, so that published results may show some of them.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.Card("photographs of the author", "CC0").licence
    'CC0'
    """

    origin: str = "not stated"
    licence: str = "not stated"
    is_free: bool = False


@dataclass(frozen=True, eq=False)
class Posterior:
    """Moments of the distribution of clean images given noisy images.

    The mean is the denoised image with the smallest expected squared error, and the trace of the covariance is that
    error (Kadkhodaie 2024, equations 9 and 10).

    Parameters
    ----------
    mean
        Posterior means, shape (N, C, H, W).
    trace
        Traces of the posterior covariances (sums over pixels), shape (N,), float64, in squared units of the grey scale.
    ess_fraction
        Effective sample size of each mean, as a share in (0, 1] of the drawn samples, shape (N,); ``None`` if the mean
        is not computed by sampling.
    covariance
        Posterior covariances, shape (N, d, d), float64, if requested.

    Examples
    --------
    >>> import gahbench
    >>> field = gahbench.create("dataset", "gaussian-field", size=8)
    >>> noisy = field.images("test", 2) + gahbench.TrainingData(field).noise(2, sigma=0.1)
    >>> posterior = field.posterior(noisy, 0.1)
    >>> posterior.mean.shape, bool((posterior.trace < 0.1**2 * 64).all())
    (torch.Size([2, 1, 8, 8]), True)
    """

    mean: Tensor
    trace: Tensor
    ess_fraction: Tensor | None = None
    covariance: Tensor | None = None


@dataclass(frozen=True, eq=False)
class TrueBasis:
    """The basis in which the optimal denoiser of a family shrinks each of N images of d = C * H * W pixels.

    Parameters
    ----------
    vectors
        Orthonormal columns by decreasing energy, shape (N, d, k), or (1, d, k) if all images share them.
    energies
        Variance of the coefficient of each vector, shape (N, k) or (1, k): the optimal denoiser multiplies the
        coefficient by energy / (energy + sigma^2). ``None`` if the vectors span a tangent space, onto which the optimal
        denoiser projects as sigma tends to 0.

    Examples
    --------
    >>> import gahbench
    >>> field = gahbench.create("dataset", "gaussian-field", size=8)
    >>> basis = field.true_basis("test", 2)
    >>> basis.vectors.shape, basis.energies.shape
    (torch.Size([1, 64, 64]), torch.Size([1, 64]))
    """

    vectors: Tensor
    energies: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Captured:
    """Recorded noisy images of N clean images, with their noise levels.

    Parameters
    ----------
    noisy
        The noisy images, shape (N, C, H, W), float32, in the units of the clean images; values outside [0, 1] are kept.
    sigma
        Noise level of each image, shape (N,), float64, greater than 0. Denoisers that need a noise level get this one.
    reference_variance
        Variance per pixel of the noise that is left in each clean image, shape (N,), float64: 0 for an exact reference,
        and the variance of the mean for a mean of repeated captures. The PSNR subtracts it from squared errors.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> sigma = torch.tensor([0.05, 0.2], dtype=torch.float64)
    >>> gahbench.Captured(torch.zeros(2, 1, 8, 8), sigma, torch.zeros_like(sigma))[:1].sigma
    tensor([0.0500], dtype=torch.float64)
    """

    noisy: Tensor
    sigma: Tensor
    reference_variance: Tensor

    def __getitem__(self, chosen: slice) -> Captured:
        """Return a part of the images."""
        return Captured(self.noisy[chosen], self.sigma[chosen], self.reference_variance[chosen])


def validate_sources(dataset: Dataset, split: Split, count: int) -> list[int] | None:
    """Return the sources of the first images of a split, as integers; ``None`` if each image has its own source."""
    sources = dataset.sources(split, count)
    try:
        # Unlike int(), operator.index() refuses floats and strings.
        numbers = None if sources is None else list(map(operator.index, sources))
    except (TypeError, ValueError):
        numbers = []
    if numbers is not None and len(numbers) != count:
        raise DataError(
            f"sources('{split}', {count}) of {type(dataset).__name__} returned {sources!r:.100}; expected {count} "
            "integers, or None"
        )
    return numbers


class Dataset(Preparable, ABC):
    """An image family with its parameters.

    The images are deterministic and prefix-stable: a request for k images returns the first k of a request for n. A
    family whose optimum is ``exact`` has a :meth:`posterior`; a family whose optimum is a ``bracket`` has a
    :meth:`lower_bound` and its :meth:`genie`.

    All images have the same :attr:`shape`, unless :meth:`shapes` returns several shapes for a set of test images. Then
    :meth:`of_shape` returns a dataset of the test images of each shape, and :meth:`images` is not called for them. All
    images of such a set have the same number of channels, and no optimum is known for them.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> class Ramps(gahbench.Dataset):
    ...     # Ramps from black to a random grey value.
    ...     shape = (1, 8, 8)
    ...     def images(self, split, count, start=0):
    ...         seeds = [gahbench.generator("data", "ramps", split, index) for index in range(start, start + count)]
    ...         greys = torch.stack([torch.rand(1, 1, 1, generator=seed) for seed in seeds])
    ...         return (greys * torch.linspace(0, 1, 8)).expand(-1, 1, 8, 8)
    >>> torch.equal(Ramps().images("test", 3)[2:], Ramps().images("test", 1, start=2))
    True
    """

    #: Whether splits may share images, because every split draws from the same finite set of images.
    splits_overlap: bool = False
    #: Side of the square images whose block averages the dataset returns, so that datasets of several sizes show the
    #: same scenes under the same noise; ``None`` if images are drawn at their final size.
    render_size: int | None = None
    #: Whether :meth:`true_basis` returns a basis with energies; read without computing the basis.
    has_true_basis: bool = False
    #: Whether :meth:`level_sets` returns contours; read without computing the contours.
    has_level_sets: bool = False

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape (C, H, W) of an image; the shape of the first image if they have several shapes."""

    @abstractmethod
    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split.

        In an endless split, ``start`` may be as large as 2^32, so do not draw the images before it. A fit on a GPU
        calls this method in a thread, so do not draw from torch's default generator.

        Returns
        -------
        Tensor
            Float32 of shape (count, C, H, W), on the CPU; values in [0, 1] (rarely outside, in Gaussian families).

        Raises
        ------
        DataError
            If the split has fewer images.
        """

    def shapes(self, count: int) -> Sequence[Shape] | None:
        """Return the shape (C, H, W) of each of the first ``count`` test images; ``None`` if all have the same shape.

        If there are several shapes, the images of each shape are scored together, and only by metrics that measure each
        image separately.
        """
        return None

    def of_shape(self, shape: Shape) -> Dataset:
        """Return a dataset of the test images that have one of the :meth:`shapes`, in their original order.

        Raises
        ------
        DataError
            If all images have the same shape, or no image has this shape.
        """
        raise DataError(f"{type(self).__name__}: all images have the shape {self.shape}")

    def available(self, split: Split) -> int | None:
        """Return the number of images of a split; ``None`` for an endless generator."""
        return None

    def captured(self, count: int) -> Captured | None:
        """Return recorded noisy versions of the first ``count`` test images; ``None`` if only drawn noise is known.

        A suite with ``sigmas: measured`` scores denoisers on these images.

        Raises
        ------
        DataError
            If there are fewer test images.
        """
        return None

    @property
    def noise_kind(self) -> NoiseKind | None:
        """What is known of the recorded noise of a dataset without clean images; ``None`` if images are clean.

        Without clean images, :meth:`images` returns the recorded noisy images. They are scored with
        ``sigmas: measured``, by metrics that list this kind of noise in :attr:`Metric.without_clean`.
        """
        return None

    @property
    def optimum(self) -> Optimum:
        """Known properties of the optimal denoiser on this family."""
        return Optimum()

    @property
    def card(self) -> Card:
        """Origin and licence of the images."""
        return Card()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on unexpected processing of the images, as sentences that plans print once."""
        return ()

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return the moments of the clean images given the noisy images, if the optimum is ``exact``.

        Parameters
        ----------
        noisy
            Shape (N, C, H, W).
        sigma
            Standard deviation of the noise, greater than 0.

        Raises
        ------
        OptimumError
            If the optimum is not exact, or cannot be computed accurately for one of these images.
        """
        raise OptimumError(f"{type(self).__name__}: no posterior is known; its optimum is '{self.optimum.kind}'")

    def lower_bound(self, split: Split, count: int, sigma: float, start: int = 0) -> Tensor:
        """Return lower bounds on the expected error of any denoiser, if the optimum is a ``bracket``.

        The bound is the expected error of a genie: a denoiser that sees part of an image's parameters.

        Returns
        -------
        Tensor
            Mean squared error per pixel, shape (count,), float64, for images ``start`` to ``start + count`` of a split,
            as expectations over the noise and the parameters that the genie does not see.

        Raises
        ------
        OptimumError
            If no bound is known.
        """
        raise OptimumError(f"{type(self).__name__}: no lower bound is known; its optimum is '{self.optimum.kind}'")

    def genie(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> Tensor:
        """Denoise images ``start`` to ``start + N`` of a split with the genie of :meth:`lower_bound`.

        Parameters
        ----------
        noisy
            The noisy images, shape (N, C, H, W).
        sigma
            Standard deviation of the noise, greater than 0.
        split
            The split of the images.
        start
            Index of the first image in the split.

        Raises
        ------
        OptimumError
            If no bound is known.
        """
        raise OptimumError(f"{type(self).__name__}: no genie is known; its optimum is '{self.optimum.kind}'")

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis | None:
        """Return the basis in which the optimal denoiser shrinks each image; ``None`` if it is unknown."""
        return None

    def level_sets(self, split: Split, count: int, start: int = 0) -> Tensor | None:
        """Return functions that are zero on the contour of each image; ``None`` if contours are unknown.

        Such a function is negative inside a contour, or below a contour that crosses the image. Its level lines run
        along the contour, as for the signed distance from it.

        Returns
        -------
        Tensor or None
            Values at the centres of pixels, in pixels, shape (count, H, W), float64, for images ``start`` to
            ``start + count`` of a split.
        """
        return None

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps | None:
        """Return the symmetric Jacobians of the optimal denoiser; ``None`` if they are unknown.

        The optimal denoiser is the posterior mean, whose Jacobian is the posterior covariance over sigma^2 (Kadkhodaie
        2024, equation 9), or the genie of :meth:`lower_bound`.

        Parameters
        ----------
        noisy
            Noisy versions of images ``start`` to ``start + N`` of a split, shape (N, C, H, W).
        sigma
            Standard deviation of the noise, greater than 0.
        split
            The split of the images.
        start
            Index of the first image in the split.

        Raises
        ------
        OptimumError
            If the Jacobians are known, but cannot be computed accurately for one of these images.
        """
        return None

    def sources(self, split: Split, count: int) -> Sequence[int] | None:
        """Return the source of each image, such as the photograph of a patch; ``None`` if no images share a source.

        Boards resample images of a source together, because these images are dependent.

        Returns
        -------
        Sequence or None
            An integer for each of the first ``count`` images of a split, equal for images with the same source.
        """
        return None

    def fingerprint(self) -> str | None:
        """Return the SHA-256 of the pixels, a part of every key; ``None`` if images do not come from files."""
        return None


def captured_level(dataset: Dataset, count: int) -> float | None:
    """Return the geometric mean of the noise levels of recorded noise; ``None`` without recorded noise."""
    shapes = dataset.shapes(count)
    counts = {shape: shapes.count(shape) for shape in shapes} if shapes is not None else {}
    groups = [(dataset.of_shape(shape), number) for shape, number in counts.items()] or [(dataset, count)]
    parts = [group.captured(number) for group, number in groups]
    levels = [level for part in parts if part is not None for level in part.sigma.tolist()]
    # The input PSNR of this level, by which scores are stored, is the mean of the images' input PSNR.
    return float(f"{math.exp(sum(map(math.log, levels)) / count):.4g}") if levels else None
