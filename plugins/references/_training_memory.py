"""Base classes of references that compare noisy images, or their patches, with stored training images."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import DataError, Reference, Shape, TrainingData, Truth, image_shape
from gahbench.jacobian import LinearMaps

from .._messages import name_of

#: Initial patch side, in pixels, of the search for the best side.
INITIAL_SIDE = 7
#: Number of noise levels per octave at which a side is chosen. The side is reused at nearby noise levels, since every
#: sampling step has a new noise level.
LEVELS_PER_OCTAVE = 2


class TrainingMemory(Reference):
    """A reference that computes posterior means over stored training images, on the device of the reference."""

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
        if self._training is None:
            return ()
        count = len(self._training)
        return (f"{self.verb} {count} training image{'s' * (count > 1)}",)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), on the device of the noisy images."""
        training = self.fitted(image_shape(noisy))
        return noisy if sigma == 0 else self.means(training, noisy.to(self.device), sigma).to(noisy.device)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians at the noisy images, float64; ``None`` if ``sigma`` is 0."""
        training = self.fitted(image_shape(noisy))
        return None if sigma == 0 else self.derivatives(training, noisy.to(self.device), sigma)

    @abstractmethod
    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); ``sigma`` is greater than 0."""

    @abstractmethod
    def derivatives(self, training: Tensor, noisy: Tensor, sigma: float) -> LinearMaps:
        """Return the Jacobians of :meth:`means`, float64; ``sigma`` is greater than 0."""

    def fitted(self, shape: Shape) -> Tensor:
        """Return the training images, or raise ``DataError`` if they are not of the shape (C, H, W)."""
        if self._training is None:
            raise DataError(f"{name_of(self)} needs training images: call fit(examples) first")
        if image_shape(self._training) != shape:
            raise DataError(
                f"{name_of(self)} was fitted to images of shape {image_shape(self._training)} and cannot denoise "
                f"images of shape {shape}"
            )
        return self._training


class PatchComparison(TrainingMemory):
    """A reference that compares patches of training images; the patch side is its only tuned parameter."""

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
        notes = super().notes
        if not self._chosen:
            return notes
        choices = ", ".join(f"{side} near σ {sigma:.2g}" for sigma, side in sorted(self._chosen.items()))
        return (*notes, f"patch chosen on {self._count} validation image{'s' * (self._count > 1)}: {choices}")

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
        assert self._examples is not None
        assert self._training is not None
        training = self._training
        try:
            clean = self._examples.validation(self.validation)
        except DataError as reason:
            raise DataError(f"{reason}, or set 'patch' to a number") from reason
        self._count = len(clean)
        noisy = (clean + self._examples.noise(len(clean), sigma)).to(self.device)
        clean = clean.to(self.device)
        sides = self.sides(image_shape(clean))
        errors: dict[int, float] = {}

        def error(index: int) -> float:
            if index not in errors:
                denoised = self.means_with_side(training, noisy, sigma, sides[index])
                errors[index] = float((denoised - clean).double().square().mean())
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
