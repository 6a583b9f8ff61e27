"""Tensors that are made once and kept for all calls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

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
