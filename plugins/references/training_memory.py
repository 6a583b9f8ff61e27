"""Base classes of references that compare noisy images, or their patches, with stored training images."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import DataError, Reference, Shape, TrainingData, Truth, get_spec, image_shape
from gahbench_plugins.references.tuned import count_images, validation_images

#: Initial patch side, in pixels, of the search for the best side.
INITIAL_SIDE = 7
#: Number of noise levels per octave at which a side is chosen. The side is reused at nearby noise levels, since every
#: sampling step has a new noise level.
LEVELS_PER_OCTAVE = 2


class TrainingMemory(Reference):
    """A reference that computes posterior means over stored training images, on the device of the reference.

    A subclass implements :meth:`means`.

    Parameters
    ----------
    images
        Largest number of training images.
    """

    fits_training_subset = True
    #: Verb of the note on the training images, which is followed by their number.
    verb: ClassVar[str] = "learned from"

    def __init__(self, images: Annotated[int, Field(ge=1)] = 4096) -> None:
        self.images = images
        self.device = torch.device("cpu")
        self._training: Tensor | None = None

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images."""
        self.check_shape(examples.shape)
        self._training = examples.training(self.images).to(self.device)

    def move(self, device: torch.device) -> None:
        """Compute on the given device from now on."""
        self.device = device
        if self._training is not None:
            self._training = self._training.to(device)

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of training images."""
        return () if self._training is None else (f"{self.verb} {count_images(len(self._training), 'training')}",)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), on the device of the noisy images."""
        training = self.fitted(image_shape(noisy))
        return noisy if sigma == 0 else self.means(training, noisy.to(self.device), sigma).to(noisy.device)

    @abstractmethod
    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); ``sigma`` is greater than 0."""

    def fitted(self, shape: Shape) -> Tensor:
        """Return the training images, or raise ``DataError`` if they are not of the shape (C, H, W)."""
        name = get_spec(self) or type(self).__name__
        if self._training is None:
            raise DataError(f"{name} needs training images: call fit(examples) first")
        if image_shape(self._training) != shape:
            raise DataError(
                f"{name} was fitted to images of shape {image_shape(self._training)} and cannot denoise images of "
                f"shape {shape}"
            )
        return self._training


class PatchComparison(TrainingMemory):
    """A reference that compares patches of training images; the patch side is its only tuned parameter.

    If the side is ``None``, it is chosen for each half octave of noise levels by the mean squared error on validation
    images: the search starts at 7 and moves to larger sides, or otherwise to smaller sides, as long as the error falls.
    A subclass implements :meth:`means_with_side` and :meth:`sides`.

    Parameters
    ----------
    patch
        Side of a patch in pixels, or ``None`` to choose it near each noise level.
    images
        Largest number of training images.
    validation
        Largest number of validation images for choosing the patch side.
    """

    def __init__(
        self,
        patch: Annotated[int, Field(ge=1)] | None = None,
        images: Annotated[int, Field(ge=1)] = 4096,
        validation: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__(images)
        self.patch = patch
        self.validation = validation
        self._examples: TrainingData | None = None
        self._chosen: dict[float, int] = {}
        self._count = 0

    @abstractmethod
    def means_with_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised with patches of the given side; ``sigma`` is greater than 0."""

    @abstractmethod
    def sides(self, shape: Shape) -> Sequence[int]:
        """Return the candidate patch sides for images of shape (C, H, W), in ascending order."""

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and the examples for choosing a side later."""
        super().fit(examples)
        self._examples = examples
        self._chosen.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of training images, and the chosen patch sides."""
        if not self._chosen:
            return super().notes
        choices = ", ".join(f"{side} near σ {sigma:.2g}" for sigma, side in sorted(self._chosen.items()))
        return (*super().notes, f"patch chosen on {count_images(self._count, 'validation')}: {choices}")

    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); ``sigma`` is greater than 0."""
        return self.means_with_side(training, noisy, sigma, self.side(sigma))

    def side(self, sigma: float) -> int:
        """Return the patch side at a noise level > 0, which is chosen first if it is not fixed."""
        if self.patch is not None:
            return self.patch
        nearby_level: float = 2 ** (round(LEVELS_PER_OCTAVE * math.log2(sigma)) / LEVELS_PER_OCTAVE)
        if nearby_level not in self._chosen:
            self._chosen[nearby_level] = self._choose(nearby_level)
        return self._chosen[nearby_level]

    def _choose(self, sigma: float) -> int:
        clean = validation_images(self._examples, self.validation, "patch")
        assert self._examples is not None
        self._count = len(clean)
        noisy = (clean + self._examples.noise(len(clean), sigma)).to(self.device)
        training, sides = self.fitted(image_shape(clean)), self.sides(image_shape(clean))
        errors: dict[int, float] = {}

        def error(index: int) -> float:
            if index not in errors:
                denoised = self.means_with_side(training, noisy, sigma, sides[index])
                errors[index] = float((denoised - clean.to(self.device)).double().square().mean())
            return errors[index]

        start = max(index for index, side in enumerate(sides) if side <= INITIAL_SIDE)
        for step, end in ((1, len(sides) - 1), (-1, 0)):
            index = start
            while index != end and error(index + step) < error(index):
                index += step
            if index != start:
                break
        return sides[index]


def candidate_sides(largest: int) -> list[int]:
    """Return ``largest`` and all smaller sides 1 + 2k, k = 0, 1, 2, 3, 4, 6, 8, 12, 16, ..., in ascending order."""
    halves = [0, 1, *(2**octave * step // 2 for octave in range(1, 16) for step in (2, 3))]
    return [*(side for side in (1 + 2 * half for half in halves) if side < largest), largest]


def window_sums(values: Tensor, side: int) -> Tensor:
    """Return the sums over all ``side`` x ``side`` windows of (..., H, W), shape (..., H - side + 1, W - side + 1)."""
    return _sums_along(_sums_along(values, side, -1), side, -2)


def _sums_along(values: Tensor, side: int, dim: int) -> Tensor:
    """Return the sums of ``side`` consecutive values, as sums of two halves."""
    if side == 1:
        return values
    half, count = _sums_along(values, side // 2, dim), values.shape[dim] - side + 1
    total = half.narrow(dim, 0, count) + half.narrow(dim, side // 2, count)
    return total + values.narrow(dim, side - 1, count) if side % 2 else total


def pixel_means(training: Tensor, noisy: Tensor, log_weights: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the averages of the training images at each pixel, with separate weights for each pixel.

    Parameters
    ----------
    training
        Shape (M, C, H, W).
    noisy
        Shape (N, C, H, W).
    log_weights
        Returns the logarithms of the weights, broadcastable to (M, C, H, W), given the squared differences of a noisy
        image and the training images.
    """
    averages = []
    for image in noisy.to(torch.promote_types(training.dtype, noisy.dtype)):
        weights = torch.softmax(log_weights((training - image).square()), 0)
        averages.append((weights * training).sum(0))
    return torch.stack(averages).to(noisy.dtype)
