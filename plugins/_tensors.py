"""Tensors that are kept for all calls, and choices by their values, for which a GPU would have to be waited for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def kept_tensors(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Have a function keep what it returned for its latest arguments."""

    def decorated(function: Callable[P, T]) -> Callable[P, T]:
        @functools.lru_cache(maxsize=maxsize)
        @functools.wraps(function)
        def kept(*arguments: P.args, **keywords: P.kwargs) -> T:
            with torch.inference_mode(False):
                return function(*arguments, **keywords)

        return kept  # type: ignore[return-value]

    return decorated


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
