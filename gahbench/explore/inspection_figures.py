"""The figures of an inspection."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from gahbench.board.alignments import Aligned, Course
from gahbench.board.statistics import bootstrap_means, interval, means
from gahbench.report.alignments import course_figure, ranking_figure
from gahbench.report.eigenvectors import decay_figure, gallery_figure, level_names, spectra_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gahbench.explore.inspection import Inspection


def figures(inspection: Inspection, ranks: Sequence[int] | None = None) -> Iterator[tuple[str, Figure]]:
    """Yield the name, without suffix, and each figure of an inspection.

    Parameters
    ----------
    ranks
        Which eigenvectors a gallery shows, counted from 1.
    """
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
    aligned = {level.sigma: level.alignment for level in ascending if level.alignment}
    if not aligned:
        return
    place = inspection.place
    panels = {
        f"σ = {names[sigma]}": {name: _aligned(parts, place) for name, parts in bases.items()}
        for sigma, bases in aligned.items()
    }
    yield "ranking", ranking_figure(panels, caption)
    kinds = dict.fromkeys((name for bases in aligned.values() for name in bases), "classical")
    curves = {name: _course({s: bases[name] for s, bases in aligned.items() if name in bases}, place) for name in kinds}
    yield "alignment", course_figure({caption: curves}, list(kinds), kinds, "each basis")


def _aligned(parts: Mapping[str, Tensor], place: int) -> Aligned:
    """Return the alignment of one image, and beside it the mean over all."""
    values = parts[""].numpy()[None]
    low, high = interval(bootstrap_means(values))
    return Aligned(
        float(means(values)),
        float(low),
        float(high),
        null=float(parts["null"][place]) if "null" in parts else math.nan,
        retrieval=float(means(parts["retrieval"].numpy()[None])) if "retrieval" in parts else math.nan,
        single=float(parts[""][place]),
    )


def _course(levels: Mapping[float, Mapping[str, Tensor]], place: int) -> Course:
    """Return the alignment of one image with a basis; there is no interval."""
    own = np.array([float(parts[""][place]) for parts in levels.values()])
    null = np.array([float(parts["null"][place]) if "null" in parts else math.nan for parts in levels.values()])
    nothing = np.full(len(own), np.nan)
    return Course(tuple(levels), own, nothing, nothing, null)
