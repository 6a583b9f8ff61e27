"""The running average of a network's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class RunningAverage:
    """The exponential moving average of the parameters and buffers of a network.

    The first update copies them; each later one moves the average by ``1 - decay`` of the distance. As
    ``torch.optim.swa_utils.AveragedModel``, which however copies its number of updates to the device every time, and
    so waits for it.

    Parameters
    ----------
    network
        The network, which is copied.
    decay
        In (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards a network of the same architecture, on the same device."""
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        if self._updates == 0:
            for average, value in pairs:
                average.copy_(value)
        else:
            floating = [pair for pair in pairs if pair[0].is_floating_point()]
            if floating:
                averages, values = zip(*floating, strict=True)
                torch._foreach_lerp_(averages, values, 1 - self._decay)
            for average, value in pairs:
                if not average.is_floating_point():
                    average.copy_(average * self._decay + value * (1 - self._decay))
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {"network": self.network.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self._updates = state["updates"]


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
