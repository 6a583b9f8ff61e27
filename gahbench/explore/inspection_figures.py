"""The figures of an inspection."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from gahbench.board.alignments import MEASURES, AgreementCurve, Aligned, Measure
from gahbench.board.statistics import UNKNOWN, Estimate, bootstrap_means, estimate, means
from gahbench.report.alignments import course_figure, ranking_figure
from gahbench.report.eigenvectors import decay_figure, gallery_figure, level_names, spectra_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gahbench.explore.inspection import Inspection


def figures(inspection: Inspection, ranks: Sequence[int] | None = None) -> Iterator[tuple[str, Figure]]:
    """Yield the name, without suffix, and each figure of an inspection."""
    caption = f"{inspection.entrant}\non {inspection.image}"
    names = level_names(level.sigma for level in inspection.levels)
    for level in inspection.levels:
        images = {"clean": inspection.clean, "noisy": level.noisy, "denoised": level.denoised}
        name = names[level.sigma]
        yield (
            f"gallery-{name}",
            gallery_figure(images, level.eigenvalues, level.eigenvectors, ranks, f"{caption}, σ = {name}"),
        )
    yield "spectra", spectra_figure({level.sigma: level.eigenvalues for level in inspection.levels}, caption)
    yield "decay", decay_figure({level.sigma: level.coefficients for level in inspection.levels}, caption)
    ascending = sorted(inspection.levels, key=lambda level: level.sigma)
    compared = {level.sigma: level.compared for level in ascending if level.compared}
    if not compared:
        return
    place = inspection.place
    panels = {
        f"σ = {names[sigma]}": {name: _aligned(measures, place) for name, measures in bases.items()}
        for sigma, bases in compared.items()
    }
    yield "ranking", ranking_figure(panels, caption)
    kinds = dict.fromkeys((name for bases in compared.values() for name in bases), "classical")
    for measure in MEASURES:
        curves = {name: curve for name in kinds if (curve := _course(compared, name, measure, place)) is not None}
        if curves:
            yield measure, course_figure({caption: curves}, list(kinds), kinds, "each basis", measure)


def _aligned(measures: Mapping[Measure, Mapping[str, Tensor]], place: int) -> Aligned:
    """Return the means over images, and the value of one by which bases are ranked."""
    direction, alignment = (measures.get(measure, {}) for measure in MEASURES)
    headline = direction if "" in direction else alignment
    return Aligned(
        _estimate(direction),
        _estimate(alignment),
        retrieval=float(means(alignment["retrieval"].numpy()[None])) if "retrieval" in alignment else math.nan,
        single=float(headline[""][place]),
    )


def _estimate(parts: Mapping[str, Tensor]) -> Estimate:
    if "" not in parts:
        return UNKNOWN
    row = parts[""].numpy()[None, None]
    return estimate(means(row)[0], bootstrap_means(row)[:, 0])


def _course(
    levels: Mapping[float, Mapping[str, Mapping[Measure, Mapping[str, Tensor]]]],
    basis: str,
    measure: Measure,
    place: int,
) -> AgreementCurve | None:
    """Return the value of one image with a basis at every noise level that has one; there is no interval."""
    found = {
        sigma: float(parts[""][place])
        for sigma, bases in levels.items()
        if "" in (parts := bases.get(basis, {}).get(measure, {}))
    }
    if not found:
        return None
    nothing = np.full(len(found), np.nan)
    return AgreementCurve(tuple(found), np.array(list(found.values())), nothing, nothing, nothing)
