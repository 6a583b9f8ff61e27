"""The evaluation of a denoiser, its local filters, alignment, rates: used by several metrics.

``Metric.score`` is handed an :class:`Evaluation`; the rest is for metrics that measure alike.

Examples
--------
A metric of one's own, or a built-in one, on any denoiser and images:

>>> import gahbench
>>> from gahbench.evaluation import Evaluation
>>> images = gahbench.create("dataset", "discs", size=16).images("test", 4)
>>> evaluation = Evaluation(gahbench.create("reference", "oracle-threshold", basis="haar"), images, [0.1])
>>> evaluation.denoised(0.1).shape
torch.Size([4, 1, 16, 16])
>>> gahbench.create("metric", "psnr").score(evaluation).image
[0, 1, 2, 3]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gahbench._util.lazy import lazy_names

if TYPE_CHECKING:
    from gahbench.evaluation.alignment import (
        MIN_IMAGES,
        Adaptation,
        Alignment,
        adaptation,
        align,
        changes,
        partial_cosine,
    )
    from gahbench.evaluation.approximation import Approximation, approximate
    from gahbench.evaluation.direction import directional
    from gahbench.evaluation.evaluation import Evaluation
    from gahbench.evaluation.exchange import exchange_significance, retrieved
    from gahbench.evaluation.local_filters import LocalFilters
    from gahbench.evaluation.optimum import OptimalImages
    from gahbench.evaluation.rates import (
        MAX_PSNR,
        MAX_RANK,
        MAX_TERMS,
        MIN_LEVELS,
        MIN_TERMS,
        coefficient_decay,
        fit_slope,
        input_psnr,
        local_slopes,
        rate_window,
    )
    from gahbench.evaluation.strength import StrengthRemoval, remove_strength

_MODULES = {
    "alignment": ["Adaptation", "Alignment", "MIN_IMAGES", "adaptation", "align", "changes", "partial_cosine"],
    "approximation": ["Approximation", "approximate"],
    "direction": ["directional"],
    "evaluation": ["Evaluation"],
    "exchange": ["exchange_significance", "retrieved"],
    "local_filters": ["LocalFilters"],
    "optimum": ["OptimalImages"],
    "rates": [
        "MIN_TERMS",
        "MIN_LEVELS",
        "MAX_TERMS",
        "MAX_RANK",
        "MAX_PSNR",
        "coefficient_decay",
        "fit_slope",
        "input_psnr",
        "local_slopes",
        "rate_window",
    ],
    "strength": ["StrengthRemoval", "remove_strength"],
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}
)

__all__ = [
    "MAX_PSNR",
    "MAX_RANK",
    "MAX_TERMS",
    "MIN_IMAGES",
    "MIN_LEVELS",
    "MIN_TERMS",
    "Adaptation",
    "Alignment",
    "Approximation",
    "Evaluation",
    "LocalFilters",
    "OptimalImages",
    "StrengthRemoval",
    "adaptation",
    "align",
    "approximate",
    "changes",
    "coefficient_decay",
    "directional",
    "exchange_significance",
    "fit_slope",
    "input_psnr",
    "local_slopes",
    "partial_cosine",
    "rate_window",
    "remove_strength",
    "retrieved",
]
