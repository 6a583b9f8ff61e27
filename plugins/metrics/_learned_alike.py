"""References fitted to the training images of a denoiser, for metrics that compare the two."""

from __future__ import annotations

import copy

from gahbench import Reference
from gahbench.evaluation import Evaluation

from .._messages import name_of


def check_uninformed(to: Reference) -> None:
    """Raise ``ValueError`` if a reference sees the clean image: it predicts nothing."""
    if to.kind in ("oracle", "bound"):
        raise ValueError(
            f"to='{name_of(to)}' is of kind '{to.kind}', which sees the clean image; accepted are references of "
            "the kinds classical, trained and optimal"
        )


def fitted_alike(to: Reference, evaluation: Evaluation) -> Reference | None:
    """Return a reference fitted to the training images of the denoiser; ``None`` where they are unknown."""
    if evaluation.learned_from is None or (evaluation.dataset is not None and not to.supports(evaluation.dataset)):
        return None
    reference = copy.deepcopy(to)
    reference.check_shape(evaluation.shape)
    reference.move(evaluation.device)
    reference.fit(evaluation.learned_from)
    return reference
