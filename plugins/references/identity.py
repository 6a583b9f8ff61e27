"""The identity, which does not denoise."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import Reference, Truth


class Identity(Reference):
    """Returns the noisy image unchanged: a baseline whose output PSNR equals the input PSNR."""

    display_name = "identity"

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the noisy images, shape (N, C, H, W)."""
        return noisy

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return sigma^2 for each image, shape (N,)."""
        return torch.full((len(truth),), sigma**2, dtype=torch.float64, device=truth.clean.device)
