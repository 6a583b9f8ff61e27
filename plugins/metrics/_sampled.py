"""Helpers for metrics of samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gahbench import Reference
from gahbench.evaluation import Evaluation
from gahbench.sampling import Samples, Sampling, draw_samples, images_device, wrap_denoiser

#: Largest number, and largest size in bytes, of the training images with which samples are compared.
MAX_IMAGES = 100_000
MAX_BYTES = 1 << 30


def scatter(values: Tensor, indices: Tensor, count: int) -> Tensor:
    """Return a tensor of shape (count,) with the values (K,) at the given indices (K,), and NaN elsewhere."""
    result = torch.full((count,), torch.nan, dtype=torch.float64)
    result[indices] = values.double().cpu()
    return result


def draw_from(reference: Reference, evaluation: Evaluation, settings: Sampling) -> Samples:
    """Return samples of a fitted reference on the images of an evaluation."""
    denoise = wrap_denoiser(reference, evaluation.shape, evaluation.dataset, evaluation.device)
    device = images_device(reference, evaluation.shape, evaluation.device)
    return draw_samples(denoise, evaluation.shape, settings, device=device)


def training_images(evaluation: Evaluation) -> Tensor:
    """Return the distinct training images of a denoiser, at most 100,000 or 1 GiB."""
    assert evaluation.learned_from is not None
    size = 4 * evaluation.clean[0].numel()
    images = evaluation.learned_from.training(max(1, min(MAX_IMAGES, MAX_BYTES // size)))
    # Rows are compared as byte strings, which sort much faster than rows of numbers.
    rows = images.flatten(1).contiguous().numpy()
    _, first = np.unique(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))), return_index=True)
    return images if len(first) == len(images) else images[np.sort(first)]
