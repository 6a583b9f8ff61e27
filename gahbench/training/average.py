"""Running averages of a network's weights and buffers during training."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def full_state(network: nn.Module) -> dict[str, Any]:
    """Return the state of a network including non-persistent buffers, which training may change."""
    return {"saved": network.state_dict(), "buffers": dict(network.named_buffers())}


def load_full_state(network: nn.Module, state: dict[str, Any]) -> None:
    """Load a state returned by :func:`full_state` into a network."""
    network.load_state_dict(state["saved"])
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(state["buffers"][name])


class RunningAverage:
    """Exponential moving average of the parameters and buffers of a network."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards a network of the same architecture, on the same device."""
        averages: list[Tensor] = []
        values: list[Tensor] = []
        ours, theirs = ([*model.parameters(), *model.buffers()] for model in (self.network, network))
        for average, value in zip(ours, theirs, strict=True):
            if self._updates and average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        if averages:
            torch._foreach_lerp_(averages, values, 1 - self._decay)
        for average, value in zip(self.network.buffers(), network.buffers(), strict=True):
            if average.is_floating_point():
                average.copy_(torch.where(average.isfinite(), average, value))
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"network": full_state(self.network), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by :meth:`state_dict`."""
        load_full_state(self.network, state["network"])
        self._updates = state["updates"]


class AverageStatistics:
    """Moving average of a network's floating-point buffers over the last 200 steps, or the last tenth of a short fit.

    Normalisation layers keep running statistics of the last ten batches or so in these buffers. As the noise levels of
    a batch are random, evaluation would depend on the last noise levels: the noise estimated by a small UNet varied by
    up to 10 % between seeds (see Wu & Johnson, Rethinking "Batch" in BatchNorm, 2021). A short fit needs a shorter
    average, since its weights change quickly: averaged over 200 of 300 steps, a UNet lost several decibels at strong
    noise. Constant buffers stay unchanged.
    """

    #: Weight of the newest step in a long fit, with which the average has the variance of a mean over 199 steps.
    MIN_WEIGHT = 0.01
    #: Product of the newest step's weight and the number of steps in a short fit, which averages a tenth of its steps.
    WEIGHT_TIMES_STEPS = 20

    def __init__(self, network: nn.Module, steps: int | None = None) -> None:
        self._network = network
        self._weight = (
            self.MIN_WEIGHT if steps is None else min(1.0, max(self.MIN_WEIGHT, self.WEIGHT_TIMES_STEPS / steps))
        )
        self._averages = [buffer.clone() for buffer in self._buffers()]
        self._updates = 0

    def _buffers(self) -> list[Tensor]:
        # Look the buffers up every time, since some modules replace their buffers.
        return [buffer for buffer in self._network.buffers() if buffer.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Update the averages after a training step."""
        self._updates += 1
        if self._averages:
            torch._foreach_lerp_(self._averages, self._buffers(), max(self._weight, 1 / self._updates))

    @torch.no_grad()
    def write(self) -> None:
        """Write the averages into the network."""
        for buffer, average in zip(self._buffers(), self._averages, strict=True):
            # Keep the network's own values where the average is not finite.
            buffer.copy_(torch.where(average.isfinite(), average, buffer))

    @contextlib.contextmanager
    def apply(self) -> Iterator[None]:
        """Put the averages into the network within this context, and restore its buffers afterwards."""
        before = [buffer.clone() for buffer in self._buffers()]
        self.write()
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in zip(self._buffers(), before, strict=True):
                    buffer.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"averages": self._averages, "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by :meth:`state_dict`."""
        for average, value in zip(self._averages, state["averages"], strict=True):
            average.copy_(value)
        self._updates = state["updates"]
