"""References with one number that is tuned on validation images, anew at every noise level."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Batches, DataError, Reference, TrainingData, Truth, image_shape

#: Candidates first differ by this factor, and then by its cube root.
FACTOR = 2.0


class Tuned(Reference):
    """A reference with one positive number, given or chosen by the least mean squared error on validation images.

    At each noise level candidates start at a guess and go up and down by factors of 2, as far as the error keeps
    falling; then the two on either side of the best, at factors of 2^(1/3) and 2^(2/3), are tried, and finer ones
    where the error is sensitive to the number. Validation images and their noise are the same for all candidates; test
    images are never looked at.
    """

    #: The name of the number in notes and errors.
    number: ClassVar[str]
    #: Values it must stay within; where the best of them is an end, a note says so.
    limits: ClassVar[tuple[float, float]]
    #: Of which roots of 2 the last steps are, where a third of an octave is too coarse.
    refinements: ClassVar[tuple[int, ...]] = ()

    def __init__(self, value: float | None, images: int) -> None:
        self._given = value
        self._max_images = images
        self._examples: TrainingData | None = None
        self._count = 0
        self._chosen: dict[float, float] = {}

    @abstractmethod
    def filtered(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), for a value of the number; ``sigma`` is greater than 0."""

    @abstractmethod
    def guess(self, sigma: float) -> float:
        """Return a value to start from, within the limits."""

    def fit(self, examples: TrainingData) -> None:
        """Keep the examples: the number is tuned when a noise level is first met."""
        self._examples = examples
        self._chosen.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """The tuned values."""
        return self.tuned()

    def tuned(self) -> tuple[str, ...]:
        """Return a note on how many images the number was tuned on, and the values found, if it was."""
        if not self._chosen:
            return ()
        found = ", ".join(
            f"{value:.2g} at σ {sigma:.3g}" + (" (the end of its range)" if value in self.limits else "")
            for sigma, value in sorted(self._chosen.items())
        )
        images = "1 validation image" if self._count == 1 else f"{self._count} validation images"
        return (f"{self.number} tuned on {images}: {found}",)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); without noise, the images as they are."""
        return noisy if sigma == 0 else self.filtered(noisy, sigma, self.value(sigma))

    def value(self, sigma: float) -> float:
        """Return the number at a noise level, tuned if need be."""
        if self._given is not None:
            return self._given
        if sigma not in self._chosen:
            self._chosen[sigma] = self._tune(sigma)
        return self._chosen[sigma]

    def _error(self, noisy: Tensor, clean: Tensor, sigma: float, value: float, size: int) -> float:
        """Return the mean squared error per pixel of images filtered in batches of a size."""
        parts = zip(torch.split(noisy, size), torch.split(clean, size), strict=True)
        sums = [(self.filtered(part, sigma, value) - of).double().square().sum() for part, of in parts]
        return float(torch.stack(sums).sum()) / clean.numel()

    def _tune(self, sigma: float) -> float:
        if self._examples is None:
            raise DataError(
                f"{self.number} is tuned on validation images: call fit(examples) first, or give it a value"
            )
        try:
            clean = self._examples.validation(self._max_images)
        except DataError as reason:
            raise DataError(f"{reason}, or give '{self.number}' a value") from reason
        batches = Batches.of_images(image_shape(clean))
        self._count = len(clean)
        noisy = clean + self._examples.noise(self._count, sigma)
        low, high = self.limits
        errors: dict[float, float] = {}

        def error(value: float) -> float:
            value = min(max(value, low), high)
            if value not in errors:
                errors[value] = batches.run(functools.partial(self._error, noisy, clean, sigma, value))
            return errors[value]

        def best() -> float:
            return min(errors, key=lambda value: errors[value])

        start = self.guess(sigma)
        error(start)
        for factor in (FACTOR, 1 / FACTOR):
            value = start
            while error(value * factor) < error(value):
                value *= factor
        centre = best()
        for step in (-2, -1, 1, 2):
            error(centre * FACTOR ** (step / 3))
        for finer in self.refinements:
            centre = best()
            for step in (-1, 1):
                error(centre * FACTOR ** (step / finer))
        return best()
