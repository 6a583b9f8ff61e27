"""Networks in evaluation whose weights hide nothing: no zeros, no small last layers, moved running averages."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from gahbench.networks.network_facts import with_random_weights


def build(factory: Any, shape: tuple[int, int, int], **parameters: Any) -> nn.Module:
    """Build a network for images of shape (C, H, W) with random weights."""
    return with_random_weights(untrained(factory, shape, **parameters), shape)


def untrained(factory: Any, shape: tuple[int, int, int], **parameters: Any) -> nn.Module:
    """Build a network as its constructor leaves it, always with the same weights, in evaluation."""
    asks_for_shape = "shape" in inspect.signature(factory).parameters
    known = {"shape": shape} if asks_for_shape else {"channels": shape[0]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory(**known, **parameters).eval()


def count(factory: Any, channels: int, **parameters: Any) -> int:
    """Return the number of parameters, without making them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in factory(channels, **parameters).parameters())


def images(number: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Return uniformly random images, shape (number, C, H, W)."""
    return torch.rand(number, *shape, generator=torch.Generator().manual_seed(seed))
