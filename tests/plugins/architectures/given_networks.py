"""Networks in evaluation mode with random weights and running averages, without zeros or small last layers."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

import gahbench
from gahbench.networks.network_facts import with_random_weights


def build(network: Any, shape: tuple[int, int, int], **parameters: Any) -> nn.Module:
    """Build a network, given by class or by name, for images of shape (C, H, W) with random weights."""
    return with_random_weights(untrained(network, shape, **parameters), shape)


def untrained(network: Any, shape: tuple[int, int, int], **parameters: Any) -> nn.Module:
    """Build a network with the initial weights of a fixed seed, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(network, str):
            return gahbench.create("architecture", network, shape=shape, **parameters).eval()
        asks_for_shape = "shape" in inspect.signature(network).parameters
        return network(**({"shape": shape} if asks_for_shape else {"channels": shape[0]}), **parameters).eval()


def images(number: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Return uniformly random images, shape (number, C, H, W)."""
    return torch.rand(number, *shape, generator=torch.Generator().manual_seed(seed))
