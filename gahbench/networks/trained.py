"""Trained networks with the interface of denoisers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gahbench.contracts.truth import Denoiser, DenoiserKind, Truth, needed
from gahbench.devices.hardware import hardware

if TYPE_CHECKING:
    from gahbench.jacobian import Jacobian


def channels_last(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network to a device, convert its 2-D kernels to channels-last layout, and return it."""
    network.to(device)
    with torch.no_grad():
        for values in (*network.parameters(), *network.buffers()):
            if values.ndim == 4:
                values.data = values.data.contiguous(memory_format=torch.channels_last)
    return network


class Trained(Denoiser):
    """A network as a denoiser, in evaluation mode and float32, without access to clean images.

    Parameters
    ----------
    network
        A module whose ``forward(noisy, sigma)`` returns the denoised images.
    device
        Device on which the network computes; results are on the CPU.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> denoiser = Trained(gahbench.create("architecture", "dncnn", width=4, layers=4))
    >>> noisy = torch.rand(2, 1, 8, 8)
    >>> denoiser.denoise(noisy, 0.1, gahbench.Truth(noisy)).shape
    torch.Size([2, 1, 8, 8])
    """

    kind: DenoiserKind = "trained"

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        hardware(self.device).use_float32()
        self.network = channels_last(network, self.device).eval()

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), on the CPU.

        Raises
        ------
        Exception
            Any error of the network.
        """
        levels = torch.full((len(noisy),), sigma, device=self.device)
        with torch.no_grad():
            denoised: Tensor = self.network(hardware(self.device).upload(noisy), levels)
        return denoised.float().cpu()

    @needed("jacobian")
    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> Jacobian:
        """Return the Jacobians of the network at the noisy images, on its device."""
        from gahbench.jacobian import Jacobian

        return Jacobian(self.network, noisy.to(self.device), sigma)
