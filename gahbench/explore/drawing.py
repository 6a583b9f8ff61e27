"""Figures of bases on images, without results: approximation errors, and the geometry of bandlets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from matplotlib.figure import Figure

from gahbench._util.errors import ParameterError
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.evaluation.approximation import approximate
from gahbench.explore.sample import fit
from gahbench.report.bases import approximation_figure, geometry_figure

#: Thresholds of nonlinear approximation, in half octaves.
THRESHOLDS = tuple(2.0 ** (exponent / 2) for exponent in range(-18, 9))


def draw_approximation(
    registry: Any, datasets: Sequence[str], *, bases: tuple[str, ...] = ("sym4",), images: Annotated[int, Ge(1)] = 16
) -> Iterator[Figure]:
    """Draw the error of nonlinear approximation against the number of terms: a panel for each dataset."""
    panels: dict[str, dict[str, Any]] = {}
    slopes: dict[str, float] = {}
    for name in datasets:
        configured = registry.configure("dataset", name)
        dataset: Dataset = configured.build()
        truth, slope = Truth(dataset.images("test", images), dataset), dataset.optimum.slope
        slopes[configured.label] = np.nan if slope is None else slope
        for spec in bases:
            basis = registry.configure("basis", spec)
            fitted = fit(basis, configured, dataset)
            try:
                panels.setdefault(configured.label, {})[basis.label] = approximate(fitted, truth, THRESHOLDS)
            except ValueError as error:
                raise ParameterError(f"{basis.where} on {configured.label}: {error}") from error
    yield approximation_figure(panels, slopes)


def draw_geometry(
    registry: Any,
    datasets: Sequence[str],
    *,
    basis: str = "bandlet",
    threshold: Annotated[float, Ge(0)] = 0.1,
    index: Annotated[int, Ge(0)] = 0,
) -> Iterator[Figure]:
    """Draw the squares and directions that a bandlet basis selects, over an image of each dataset."""
    configured = registry.configure("basis", basis)
    if (find_geometry := getattr(configured.build(), "geometry", None)) is None:
        raise ParameterError(f"{configured.where}: has no geometry to draw; accepted: bandlets")
    for dataset in datasets:
        image = registry.create("dataset", dataset).images("test", 1, index)[0]
        yield geometry_figure(image, find_geometry(image, threshold))
