"""One threshold for all details of an image, with the expected error in closed form."""

from __future__ import annotations

from abc import abstractmethod
from typing import get_args

import torch
from torch import Tensor

from gahbench import Basis, Shape, Truth, image_shape

from ._rules import Rule, hard, hard_risk, soft, soft_risk
from ._thresholding import Thresholding


class SingleThreshold(Thresholding):
    """A practical reference with one threshold for all details."""

    def __init__(self, basis: Basis, rule: Rule) -> None:
        super().__init__(basis)
        if rule not in get_args(Rule):
            raise ValueError(f"rule='{rule}': accepted are hard and soft")
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
