"""Datasets: image families, their splits, and the best possible denoiser on them."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gahbench._util.errors import DataError, OptimumError, ParameterError, listing, suggestion
from gahbench._util.shapes import Shape
from gahbench.contracts.preparation import Preparable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from gahbench.contracts.citation import Citations
    from gahbench.jacobian import LinearMaps

#: Names of splits.
Split = Literal["train", "validation", "test", "A", "B"]
OptimumKind = Literal["exact", "bracket", "rate", "none"]

#: The splits, which share no images, except that A and B are disjoint halves of a finite ``train``, and except for
#: families whose ``splits_overlap``.
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "A", "B")


def checked_split(name: str) -> Split:
    """Return the name of a split."""
    for known in SPLITS:
        if known == name:
            return known
    raise ParameterError(f"unknown split '{name}'{suggestion(name, SPLITS) or ';'} accepted: {listing(SPLITS)}")


@dataclass(frozen=True)
class Optimum:
    """The knowledge about the best possible denoiser of a dataset.

    Parameters
    ----------
    kind
        ``exact``: the posterior mean can be computed; ``bracket``: a lower and an upper bound on its error;
        ``rate``: only the slope; ``none``: nothing.
    slope
        Optimal slope of output PSNR against input PSNR as sigma tends to 0, in dB per dB: alpha/(alpha+1) where
        coefficients decay as k^-(alpha+1) (Kadkhodaie 2024, equation 13).
    """

    kind: OptimumKind = "none"
    slope: float | None = None


@dataclass(frozen=True)
class Card:
    """The source and licence of images.

    Parameters
    ----------
    origin
        The source, in a sentence.
    licence
        The permitted use, in a sentence.
    """

    origin: str = "not stated"
    licence: str = "not stated"


@dataclass(frozen=True, eq=False)
class Posterior:
    """Moments of the distribution of clean images given noisy images.

    The mean is the denoised image of least expected squared error, and the trace of the covariance is that error
    (Kadkhodaie 2024, equations 9 and 10).

    Parameters
    ----------
    mean
        Posterior means, shape (N, C, H, W).
    trace
        Traces of the posterior covariances (sums over pixels), shape (N,), float64, in squared units of the grey scale.
    ess_fraction
        Effective sample size of each mean, as a share in (0, 1] of the samples drawn, shape (N,); ``None`` without
        sampling.
    covariance
        Posterior covariances, shape (N, d, d), float64, if requested.
    """

    mean: Tensor
    trace: Tensor
    ess_fraction: Tensor | None = None
    covariance: Tensor | None = None


@dataclass(frozen=True, eq=False)
class TrueBasis:
    """The basis in which the best denoiser of a family shrinks each of N images of d = C * H * W pixels.

    Parameters
    ----------
    vectors
        Orthonormal columns, shape (N, d, k) or (1, d, k) where all images share them, in falling order of energy.
    energies
        Variance of the coefficient of each vector, shape (N, k) or (1, k): the best denoiser multiplies it by
        energy / (energy + sigma^2). ``None`` where the vectors span a tangent space, which is kept whole as sigma
        tends to 0.
    """

    vectors: Tensor
    energies: Tensor | None = None


def checked_sources(dataset: Dataset, split: Split, count: int) -> list[int] | None:
    """Return the sources of the first images of a split, as plain numbers; ``None`` where each image has its own."""
    given = dataset.sources(split, count)
    if given is None:
        return None
    try:
        # Unlike int(), it takes neither fractions nor texts.
        found = [operator.index(number) for number in given]
    except (TypeError, ValueError):
        found = []
    if len(found) != count:
        raise DataError(
            f"sources('{split}', {count}) of {type(dataset).__name__} returned {given!r:.100}; expected {count} whole "
            "numbers, or None"
        )
    return found


class Dataset(Preparable, ABC):
    """An image family with its parameters.

    The images are deterministic and prefix-stable: the first k of n are the k. A family whose optimum is ``exact``
    has a :meth:`posterior`; one whose optimum is a ``bracket`` has a :meth:`lower_bound` and its :meth:`genie`.

    All images have one :attr:`shape`, but in a set of test images of several shapes, which :meth:`shapes` names: it
    gives those of each shape as a dataset of its own (:meth:`of_shape`), and its :meth:`images` is not asked for them.
    All of them have as many channels, and nothing is known about their optimum.
    """

    #: Parameters that the label of this dataset always shows, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()
    #: The publications that the dataset implements.
    citation: ClassVar[Citations] = None
    #: Whether splits share images because the density is a finite set of them, which every split draws from.
    splits_overlap: bool = False
    #: Side of the square images of which the dataset returns block averages, so that datasets of several sizes show the
    #: same scenes under the same noise; ``None`` if images are drawn at their own size.
    master: int | None = None

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape (C, H, W) of one image; the shape of the first image if they have several shapes."""

    @abstractmethod
    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split.

        Where a split never ends, ``start`` may be as large as 2^32: do not draw the images before it. A fit on a GPU
        calls it in a thread: draw from generators of your own, not from the default one.

        Returns
        -------
        Tensor
            Float32 of shape (count, C, H, W), on the CPU; values in [0, 1] (Gaussian families may leave it, rarely).

        Raises
        ------
        DataError
            If the split holds fewer images.
        """

    def shapes(self, count: int) -> Sequence[Shape] | None:
        """Return the shape (C, H, W) of each of the first ``count`` test images; ``None`` where all have one shape.

        Then entrants are scored on the images of each shape together, by metrics that measure each image alone.
        """
        return None

    def of_shape(self, shape: Shape) -> Dataset:
        """Return the dataset of the test images of one of several shapes, in their order; see :meth:`shapes`.

        Raises
        ------
        DataError
            If all images have one shape, or none has this one.
        """
        raise DataError(f"{type(self).__name__}: all images have the shape {self.shape}")

    def available(self, split: Split) -> int | None:
        """Return the number of images of a split; ``None`` for an endless generator."""
        return None

    @property
    def optimum(self) -> Optimum:
        """The knowledge about the best possible denoiser on this family."""
        return Optimum()

    @property
    def card(self) -> Card:
        """Origin and licence of the images."""
        return Card()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about processing of the images that the user may not expect; plans print them once."""
        return ()

    def posterior(self, noisy: Tensor, sigma: float) -> Posterior:
        """Return mean and spread of the clean images given the noisy ones; only where the optimum is ``exact``.

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
        """Return lower bounds on the expected error of any denoiser; only where the optimum is a ``bracket``.

        The bound is the expected error of a genie: a denoiser that sees part of an image's parameters.

        Returns
        -------
        Tensor
            Mean squared error per pixel, shape (count,), float64, for images ``start`` to ``start + count`` of a split:
            expected over the noise and the parameters that the genie does not see.

        Raises
        ------
        OptimumError
            If no bound is known.
        """
        raise OptimumError(f"{type(self).__name__}: no lower bound is known; its optimum is '{self.optimum.kind}'")

    def genie(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> Tensor:
        """Denoise the noisy images from ``start`` of a split by the genie of :meth:`lower_bound`.

        Parameters
        ----------
        noisy
            Shape (N, C, H, W).
        sigma
            Standard deviation of the noise, greater than 0.

        Raises
        ------
        OptimumError
            If no bound is known.
        """
        raise OptimumError(f"{type(self).__name__}: no genie is known; its optimum is '{self.optimum.kind}'")

    @property
    def has_true_basis(self) -> bool:
        """Whether :meth:`true_basis` returns a basis with energies, without computing it; tangent spaces have none."""
        return False

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis | None:
        """Return the basis in which the best denoiser shrinks each image; ``None`` if it is unknown."""
        return None

    @property
    def has_level_sets(self) -> bool:
        """Whether :meth:`level_sets` returns contours, without computing them."""
        return False

    def level_sets(self, split: Split, count: int, start: int = 0) -> Tensor | None:
        """Return functions that are zero on the contour of each image; ``None`` if contours are unknown.

        Such a function is negative inside a contour, or below a contour that crosses the image, and its level lines run
        along the contour, like those of the distance from it.

        Returns
        -------
        Tensor or None
            Values at the middles of pixels, in pixels, shape (count, H, W), float64, for images ``start`` to
            ``start + count`` of a split.
        """
        return None

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps | None:
        """Return the Jacobians of the best denoiser, which are symmetric; ``None`` if they are unknown.

        The best denoiser is the posterior mean, whose Jacobian is the posterior covariance over sigma^2 (Kadkhodaie
        2024, equation 9), or the genie of :meth:`lower_bound`.

        Parameters
        ----------
        noisy
            The noisy images from ``start`` of a split, shape (N, C, H, W).
        sigma
            Standard deviation of the noise, greater than 0.

        Raises
        ------
        OptimumError
            If they are known, but cannot be computed accurately for one of these images.
        """
        return None

    def sources(self, split: Split, count: int) -> Sequence[int] | None:
        """Return the source of each image, such as the photograph of a patch; ``None`` if each image has its own.

        Boards resample images of a source together, because they are dependent.

        Returns
        -------
        Sequence or None
            A whole number for each of the first ``count`` images of a split.
        """
        return None

    def fingerprint(self) -> str | None:
        """Return the SHA-256 of the pixels of images from files, which becomes part of every key."""
        return None


def all_shapes(dataset: Dataset, count: int) -> tuple[Shape, ...]:
    """Return the different shapes of the first test images of a dataset, in their order."""
    shapes = dataset.shapes(count)
    return (dataset.shape,) if not shapes else tuple(dict.fromkeys(shapes))
