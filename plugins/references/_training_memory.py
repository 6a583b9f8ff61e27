"""References that compare noisy images, or their patches, with training images that they keep."""

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

#: Where the search for the side of a patch starts.
START = 7
#: Noise levels in an octave at which a side is chosen, for all that are near: sampling meets new ones with every step.
LEVELS_AN_OCTAVE = 2


class TrainingMemory(Reference):
    """A reference that is made of training images; computed where it is moved to."""

    fits_training_subset = True
    #: The verb of the note on the training images.
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
        """Compute on a device."""
        self.device = device
        if self._training is not None:
            self._training = self._training.to(device)

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of its training images."""
        if self._training is None:
            return ()
        count = len(self._training)
        return (f"{self.verb} {count} training image{'s' * (count > 1)}",)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), where the noisy ones are."""
        training = self.fitted(image_shape(noisy))
        return noisy if sigma == 0 else self.means(training, noisy.to(self.device), sigma).to(noisy.device)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the derivatives of the denoised images, float64; ``None`` without noise."""
        training = self.fitted(image_shape(noisy))
        return None if sigma == 0 else self.derivatives(training, noisy.to(self.device), sigma)

    @abstractmethod
    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); ``sigma`` is greater than 0."""

    @abstractmethod
    def derivatives(self, training: Tensor, noisy: Tensor, sigma: float) -> LinearMaps:
        """Return the derivatives of :meth:`means`, float64; ``sigma`` is greater than 0."""

    def fitted(self, shape: Shape) -> Tensor:
        """Return the training images, for images of a shape (C, H, W)."""
        if self._training is None:
            raise DataError(f"{name_of(self)} is made of training images: call fit(examples) first")
        if image_shape(self._training) != shape:
            raise DataError(
                f"{name_of(self)} was fitted to images of shape {image_shape(self._training)} and cannot denoise "
                f"images of shape {shape}"
            )
        return self._training


class ChosenSide(TrainingMemory):
    """A reference made of patches of training images, whose side is the one number that is calibrated."""

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
    def means_of_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised by patches of a side; ``sigma`` is greater than 0."""

    @abstractmethod
    def sides(self, shape: Shape) -> Sequence[int]:
        """Return the sides among which one is chosen for images (C, H, W), in order."""

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and the examples for when a side must be chosen."""
        super().fit(examples)
        self._examples = examples
        self._chosen.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of its training images, and which sides were chosen."""
        learned = super().notes
        if not self._chosen:
            return learned
        found = ", ".join(f"{side} near σ {sigma:.2g}" for sigma, side in sorted(self._chosen.items()))
        return (*learned, f"patch chosen on {self._count} validation image{'s' * (self._count > 1)}: {found}")

    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); ``sigma`` is greater than 0."""
        return self.means_of_side(training, noisy, sigma, self.side(sigma))

    def side(self, sigma: float) -> int:
        """Return the side of a patch at a noise level > 0, chosen if need be."""
        if self.patch is not None:
            return self.patch
        near: float = 2 ** (round(LEVELS_AN_OCTAVE * math.log2(sigma)) / LEVELS_AN_OCTAVE)
        if near not in self._chosen:
            self._chosen[near] = self._choose(near)
        return self._chosen[near]

    def _choose(self, sigma: float) -> int:
        assert self._examples is not None
        assert self._training is not None
        training = self._training
        try:
            clean = self._examples.validation(self.validation)
        except DataError as reason:
            raise DataError(f"{reason}, or give 'patch' a value") from reason
        self._count = len(clean)
        noisy = (clean + self._examples.noise(len(clean), sigma)).to(self.device)
        clean = clean.to(self.device)
        sides = self.sides(image_shape(clean))
        errors: dict[int, float] = {}

        def error(place: int) -> float:
            if place not in errors:
                denoised = self.means_of_side(training, noisy, sigma, sides[place])
                errors[place] = float((denoised - clean).double().square().mean())
            return errors[place]

        start = max(place for place, side in enumerate(sides) if side <= START)
        for step, end in ((1, len(sides) - 1), (-1, 0)):
            place = start
            while place != end and error(place + step) < error(place):
                place += step
            if place != start:
                break
        return sides[place]


def doubling_sides(largest: int) -> list[int]:
    """Return 1 + 2k for k = 0, 1, 2, 3, 4, 6, 8, 12, 16, ..., as far as they are below the largest, and that."""
    halves = [0, 1, *(2**octave * step // 2 for octave in range(1, 16) for step in (2, 3))]
    return [*(side for side in (1 + 2 * half for half in halves) if side < largest), largest]
