"""The weights that training starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from gahbench._util.noise import derive_seed

Initialisation = Literal["kaiming", "own"]


def build_network(
    build: Callable[[], nn.Module], seed: int = 0, initialisation: Initialisation = "own", stream: str | None = None
) -> nn.Module:
    """Build an untrained network from a seed, leaving the global generator as it was.

    Parameters
    ----------
    build
        Calls the constructor.
    seed
        Names the weights.
    initialisation
        ``kaiming`` draws the weights of convolutions and linear layers anew, as Kaiming et al. 2015; ``own`` keeps the
        architecture's.
    stream
        Names weights that differ from those of the seed alone, such as those of a partner with its own initialisation.

    Examples
    --------
    >>> import torch
    >>> one, same, other = (build_network(lambda: torch.nn.Conv2d(1, 4, 3), seed) for seed in (0, 0, 1))
    >>> torch.equal(one.weight, same.weight), torch.equal(one.weight, other.weight)
    (True, False)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("initialisation", seed, *(() if stream is None else (stream,))))
        network = build()
        for module in network.modules() if initialisation == "kaiming" else ():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=0, mode="fan_in")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return network
