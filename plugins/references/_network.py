"""A reference that is a network with weights from elsewhere."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from gahbench import DenoiserKind, Reference, Shape, Truth
from gahbench.jacobian import Jacobian


class NetworkReference(Reference):
    """A network ``forward(noisy, sigma)`` of images in [0, 1], which is loaded when it is first needed."""

    kind: DenoiserKind = "trained"

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self._network: nn.Module | None = None

    @abstractmethod
    def load(self) -> nn.Module:
        """Return the network, in evaluation."""

    @property
    def network(self) -> nn.Module:
        """The network, on its device."""
        if self._network is None:
            self._network = self.load().to(self.device)
        return self._network

    def move(self, device: torch.device) -> None:
        """Compute on a device."""
        if device != self.device:
            self.device, self._network = device, None

    def as_network(self, shape: Shape) -> nn.Module | None:
        """Return the network."""
        return self.network

    @property
    def num_parameters(self) -> int | None:
        """Number of trained numbers, once it has denoised something."""
        return None if self._network is None else sum(one.numel() for one in self._network.parameters())

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        with torch.no_grad():
            levels = torch.full((len(noisy),), sigma, device=self.device)
            found: Tensor = self.network(noisy.to(self.device), levels)
            return found.float().cpu()

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> Jacobian:
        """Return the Jacobians at the noisy images, on the network's device."""
        return Jacobian(self.network, noisy.to(self.device), sigma)
