"""Construction of networks with reproducible initial weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from gahbench._util.noise import derive_seed

Initialisation = Literal["kaiming", "own", "published"]


def build_network(
    build: Callable[[], nn.Module], seed: int = 0, initialisation: Initialisation = "own", stream: str | None = None
) -> nn.Module:
    """Build an untrained network from a seed, without changing the global random state.

    Parameters
    ----------
    build
        Function that constructs the network.
    seed
        Seed of the initial weights.
    initialisation
        ``kaiming`` redraws the weights of convolutions and linear layers (He et al. 2015); ``published``, as the code
        of Kadkhodaie et al. 2024, also calls ``draw_gain()`` of every module that has it, such as bias-free
        normalisation; ``own`` keeps the initialisation of the architecture.
    stream
        Name of a separate random stream, for weights that differ from the default weights of the same seed.

    Examples
    --------
    >>> import torch
    >>> first, same, other = (build_network(lambda: torch.nn.Conv2d(1, 4, 3), seed) for seed in (0, 0, 1))
    >>> torch.equal(first.weight, same.weight), torch.equal(first.weight, other.weight)
    (True, False)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("initialisation", seed, *(() if stream is None else (stream,))))
        network = build()
        for module in network.modules() if initialisation != "own" else ():
            if initialisation == "published" and callable(draw := getattr(module, "draw_gain", None)):
                draw()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=0, mode="fan_in")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return network
