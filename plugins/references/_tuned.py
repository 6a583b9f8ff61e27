"""Base class of references with one parameter that is tuned on validation images at each noise level."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Batches, DataError, Reference, TrainingData, Truth, image_shape

#: Ratio of successive candidates in the coarse search; the fine search uses its cube root.
FACTOR = 2.0


class Tuned(Reference):
    """A reference with one positive parameter, fixed or tuned for the smallest mean squared error on validation images.

    At each noise level the search starts at :meth:`guess` and moves up and down by factors of 2 as long as the mean
    squared error falls. Then it tries the candidates at factors of 2^(1/3) and 2^(2/3) above and below the best, and
    finer factors where the error is sensitive to the parameter. All candidates see the same validation images and
    noise. Test images are never used.
    """

    #: Name of the parameter in notes and error messages.
    tuned_parameter: ClassVar[str]
    #: Smallest and largest candidate; a note says if the best candidate is the smallest or the largest.
    limits: ClassVar[tuple[float, float]]
    #: Degrees n of additional refinements by factors of 2^(1/n), if a third of an octave is too coarse.
    refinements: ClassVar[tuple[int, ...]] = ()

    def __init__(self, value: float | None, images: int) -> None:
        self._fixed_value = value
        self._max_images = images
        self._examples: TrainingData | None = None
        self._count = 0
        self._tuned_values: dict[float, float] = {}

    @abstractmethod
    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the images denoised with a value of the parameter, shape (N, C, H, W); ``sigma`` is greater than 0."""

    @abstractmethod
    def guess(self, sigma: float) -> float:
        """Return the initial candidate, within the limits."""

    def fit(self, examples: TrainingData) -> None:
        """Keep the examples; the parameter is tuned when a noise level first occurs."""
        self._examples = examples
        self._tuned_values.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """The tuned values."""
        return self.tuned()

    def tuned(self) -> tuple[str, ...]:
        """Return a note with the number of validation images and the tuned values, if the parameter was tuned."""
        if not self._tuned_values:
            return ()
        values = ", ".join(
            f"{value:.2g} at σ {sigma:.3g}" + (" (the end of its range)" if value in self.limits else "")
            for sigma, value in sorted(self._tuned_values.items())
        )
        images = "1 validation image" if self._count == 1 else f"{self._count} validation images"
        return (f"{self.tuned_parameter} tuned on {images}: {values}",)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); unchanged images if ``sigma`` is 0."""
        return noisy if sigma == 0 else self.filter_images(noisy, sigma, self.value(sigma))

    def value(self, sigma: float) -> float:
        """Return the parameter at a noise level, which is tuned first if it is not fixed."""
        if self._fixed_value is not None:
            return self._fixed_value
        if sigma not in self._tuned_values:
            self._tuned_values[sigma] = self._tune(sigma)
        return self._tuned_values[sigma]

    def _error(self, noisy: Tensor, clean: Tensor, sigma: float, value: float, size: int) -> float:
        """Return the mean squared error per pixel of images that are denoised in batches of the given size."""
        batches = zip(torch.split(noisy, size), torch.split(clean, size), strict=True)
        sums = [(self.filter_images(batch, sigma, value) - target).double().square().sum() for batch, target in batches]
        return float(torch.stack(sums).sum()) / clean.numel()

    def _tune(self, sigma: float) -> float:
        if self._examples is None:
            raise DataError(
                f"{self.tuned_parameter} is tuned on validation images: call fit(examples) first, or set it to a number"
            )
        try:
            clean = self._examples.validation(self._max_images)
        except DataError as reason:
            raise DataError(f"{reason}, or set '{self.tuned_parameter}' to a number") from reason
        batches = Batches.for_images(image_shape(clean))
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
        for root in self.refinements:
            centre = best()
            for step in (-1, 1):
                error(centre * FACTOR ** (step / root))
        return best()
