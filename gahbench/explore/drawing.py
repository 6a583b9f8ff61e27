"""Figures beyond a board's own: rates, approximation, and the geometry of bandlets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.errors import GahbenchError, ParameterError
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.evaluation.rates import MIN_LEVELS
from gahbench.registry.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gahbench.board.results import Results

#: Thresholds of an approximation, between these, in half octaves.
THRESHOLDS = tuple(2.0 ** (place / 2) for place in range(-18, 9))


def rate_windows(results: Results, registry: Registry, rate: str = "rate") -> dict[str, list[float]]:
    """Return the noise levels of the results at which slopes are valid estimates of rates, by dataset."""
    levels = getattr(registry.create("metric", rate), "levels", None)
    if levels is None:
        raise ParameterError(f"metric '{rate}' chooses no window; accepted: rate, with parameters")
    windows = {}
    scores = results.scores[(results.scores["metric"] == "psnr") & (results.scores["split"] == "test")]
    facts = results.datasets
    columns = (facts[name] for name in ("dataset", "channels", "height", "width"))
    shapes = {str(label): tuple(map(int, shape)) for label, *shape in zip(*columns, strict=True)}
    specs = {str(label): str(spec or label) for label, spec in zip(facts["dataset"], facts["spec"], strict=True)}
    for label, rows in scores.groupby("dataset", sort=False):
        try:
            dataset: Dataset = registry.create("dataset", specs.get(str(label), str(label)))
            if shapes.get(str(label), dataset.shape) != dataset.shape:
                continue  # A label of the suite's that is the name of another dataset.
            clean = dataset.images("test", int(rows["image"].max()) + 1)
            inside = levels(clean, rows["sigma"].dropna().unique().tolist())
        except (GahbenchError, ValueError):
            continue
        if len(inside) >= MIN_LEVELS:
            windows[str(label)] = inside
    return windows


def draw_approximation(registry: Registry, datasets: Sequence[str], bases: Sequence[str], images: int) -> Figure:
    """Draw the error of nonlinear approximation against the number of terms, a panel for each dataset."""
    from gahbench.contracts.truth import TrainingData
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
        for described in bases:
            found = registry.configure("basis", described)
            basis: Basis = found.build()
            try:
                basis.check_shape(dataset.shape)
                if not basis.supports(dataset):
                    raise ParameterError("it does not exist there")
                basis.fit(TrainingData(dataset))
                curves[found.label] = approximate(basis, truth, THRESHOLDS)
            except (ValueError, ParameterError) as error:
                raise ParameterError(f"{found.where} on {configured.label}: {error}") from error
    return approximation_figure(panels, slopes)


def draw_geometry(
    registry: Registry,
    dataset: str,
    basis: str = "bandlet",
    threshold: float = 0.1,
    index: int = 0,
    noisy: bool = False,
) -> Figure:
    """Draw the squares and directions that a bandlet basis chooses, over the image."""
    from gahbench._util.noise import evaluation_noise
    from gahbench.report.bases import geometry_figure

    images: Dataset = registry.create("dataset", dataset)
    found = registry.configure("basis", basis)
    geometry_of = getattr(found.build(), "geometry", None)
    if geometry_of is None:
        raise ParameterError(f"{found.where}: has no geometry to draw; accepted are bandlets")
    image = images.images("test", 1, index)
    if noisy:
        noise = evaluation_noise(index + 1, images.shape, threshold / 3, 0, "test", master=images.master)
        image = image + noise[index:]
    return geometry_figure(image[0], geometry_of(image[0], threshold, noisy).squares)


def save_figure(drawing: Figure, file: Path) -> None:
    """Write a figure as ``.png``, ``.svg`` or ``.pdf``; equal figures give equal files."""
    from gahbench._util.files import write_output
    from gahbench.report.drawing import check_suffix, encode

    check_suffix(file)
    write_output(encode(drawing, file.suffix.lower(), bbox_inches="tight"), file)
