"""Base classes of references that shrink coefficients, and hard and soft thresholding with their expected errors."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from gahbench import Basis, Dataset, Names, Reference, Shape, TrainingData, Truth, get_spec, image_shape

Rule = Literal["hard", "soft"]

#: Threshold for which adaptive bases are adapted by rules with several thresholds, in units of sigma.
ADAPTATION_THRESHOLD = 3.0
#: Coefficients that exceed the threshold by this many standard deviations are never set to 0.
CERTAIN_EXCESS = 40.0


class Shrinkage(Reference):
    """A reference that works on the coefficients in a basis.

    Parameters
    ----------
    basis
        The basis, which is fitted to the training images if it learns from images.
    """

    label_parameters = ("basis",)
    _basis_notes: tuple[str, ...] = ()

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
        super().fit(examples)
        self.basis.fit(examples)
        self._basis_notes = self.basis.notes(examples.shape)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the basis."""
        return (*self._basis_notes, *super().notes)


class Thresholding(Shrinkage):
    """A classical reference that shrinks detail coefficients: all coefficients outside band 0, the coarse scale.

    A subclass implements :meth:`shrink`. Coefficients are divided by their relative noise levels before, so that the
    noise of each has standard deviation sigma. An adaptive basis is adapted to the noisy images, with a penalty for the
    choice.

    Parameters
    ----------
    basis
        Any basis except bases for oracles only.

    Raises
    ------
    ValueError
        If the basis is for oracles only.
    """

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")]) -> None:
        super().__init__(basis)
        if self.basis.oracle:
            name = get_spec(basis) or type(basis).__name__
            raise ValueError(f"basis '{name}' is for oracles only; accepted: bases that need no clean image")

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); unchanged images if ``sigma`` is 0."""
        if sigma == 0:
            return noisy
        if not self.basis.adaptive:
            return self._denoise(self.basis, noisy, sigma)
        shape = image_shape(noisy)
        threshold = self._adaptation_threshold(shape, sigma) * sigma
        batches = torch.split(noisy, self.basis.max_batch(shape) or len(noisy))
        return torch.cat(
            [self._denoise(self.basis.adapt(batch, threshold, noisy=True), batch, sigma) for batch in batches]
        )

    @abstractmethod
    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the shrunk coefficients.

        Parameters
        ----------
        coefficients
            Noisy coefficients, shape (N, C, ...), whose noise has standard deviation ``sigma``.
        labels
            The band of each coefficient, shape (C, ...), on the CPU; results in band 0 are ignored.
        sigma
            Standard deviation of the noise, greater than 0.
        """

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
    """A classical reference with one threshold for all detail coefficients, and a closed form of its expected error.

    A subclass implements :meth:`multiple`.

    Parameters
    ----------
    basis
        Any basis except bases for oracles only.
    rule
        ``hard`` or ``soft``.
    """

    citation: ClassVar[Any] = "donoho-1994"

    def __init__(self, basis: Basis, rule: Rule) -> None:
        super().__init__(basis)
        self.rule = rule

    @abstractmethod
    def multiple(self, details: int, sigma: float) -> float:
        """Return the threshold in units of sigma, given the number of detail coefficients of a channel."""

    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the thresholded coefficients, shape (N, C, ...)."""
        rule = hard if self.rule == "hard" else soft
        return rule(coefficients, self.multiple(_count_details(labels), sigma) * sigma)

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64.

        The result is ``None`` unless the basis is fixed and orthonormal.
        """
        shape = image_shape(truth.clean)
        if self.basis.adaptive or not self.basis.is_orthonormal(shape):
            return None
        if sigma == 0:
            return truth.clean.new_zeros(len(truth), dtype=torch.float64)
        coefficients = self.basis.analysis(truth.clean.double())
        labels = self.basis.bands(shape).expand(shape)
        expected_error = hard_risk if self.rule == "hard" else soft_risk
        risks = expected_error(coefficients / sigma, self.multiple(_count_details(labels), sigma))
        # Coefficients that are not thresholded keep their noise.
        return sigma**2 * torch.where((labels == 0).to(risks.device), 1, risks).flatten(1).mean(1)

    def _adaptation_threshold(self, shape: Shape, sigma: float) -> float:
        # The number of detail coefficients is known only after adaptation; it is close to the number of pixels.
        return self.multiple(shape[1] * shape[2], sigma)


def _count_details(labels: Tensor) -> int:
    """Return the number of detail coefficients per channel, given the band labels (C, ...) of an image."""
    return int((labels > 0).sum()) // len(labels)


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
    zeroed = clean.square() * (_upper_tail(-below) - _upper_tail(above))
    return (1 + threshold**2) * tails + zeroed - above * _density(below) - below * _density(above)


def hard_risk(clean: Tensor, threshold: float) -> Tensor:
    """Return the expected squared error of hard thresholding c + z with standard normal z (Donoho & Johnstone 1994).

    With Q(x) = P(z > x), normal density phi and threshold t, the error is
    Q(t-c) + Q(t+c) + c^2 P(-t < c+z < t) + (t-c) phi(t-c) + (t+c) phi(t+c).
    """
    clean, below, above = _margins(clean, threshold)
    tails = _upper_tail(below) + _upper_tail(above)
    zeroed = clean.square() * (_upper_tail(-below) - _upper_tail(above))
    return tails + zeroed + below * _density(below) + above * _density(above)


def _margins(clean: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return |c|, t - |c| and t + |c|, with |c| clamped where both risks have reached their limits."""
    clean = clean.abs().clamp(max=threshold + CERTAIN_EXCESS)
    return clean, threshold - clean, threshold + clean


def _upper_tail(values: Tensor) -> Tensor:
    """Return P(z > value) for standard normal z; unlike 1 - P(z < value), it is accurate for large values."""
    return torch.erfc(values / math.sqrt(2)) / 2


def _density(values: Tensor) -> Tensor:
    return torch.exp(-values.square() / 2) / math.sqrt(2 * math.pi)
