"""A cache of tensors, and choices that depend on tensor values without synchronising a GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def cache_tensors(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that caches the results of a function for its ``maxsize`` most recent arguments."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.lru_cache(maxsize=maxsize)
        @functools.wraps(function)
        def cached(*arguments: P.args, **keywords: P.kwargs) -> T:
            with torch.inference_mode(False):
                return function(*arguments, **keywords)

        return cached  # type: ignore[return-value]

    return decorate


def can_read_values(tensor: Tensor) -> bool:
    """Return whether a tensor is on the CPU; reading values of a tensor on a GPU would synchronise it."""
    return tensor.device.type == "cpu"


def candidate_indices(mask: Tensor) -> Tensor:
    """Return the flat indices where a mask is true on the CPU, and all flat indices on a GPU."""
    if can_read_values(mask):
        return mask.flatten().nonzero()[:, 0]
    return torch.arange(mask.numel(), device=mask.device)


def candidate_choices(choice: Tensor, count: int) -> Sequence[int]:
    """Return the distinct indices in ``choice`` on the CPU, and all indices below ``count`` on a GPU."""
    return sorted(set(choice.flatten().tolist())) if can_read_values(choice) else range(count)
