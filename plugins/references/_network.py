"""Base class of references that are networks with externally trained weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from gahbench import Reference, Shape, Truth, image_shape
from gahbench.jacobian import Jacobian


class NetworkReference(Reference):
    """A network ``forward(noisy, sigma)`` for images in [0, 1], loaded on first use."""

    kind = "trained"
    #: Whether the network depends on the image shape, and is reloaded when the shape changes.
    depends_on_shape: ClassVar[bool] = False

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self._loaded: tuple[Shape, nn.Module] | None = None

    @abstractmethod
    def load(self, shape: Shape) -> nn.Module:
        """Return the network for images of shape (C, H, W), in evaluation mode."""

    def as_network(self, shape: Shape) -> nn.Module:
        """Return the network for images of shape (C, H, W), on the device of the reference."""
        if self._loaded is None or (self.depends_on_shape and self._loaded[0] != shape):
            self._loaded = shape, self.load(shape).to(self.device)
        return self._loaded[1]

    def move(self, device: torch.device) -> None:
        """Compute on the given device from now on."""
        if device != self.device:
            self.device, self._loaded = device, None

    @property
    def num_parameters(self) -> int | None:
        """Number of parameters, or ``None`` before the network is loaded."""
        return None if self._loaded is None else sum(parameter.numel() for parameter in self._loaded[1].parameters())

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        network = self.as_network(image_shape(noisy))
        with torch.no_grad():
            levels = torch.full((len(noisy),), sigma, device=self.device)
            denoised: Tensor = network(noisy.to(self.device), levels)
            return denoised.float().cpu()

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> Jacobian:
        """Return the Jacobians at the noisy images, on the network's device."""
        return Jacobian(self.as_network(image_shape(noisy)), noisy.to(self.device), sigma)


class Clipped(nn.Module):
    """A denoiser whose output is clipped to [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        denoised: Tensor = self.network(noisy, sigma)
        return denoised.clamp(0, 1)
