"""Hard and soft thresholding of coefficients, and their expected errors."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Rule = Literal["hard", "soft"]

#: Beyond the threshold by this many standard deviations, no coefficient is ever taken for noise.
_FAR = 40.0


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
