"""Base classes of references that shrink coefficients, and hard and soft thresholding with their expected errors."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

import torch
from torch import Tensor

from gahbench import Basis, Dataset, Names, Reference, Shape, TrainingData, Truth, image_shape

from .._messages import name_of
from ._tuned import Tuned

Rule = Literal["hard", "soft"]

#: Threshold for which adaptive bases are adapted by rules with several thresholds, in units of sigma.
ADAPTATION_THRESHOLD = 3.0
#: Coefficients that exceed the threshold by this many standard deviations are never set to 0.
_CERTAIN_EXCESS = 40.0


class Shrinkage(Reference):
    """A reference that works on the coefficients in a basis."""

    label_parameters = ("basis",)
    _notes: tuple[str, ...] = ()

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")]) -> None:
        self.basis = basis

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) that the basis cannot analyse."""
        self.basis.check_shape(shape)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the basis supports the dataset."""
        return self.basis.supports(dataset)

    def fit(self, examples: TrainingData) -> None:
        """Fit the basis."""
        self.basis.fit(examples)
        self._notes = self.basis.notes(examples.shape)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the basis."""
        return self._notes


class Thresholding(Shrinkage):
    """A practical reference that shrinks detail coefficients: all coefficients outside band 0, the coarse scale."""

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")]) -> None:
        super().__init__(basis)
        if self.basis.oracle:
            raise ValueError(f"basis '{name_of(basis)}' is for oracles only; accepted: bases that need no clean image")

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); unchanged images if ``sigma`` is 0."""
        if sigma == 0:
            return noisy
        if not self.basis.adaptive:
            return self._denoise(self.basis, noisy, sigma)
        shape = image_shape(noisy)
        threshold = self._adaptation_threshold(shape, sigma) * sigma
        batches = torch.split(noisy, self.basis.max_batch(shape) or len(noisy))
        adapted = (self.basis.adapt(batch, threshold, noisy=True) for batch in batches)
        return torch.cat([self._denoise(basis, batch, sigma) for basis, batch in zip(adapted, batches, strict=True)])

    @abstractmethod
    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the shrunk coefficients, of the same shape as ``coefficients``."""

    def _adaptation_threshold(self, shape: Shape, sigma: float) -> float:
        """Return the threshold for which an adaptive basis is adapted, in units of sigma."""
        return ADAPTATION_THRESHOLD

    def _denoise(self, basis: Basis, noisy: Tensor, sigma: float) -> Tensor:
        shape = image_shape(noisy)
        coefficients = basis.analysis(noisy)
        labels = basis.bands(shape).expand(coefficients.shape[1:])
        levels = basis.noise_levels(shape).to(coefficients)
        # Atoms that are 0 have coefficients without noise, which are always 0.
        levels = torch.where(levels > 0, levels, 1)
        shrunk = self.shrink(coefficients / levels, labels, sigma) * levels
        return basis.synthesis(torch.where((labels == 0).to(noisy.device), coefficients, shrunk))


class SingleThreshold(Thresholding):
    """A practical reference with one threshold for all detail coefficients."""

    def __init__(self, basis: Basis, rule: Rule) -> None:
        super().__init__(basis)
        self.rule = rule

    @abstractmethod
    def multiple(self, details: int, sigma: float) -> float:
        """Return the threshold in units of sigma, given the number of detail coefficients of a channel."""

    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the thresholded coefficients, shape (N, C, ...)."""
        rule = hard if self.rule == "hard" else soft
        return rule(coefficients, self.multiple(_details(labels), sigma) * sigma)

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        shape = image_shape(truth.clean)
        if self.basis.adaptive or not self.basis.is_orthonormal(shape):
            return None
        if sigma == 0:
            return truth.clean.new_zeros(len(truth), dtype=torch.float64)
        coefficients = self.basis.analysis(truth.clean.double())
        labels = self.basis.bands(shape).expand(shape)
        expected_error = hard_risk if self.rule == "hard" else soft_risk
        risks = expected_error(coefficients / sigma, self.multiple(_details(labels), sigma))
        # Coefficients that are not thresholded keep their noise.
        return sigma**2 * torch.where((labels == 0).to(risks.device), 1, risks).flatten(1).mean(1)

    def _adaptation_threshold(self, shape: Shape, sigma: float) -> float:
        # The number of detail coefficients is known only after adaptation; it is close to the number of pixels.
        return self.multiple(shape[1] * shape[2], sigma)


def _details(labels: Tensor) -> int:
    """Return the number of detail coefficients per channel, given the band labels (C, ...) of an image."""
    return int((labels > 0).sum()) // len(labels)


class TunedThreshold(SingleThreshold, Tuned):
    """A practical reference that thresholds all detail coefficients at k sigma."""

    tuned_parameter = "k"
    limits = (0.25, 16.0)
    # The number of noise coefficients above the threshold changes quickly with the threshold.
    refinements = (6, 12)

    def __init__(self, basis: Basis, rule: Rule, k: float | None, images: int) -> None:
        SingleThreshold.__init__(self, basis, rule)
        Tuned.__init__(self, k, images)

    def fit(self, examples: TrainingData) -> None:
        """Fit the basis, and keep the examples for tuning k later."""
        SingleThreshold.fit(self, examples)
        Tuned.fit(self, examples)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the basis, and the tuned values of k."""
        return self._notes + self.tuned()

    def multiple(self, details: int, sigma: float) -> float:
        """Return k, which is tuned first if it is not fixed."""
        return self.value(sigma)

    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the images denoised with k = ``value``, shape (N, C, H, W)."""
        return TunedThreshold(self.basis, self.rule, value, self._max_images).denoise(noisy, sigma, Truth(noisy))

    def guess(self, sigma: float) -> float:
        """Return the usual k: 3 for hard and 1.5 for soft thresholding."""
        return 3.0 if self.rule == "hard" else 1.5


def soft(coefficients: Tensor, thresholds: Tensor | float) -> Tensor:
    """Return soft-thresholded coefficients: moved towards 0 by the threshold, and 0 below it."""
    return coefficients.sign() * (coefficients.abs() - thresholds).clamp(min=0)


def hard(coefficients: Tensor, thresholds: Tensor | float) -> Tensor:
    """Return hard-thresholded coefficients: unchanged above the threshold in absolute value, and 0 below it."""
    return coefficients * (coefficients.abs() > thresholds)


def soft_risk(clean: Tensor, threshold: float) -> Tensor:
    """Return the expected squared error of soft thresholding c + z with standard normal z (Donoho & Johnstone 1994).

    With Q(x) = P(z > x), normal density phi and threshold t, the error is
    (1 + t^2) (Q(t-c) + Q(t+c)) + c^2 P(-t < c+z < t) - (t+c) phi(t-c) - (t-c) phi(t+c).
    """
    clean, below, above = _margins(clean, threshold)
    tails = _upper_tail(below) + _upper_tail(above)
    return (
        (1 + threshold**2) * tails
        + clean.square() * _zeroing_probability(below, above)
        - above * _density(below)
        - below * _density(above)
    )


def hard_risk(clean: Tensor, threshold: float) -> Tensor:
    """Return the expected squared error of hard thresholding c + z with standard normal z (Donoho & Johnstone 1994).

    With Q(x) = P(z > x), normal density phi and threshold t, the error is
    Q(t-c) + Q(t+c) + c^2 P(-t < c+z < t) + (t-c) phi(t-c) + (t+c) phi(t+c).
    """
    clean, below, above = _margins(clean, threshold)
    tails = _upper_tail(below) + _upper_tail(above)
    return (
        tails + clean.square() * _zeroing_probability(below, above) + below * _density(below) + above * _density(above)
    )


def _margins(clean: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return |c|, t - |c| and t + |c|, with |c| clamped where both risks have reached their limits."""
    clean = clean.abs().clamp(max=threshold + _CERTAIN_EXCESS)
    return clean, threshold - clean, threshold + clean


def _zeroing_probability(below: Tensor, above: Tensor) -> Tensor:
    return _upper_tail(-below) - _upper_tail(above)


def _upper_tail(values: Tensor) -> Tensor:
    """Return P(z > value) for standard normal z; unlike 1 - P(z < value), it is accurate for large values."""
    return torch.erfc(values / math.sqrt(2)) / 2


def _density(values: Tensor) -> Tensor:
    return torch.exp(-values.square() / 2) / math.sqrt(2 * math.pi)
