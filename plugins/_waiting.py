"""Choices that a processor makes by looking at values, and a GPU without, since it would have to be waited for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def can_look_at(tensor: Tensor) -> bool:
    """Return whether values may be looked at: on a processor; a GPU would have to be waited for."""
    return tensor.device.type == "cpu"


def numbers_of(mask: Tensor) -> Tensor:
    """Return the flat numbers of the places where a mask holds, on a processor; on a GPU those of all places."""
    if can_look_at(mask):
        return mask.flatten().nonzero()[:, 0]
    return torch.arange(mask.numel(), device=mask.device)


def alternatives(choice: Tensor, count: int) -> Sequence[int]:
    """Return which of ``count`` alternatives a tensor of their numbers names, on a processor; on a GPU all of them."""
    return sorted(set(choice.flatten().tolist())) if can_look_at(choice) else range(count)
