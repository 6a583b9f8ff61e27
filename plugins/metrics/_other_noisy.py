"""Denoise other noisy versions of the images of an evaluation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gahbench import Captured
from gahbench.evaluation import Evaluation


def levels_of(evaluation: Evaluation, sigma: float) -> Tensor:
    """Return the noise level of each image, shape (N,), float64."""
    if evaluation.captured is not None:
        return evaluation.captured.sigma
    return torch.full((len(evaluation.clean),), sigma, dtype=torch.float64)


def denoise_other(evaluation: Evaluation, sigma: float, noisy: Tensor) -> Tensor:
    """Return denoised images, given noisy images (N, C, H, W), at the noise level of each image."""
    levels = levels_of(evaluation, sigma)
    captured = Captured(noisy, levels, torch.zeros_like(levels))
    return replace(evaluation, captured=captured, _whole=None).denoised(sigma)
