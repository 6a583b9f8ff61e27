"""A running average of a network's weights and buffers during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

#: Weight of the newest step in a long fit, with which an average has the variance of a mean over 199 steps.
MIN_WEIGHT = 0.01
#: Product of the newest step's weight and the number of steps in a short fit, which averages a tenth of its steps.
WEIGHT_TIMES_STEPS = 20


class RunningAverage:
    """Moving average of a network's numbers: of weights and buffers with the decay ``ema``, otherwise of buffers alone.

    Without ``ema`` it is over the last 200 steps, or the last tenth of a short fit. Normalisation layers keep running
    statistics of the last ten batches or so in buffers. As the noise levels of a batch are random, evaluation would
    depend on the last noise levels: the noise estimated by a small UNet varied by up to 10 % between seeds (see Wu &
    Johnson, Rethinking "Batch" in BatchNorm, 2021). A short fit needs a shorter average, since its weights change
    quickly: averaged over 200 of 300 steps, a UNet lost several decibels at strong noise.
    """

    def __init__(self, network: nn.Module, steps: int, ema: float | None = None) -> None:
        self._network, self._ema = network, ema
        self._weight = min(1.0, max(MIN_WEIGHT, WEIGHT_TIMES_STEPS / steps))
        self._averages = [value.clone() for value in self._values()]
        self._updates = 0

    def _values(self) -> list[Tensor]:
        # Look the buffers up every time, since some modules replace their buffers.
        values = [*(() if self._ema is None else self._network.parameters()), *self._network.buffers()]
        return [value.detach() for value in values if value.is_floating_point()]

    def update(self) -> None:
        """Update the averages after a training step, without waiting for a GPU."""
        self._updates += 1
        weight = max(self._weight, 1 / self._updates)
        if self._ema is not None and self._updates > 1:
            weight = 1 - self._ema
        if self._averages:
            torch._foreach_lerp_(self._averages, self._values(), weight)

    def write(self) -> None:
        """Write the averages into the network, except those that are not finite, such as those of masks."""
        for value, average in zip(self._values(), self._averages, strict=True):
            value.copy_(torch.where(average.isfinite(), average, value))

    @contextlib.contextmanager
    def apply(self) -> Iterator[None]:
        """Put the averages into the network within this context, and restore its own values afterwards."""
        before = [value.clone() for value in self._values()]
        self.write()
        try:
            yield
        finally:
            for value, own in zip(self._values(), before, strict=True):
                value.copy_(own)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"averages": self._averages, "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by :meth:`state_dict`."""
        for average, value in zip(self._averages, state["averages"], strict=True):
            average.copy_(value)
        self._updates = state["updates"]
