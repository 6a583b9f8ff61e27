"""A module as a denoiser, and facts measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gahbench._util.lazy import lazy_names

if TYPE_CHECKING:
    from gahbench.networks.initialisation import build_network, initialise
    from gahbench.networks.layers import Layer, feature_layers, layer_output, middle_layer
    from gahbench.networks.trained import Trained

_MODULES = {
    "initialisation": ["build_network", "initialise"],
    "layers": ["Layer", "feature_layers", "layer_output", "middle_layer"],
    "trained": ["Trained"],
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}
)

__all__ = [
    "Layer",
    "Trained",
    "build_network",
    "feature_layers",
    "initialise",
    "layer_output",
    "middle_layer",
]
