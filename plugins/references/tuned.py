"""Base class of references with one parameter that is tuned on validation images, and windows around each pixel."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterator
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

    A subclass sets ``tuned_parameter`` and ``limits``, and implements :meth:`guess` and :meth:`filter_images`.

    Parameters
    ----------
    value
        The value of the parameter, or ``None`` to tune it at each noise level.
    images
        Largest number of validation images for tuning.
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
        """Return the initial candidate; it is clamped to the limits."""

    def fit(self, examples: TrainingData) -> None:
        """Keep the examples; the parameter is tuned when a noise level first occurs."""
        self._examples = examples
        self._tuned_values.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of validation images and the tuned values, if the parameter was tuned."""
        if not self._tuned_values:
            return ()
        values = ", ".join(
            f"{value:.2g} at σ {sigma:.3g}" + (" (the end of its range)" if value in self.limits else "")
            for sigma, value in sorted(self._tuned_values.items())
        )
        return (f"{self.tuned_parameter} tuned on {count_images(self._count, 'validation')}: {values}",)

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

    def _tune(self, sigma: float) -> float:
        clean = validation_images(self._examples, self._max_images, self.tuned_parameter)
        assert self._examples is not None
        self._count = len(clean)
        noisy = clean + self._examples.noise(self._count, sigma)
        batches = Batches.for_images(image_shape(clean))
        low, high = self.limits
        errors: dict[float, float] = {}

        def compute(value: float, size: int) -> float:
            denoised = torch.cat([self.filter_images(batch, sigma, value) for batch in torch.split(noisy, size)])
            return float((denoised - clean).double().square().mean())

        def error(value: float) -> float:
            value = min(max(value, low), high)
            if value not in errors:
                errors[value] = batches.run(functools.partial(compute, value))
            return errors[value]

        start = min(max(self.guess(sigma), low), high)
        error(start)
        for factor in (FACTOR, 1 / FACTOR):
            value = start
            while error(value * factor) < error(value):
                value *= factor
        for steps, root in (((-2, -1, 1, 2), 3), *(((-1, 1), root) for root in self.refinements)):
            best = min(errors, key=lambda value: errors[value])
            for step in steps:
                error(best * FACTOR ** (step / root))
        return min(errors, key=lambda value: errors[value])


def validation_images(examples: TrainingData | None, count: int, parameter: str) -> Tensor:
    """Return at most ``count`` validation images, or raise ``DataError`` that names the parameter to be tuned."""
    if examples is None:
        raise DataError(f"{parameter} is tuned on validation images: call fit(examples) first, or set it to a number")
    try:
        return examples.validation(count)
    except DataError as reason:
        raise DataError(f"{reason}, or set '{parameter}' to a number") from reason


def count_images(count: int, split: str) -> str:
    """Return the number of images of a split for notes, such as ``16 validation images``."""
    return f"{count} {split} image{'s' * (count != 1)}"


def pad_by_reflection(images: Tensor, margin: int) -> Tensor:
    """Pad images (N, C, H, W) on all sides by reflection, which repeats the border pixels; any margin is accepted."""
    for axis in (2, 3):
        size = images.shape[axis]
        indices = torch.arange(-margin, size + margin, device=images.device).remainder(2 * size)
        images = images.index_select(axis, torch.minimum(indices, 2 * size - 1 - indices))
    return images


def iterate_displacements(images: Tensor, distance: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yield each displacement (down, right) up to a distance along rows and columns, and the displaced images."""
    height, width = images.shape[-2:]
    padded = pad_by_reflection(images, distance)
    for down in range(2 * distance + 1):
        for right in range(2 * distance + 1):
            yield down - distance, right - distance, padded[..., down : down + height, right : right + width]
