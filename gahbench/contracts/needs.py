"""The parts of an evaluation that metrics may need beside images and the denoiser."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

#: ``training``: the images that the denoiser learned from (:attr:`Evaluation.learned_from`); ``partner``: the same
#: architecture or reference, learned from other images (:attr:`Evaluation.partner`); ``samples``: images sampled from
#: the denoiser (:attr:`Evaluation.samples`); ``snapshots``: networks along the training
#: (:attr:`Evaluation.snapshots`); ``jacobian``: the Jacobians of the denoiser (:attr:`Evaluation.local`); ``test``: the
#: test split alone, since the split plays no part: it is measured once.
Need = Literal["training", "partner", "samples", "snapshots", "jacobian", "test"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def needed(need: Need) -> Callable[[_Method], _Method]:
    """Mark a method that only metrics with a need may use, and whose code is part of their keys alone."""

    def mark(method: _Method) -> _Method:
        @functools.wraps(method)
        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            granted = getattr(self, "granted", None)
            if granted is not None and need not in granted:
                raise ValueError(
                    f"the metric uses {method.__name__} of its evaluation without asking for it; give its class "
                    f'needs = frozenset({{"{need}"}})'
                )
            return method(self, *args, **kwargs)

        return cast(_Method, checked)

    return mark
