"""Figures of bases on images, without results: approximation errors, and the geometry of bandlets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.errors import ParameterError
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.explore.sample import fit
from gahbench.registry.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Thresholds of nonlinear approximation, in half octaves.
THRESHOLDS = tuple(2.0 ** (exponent / 2) for exponent in range(-18, 9))


def draw_approximation(registry: Registry, datasets: Sequence[str], bases: Sequence[str], images: int) -> Figure:
    """Draw the error of nonlinear approximation against the number of terms: a panel for each dataset."""
    from gahbench.evaluation.approximation import approximate
    from gahbench.report.bases import approximation_figure

    panels: dict[str, dict[str, Any]] = {}
    slopes: dict[str, float] = {}
    for name in datasets:
        configured = registry.configure("dataset", name)
        dataset: Dataset = configured.build()
        truth = Truth(dataset.images("test", images), dataset)
        slope = dataset.optimum.slope
        slopes[configured.label] = np.nan if slope is None else slope
        curves = panels.setdefault(configured.label, {})
        for spec in bases:
            basis = registry.configure("basis", spec)
            fitted = fit(basis, configured, dataset)
            try:
                curves[basis.label] = approximate(fitted, truth, THRESHOLDS)
            except ValueError as error:
                raise ParameterError(f"{basis.where} on {configured.label}: {error}") from error
    return approximation_figure(panels, slopes)


def draw_geometry(
    registry: Registry,
    dataset: str,
    basis: str = "bandlet",
    threshold: float = 0.1,
    index: int = 0,
    noisy: bool = False,
) -> Figure:
    """Draw the squares and directions that a bandlet basis selects, over the image."""
    from gahbench._util.noise import evaluation_noise
    from gahbench.report.bases import geometry_figure

    images: Dataset = registry.create("dataset", dataset)
    configured = registry.configure("basis", basis)
    find_geometry = getattr(configured.build(), "geometry", None)
    if find_geometry is None:
        raise ParameterError(f"{configured.where}: has no geometry to draw; accepted: bandlets")
    image = images.images("test", 1, index)
    if noisy:
        noise = evaluation_noise(index + 1, images.shape, threshold / 3, 0, "test", render_size=images.render_size)
        image = image + noise[index:]
    return geometry_figure(image[0], find_geometry(image[0], threshold, noisy).squares)
