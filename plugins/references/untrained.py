"""A network as it is before training."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from gahbench import ArchitectureFactory, Names, Reference, Shape, Truth, image_shape
from gahbench.jacobian import Jacobian
from gahbench.networks import Trained, build_network


class Untrained(Reference):
    """A network with the weights that training would start from: what of a score is owed to the architecture alone.

    Parameters
    ----------
    architecture
        The network.
    seed
        Seed of its weights, as of a fit.
    initialisation
        ``own``: the architecture's; ``kaiming``: drawn anew, as the recipe ``paper`` does.
    """

    label_parameters = ("architecture",)

    def __init__(
        self,
        architecture: Annotated[ArchitectureFactory, Names("architecture", default="unet")],
        seed: int = 0,
        initialisation: Literal["own", "kaiming"] = "own",
    ) -> None:
        self.architecture = architecture
        self.seed = seed
        self.initialisation = initialisation
        self.device = torch.device("cpu")
        self._built: tuple[Shape, Trained] | None = None

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that the network refuses."""
        with torch.no_grad():
            self._network(shape).network(torch.zeros(1, *shape, device=self.device), torch.ones(1, device=self.device))

    def move(self, device: torch.device) -> None:
        """Compute on a device."""
        if device != self.device:
            self.device, self._built = device, None

    def as_network(self, shape: Shape) -> nn.Module:
        """Return the network for images (C, H, W)."""
        return self._network(shape).network

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the network's images, shape (N, C, H, W)."""
        return self._network(image_shape(noisy)).denoise(noisy, sigma, truth)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> Jacobian:
        """Return the network's Jacobians at the noisy images."""
        return self._network(image_shape(noisy)).jacobian(noisy, sigma, truth)

    def _network(self, shape: Shape) -> Trained:
        if self._built is None or self._built[0] != shape:
            network = build_network(lambda: self.architecture.build(shape), self.seed, self.initialisation)
            self._built = (shape, Trained(network, self.device))
        return self._built[1]
