"""Alignment of the filters of a denoiser with the filters of the optimal denoiser."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gahbench.evaluation import Evaluation

from ._truth_comparison import OptimalFilters, TruthComparison


class TruthAlignment(TruthComparison):
    """Alignment of the denoiser's filters with those of the optimal denoiser or of the genie, as in ``alignment``.

    If the optimum of the dataset is exact, the optimal filter is the Jacobian of the posterior mean, Cov[x|y] / sigma^2
    (Kadkhodaie 2024, equation 9). If the optimum is a bracket, the filter of the genie takes the place of the optimal
    filter; the genie is a denoiser with additional information (on ``c-alpha``, the Wiener filter given the contour).
    The strengths of the two filters are not matched; the regression on the denoiser's strength removes strength from
    both. There is no value on other datasets, on Gaussian datasets, whose optimal filter is the same for all images, or
    on ``rays``, where only the strength of the optimal filter changes.

    Parts: ``truth-share``, the fraction of the variation of the optimal filters that is not strength (below 0.02 there
    is no value); ``share``, ``left-out`` and ``error`` as in ``alignment``.
    """

    share_parts = ("share", "truth-share", "left-out")

    def compare(self, evaluation: Evaluation, sigma: float, filters: OptimalFilters) -> Mapping[str, Tensor | float]:
        """Return the cosines after removing strength, and the parts."""
        denoiser = evaluation.local_filters.adaptation(sigma, filters.remove)
        cosines, errors = filters.cosines(denoiser)
        parts: dict[str, Tensor | float] = {"": cosines, "share": denoiser.share, "truth-share": filters.share}
        return parts if denoiser.sketch.exact else parts | {"error": errors}
