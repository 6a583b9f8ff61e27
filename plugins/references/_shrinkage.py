"""Bases of references that shrink coefficients; hard and soft thresholding, and their expected errors."""

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

#: The threshold that adaptive bases are adapted for where there is no single one, in units of the noise.
USUAL = 3.0
#: Beyond the threshold by this many standard deviations, no coefficient is ever taken for noise.
_FAR = 40.0


class Shrinkage(Reference):
    """A reference that works on the coefficients in a basis."""

    label_parameters = ("basis",)
    _notes: tuple[str, ...] = ()

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")]) -> None:
        self.basis = basis

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that the basis cannot analyse."""
        self.basis.check_shape(shape)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the basis exists on the dataset."""
        return self.basis.supports(dataset)

    def fit(self, examples: TrainingData) -> None:
        """Fit the basis."""
        self.basis.fit(examples)
        self._notes = self.basis.notes(examples.shape)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the basis."""
        return self._notes


class Thresholding(Shrinkage):
    """A practical reference that shrinks the details in a basis: every band but 0, the coarse scale."""

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")]) -> None:
        super().__init__(basis)
        if self.basis.oracle:
            raise ValueError(
                f"basis '{name_of(basis)}' is for oracles only; "
                "accepted: bases made from the noisy image, from training images or from none"
            )

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); without noise, the images as they are."""
        if sigma == 0:
            return noisy
        if not self.basis.adaptive:
            return self._denoise(self.basis, noisy, sigma)
        shape = image_shape(noisy)
        threshold = self._adapted_for(shape, sigma) * sigma
        batches = torch.split(noisy, self.basis.max_batch(shape) or len(noisy))
        adapted = (self.basis.adapt(batch, threshold, noisy=True) for batch in batches)
        return torch.cat([self._denoise(basis, batch, sigma) for basis, batch in zip(adapted, batches, strict=True)])

    @abstractmethod
    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the coefficients without their noise."""

    def _adapted_for(self, shape: Shape, sigma: float) -> float:
        """Return what threshold an adaptive basis is adapted for, in units of the noise."""
        return USUAL

    def _denoise(self, basis: Basis, noisy: Tensor, sigma: float) -> Tensor:
        shape = image_shape(noisy)
        coefficients = basis.analysis(noisy)
        labels = basis.bands(shape).expand(coefficients.shape[1:])
        levels = basis.noise_levels(shape).to(coefficients)
        # A coefficient that has no noise, as of an empty atom, is always 0.
        levels = torch.where(levels > 0, levels, 1)
        shrunk = self.shrink(coefficients / levels, labels, sigma) * levels
        return basis.synthesis(torch.where((labels == 0).to(noisy.device), coefficients, shrunk))


class SingleThreshold(Thresholding):
    """A practical reference with one threshold for all details."""

    def __init__(self, basis: Basis, rule: Rule) -> None:
        super().__init__(basis)
        self.rule = rule

    @abstractmethod
    def multiple(self, details: int, sigma: float) -> float:
        """Return the threshold in units of the noise."""

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
        risk = hard_risk if self.rule == "hard" else soft_risk
        risks = risk(coefficients / sigma, self.multiple(_details(labels), sigma))
        # Coefficients that are not thresholded keep their noise.
        return sigma**2 * torch.where((labels == 0).to(risks.device), 1, risks).flatten(1).mean(1)

    def _adapted_for(self, shape: Shape, sigma: float) -> float:
        # How many details there are is known only once the basis is adapted; there are nearly as many as pixels.
        return self.multiple(shape[1] * shape[2], sigma)


def _details(labels: Tensor) -> int:
    """Return how many coefficients of a channel have a label other than 0, given those of an image (C, ...)."""
    return int((labels > 0).sum()) // len(labels)


class TunedThreshold(SingleThreshold, Tuned):
    """A practical reference that thresholds all details at k sigma."""

    number = "k"
    limits = (0.25, 16.0)
    # The number of false alarms changes fast with the threshold.
    refinements = (6, 12)

    def __init__(self, basis: Basis, rule: Rule, k: float | None, images: int) -> None:
        SingleThreshold.__init__(self, basis, rule)
        Tuned.__init__(self, k, images)

    def fit(self, examples: TrainingData) -> None:
        """Fit the basis, and keep the examples for when k must be tuned."""
        SingleThreshold.fit(self, examples)
        Tuned.fit(self, examples)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the basis, and the tuned values."""
        return self._notes + self.tuned()

    def multiple(self, details: int, sigma: float) -> float:
        """Return k, tuned if need be."""
        return self.value(sigma)

    def filtered(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the images denoised with another k, shape (N, C, H, W)."""
        return TunedThreshold(self.basis, self.rule, value, self._max_images).denoise(noisy, sigma, Truth(noisy))

    def guess(self, sigma: float) -> float:
        """Return the usual k: 3 for hard and 1.5 for soft thresholding."""
        return 3.0 if self.rule == "hard" else 1.5


def soft(coefficients: Tensor, thresholds: Tensor | float) -> Tensor:
    """Return coefficients brought nearer to 0 by the threshold, those below it killed."""
    return coefficients.sign() * (coefficients.abs() - thresholds).clamp(min=0)


def hard(coefficients: Tensor, thresholds: Tensor | float) -> Tensor:
    """Return coefficients as they are where they exceed the threshold in absolute value, 0 elsewhere."""
    return coefficients * (coefficients.abs() > thresholds)


def soft_risk(clean: Tensor, threshold: float) -> Tensor:
    """Return the expected squared error of soft thresholding c + z, z standard normal (Donoho & Johnstone 1994).

    With Q(x) = P(z > x), density phi and threshold t it is
    (1 + t^2) (Q(t-c) + Q(t+c)) + c^2 P(-t < c+z < t) - (t+c) phi(t-c) - (t-c) phi(t+c).
    """
    clean, below, above = _places(clean, threshold)
    tails = _exceeds(below) + _exceeds(above)
    return (
        (1 + threshold**2) * tails
        + clean.square() * _killed(below, above)
        - above * _density(below)
        - below * _density(above)
    )


def hard_risk(clean: Tensor, threshold: float) -> Tensor:
    """Return the expected squared error of hard thresholding c + z, z standard normal (Donoho & Johnstone 1994).

    With Q(x) = P(z > x), density phi and threshold t it is
    Q(t-c) + Q(t+c) + c^2 P(-t < c+z < t) + (t-c) phi(t-c) + (t+c) phi(t+c).
    """
    clean, below, above = _places(clean, threshold)
    tails = _exceeds(below) + _exceeds(above)
    return tails + clean.square() * _killed(below, above) + below * _density(below) + above * _density(above)


def _places(clean: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return |c|, t - |c| and t + |c|; a c so large that both risks have reached their limit is cut off."""
    clean = clean.abs().clamp(max=threshold + _FAR)
    return clean, threshold - clean, threshold + clean


def _killed(below: Tensor, above: Tensor) -> Tensor:
    return _exceeds(-below) - _exceeds(above)


def _exceeds(place: Tensor) -> Tensor:
    """Return P(z > place), accurate far out too, where 1 - P(z < place) is not."""
    return torch.erfc(place / math.sqrt(2)) / 2


def _density(place: Tensor) -> Tensor:
    return torch.exp(-place.square() / 2) / math.sqrt(2 * math.pi)
