"""Figures of bases: agreement with a denoiser, learned eigenvectors, approximation errors, and bandlet geometries."""

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
from gahbench.board.statistics import Array, sampled_means
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import DASH, fold_label
from gahbench.report.contact_sheet import format_psnr
from gahbench.report.drawing import (
    GREY,
    Styles,
    add_caption,
    add_legend,
    create_panels,
    draw_curve,
    entrant_styles,
    figure_style,
    fold_caption,
    grid_shape,
    write_at_edge,
)

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.board.alignments import Agreement, AgreementCurve, Measure
    from gahbench.evaluation.approximation import Approximation

#: The label of the basis of the denoiser's own eigenvectors.
LEARNED = "learned"
_MAX_COLUMNS = 3
_LABEL_WIDTH = 28  # characters in a line of the legend
#: The highest agreement that a basis independent of the noise can reach: the square root of the denoiser's agreement
#: with itself under fresh noise.
_CEILING_LABEL = "ceiling: what a basis can reach"
_CIRCLE: dict[str, Any] = {
    "marker": "o",
    "markersize": 5,
    "markerfacecolor": "white",
    "markeredgecolor": "0.15",
    "linestyle": "none",
}
_DIAMOND: dict[str, Any] = {**_CIRCLE, "marker": "D", "markersize": 4.5, "markerfacecolor": "0.15"}
#: A diverging colour map from blue through white to red, whose ends colour-blind readers can distinguish.
_DIVERGING = "RdBu_r"
#: Galleries show ranks up to the first rank whose eigenvalue is below this value.
_SMALL_EIGENVALUE = 0.1
_IMAGE_INCHES = 1.3  # width of an image in a gallery
#: The smallest squared coefficient that is shown, relative to the smallest noise variance.
_ENERGY_FLOOR = 1e-3
_GEOMETRY_INCHES = 2.6  # width of a panel of a geometry
_STROKE_LENGTH = 0.8  # relative to the side of the square
_OUTLINE = "#56b4e9"
_DIRECTION = "#d55e00"


def bases_figure(mean_agreements: Mapping[str, Mapping[str, Agreement]], caption: str = "") -> Figure:
    """Draw the agreement of denoisers with bases, a panel for each denoiser or noise level."""
    names = list(dict.fromkeys(name for rows in mean_agreements.values() for name in rows))
    labels = {name: fold_label(name, _LABEL_WIDTH) for name in names}
    panel_rows, panel_columns = grid_shape(len(mean_agreements), _MAX_COLUMNS)
    lines = max(sum(labels[name].count("\n") + 1 for name in rows) for rows in mean_agreements.values())
    widest = max(len(line) for label in labels.values() for line in label.split("\n"))
    with figure_style():
        styles = entrant_styles(names)
        caption = fold_caption(caption, 45 * panel_columns + 10)
        panel_width = 2.9 + 0.07 * widest
        panel_height = 0.95 + 0.26 * max(lines, 3)
        size = (panel_width * panel_columns + 0.1, panel_height * panel_rows + 0.55 + 0.17 * caption.count("\n"))
        figure, axes = create_panels(len(mean_agreements), (panel_rows, panel_columns), size, sharex=True)
        for ax, (title, rows) in zip(axes, mean_agreements.items(), strict=True):
            _draw_bars(ax, rows, styles, labels)
            ax.set_title(fold_label(title, int(15 * panel_width)), loc="left")
            ax.set_xlabel(_bar_quantity(rows))
            ax.tick_params(labelbottom=True)
            ax.margins(x=0.06)
        add_caption(figure, caption)
        _legend_below(figure, axes)
    return figure


def _draw_bars(ax: Axes, rows: Mapping[str, Agreement], styles: Styles, labels: Mapping[str, str]) -> None:
    """Draw a horizontal bar for each basis, from top to bottom; a basis without a value gets a dash and its share."""
    has_direction = any(row.direction.is_known for row in rows.values())
    ceilings = [row.ceiling for row in rows.values() if not math.isnan(row.ceiling)]
    margin_text: dict[str, Any] = {
        "fontsize": 7.5,
        "color": GREY,
        "transform": ax.get_yaxis_transform(),
        "va": "center",
    }
    ax.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    if ceilings:
        # The ceiling depends only on the denoiser, so the values of all bases estimate the same quantity.
        mean = sum(ceilings) / len(ceilings)
        ax.axvline(mean, color=GREY, linewidth=0.9, linestyle="--", zorder=1, label=_CEILING_LABEL)
    for position, (name, row) in enumerate(rows.items()):
        value = row.direction if has_direction else row.alignment
        ax.barh(position, value.value, height=0.55, color=styles[name]["color"], alpha=0.75, zorder=2)
        ax.plot([value.low, value.high], [position, position], color="0.15", linewidth=1.2, zorder=3)
        if not value.is_known and math.isnan(row.single):
            share = "" if math.isnan(row.share) else f" (share {row.share:.3f})"
            # Beside the mark of the alignment, which may be known.
            start = max(0.0, row.alignment.value) if has_direction and row.alignment.is_known else 0.0
            ax.annotate(
                f"{DASH}{share}", (start, position), (6, 0), textcoords="offset points", fontsize=7.5, color=GREY,
                va="center",
            )  # fmt: skip
        if has_direction:
            ax.plot(row.alignment.value, position, zorder=4, **_CIRCLE)
        if not math.isnan(row.single):
            ax.plot(row.single, position, zorder=5, **_DIAMOND)
        if not math.isnan(row.retrieval):
            ax.text(1.02, position, f"{100 * row.retrieval:.0f} %", **margin_text)
    if any(not math.isnan(row.retrieval) for row in rows.values()):
        ax.text(1.02, -0.85, "retrieved", **margin_text)
    ax.set_yticks(range(len(rows)), [labels[name] for name in rows])
    ax.set_ylim(len(rows) - 0.4, -1.1)
    ax.grid(axis="y", visible=False)
    mean_label = f"{_bar_quantity(rows)}, mean over images, 95 % interval"
    ax.plot([], [], linestyle="-", color="0.15", linewidth=1.2, label=mean_label)
    if has_direction and any(row.alignment.is_known for row in rows.values()):
        ax.plot([], [], label="alignment, mean over images", **_CIRCLE)
    if any(not math.isnan(row.single) for row in rows.values()):
        ax.plot([], [], label="this image", **_DIAMOND)


def _bar_quantity(rows: Mapping[str, Agreement]) -> str:
    """Return the quantity that the bars of a panel show."""
    return "direction (cosine)" if any(row.direction.is_known for row in rows.values()) else "alignment (cosine)"


def _legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend below the panels."""
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    width = figure.get_figwidth()
    columns = len(handles) if width > 2.7 * len(handles) else max(1, int(width / 2.9))
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", frameon=False, ncols=columns)


def agreement_figure(
    curves_by_dataset: Mapping[str, Mapping[str, AgreementCurve]],
    order: Sequence[str],
    kinds: Mapping[str, str],
    basis: str,
    metric: Measure = "direction",
) -> Figure:
    """Draw direction, or alignment, against input PSNR, a panel for each dataset and a curve for each label."""
    panel_rows, panel_columns = grid_shape(len(curves_by_dataset), _MAX_COLUMNS)
    # A single noise level has no line, so its ceiling needs a marker.
    ceiling_style: dict[str, Any] = {"linestyle": ":", "linewidth": 0.9, "marker": "x", "markersize": 3.5}
    names = {label: fold_label(label, _LABEL_WIDTH) for curves in curves_by_dataset.values() for label in curves}
    lines = sum(name.count("\n") + 1 for name in names.values()) + 1
    widest = max(
        len(line) for name in (*names.values(), fold_label(_CEILING_LABEL, _LABEL_WIDTH)) for line in name.split("\n")
    )
    size = (3.3 * panel_columns + 0.65 + 0.07 * widest, max(3.3 * panel_rows, 0.185 * lines + 0.4))
    with figure_style():
        styles = entrant_styles(order, kinds)
        figure, axes = create_panels(len(curves_by_dataset), (panel_rows, panel_columns), size, sharey=True)
        for index, (ax, (title, curves)) in enumerate(zip(axes, curves_by_dataset.items(), strict=True)):
            for label, curve in curves.items():
                x = input_psnr(curve.sigmas)
                draw_curve(ax, x, (curve.value, curve.low, curve.high), names[label], styles[label])
                ax.plot(x, curve.ceiling, color=styles[label]["color"], zorder=2, **ceiling_style)
            ax.axhline(0, color=GREY, linewidth=0.6, zorder=1)
            if any(np.isfinite(curve.ceiling).any() for curve in curves.values()):
                ax.plot([], [], color=GREY, label=_CEILING_LABEL.replace(" basis", "\nbasis"), **ceiling_style)
            ax.set_title(fold_caption(title, 38), loc="left")
            ax.set_xlabel("input PSNR (dB)")
            ax.tick_params(labelleft=True)
            if index % panel_columns == 0:
                ax.set_ylabel(f"{metric} with\n{fold_label(basis, 40)} (cosine)")
        add_legend(figure, axes)
    return figure


def level_names(sigmas: Iterable[float]) -> dict[float, str]:
    """Return noise levels as text with four digits, or with all digits if two levels agree in four digits."""
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
        if float(eigenvalues[rank - 1]) < _SMALL_EIGENVALUE:
            break
    return ranks


def gallery_figure(
    images: Mapping[str, Tensor],
    eigenvalues: Tensor,
    eigenvectors: Tensor,
    ranks: Sequence[int] | None = None,
    caption: str = "",
) -> Figure:
    """Draw a clean, a noisy and a denoised image, and eigenvectors of the denoiser's Jacobian at the noisy image.

    The layout follows figures 3 to 5 of Kadkhodaie et al. 2024. Each eigenvector is divided by its largest absolute
    value; white is zero, and the sign is arbitrary. Eigenvectors of colour images are drawn in colour, with zero as
    grey.
    """
    shown_ranks = geometric_ranks(eigenvalues) if ranks is None else list(ranks)
    if invalid := [rank for rank in shown_ranks if not 1 <= rank <= len(eigenvalues)]:
        raise ParameterError(f"ranks {listing(map(str, invalid))}; accepted: 1 to {len(eigenvalues)}")
    channels, height, width = next(iter(images.values())).shape
    count = len(images) + len(shown_ranks)
    rows, columns = grid_shape(count, 8)
    with figure_style():
        caption = fold_caption(caption, 14 * columns)
        caption_height = 0.17 * (caption.count("\n") + 1) if caption else 0.0
        size = (_IMAGE_INCHES * columns + 0.9, (_IMAGE_INCHES * height / width + 0.42) * rows + caption_height + 0.1)
        figure, axes = create_panels(count, (rows, columns), size)
        for ax in axes:
            _frame(ax)
        _show_images(axes, images)
        last_image = None
        for ax, rank in zip(axes[len(images) :], shown_ranks, strict=True):
            last_image = _show_eigenvector(ax, eigenvectors[rank - 1].reshape(channels, height, width))
            ax.set_title(f"$k={rank}$\n$\\lambda_k={float(eigenvalues[rank - 1]):.3f}$")
        if last_image is not None and channels != 3:
            last_column = figure.axes[columns - 1 :: columns]
            bar = figure.colorbar(last_image, ax=last_column, shrink=0.8 if rows == 1 else 0.5, ticks=[-1, 0, 1])
            bar.set_label("$e_k$ / max $|e_k|$")
        add_caption(figure, caption)
    return figure


def _frame(ax: Axes) -> None:
    """Draw a frame without ticks around a panel."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)


def _show_images(axes: Sequence[Axes], images: Mapping[str, Tensor]) -> None:
    """Show images (C, H, W), clipped to [0, 1]; the first is clean, and the title of each other image has its PSNR."""
    clean = next(iter(images.values()))
    for ax, (name, image) in zip(axes, images.items(), strict=False):
        ax.imshow(_pixels(image.double().clamp(0, 1)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        error = float((image.double() - clean.double()).square().mean())
        ax.set_title(name if image is clean else f"{name}\n{format_psnr(error)}")


def _show_eigenvector(ax: Axes, vector: Tensor) -> AxesImage:
    """Show an eigenvector (C, H, W), divided by its largest absolute value."""
    vector = vector.double().cpu()
    vector = vector / vector.abs().max().clamp_min(1e-300)
    if len(vector) == 3:
        return ax.imshow(_pixels((vector + 1) / 2), interpolation="nearest")
    return ax.imshow(_pixels(vector), interpolation="nearest", cmap=_DIVERGING, vmin=-1, vmax=1)


def _pixels(image: Tensor) -> Array:
    """Return an image (C, H, W) as pixels: (H, W, 3) if it has three channels, else the mean over channels (H, W)."""
    values = image.detach().cpu()
    return np.asarray((values.movedim(0, -1) if len(values) == 3 else values.mean(0)).numpy())


def spectra_figure(spectra: Mapping[float, Tensor], caption: str = "") -> Figure:
    """Draw the eigenvalues against their rank, a curve for each noise level, with lines at 1 and 1/2."""
    names = {sigma: f"σ = {name}" for sigma, name in level_names(sorted(spectra)).items()}
    with figure_style():
        styles = entrant_styles(list(names.values()))
        figure, (ax,) = create_panels(1, (1, 1), (5.6, 3.5))
        for sigma, name in names.items():
            _draw_by_rank(ax, spectra[sigma].double().cpu().numpy(), label=name, **styles[name])
        for height, text, dashes in ((1.0, "1", "--"), (0.5, "½", ":")):
            ax.axhline(height, color=GREY, linewidth=0.9, linestyle=dashes, zorder=1)
            # Eigenvalues are small at high ranks, so no curve covers the text at the right edge.
            write_at_edge(ax, height, text)
        ax.axhline(0, color=GREY, linewidth=0.6, zorder=1)
        ax.set_xlabel("rank $k$")
        ax.set_ylabel("eigenvalue $\\lambda_k$ (per unit of input)")
        ax.set_title(fold_caption(caption, 46), loc="left")
        add_legend(figure, [ax])
    return figure


def decay_figure(coefficients: Mapping[float, Mapping[str, Tensor]], caption: str = "") -> Figure:
    """Draw the sorted squared coefficients of a clean image against rank, log-log, a panel for each noise level.

    The learned basis, and bases that depend on a threshold, are those of the noisy image at the noise level of the
    panel. An oracle would keep the coefficients above the line at sigma^2.
    """
    with figure_style():
        styles = entrant_styles(list(dict.fromkeys(name for bases in coefficients.values() for name in bases)))
        caption = fold_caption(caption, 40 * len(coefficients) + 6)
        size = (2.9 * len(coefficients) + 1.9, 3.4 + 0.17 * caption.count("\n"))
        figure, axes = create_panels(len(coefficients), (1, len(coefficients)), size, sharey=True)
        for ax, (sigma, level) in zip(axes, level_names(sorted(coefficients)).items(), strict=True):
            for index, (name, values) in enumerate(coefficients[sigma].items()):
                energy = np.sort(values.double().cpu().numpy().ravel() ** 2)[::-1]
                style = styles[name] | ({"linewidth": 2.0} if name == LEARNED else {})
                # Values that are zero up to rounding cannot be drawn on a logarithmic axis.
                energy = np.where(energy > 1e-12 * energy[0], energy, np.nan)
                _draw_by_rank(ax, energy, label=fold_label(name, _LABEL_WIDTH), zorder=4 - 0.01 * index, **style)
            ax.axhline(sigma**2, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
            write_at_edge(ax, sigma**2, "$\\sigma^2$")
            ax.set_yscale("log")
            ax.set_xlabel("rank of the coefficient")
            ax.set_title(f"σ = {level}", loc="left")
        # Without a lower limit, coefficients far below the noise would take most of the axis.
        largest = max(float(values.abs().max()) ** 2 for bases in coefficients.values() for values in bases.values())
        floor = _ENERGY_FLOOR * min(coefficients) ** 2
        if largest > floor:
            axes[0].set_ylim(floor, 3 * largest)
        axes[0].set_ylabel("squared coefficient $c_{(k)}^2$ (grey scale$^2$)")
        add_caption(figure, caption)
        add_legend(figure, axes)
    return figure


def _draw_by_rank(ax: Axes, values: Array, **style: Any) -> None:
    """Draw values against rank on a logarithmic axis, with equally spaced markers."""
    markers = sorted({round(rank) - 1 for rank in np.geomspace(1, len(values), num=9).tolist()})
    ax.plot(np.arange(1, len(values) + 1), values, markevery=markers, **style)
    ax.set_xscale("log")
    ax.set_xlim(left=0.9)


def approximation_figure(
    approximations: Mapping[str, Mapping[str, Approximation]], slopes: Mapping[str, float]
) -> Figure:
    """Draw the error against the number of terms, log-log, a panel for each dataset and a curve for each basis.

    Terms and errors are means over the images at equal thresholds; bands are 95 % bootstrap intervals of the errors.
    Grey lines show two theoretical rates: M^-1, the rate of wavelets on images with edges, and M^-alpha for a dataset
    whose optimal slope is alpha/(alpha+1).
    """
    count = len(approximations)
    with figure_style():
        styles = entrant_styles(list(dict.fromkeys(name for curves in approximations.values() for name in curves)))
        figure, axes = create_panels(count, (1, count), (3.2 * count + 2.0, 3.5), sharey=True)
        for ax, (dataset, curves) in zip(axes, approximations.items(), strict=True):
            for name, curve in curves.items():
                low, high = sampled_means(curve.errors[:, None, :]).ends()
                is_shown = curve.shown
                band = (curve.mean_errors[is_shown], low[is_shown], high[is_shown])
                draw_curve(ax, curve.mean_terms[is_shown], band, fold_label(name, 30), styles[name])
            best = next(iter(curves.values()))
            slope = slopes.get(dataset, math.nan)
            _draw_theory(ax, best.mean_terms[best.shown], best.mean_errors[best.shown], slope)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel("terms per image")
            ax.set_title(fold_label(dataset, 36), loc="left")
        # The lines of theoretical rates must not stretch the axis beyond the data.
        errors = [curve.mean_errors[curve.shown] for curves in approximations.values() for curve in curves.values()]
        measured = np.concatenate([*errors, [np.nan]])
        if np.isfinite(measured).any():
            axes[0].set_ylim(np.nanmin(measured) / 2, np.nanmax(measured) * 2)
        axes[0].set_ylabel("squared error per pixel")
        add_legend(figure, axes)
    return figure


def _draw_theory(ax: Axes, terms: Array, errors: Array, slope: float) -> None:
    """Draw lines of the theoretical rates through the middle of a curve."""
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
    """A square of a subband, with its position in the image."""

    @property
    def scale(self) -> int:
        """The number of pixels per sample of the subband."""

    @property
    def orientation(self) -> str | None:
        """The orientation of structures in the subband; ``None`` if the basis has no subbands."""

    @property
    def pixels(self) -> tuple[int, int, int]:
        """The first row, the first column and the side, in pixels of the image."""

    @property
    def angle(self) -> float | None:
        """The direction of contours in degrees, counter-clockwise from horizontal; ``None`` without a direction."""


def geometry_figure(image: Tensor, squares: Sequence[Square]) -> Figure:
    """Draw the squares of a geometry over its image: a row of panels for each scale, a panel for each subband."""
    by_subband: dict[int, dict[str | None, list[Square]]] = {}
    for square in squares:
        by_subband.setdefault(square.scale, {}).setdefault(square.orientation, []).append(square)
    orientations = list(dict.fromkeys(name for subbands in by_subband.values() for name in subbands)) or [None]
    scales = sorted(by_subband) or [1]
    subbands = [(scale, orientation) for scale in scales for orientation in orientations]
    height, width = image.shape[-2:]
    # The image is drawn pale, so that the lines stand out.
    pixels = _pixels(image.float().clamp(0, 1))
    with figure_style():
        size = (_GEOMETRY_INCHES * len(orientations), (_GEOMETRY_INCHES * height / width + 0.25) * len(scales))
        figure, axes = create_panels(len(subbands), (len(scales), len(orientations)), size)
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
        # In matplotlib, pixel (0, 0) covers -1/2 to 1/2.
        x, y = left - 0.5, top - 0.5
        outline = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
        if square.angle is None:
            faint.append(outline)
            continue
        strong.append(outline)
        angle = math.radians(square.angle)
        # The row axis points down, while angles are counter-clockwise.
        across, up = math.cos(angle) * side * _STROKE_LENGTH / 2, math.sin(angle) * side * _STROKE_LENGTH / 2
        middle = (x + side / 2, y + side / 2)
        strokes.append([(middle[0] - across, middle[1] + up), (middle[0] + across, middle[1] - up)])
    ax.add_collection(LineCollection(faint, colors=_OUTLINE, linewidths=0.4, alpha=0.5))
    ax.add_collection(LineCollection(strong, colors=_OUTLINE, linewidths=0.7))
    ax.add_collection(LineCollection(strokes, colors=_DIRECTION, linewidths=1.1))
