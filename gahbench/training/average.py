"""Running averages over training steps: of a network's weights, and of its statistics."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def whole_state(network: nn.Module) -> dict[str, Any]:
    """Return the state of a network with the buffers that it does not save, which training may have changed."""
    return {"saved": network.state_dict(), "buffers": dict(network.named_buffers())}


def load_whole_state(network: nn.Module, state: dict[str, Any]) -> None:
    """Put a network into a state of :func:`whole_state`."""
    network.load_state_dict(state["saved"])
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(state["buffers"][name])


class RunningAverage:
    """The exponential moving average of the parameters and buffers of a network."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards a network of the same architecture, on the same device."""
        moving: tuple[list[Tensor], list[Tensor]] = ([], [])
        ours, theirs = ([*each.parameters(), *each.buffers()] for each in (self.network, network))
        for average, value in zip(ours, theirs, strict=True):
            if self._updates and average.is_floating_point():
                moving[0].append(average)
                moving[1].append(value)
            else:
                average.copy_(value)
        if moving[0]:
            torch._foreach_lerp_(*moving, 1 - self._decay)
        for average, value in zip(self.network.buffers(), network.buffers(), strict=True):
            if average.is_floating_point():
                average.copy_(torch.where(average.isfinite(), average, value))
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {"network": whole_state(self.network), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        load_whole_state(self.network, state["network"])
        self._updates = state["updates"]


class AverageStatistics:
    """The average of a network's floating-point buffers over about the last 200 steps, a tenth of shorter fits.

    Normalisation keeps running statistics of batches in them, which follow the last ten or so. As the noise levels of a
    batch are random, evaluation would depend on which were last: the estimated noise of a small UNet was off by up to a
    tenth, from seed to seed (as for weights, Wu & Johnson, Rethinking "Batch" in BatchNorm, 2021). In a fit of 300
    steps those of the last 200 would be of other weights: a UNet lost several decibels at strong noise. Buffers that do
    not change stay as they are.
    """

    #: The weight of the newest step, once there were enough of them: that of a mean of 199.
    WEIGHT = 0.01
    #: The weight times the steps of a fit: that of a mean of a tenth of them.
    TENTH = 20

    def __init__(self, network: nn.Module, steps: int | None = None) -> None:
        self._network = network
        self._weight = self.WEIGHT if steps is None else min(1.0, max(self.WEIGHT, self.TENTH / steps))
        self._averages = [buffer.clone() for buffer in self._buffers()]
        self._updates = 0

    def _buffers(self) -> list[Tensor]:
        # Not cached, since some modules replace their buffers.
        return [buffer for buffer in self._network.buffers() if buffer.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the buffers after another step in."""
        self._updates += 1
        if self._averages:
            torch._foreach_lerp_(self._averages, self._buffers(), max(self._weight, 1 / self._updates))

    @torch.no_grad()
    def write(self) -> None:
        """Write the averages into the network."""
        for buffer, average in zip(self._buffers(), self._averages, strict=True):
            # Skip buffers that are not finite.
            buffer.copy_(torch.where(average.isfinite(), average, buffer))

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Evaluate the network with the averages, and go on with what there was before."""
        before = [buffer.clone() for buffer in self._buffers()]
        self.write()
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in zip(self._buffers(), before, strict=True):
                    buffer.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {"averages": self._averages, "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        for average, value in zip(self._averages, state["averages"], strict=True):
            average.copy_(value)
        self._updates = state["updates"]
