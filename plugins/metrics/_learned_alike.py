"""References that learn from the images that a denoiser learned from, for metrics that hold it against them."""

from __future__ import annotations

from gahbench import Reference
from gahbench.evaluation import Evaluation
from gahbench.registry.registry import default_registry

#: References of these kinds must see the clean image.
_INFORMED = ("oracle", "bound")


def check_uninformed(to: str) -> None:
    """Raise ``ValueError`` if a reference sees the clean image: it predicts nothing."""
    kind = default_registry().create("reference", to).kind
    if kind in _INFORMED:
        raise ValueError(
            f"to='{to}' is of kind '{kind}', which sees the clean image; accepted are references of the kinds "
            "classical, trained and optimal"
        )


def fitted_alike(to: str, evaluation: Evaluation) -> Reference | None:
    """Return a reference that has learned what the denoiser learned from; ``None`` where that is not known.

    Raises
    ------
    ValueError
        If it does not take images of this shape.
    """
    reference: Reference = default_registry().create("reference", to)
    if evaluation.learned_from is None or (
        evaluation.dataset is not None and not reference.supports(evaluation.dataset)
    ):
        return None
    reference.check_shape(evaluation.shape)
    reference.move(evaluation.device)
    reference.fit(evaluation.learned_from)
    return reference
