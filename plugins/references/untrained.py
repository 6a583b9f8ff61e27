"""Networks with their initial weights."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from gahbench import ArchitectureFactory, Names, Shape
from gahbench.networks import build_network
from gahbench_plugins.references.network import NetworkReference


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
