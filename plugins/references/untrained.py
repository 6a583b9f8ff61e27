"""Networks with their initial weights."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from gahbench import ArchitectureFactory, Names, Reference, Shape, Truth, image_shape
from gahbench.jacobian import Jacobian
from gahbench.networks import Trained, build_network


class Untrained(Reference):
    """A network with the initial weights of training, which shows the effect of the architecture alone.

    Parameters
    ----------
    architecture
        The network.
    seed
        Seed of the initial weights, the same as for a fit.
    initialisation
        ``own`` for the initialisation of the architecture, ``kaiming`` for the initialisation of the recipe ``paper``.
    """

    display_name = "untrained {architecture}"
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
        """Raise ``ValueError`` for image shapes (C, H, W) that the network refuses."""
        with torch.no_grad():
            self._build(shape).network(torch.zeros(1, *shape, device=self.device), torch.ones(1, device=self.device))

    def move(self, device: torch.device) -> None:
        """Compute on the given device from now on."""
        if device != self.device:
            self.device, self._built = device, None

    def as_network(self, shape: Shape) -> nn.Module:
        """Return the network for images of shape (C, H, W)."""
        return self._build(shape).network

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the output of the network, shape (N, C, H, W)."""
        return self._build(image_shape(noisy)).denoise(noisy, sigma, truth)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> Jacobian:
        """Return the Jacobians of the network at the noisy images."""
        return self._build(image_shape(noisy)).jacobian(noisy, sigma, truth)

    def _build(self, shape: Shape) -> Trained:
        if self._built is None or self._built[0] != shape:
            network = build_network(lambda: self.architecture.build(shape), self.seed, self.initialisation)
            self._built = (shape, Trained(network, self.device))
        return self._built[1]
