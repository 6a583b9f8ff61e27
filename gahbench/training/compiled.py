"""Whether a compiled network has the gradients that it has without."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

#: A gradient is wrong that is off by more than this share of it, by so many times what rounding takes it off, and by
#: this share of the gradient of all parameters: some, as of a bias before a normalisation, are rounding alone.
SHARE, TIMES, LEAST = 0.5, 5.0, 1e-4


def wrong_gradients(
    exact: Mapping[str, Tensor], rounded: Mapping[str, Tensor], compiled: Mapping[str, Tensor]
) -> list[str]:
    """Return the names of the parameters whose gradient is not that of the network."""
    floor = LEAST * sum(float(one.double().square().sum()) for one in exact.values()) ** 0.5
    wrong = []
    for name, one in exact.items():
        none = torch.zeros_like(one)
        off, usual = (float((other.get(name, none) - one).norm()) for other in (compiled, rounded))
        # Also where it is not a number.
        if not off <= max(SHARE * float(one.norm()), TIMES * usual, floor):
            wrong.append(name)
    return wrong
