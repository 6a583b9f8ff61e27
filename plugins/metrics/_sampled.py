"""Common parts of metrics of samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gahbench.evaluation import Evaluation

#: Training images that samples are compared with at most, and bytes that they may take.
MAX_IMAGES = 100_000
MAX_BYTES = 1 << 30


def placed(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Return values of the samples at some places, shape (K,), among those of all, shape (count,): others have none."""
    found = torch.full((count,), torch.nan, dtype=torch.float64)
    found[places] = values.double().cpu()
    return found


def training_images(evaluation: Evaluation) -> Tensor:
    """Return the images that a denoiser learned from, at most 100,000 or 1 GiB of them, each once."""
    assert evaluation.learned_from is not None
    size = 4 * evaluation.clean[0].numel()
    images = evaluation.learned_from.training(max(1, min(MAX_IMAGES, MAX_BYTES // size)))
    # As strings of bytes, which sort much faster than rows of numbers.
    rows = images.flatten(1).contiguous().numpy()
    _, first = np.unique(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))), return_index=True)
    return images if len(first) == len(images) else images[np.sort(first)]
