"""What metrics of samples share."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench.evaluation import Evaluation

#: Training images that samples are compared with at most.
MOST_IMAGES = 100_000


def converged(evaluation: Evaluation) -> Tensor:
    """Return the places of the samples that converged, shape (K,): of others nothing is measured."""
    return evaluation.samples.converged.nonzero()[:, 0]


def placed(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Return values of the samples at some places, shape (K,), among those of all, shape (count,): others have none."""
    found = torch.full((count,), torch.nan, dtype=torch.float64)
    found[places] = values.double().cpu()
    return found


def training_images(evaluation: Evaluation) -> Tensor:
    """Return the images that a denoiser learned from, at most 100,000."""
    assert evaluation.learned_from is not None
    return evaluation.learned_from.training(MOST_IMAGES)
