"""Base class of references that are networks, and networks with their initial weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from gahbench import ArchitectureFactory, Names, Reference, Shape, Truth, image_shape
from gahbench.jacobian import Jacobian
from gahbench.networks import Trained, build_network


class NetworkReference(Reference):
    """A network ``forward(noisy, sigma)`` for images in [0, 1], loaded on first use.

    A subclass implements :meth:`load`, and calls ``super().__init__()``.
    """

    kind: Literal["trained", "classical"] = "trained"
    #: Whether the network depends on the image shape, and is reloaded when the shape changes.
    depends_on_shape: ClassVar[bool] = False

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self._loaded: tuple[Shape, Trained] | None = None

    @abstractmethod
    def load(self, shape: Shape) -> nn.Module:
        """Return the network for images of shape (C, H, W)."""

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` if the network does not accept images of shape (C, H, W)."""
        network, size = self.as_network(shape), "x".join(map(str, shape))
        try:
            with torch.no_grad():
                denoised = network(torch.zeros(1, *shape, device=self.device), torch.ones(1, device=self.device))
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
            raise ValueError(f"the network does not accept images of {size}: {reason}") from error
        if denoised.shape[1:] != torch.Size(shape):
            raise ValueError(f"the network returns images of {tuple(denoised.shape[1:])}, not {shape}")

    def as_network(self, shape: Shape) -> nn.Module:
        """Return the network for images of shape (C, H, W), on the device of the reference."""
        return self._trained(shape).network

    def move(self, device: torch.device) -> None:
        """Compute on the given device from now on."""
        if device != self.device:
            self.device, self._loaded = device, None

    @property
    def num_parameters(self) -> int | None:
        """Number of parameters, or ``None`` before the network is loaded."""
        return None if self._loaded is None else sum(map(Tensor.numel, self._loaded[1].network.parameters()))

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        return self._trained(image_shape(noisy)).denoise(noisy, sigma, truth)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> Jacobian:
        """Return the Jacobians at the noisy images, on the network's device."""
        return self._trained(image_shape(noisy)).jacobian(noisy, sigma, truth)

    def _trained(self, shape: Shape) -> Trained:
        if self._loaded is None or (self.depends_on_shape and self._loaded[0] != shape):
            self._loaded = shape, Trained(self.load(shape), self.device)
        return self._loaded[1]


class Untrained(NetworkReference):
    """A network with the initial weights of training, which shows the effect of the architecture alone.

    Parameters
    ----------
    architecture
        The network.
    seed
        Seed of the initial weights, the same as for a fit.
    initialisation
        ``own`` for the initialisation of the architecture, ``kaiming`` for Kaiming's distribution of the weights of
        convolutions and linear layers, ``published`` for the initialisation of the recipe ``paper``.
    """

    display_name = "untrained {architecture}"
    kind = "classical"
    label_parameters = ("architecture",)
    depends_on_shape = True

    def __init__(
        self,
        architecture: Annotated[ArchitectureFactory, Names("architecture", default="unet")],
        seed: int = 0,
        initialisation: Literal["own", "kaiming", "published"] = "own",
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.seed = seed
        self.initialisation = initialisation

    def load(self, shape: Shape) -> nn.Module:
        """Return the network with its initial weights."""
        return build_network(lambda: self.architecture.build(shape), self.seed, self.initialisation)


class Clipped(nn.Module):
    """A denoiser whose output is clipped to [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        denoised: Tensor = self.network(noisy, sigma)
        return denoised.clamp(0, 1)
