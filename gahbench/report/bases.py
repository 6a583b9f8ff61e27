"""Figures without results: agreement of a denoiser with bases, eigenvectors, approximation, and bandlet geometries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gahbench._util.errors import ParameterError, listing
from gahbench._util.readable import level_name
from gahbench.board.statistics import Interval, sampled_means
from gahbench.report.drawing import GREY, PALETTE, ShownFigure, draw_curves, draw_dots, figure_style, grid_columns
from gahbench.report.pictures import Cell, format_psnr, lay_out, to_picture

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.board.metric_names import Agreement
    from gahbench.evaluation.approximation import Approximation

#: The label of the basis of the denoiser's own eigenvectors.
LEARNED = "learned"
#: A diverging colour map from blue through white to red, whose ends colour-blind readers can distinguish.
_DIVERGING = "RdBu_r"
#: Galleries show ranks up to the first rank whose eigenvalue is below this value.
_SMALL_EIGENVALUE = 0.1
#: The smallest squared coefficient that is shown, relative to the smallest noise variance.
_ENERGY_FLOOR = 1e-3
_GEOMETRY_INCHES = 2.6  # width of a panel of a geometry
_STROKE_LENGTH = 0.8  # relative to the side of the square


def bases_figure(mean_agreements: Mapping[str, Mapping[str, Agreement]], caption: str = "") -> Figure:
    """Draw the agreement of a denoiser with bases, a panel for each noise level."""
    rows = [
        (panel, basis, mark, *astuple(interval))
        for panel, agreements in mean_agreements.items()
        for basis, agreement in agreements.items()
        for mark, interval in {
            "direction, mean over images": agreement.direction,
            "alignment, mean over images": agreement.alignment,
            "direction, this image": Interval(agreement.single),
        }.items()
    ]
    frame = pd.DataFrame(rows, columns=pd.Index(["panel", "row", "mark", "value", "low", "high"]))
    frame = frame[frame.groupby("mark")["value"].transform("count") > 0]
    return draw_dots(frame, f"cosine, {caption}".replace("\n", " "))


def level_names(sigmas: Iterable[float]) -> dict[float, str]:
    """Return noise levels as text with four digits, or with all digits if two levels agree in four digits."""
    short = {sigma: f"{sigma:.4g}" for sigma in sigmas}
    return short if len({*short.values()}) == len(short) else {sigma: level_name(sigma) for sigma in short}


def geometric_ranks(eigenvalues: Tensor) -> list[int]:
    """Return ranks 1, 2, 3, 5, 9, 17, ..., up to the first whose eigenvalue is small."""
    ranks = [rank for rank in (1, *(2**power + 1 for power in range(31))) if rank <= len(eigenvalues)]
    return ranks[: 1 + sum(float(eigenvalues[rank - 1]) >= _SMALL_EIGENVALUE for rank in ranks)]


def gallery_figure(
    images: dict[str, Tensor], eigenvalues: Tensor, eigenvectors: Tensor, ranks: Sequence[int] = (), caption: str = ""
) -> Figure:
    """Draw a clean, a noisy and a denoised image, and eigenvectors of the denoiser's Jacobian at the noisy image.

    The layout follows figures 3 to 5 of Kadkhodaie et al. 2024. Each eigenvector is divided by its largest absolute
    value; white is zero, and the sign is arbitrary. Eigenvectors of colour images are drawn in colour, with zero as
    grey.
    """
    shown_ranks = list(ranks) or geometric_ranks(eigenvalues)
    if invalid := [rank for rank in shown_ranks if not 1 <= rank <= len(eigenvalues)]:
        raise ParameterError(f"ranks {listing(map(str, invalid))}; accepted: 1 to {len(eigenvalues)}")
    clean, cells = next(iter(images.values())).double(), []
    for name, image in images.items():
        error = float((image.double() - clean).square().mean())
        cells.append(Cell(to_picture(image.detach().cpu()), f"{name}\n{format_psnr(error)}" if error else name))
    for rank in shown_ranks:
        vector = eigenvectors[rank - 1].reshape(clean.shape).detach().double().cpu()
        picture = to_picture((vector / vector.abs().max().clamp_min(1e-300) + 1) / 2)
        colours = picture if picture.ndim == 3 else matplotlib.colormaps[_DIVERGING](picture)[:, :, :3]
        cells.append(Cell(colours, f"k = {rank}\nλ = {float(eigenvalues[rank - 1]):.3f}"))
    columns = grid_columns(len(cells), 7)
    rows = [cells[first : first + columns] for first in range(0, len(cells), columns)]
    return lay_out(rows, [""] * len(rows), caption.split("\n"))


def spectra_figure(spectra: Mapping[float, Tensor], caption: str = "") -> Figure:
    """Draw the eigenvalues against their rank, a curve for each noise level, with lines at 1 and 1/2."""
    names = level_names(sorted(spectra))
    frame = pd.concat(_by_rank(spectra[sigma], panel=caption, label=f"σ = {name}") for sigma, name in names.items())
    figure = draw_curves(frame, "rank of the eigenvalue", "eigenvalue (per unit of input)")
    for height in (0.0, 0.5, 1.0):
        figure.axes[0].axhline(height, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    return figure


def decay_figure(coefficients: Mapping[float, Mapping[str, Tensor]], caption: str = "") -> Figure:
    """Draw the sorted squared coefficients of a clean image against rank, log-log, a panel for each noise level.

    The learned basis, and bases that depend on a threshold, are those of the noisy image at the noise level of the
    panel. An oracle would keep the coefficients above the line at sigma^2.
    """
    levels = level_names(sorted(coefficients))
    frame = pd.concat(
        _by_rank(values.double().flatten().square().sort(descending=True).values, panel=f"σ = {level}", label=name)
        for sigma, level in levels.items()
        for name, values in coefficients[sigma].items()
    )
    # Smaller values are zero up to rounding, or so far below the noise that they would take most of the axis.
    frame["value"] = frame["value"].where(frame["value"] > _ENERGY_FLOOR * min(coefficients) ** 2)
    x_label, y_label = f"rank of the coefficient, {caption}".replace("\n", " "), "squared coefficient (grey scale²)"
    figure = draw_curves(frame, x_label, y_label, log="xy", share_y=True)
    for ax, sigma in zip(figure.axes, levels, strict=True):
        ax.axhline(sigma**2, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
    return figure


def _by_rank(values: Tensor, **columns: str) -> pd.DataFrame:
    """Return the frame of a curve of values against rank, at about 200 ranks that are evenly spaced in logarithm."""
    ranks = np.unique(np.geomspace(1, len(values), num=200).round().astype(int))
    return pd.DataFrame({"x": ranks, "value": values.double().cpu().numpy()[ranks - 1]}).assign(**columns)


def approximation_figure(
    approximations: Mapping[str, Mapping[str, Approximation]], slopes: Mapping[str, float]
) -> Figure:
    """Draw the error against the number of terms, log-log, a panel for each dataset and a curve for each basis.

    Terms and errors are means over the images at equal thresholds; bands are 95 % bootstrap intervals of the errors.
    Grey lines show two theoretical rates: M^-1, the rate of wavelets on images with edges, and M^-alpha for a dataset
    whose optimal slope is alpha/(alpha+1).
    """
    frames = []
    for dataset, curves in approximations.items():
        for name, curve in curves.items():
            low, high = sampled_means(curve.errors[:, None, :]).ends()
            columns = {"x": curve.terms.mean(1), "value": curve.errors.mean(1), "low": low, "high": high}
            frames.append(pd.DataFrame(columns).query("x >= 1 and value > 0").assign(panel=dataset, label=name))
    frame = pd.concat(frames)
    figure = draw_curves(frame, "terms per image", "squared error per pixel", log="xy", share_y=True)
    for ax, (dataset, curves) in zip(figure.axes, approximations.items(), strict=True):
        best = frame[(frame["panel"] == dataset) & (frame["label"] == next(iter(curves)))]
        terms, errors = best["x"].to_numpy(), best["value"].to_numpy()
        slope, limits = slopes.get(dataset, math.nan), ax.get_ylim()
        exponents = {1.0: ":"} | ({slope / (1 - slope): "--"} if 0 < slope < 1 else {})
        for exponent, dashes in exponents.items() if len(terms) else ():
            middle, span = len(terms) // 2, terms[[0, -1]]
            heights = errors[middle] * (span / terms[middle]) ** -exponent
            ax.plot(span, heights, linestyle=dashes, color=GREY, linewidth=0.9, zorder=1)
        # The lines of theoretical rates must not stretch the axis beyond the data.
        ax.set_ylim(limits)
    return figure


def geometry_figure(image: Tensor, squares: Sequence[Any]) -> Figure:
    """Draw the squares of a geometry over its image: a row of panels for each scale, a panel for each subband.

    A square has a ``scale`` (pixels per sample of its subband), an ``orientation`` of structures in its subband
    (``None`` without subbands), ``pixels`` (its first row, first column and side), and the ``angle`` of contours in
    degrees, counter-clockwise from horizontal (``None`` without a direction).
    """
    orientations = list(dict.fromkeys(square.orientation for square in squares)) or [None]
    scales = sorted({square.scale for square in squares}) or [1]
    height, width = image.shape[-2:]
    size = (_GEOMETRY_INCHES * len(orientations), (_GEOMETRY_INCHES * height / width + 0.25) * len(scales))
    with figure_style():
        figure = ShownFigure(figsize=size, layout="constrained")
        axes = figure.subplots(len(scales), len(orientations), squeeze=False).flat
        for ax, (scale, orientation) in zip(axes, itertools.product(scales, orientations), strict=True):
            # The image is drawn pale, so that the lines stand out.
            ax.imshow(to_picture(image), cmap="gray", vmin=0, vmax=1, alpha=0.75, interpolation="nearest")
            ax.set(xticks=[], yticks=[], title=f"{orientation}, 1:{scale}" if orientation else "pixels")
            ax.autoscale(False)
            ax.spines[:].set_visible(True)
            for square in squares:
                if (square.scale, square.orientation) == (scale, orientation):
                    _draw_square(ax, square)
    return figure


def _draw_square(ax: Axes, square: Any) -> None:
    top, left, side = square.pixels
    look: dict[str, Any] = {"linewidth": 0.4, "alpha": 0.5} if square.angle is None else {"linewidth": 0.7}
    # In matplotlib, pixel (0, 0) covers -1/2 to 1/2.
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color=PALETTE[9], **look))
    if square.angle is not None:
        # The row axis points down, while angles are counter-clockwise.
        half = _STROKE_LENGTH * side / 2 * np.exp(-1j * math.radians(square.angle))
        ends = complex(left, top) + (side - 1) * (0.5 + 0.5j) + np.array([-half, half])
        ax.plot(ends.real, ends.imag, color=PALETTE[3], linewidth=1.1)
