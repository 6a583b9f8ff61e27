"""Architectures: trainable denoisers, which need no base class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Architecture(Protocol):
    """A trainable denoiser: any ``torch.nn.Module`` with this ``forward``.

    Its constructor may ask for ``channels: int`` or ``shape: tuple[int, int, int]``; both come from the dataset. All
    other parameters are the plugin's own. ``forward`` raises ``ValueError`` for an image size it cannot take.
    """

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Return the denoised images (never a residual) for ``noisy`` (N, C, H, W) and ``sigma`` (N,)."""
        ...
