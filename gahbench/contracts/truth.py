"""What denoisers and metrics are given: the truth behind noisy images, and images to learn from.

The kind of a denoiser decides which parts of the truth it sees; the needs of a metric decide what it may ask for.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from gahbench._util.errors import DataError, listing, suggestion
from gahbench.contracts.datasets import Dataset, Split

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.jacobian import LinearMaps

TrainingSplit = Literal["train", "A", "B"]
#: The seed of noise for learning; noise for scores has the suite's `noise_seed`.
_NOISE_SEED = "examples"
#: Kinds of denoisers; the kind decides which parts of the truth a denoiser may use.
DenoiserKind = Literal["trained", "classical", "oracle", "optimal", "bound"]
KINDS: tuple[DenoiserKind, ...] = get_args(DenoiserKind)
#: Denoisers of these kinds see the clean image.
SEES_CLEAN: frozenset[DenoiserKind] = frozenset({"oracle", "bound"})
#: Denoisers of these kinds see the dataset.
SEES_DATASET: frozenset[DenoiserKind] = SEES_CLEAN | {"optimal"}
#: Parts of an evaluation, other than the images and the denoiser, that metrics may need.
#: ``training``: the images that the denoiser learned from (:attr:`Evaluation.learned_from`); ``partner``: the same
#: architecture or reference, trained on other images (:attr:`Evaluation.partner`); ``samples``: images sampled from
#: the denoiser (:attr:`Evaluation.samples`); ``snapshots``: networks saved during training
#: (:attr:`Evaluation.snapshots`); ``jacobian``: the Jacobians of the denoiser (:attr:`Evaluation.local_filters`);
#: ``test``: only the test split, because the value does not depend on the split; ``captured``: recorded noisy images
#: (:attr:`Evaluation.captured`).
Need = Literal["training", "partner", "samples", "snapshots", "jacobian", "test", "captured"]
_Method = TypeVar("_Method", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Truth:
    """The clean images behind noisy images, and their origin.

    Parameters
    ----------
    clean
        The clean images, shape (N, C, H, W).
    dataset
        The dataset of the images.
    split
        The split of the images.
    start
        Index of the first image in the split.

    Examples
    --------
    >>> import torch
    >>> truth = Truth(torch.zeros(5, 1, 8, 8))
    >>> [(len(part), part.start) for part in truth.batches(2)]
    [(2, 0), (2, 2), (1, 4)]
    """

    clean: Tensor
    dataset: Dataset | None = None
    split: Split = "test"
    start: int = 0

    def __len__(self) -> int:
        return len(self.clean)

    def double(self) -> Truth:
        """Return the truth with its clean images in float64."""
        return replace(self, clean=self.clean.double())

    def batches(self, size: int) -> Iterator[Truth]:
        """Yield the truth of at most ``size`` images at a time.

        Yields
        ------
        Truth
            The truth of the next images, in order.
        """
        for first in range(0, len(self), size):
            yield replace(self, clean=self.clean[first : first + size], start=self.start + first)


class TrainingData:
    """Training and validation images of a dataset, without access to its test images.

    Parameters
    ----------
    dataset
        The dataset.
    split
        The split of the training images: ``train``, or one of its halves.
    count
        Use only the first ``count`` training images; ``None`` for all images of the split.

    Examples
    --------
    >>> import gahbench
    >>> data = gahbench.TrainingData(gahbench.create("dataset", "discs", size=8), count=10)
    >>> data.training(100).shape, data.validation(4).shape
    (torch.Size([10, 1, 8, 8]), torch.Size([4, 1, 8, 8]))
    """

    def __init__(self, dataset: Dataset, split: TrainingSplit = "train", count: int | None = None) -> None:
        def images(which: Split, max_images: int) -> Tensor:
            limits = (max_images, dataset.available(which), count if which == split else None)
            number = min(limit for limit in limits if limit is not None)
            if number == 0:
                raise DataError(f"{type(dataset).__name__}: no {which} images to learn from; at least 1 is needed")
            return dataset.images(which, number)

        # This is a closure so that plugins that receive this object have no attribute that is the dataset.
        self._images = images
        #: Shape (C, H, W) of an image.
        self.shape = dataset.shape
        #: The split of the training images.
        self.split = split
        sizes = [size for size in (dataset.available(split), count) if size is not None]
        #: The number of training images; ``None`` for an endless stream.
        self.count = min(sizes, default=None)

    def training(self, max_images: int) -> Tensor:
        """Return the first ``max_images`` training images, or all if there are fewer: shape (N, C, H, W).

        Raises
        ------
        DataError
            If there are no such images.
        """
        return self._images(self.split, max_images)

    def validation(self, max_images: int) -> Tensor:
        """Return the first ``max_images`` validation images, or all if there are fewer: shape (N, C, H, W).

        Raises
        ------
        DataError
            If there are no such images.
        """
        return self._images("validation", max_images)

    def noise(self, count: int, sigma: float) -> Tensor:
        """Return noise of standard deviation ``sigma``, shape (count, C, H, W), the same at every call."""
        from gahbench._util.noise import evaluation_noise

        return evaluation_noise(count, self.shape, sigma, _NOISE_SEED)


def validate_kind(kind: str) -> DenoiserKind:
    """Return the kind of a denoiser; raise ``ValueError`` if it is unknown."""
    if kind not in KINDS:
        hint = suggestion(str(kind), KINDS) or ";"
        raise ValueError(f"unknown kind of denoiser: kind={kind!r}{hint} accepted: {listing(KINDS)}")
    return kind


def visible_truth(kind: DenoiserKind, truth: Truth) -> Truth:
    """Return the truth without the parts that a denoiser of a kind may not see; hidden clean images are NaN."""
    clean = truth.clean if validate_kind(kind) in SEES_CLEAN else truth.clean.new_full(truth.clean.shape, math.nan)
    return replace(truth, clean=clean, dataset=truth.dataset if kind in SEES_DATASET else None)


class Denoiser(ABC):
    """A trained network or a reference, as metrics use it."""

    #: The kind, which decides which parts of the truth the denoiser may use.
    kind: DenoiserKind = "classical"

    @abstractmethod
    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images.

        Parameters
        ----------
        noisy
            Shape (N, C, H, W).
        sigma
            Standard deviation of the noise.
        truth
            The truth of the images, restricted to the parts that the ``kind`` allows.
        """

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), if it has a closed form."""
        return None

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians of :meth:`denoise` at the noisy images; ``None`` if they cannot be computed."""
        return None


def denoise_by_level(denoiser: Denoiser, noisy: Tensor, sigmas: Tensor, truth: Truth) -> Tensor:
    """Return the denoised images, shape (N, C, H, W), with one call for each noise level of ``sigmas``, shape (N,)."""
    denoised = noisy.clone()
    for sigma in sorted(set(sigmas.tolist())):
        indices = (sigmas == sigma).nonzero()[:, 0]
        part = replace(truth, clean=truth.clean[indices.to(truth.clean.device)])
        denoised[indices] = denoiser.denoise(noisy[indices], sigma, part).to(denoised)
    return denoised


def needed(need: Need) -> Callable[[_Method], _Method]:
    """Mark a method that only metrics with this need may call; only keys of these metrics depend on its code."""

    def mark(method: _Method) -> _Method:
        @functools.wraps(method)
        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            granted = getattr(self, "granted", None)
            if granted is not None and need not in granted:
                raise ValueError(
                    f"the metric calls {method.__name__} of its evaluation without declaring its need; give its class "
                    f'needs = frozenset({{"{need}"}})'
                )
            return method(self, *args, **kwargs)

        return cast(_Method, checked)

    return mark
