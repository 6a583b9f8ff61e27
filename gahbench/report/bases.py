"""Figures of bases: how well a denoiser agrees with them, learned eigenvectors, approximation, and bandlets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from gahbench._util.errors import ParameterError, listing
from gahbench._util.readable import level_name
from gahbench.board.statistics import Array, bootstrap_means, interval
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import folded
from gahbench.report.contact_sheet import decibels
from gahbench.report.drawing import (
    GREY,
    Styles,
    caption_above,
    context,
    curve_with_band,
    folded_caption,
    grid_shape,
    legend_beside,
    looks,
    panels,
    text_at_edge,
)

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.board.alignments import AgreementCurve, Aligned, Measure
    from gahbench.evaluation.approximation import Approximation

#: The name of the coefficients in the denoiser's own eigenvectors.
LEARNED = "learned"
_MAX_COLUMNS = 3
_LABEL = 28  # characters in a line of a legend
#: Square root of the agreement with itself under fresh noise: what a basis that sees no noise can reach.
_CEILING = "ceiling: what a basis can reach"
_CIRCLE: dict[str, Any] = {
    "marker": "o",
    "markersize": 5,
    "markerfacecolor": "white",
    "markeredgecolor": "0.15",
    "linestyle": "none",
}
_DIAMOND: dict[str, Any] = {**_CIRCLE, "marker": "D", "markersize": 4.5, "markerfacecolor": "0.15"}
#: Blue and red of equal lightness over white, which colour-blind readers can distinguish too.
_DIVERGING = "RdBu_r"
#: Galleries show ranks up to the first whose eigenvalue is below this.
_SMALL = 0.1
_IMAGE = 1.3  # inches of an image of a gallery
#: The smallest value that a panel of coefficients shows, in units of the smallest variance of the noise.
_FLOOR = 1e-3
_GEOMETRY = 2.6  # inches of a panel of a geometry
_STROKE = 0.8  # of a square's side
_OUTLINE = "#56b4e9"
_DIRECTION = "#d55e00"


def ranking_figure(rankings: Mapping[str, Mapping[str, Aligned]], caption: str = "") -> Figure:
    """Draw bases by how well a denoiser agrees with their directions, a panel for each denoiser or noise level."""
    names = list(dict.fromkeys(name for rows in rankings.values() for name in rows))
    labels = {name: folded(name, _LABEL) for name in names}
    blocks, abreast = grid_shape(len(rankings), _MAX_COLUMNS)
    lines = max(sum(labels[name].count("\n") + 1 for name in rows) for rows in rankings.values())
    widest = max(len(line) for label in labels.values() for line in label.split("\n"))
    with context():
        styles = looks(names)
        caption = folded_caption(caption, 45 * abreast + 10)
        wide = 2.9 + 0.07 * widest
        tall = 0.95 + 0.26 * max(lines, 3)
        size = (wide * abreast + 0.1, tall * blocks + 0.55 + 0.17 * caption.count("\n"))
        figure, axes = panels(len(rankings), (blocks, abreast), size, sharex=True)
        for ax, (title, rows) in zip(axes, rankings.items(), strict=True):
            _draw_ranks(ax, rows, styles, labels)
            ax.set_title(folded(title, int(15 * wide)), loc="left")
            ax.set_xlabel(_scale(rows))
            ax.tick_params(labelbottom=True)
            ax.margins(x=0.06)
        caption_above(figure, caption)
        _legend_below(figure, axes)
    return figure


def _draw_ranks(ax: Axes, rows: Mapping[str, Aligned], styles: Styles, labels: Mapping[str, str]) -> None:
    """List the bases of one panel from the best down."""
    ordered = sorted(rows, key=lambda name: -rows[name].ranked)
    ceilings = [row.ceiling for row in rows.values() if not math.isnan(row.ceiling)]
    beside: dict[str, Any] = {"fontsize": 7.5, "color": GREY, "transform": ax.get_yaxis_transform(), "va": "center"}
    ax.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    if ceilings:
        # The ceiling depends on the denoiser alone, and is the same for all bases.
        mean = sum(ceilings) / len(ceilings)
        ax.axvline(mean, color=GREY, linewidth=0.9, linestyle="--", zorder=1, label=_CEILING)
    for place, name in enumerate(ordered):
        row = rows[name]
        ax.barh(place, row.headline.value, height=0.55, color=styles[name]["color"], alpha=0.75, zorder=2)
        ax.plot([row.headline.low, row.headline.high], [place, place], color="0.15", linewidth=1.2, zorder=3)
        if row.direction.is_known:
            ax.plot(row.alignment.value, place, zorder=4, **_CIRCLE)
        if not math.isnan(row.single):
            ax.plot(row.single, place, zorder=5, **_DIAMOND)
        if not math.isnan(row.retrieval):
            ax.text(1.02, place, f"{100 * row.retrieval:.0f} %", **beside)
    if any(not math.isnan(row.retrieval) for row in rows.values()):
        ax.text(1.02, -0.85, "retrieved", **beside)
    ax.set_yticks(range(len(ordered)), [labels[name] for name in ordered])
    ax.set_ylim(len(ordered) - 0.4, -1.1)
    ax.grid(axis="y", visible=False)
    mean_label = f"{_scale(rows)}, mean over images, 95 % interval"
    ax.plot([], [], linestyle="-", color="0.15", linewidth=1.2, label=mean_label)
    if any(row.direction.is_known and row.alignment.is_known for row in rows.values()):
        ax.plot([], [], label="alignment, mean over images", **_CIRCLE)
    if any(not math.isnan(row.single) for row in rows.values()):
        ax.plot([], [], label="this image", **_DIAMOND)


def _scale(rows: Mapping[str, Aligned]) -> str:
    """Return the quantity that the bars of a panel show."""
    return "direction (cosine)" if any(row.direction.is_known for row in rows.values()) else "alignment (cosine)"


def _legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend below the panels."""
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    width = figure.get_figwidth()
    columns = len(handles) if width > 2.7 * len(handles) else max(1, int(width / 2.9))
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", frameon=False, ncols=columns)


def course_figure(
    courses: Mapping[str, Mapping[str, AgreementCurve]],
    order: Sequence[str],
    kinds: Mapping[str, str],
    what: str,
    metric: Measure = "direction",
) -> Figure:
    """Draw direction, or alignment, against input PSNR, a panel for each dataset and a curve for each label."""
    blocks, abreast = grid_shape(len(courses), _MAX_COLUMNS)
    # A single noise level has no line, so that its ceiling needs a marker.
    dotted: dict[str, Any] = {"linestyle": ":", "linewidth": 0.9, "marker": "x", "markersize": 3.5}
    names = {label: folded(label, _LABEL) for curves in courses.values() for label in curves}
    lines = sum(name.count("\n") + 1 for name in names.values()) + 1
    widest = max(len(line) for name in (*names.values(), folded(_CEILING, _LABEL)) for line in name.split("\n"))
    size = (3.3 * abreast + 0.65 + 0.07 * widest, max(3.3 * blocks, 0.185 * lines + 0.4))
    with context():
        styles = looks(order, kinds)
        figure, axes = panels(len(courses), (blocks, abreast), size, sharey=True)
        for place, (ax, (title, curves)) in enumerate(zip(axes, courses.items(), strict=True)):
            for label, curve in curves.items():
                x = input_psnr(curve.sigmas)
                curve_with_band(ax, x, (curve.value, curve.low, curve.high), names[label], styles[label])
                ax.plot(x, curve.ceiling, color=styles[label]["color"], zorder=2, **dotted)
            ax.axhline(0, color=GREY, linewidth=0.6, zorder=1)
            if any(np.isfinite(curve.ceiling).any() for curve in curves.values()):
                ax.plot([], [], color=GREY, label=_CEILING.replace(" basis", "\nbasis"), **dotted)
            ax.set_title(folded_caption(title, 38), loc="left")
            ax.set_xlabel("input PSNR (dB)")
            ax.tick_params(labelleft=True)
            if place % abreast == 0:
                ax.set_ylabel(f"{metric} with\n{folded(what, 40)} (cosine)")
        legend_beside(figure, axes)
    return figure


def level_names(sigmas: Iterable[float]) -> dict[float, str]:
    """Return noise levels in four digits, for titles and files, or in full if two levels agree in four digits."""
    short = {sigma: f"{sigma:.4g}" for sigma in sigmas}
    has_duplicates = len(set(short.values())) < len(short)
    return {sigma: level_name(sigma) for sigma in short} if has_duplicates else short


def geometric_ranks(eigenvalues: Tensor) -> list[int]:
    """Return ranks 1, 2, 3, 5, 9, 17, ..., up to the first whose eigenvalue is small."""
    ranks = []
    for rank in (1, 2, *(2**power + 1 for power in range(1, 32))):
        if rank > len(eigenvalues):
            break
        ranks.append(rank)
        if float(eigenvalues[rank - 1]) < _SMALL:
            break
    return ranks


def gallery_figure(
    images: Mapping[str, Tensor],
    eigenvalues: Tensor,
    eigenvectors: Tensor,
    ranks: Sequence[int] | None = None,
    caption: str = "",
) -> Figure:
    """Draw an image, clean, noisy and denoised, and eigenvectors of the denoiser's Jacobian there.

    As figures 3 to 5 of Kadkhodaie et al. 2024. Each eigenvector is divided by its largest absolute value; white is
    zero, and the sign means nothing. Eigenvectors of colour images are drawn in colour, grey for zero.
    """
    chosen = geometric_ranks(eigenvalues) if ranks is None else list(ranks)
    if wrong := [rank for rank in chosen if not 1 <= rank <= len(eigenvalues)]:
        raise ParameterError(f"ranks {listing(map(str, wrong))}: accepted are 1 to {len(eigenvalues)}")
    channels, height, width = next(iter(images.values())).shape
    count = len(images) + len(chosen)
    rows, abreast = grid_shape(count, 8)
    with context():
        caption = folded_caption(caption, 14 * abreast)
        head = 0.17 * (caption.count("\n") + 1) if caption else 0.0
        size = (_IMAGE * abreast + 0.9, (_IMAGE * height / width + 0.42) * rows + head + 0.1)
        figure, axes = panels(count, (rows, abreast), size)
        for ax in axes:
            _frame(ax)
        _show_images(axes, images)
        shown = None
        for ax, rank in zip(axes[len(images) :], chosen, strict=True):
            shown = _show_eigenvector(ax, eigenvectors[rank - 1].reshape(channels, height, width))
            ax.set_title(f"$k={rank}$\n$\\lambda_k={float(eigenvalues[rank - 1]):.3f}$")
        if shown is not None and channels != 3:
            last_column = figure.axes[abreast - 1 :: abreast]
            bar = figure.colorbar(shown, ax=last_column, shrink=0.8 if rows == 1 else 0.5, ticks=[-1, 0, 1])
            bar.set_label("$e_k$ / max $|e_k|$")
        caption_above(figure, caption)
    return figure


def _frame(ax: Axes) -> None:
    """Draw a frame without ticks around a panel."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)


def _show_images(axes: Sequence[Axes], images: Mapping[str, Tensor]) -> None:
    """Show images (C, H, W), clipped to [0, 1], with the PSNR above all but the first."""
    clean = next(iter(images.values()))
    for ax, (name, image) in zip(axes, images.items(), strict=False):
        ax.imshow(_pixels(image.double().clamp(0, 1)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        error = float((image.double() - clean.double()).square().mean())
        ax.set_title(name if image is clean else f"{name}\n{decibels(error)}")


def _show_eigenvector(ax: Axes, vector: Tensor) -> AxesImage:
    """Show an eigenvector (C, H, W), divided by its largest absolute value."""
    vector = vector.double().cpu()
    vector = vector / vector.abs().max().clamp_min(1e-300)
    if len(vector) == 3:
        return ax.imshow(_pixels((vector + 1) / 2), interpolation="nearest")
    return ax.imshow(_pixels(vector), interpolation="nearest", cmap=_DIVERGING, vmin=-1, vmax=1)


def _pixels(image: Tensor) -> Array:
    """Return an image (C, H, W) as it is drawn: (H, W, 3) if it has three channels, else their mean (H, W)."""
    values = image.detach().cpu()
    return np.asarray((values.movedim(0, -1) if len(values) == 3 else values.mean(0)).numpy())


def spectra_figure(spectra: Mapping[float, Tensor], caption: str = "") -> Figure:
    """Draw the eigenvalues against their rank, a curve for each noise level, with lines at 1 and 1/2."""
    names = {sigma: f"σ = {name}" for sigma, name in level_names(sorted(spectra)).items()}
    with context():
        styles = looks(list(names.values()))
        figure, (ax,) = panels(1, (1, 1), (5.6, 3.5))
        for sigma, name in names.items():
            _draw_by_rank(ax, spectra[sigma].double().cpu().numpy(), label=name, **styles[name])
        for height, text, dashes in ((1.0, "1", "--"), (0.5, "½", ":")):
            ax.axhline(height, color=GREY, linewidth=0.9, linestyle=dashes, zorder=1)
            # Eigenvalues are small at high ranks, so that the line is free at the right edge.
            text_at_edge(ax, height, text)
        ax.axhline(0, color=GREY, linewidth=0.6, zorder=1)
        ax.set_xlabel("rank $k$")
        ax.set_ylabel("eigenvalue $\\lambda_k$ (per unit of input)")
        ax.set_title(folded_caption(caption, 46), loc="left")
        legend_beside(figure, [ax])
    return figure


def decay_figure(coefficients: Mapping[float, Mapping[str, Tensor]], caption: str = "") -> Figure:
    """Draw the sorted squared coefficients of a clean image against rank, log-log, a panel for each noise level.

    The learned basis is the one at the noisy image of this noise level, as are bases that depend on a threshold. An
    oracle would keep the coefficients above the line at sigma^2.
    """
    with context():
        styles = looks(list(dict.fromkeys(name for bases in coefficients.values() for name in bases)))
        caption = folded_caption(caption, 40 * len(coefficients) + 6)
        size = (2.9 * len(coefficients) + 1.9, 3.4 + 0.17 * caption.count("\n"))
        figure, axes = panels(len(coefficients), (1, len(coefficients)), size, sharey=True)
        for ax, (sigma, level) in zip(axes, level_names(sorted(coefficients)).items(), strict=True):
            for place, (name, values) in enumerate(coefficients[sigma].items()):
                energy = np.sort(values.double().cpu().numpy().ravel() ** 2)[::-1]
                look = styles[name] | ({"linewidth": 2.0} if name == LEARNED else {})
                # Values that are zero but for rounding cannot be drawn on a logarithmic axis.
                energy = np.where(energy > 1e-12 * energy[0], energy, np.nan)
                _draw_by_rank(ax, energy, label=folded(name, _LABEL), zorder=4 - 0.01 * place, **look)
            ax.axhline(sigma**2, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
            text_at_edge(ax, sigma**2, "$\\sigma^2$")
            ax.set_yscale("log")
            ax.set_xlabel("rank of the coefficient")
            ax.set_title(f"σ = {level}", loc="left")
        # Coefficients far below all noise would fill decades of the axis.
        largest = max(float(values.abs().max()) ** 2 for bases in coefficients.values() for values in bases.values())
        floor = _FLOOR * min(coefficients) ** 2
        if largest > floor:
            axes[0].set_ylim(floor, 3 * largest)
        axes[0].set_ylabel("squared coefficient $c_{(k)}^2$ (grey scale$^2$)")
        caption_above(figure, caption)
        legend_beside(figure, axes)
    return figure


def _draw_by_rank(ax: Axes, values: Array, **look: Any) -> None:
    """Draw values against their rank, with markers that are equally spaced on the logarithmic axis."""
    markers = sorted({round(rank) - 1 for rank in np.geomspace(1, len(values), num=9).tolist()})
    ax.plot(np.arange(1, len(values) + 1), values, markevery=markers, **look)
    ax.set_xscale("log")
    ax.set_xlim(left=0.9)


def approximation_figure(
    approximations: Mapping[str, Mapping[str, Approximation]], slopes: Mapping[str, float]
) -> Figure:
    """Draw the error against the number of terms, log-log, a panel for each dataset and a curve for each basis.

    Terms and errors are means over the images at equal thresholds; bands are 95 % bootstrap intervals of the errors.
    Grey lines fall as M^-1, as wavelets do on images with edges, and as M^-alpha of the dataset's optimal slope
    alpha/(alpha+1).
    """
    count = len(approximations)
    with context():
        styles = looks(list(dict.fromkeys(name for curves in approximations.values() for name in curves)))
        figure, axes = panels(count, (1, count), (3.2 * count + 2.0, 3.5), sharey=True)
        for ax, (dataset, curves) in zip(axes, approximations.items(), strict=True):
            for name, curve in curves.items():
                low, high = interval(bootstrap_means(curve.errors[:, None, :]))
                shown = curve.shown
                band = (curve.mean_errors[shown], low[shown], high[shown])
                curve_with_band(ax, curve.mean_terms[shown], band, folded(name, 30), styles[name])
            best = next(iter(curves.values()))
            slope = slopes.get(dataset, math.nan)
            _draw_theory(ax, best.mean_terms[best.shown], best.mean_errors[best.shown], slope)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel("terms per image")
            ax.set_title(folded(dataset, 36), loc="left")
        # Lines of theory must not stretch the axis beyond the data.
        errors = [curve.mean_errors[curve.shown] for curves in approximations.values() for curve in curves.values()]
        measured = np.concatenate([*errors, [np.nan]])
        if np.isfinite(measured).any():
            axes[0].set_ylim(np.nanmin(measured) / 2, np.nanmax(measured) * 2)
        axes[0].set_ylabel("squared error per pixel")
        legend_beside(figure, axes)
    return figure


def _draw_theory(ax: Axes, terms: Array, errors: Array, slope: float) -> None:
    """Draw lines of theory through the middle of a curve."""
    if not len(terms):
        return
    middle = len(terms) // 2
    span = terms[[0, -1]]
    exponents = {1.0: ":"}
    if 0 < slope < 1:
        exponents[round(slope / (1 - slope), 6)] = "--"
    for exponent, dashes in exponents.items():
        heights = errors[middle] * (span / terms[middle]) ** -exponent
        label = f"falls as $M^{{-{exponent:g}}}$"
        ax.plot(span, heights, linestyle=dashes, color=GREY, linewidth=0.9, zorder=1, label=label)


class Square(Protocol):
    """A square of a subband; its area in the image is in pixels."""

    @property
    def scale(self) -> int:
        """Pixels per sample of the subband."""

    @property
    def orientation(self) -> str | None:
        """The orientation of structures in the subband; ``None`` without subbands."""

    @property
    def pixels(self) -> tuple[int, int, int]:
        """First row, first column and side."""

    @property
    def angle(self) -> float | None:
        """Direction of the contours, in degrees counter-clockwise from horizontal; ``None`` without a direction."""


def geometry_figure(image: Tensor, squares: Sequence[Square]) -> Figure:
    """Draw the squares of a geometry over its image: a row of panels for each scale, a panel for each subband."""
    by_subband: dict[int, dict[str | None, list[Square]]] = {}
    for square in squares:
        by_subband.setdefault(square.scale, {}).setdefault(square.orientation, []).append(square)
    orientations = list(dict.fromkeys(name for subbands in by_subband.values() for name in subbands)) or [None]
    scales = sorted(by_subband) or [1]
    subbands = [(scale, orientation) for scale in scales for orientation in orientations]
    height, width = image.shape[-2:]
    # The image is pale, so that lines are seen on it.
    pixels = _pixels(image.float().clamp(0, 1))
    with context():
        size = (_GEOMETRY * len(orientations), (_GEOMETRY * height / width + 0.25) * len(scales))
        figure, axes = panels(len(subbands), (len(scales), len(orientations)), size)
        for ax, (scale, orientation) in zip(axes, subbands, strict=True):
            ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, alpha=0.75, interpolation="nearest")
            _frame(ax)
            _draw_squares(ax, by_subband.get(scale, {}).get(orientation, []))
            ax.set_title(f"{orientation}, 1:{scale}" if orientation else "pixels", loc="left")
    return figure


def _draw_squares(ax: Axes, squares: Sequence[Square]) -> None:
    faint, strong, strokes = [], [], []
    for square in squares:
        top, left, side = square.pixels
        # Pixel (0, 0) reaches from -1/2 to 1/2.
        x, y = left - 0.5, top - 0.5
        outline = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
        if square.angle is None:
            faint.append(outline)
            continue
        strong.append(outline)
        angle = math.radians(square.angle)
        # Rows run downwards, angles counter-clockwise.
        across, up = math.cos(angle) * side * _STROKE / 2, math.sin(angle) * side * _STROKE / 2
        middle = (x + side / 2, y + side / 2)
        strokes.append([(middle[0] - across, middle[1] + up), (middle[0] + across, middle[1] - up)])
    ax.add_collection(LineCollection(faint, colors=_OUTLINE, linewidths=0.4, alpha=0.5))
    ax.add_collection(LineCollection(strong, colors=_OUTLINE, linewidths=0.7))
    ax.add_collection(LineCollection(strokes, colors=_DIRECTION, linewidths=1.1))
