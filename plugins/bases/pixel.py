"""The pixel basis."""

from __future__ import annotations

from torch import Tensor

from gahbench import Basis


class Pixel(Basis):
    """The pixel basis: coefficients are the pixel values."""

    display_name = "pixels"

    def analysis(self, images: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        return images

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W)."""
        return coefficients
