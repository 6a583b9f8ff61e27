"""Alignment of the directional parts of the filters of a denoiser and of the optimal denoiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from gahbench import Shape
from gahbench.evaluation import Evaluation

from ._directional import check_size
from ._truth_comparison import OptimalFilters, TruthComparison


class TruthDirection(TruthComparison):
    """Alignment of the directions along which a denoiser smooths with the directions of the optimal denoiser.

    The value is the cosine of ``direction``, with the filters of the optimal denoiser, or of the genie, in place of
    filters in a basis; ``truth-alignment`` describes these filters. It is 1 for the optimal denoiser, and 0 by
    definition for a denoiser whose adaptation has a directional fraction below 0.02. The value exists where the optimal
    filters are known and change their directions from image to image: on ``discs``, ``sinusoids`` and ``c-alpha``, but
    not on Gaussian datasets, whose optimal filter is the same for all images, or on ``rays``, where only the strength
    of the optimal filter changes. Where the value exists, it says more than ``direction`` with any basis, which
    compares with a model of the geometry of an image instead of the optimal denoiser.

    Parts: ``truth-share``, the directional fraction of the adaptation of the optimal filters (below 0.02 there is no
    value); ``directional-share`` and ``left-out`` as in ``direction``.
    """

    share_parts = ("directional-share", "truth-share", "left-out")

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values."""
        check_size("truth-direction", shape)

    def compare(self, evaluation: Evaluation, sigma: float, filters: OptimalFilters) -> Mapping[str, Tensor | float]:
        """Return the cosines of the directional parts, and the other parts."""
        denoiser = evaluation.local_filters.adaptation(sigma, filters.remove, directional=True)
        truth = filters.directional(evaluation.shape)
        return {"": truth.cosines(denoiser)[0], "directional-share": denoiser.share, "truth-share": truth.share}
