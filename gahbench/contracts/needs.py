"""Parts of an evaluation, other than the images and the denoiser, that metrics may need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

#: ``training``: the images that the denoiser learned from (:attr:`Evaluation.learned_from`); ``partner``: the same
#: architecture or reference, trained on other images (:attr:`Evaluation.partner`); ``samples``: images sampled from
#: the denoiser (:attr:`Evaluation.samples`); ``snapshots``: networks saved during training
#: (:attr:`Evaluation.snapshots`); ``jacobian``: the Jacobians of the denoiser (:attr:`Evaluation.local_filters`);
#: ``test``: only the test split, because the value does not depend on the split; ``captured``: recorded noisy images
#: (:attr:`Evaluation.captured`).
Need = Literal["training", "partner", "samples", "snapshots", "jacobian", "test", "captured"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def needed(need: Need) -> Callable[[_Method], _Method]:
    """Mark a method that only metrics with this need may call; only keys of these metrics depend on its code."""

    def mark(method: _Method) -> _Method:
        @functools.wraps(method)
        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            granted = getattr(self, "granted", None)
            if granted is not None and need not in granted:
                raise ValueError(
                    f"the metric calls {method.__name__} of its evaluation without declaring its need; give its class "
                    f'needs = frozenset({{"{need}"}})'
                )
            return method(self, *args, **kwargs)

        return cast(_Method, checked)

    return mark
