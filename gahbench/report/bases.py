"""Figures of bases: agreement with a denoiser, learned eigenvectors, approximation errors, and bandlet geometries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.board.alignments import MEASURES, TRUTH, parse_agreement
from gahbench.board.display_names import basis_names
from gahbench.board.statistics import Array, sampled_means
from gahbench.report.cells import fold_label, number
from gahbench.report.contact_sheet import Cell, format_psnr, lay_out, to_picture
from gahbench.report.drawing import (
    GREY,
    PALETTE,
    WIDTH,
    ShownFigure,
    create_panels,
    draw_curves,
    draw_dots,
    figure_style,
    grid_columns,
    order_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.board.alignments import Agreement
    from gahbench.board.results import Results
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
_CELL_INCHES = 0.36  # the smallest width of a cell of a table
_STROKE_LENGTH = 0.8  # relative to the side of the square


def draw_matrices(
    frame: pd.DataFrame, label: str, *, width: float = WIDTH, digits: int = 2, limit: float | None = None
) -> Figure:
    """Draw tables of values as colours with the value in each cell: blue above 0, orange below, grey where undecided.

    Parameters
    ----------
    frame
        Columns ``panel``, ``row``, ``column``, ``value``, ``low`` and ``high``.
    label
        The quantity and its unit.
    width
        Width of the figure in millimetres; narrow figures have fewer tables side by side.
    digits
        Decimals of values.
    limit
        The value of the strongest colour; by default one that most values are below.
    """
    frame = frame.assign(undecided=~((frame["low"] > 0) | (frame["high"] < 0)))
    names, heads_in_order = order_of(frame["row"]), order_of(frame["column"])
    panels = {}
    for title in order_of(frame["panel"]):
        cells = frame[frame["panel"] == title].astype({"column": str}).set_index(["row", "column"])
        own = [head for head in heads_in_order if head in cells.index.get_level_values("column")]
        values, is_grey = (cells[name].unstack().reindex(names, columns=own) for name in ("value", "undecided"))
        panels[title] = values.astype(float), is_grey.eq(True)
    rows = {name: fold_label(name, min(34, int(0.24 * width))) for name in names}
    label_inches, inches = 0.06 * max(len(line) for text in rows.values() for line in text.split("\n")), width / 25.4
    lines = sum(text.count("\n") + 1 for text in rows.values())
    space = inches - label_inches - 0.1
    chunks = _chunks({title: len(values.columns) for title, (values, _) in panels.items()}, int(space / _CELL_INCHES))
    cell = space / max(sum(widths.values()) for widths in chunks)
    heads = {name: fold_label(name, 24) for name in heads_in_order}
    head_inches = 0.06 * max(len(line) for text in heads.values() for line in text.split("\n"))
    is_turned = head_inches > cell
    end = max(1e-9, float(frame["value"].abs().quantile(0.95))) if limit is None else limit
    height = len(chunks) * (0.18 * lines + (head_inches if is_turned else 0.3) + 0.4) + 0.2
    with figure_style():
        figure = ShownFigure(figsize=(inches, height), layout="constrained")
        for part, widths in zip(figure.subfigures(len(chunks), squeeze=False)[:, 0], chunks, strict=True):
            # An empty table takes the space that is left.
            ratios = [*widths.values(), max(1e-3, space / cell - sum(widths.values()))]
            *axes, rest = part.subplots(1, len(ratios), squeeze=False, sharey=True, width_ratios=ratios)[0]
            rest.remove()
            for ax, title in zip(axes, widths, strict=True):
                values, is_grey = panels[title]
                _draw_matrix(ax, values.rename(index=rows, columns=heads), is_grey, end, digits)
                ax.set_title(fold_label(title, int(widths[title] * cell / 0.06)))
                ax.tick_params(axis="x", rotation=90 if is_turned else 0)
        figure.supxlabel(label)
    return figure


def _chunks(widths: Mapping[str, int], most: int) -> list[dict[str, int]]:
    """Return tables, given by their numbers of columns, in rows of at most ``most`` columns if possible."""
    chunks: list[dict[str, int]] = [{}]
    for title, width in widths.items():
        if chunks[-1] and sum(chunks[-1].values()) + width > most:
            chunks.append({})
        chunks[-1][title] = width
    return chunks


def _draw_matrix(ax: Axes, values: pd.DataFrame, is_grey: pd.DataFrame, end: float, digits: int) -> None:
    colours = sns.blend_palette([PALETTE[1], "#f7f7f7", PALETTE[0]], as_cmap=True)
    texts = values.map(lambda value: "" if math.isnan(value) else number(value, digits))
    shown = values.mask(is_grey.to_numpy(), 0.0)
    options = {"cmap": colours, "annot": texts, "annot_kws": {"fontsize": 7}, "linewidths": 1}
    sns.heatmap(shown, vmin=-end, vmax=end, fmt="", cbar=False, ax=ax, **options)
    for text, undecided in zip(ax.texts, is_grey.to_numpy()[values.notna().to_numpy()], strict=True):
        if undecided:
            text.set_color(GREY)
    ax.set(xlabel="", ylabel="")
    ax.grid(visible=False)
    ax.tick_params(axis="y", rotation=0)


def draw_bases(results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH) -> Figure:
    """Draw the direction, or else the alignment, of each denoiser with each basis: a table for each dataset."""
    board = results.board.frame
    board = board[(board["part"] == "") & board["value"].notna()]
    board = board[board["dataset"].isin(datasets) & board["entrant"].isin(entrants)]
    parsed = {name: parse_agreement(str(name)) for name in board["quantity"].unique()}
    for measure in MEASURES:
        bases = {name: each[1] for name, each in parsed.items() if each and each[0] == measure}
        frame = board[board["quantity"].isin(bases)]
        if frame.empty:
            continue
        # Values are means over noise levels, or at the level at which most values are known.
        counts = frame["sigma"].value_counts(dropna=False, sort=False)
        level = max(counts.index, key=lambda sigma: (counts[sigma], math.isnan(sigma)))
        frame = frame[frame["sigma"].isna() if math.isnan(level) else frame["sigma"] == level]
        found = sorted(dict.fromkeys(frame["quantity"].map(bases)), key=lambda name: name != TRUTH)
        names = dict(zip(found, found, strict=True))
        names |= basis_names(results.registry(), found) if results.registry else {}
        panels = frame["dataset"].map(results.names.dataset)
        columns = pd.Categorical(frame["quantity"].map(bases).map(names), list(dict.fromkeys(names.values())))
        frame = frame.assign(row=frame["entrant"].map(results.names.entrant), column=columns, panel=panels)
        if len(found) == 1:
            frame = frame.assign(column=panels, panel="")
        at = "mean over noise levels" if math.isnan(level) else f"σ = {level_name(level)}"
        with_basis = f" with {names[found[0]]}" if len(found) == 1 else ""
        return draw_matrices(frame, f"{measure}{with_basis} (cosine), {at}", width=width, limit=1.0)
    raise ResultsError(
        f"results of suite '{results.suite}' hold neither direction nor alignment of the chosen datasets and entrants; "
        "a suite measures them with the metrics direction[BASIS], alignment[BASIS], truth-direction and "
        "truth-alignment, for entrants that have a Jacobian"
    )


def bases_figure(mean_agreements: Mapping[str, Mapping[str, Agreement]], caption: str = "") -> Figure:
    """Draw the agreement of a denoiser with bases, a panel for each noise level."""
    marks: dict[str, Callable[[Agreement], tuple[Any, ...]]] = {
        "direction, mean over images": lambda row: astuple(row.direction),
        "alignment, mean over images": lambda row: astuple(row.alignment),
        "direction, this image": lambda row: (row.single, math.nan, math.nan),
    }
    frame = pd.DataFrame(
        [
            (panel, basis, mark, *values(row))
            for panel, rows in mean_agreements.items()
            for basis, row in rows.items()
            for mark, values in marks.items()
        ],
        columns=pd.Index(["panel", "row", "mark", "value", "low", "high"]),
    )
    frame = frame[frame.groupby("mark")["value"].transform("count") > 0]
    return draw_dots(frame, f"cosine, {caption}".replace("\n", " "))


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
    curves = {
        f"σ = {name}": spectra[sigma].double().cpu().numpy() for sigma, name in level_names(sorted(spectra)).items()
    }
    figure = draw_curves(
        _by_rank({"": curves}), "rank of the eigenvalue", "eigenvalue (per unit of input)", has_markers=False
    )
    for height in (0.0, 0.5, 1.0):
        figure.axes[0].axhline(height, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    figure.axes[0].set_title(caption)
    return figure


def decay_figure(coefficients: Mapping[float, Mapping[str, Tensor]], caption: str = "") -> Figure:
    """Draw the sorted squared coefficients of a clean image against rank, log-log, a panel for each noise level.

    The learned basis, and bases that depend on a threshold, are those of the noisy image at the noise level of the
    panel. An oracle would keep the coefficients above the line at sigma^2.
    """
    levels = level_names(sorted(coefficients))
    floor = _ENERGY_FLOOR * min(coefficients) ** 2
    panels: dict[str, dict[str, Array]] = {}
    for sigma, level in levels.items():
        for name, values in coefficients[sigma].items():
            energy = np.sort(values.double().cpu().numpy().ravel() ** 2)[::-1]
            # Smaller values are zero up to rounding, or so far below the noise that they would take most of the axis.
            panels.setdefault(f"σ = {level}", {})[name] = np.where(energy > floor, energy, np.nan)
    figure = draw_curves(
        _by_rank(panels), f"rank of the coefficient, {caption}".replace("\n", " "), "squared coefficient (grey scale²)",
        log="xy", has_markers=False, share_y=True,
    )  # fmt: skip
    for ax, sigma in zip(figure.axes, levels, strict=True):
        ax.axhline(sigma**2, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
    return figure


def _by_rank(panels: Mapping[str, Mapping[str, Array]]) -> pd.DataFrame:
    """Return the frame of curves of values against rank, at about 200 ranks that are spaced evenly in logarithm."""
    rows = [
        (panel, label, rank, values[rank - 1], np.nan, np.nan)
        for panel, curves in panels.items()
        for label, values in curves.items()
        for rank in np.unique(np.geomspace(1, len(values), num=200).round().astype(int)).tolist()
    ]
    return pd.DataFrame(rows, columns=pd.Index(["panel", "label", "x", "value", "low", "high"]))


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
            columns = {"x": curve.mean_terms, "value": curve.mean_errors, "low": low, "high": high}
            frame = pd.DataFrame({key: values[curve.shown] for key, values in columns.items()})
            frames.append(frame.assign(panel=dataset, label=name))
    data = pd.concat(frames, ignore_index=True)
    figure = draw_curves(data, "terms per image", "squared error per pixel", log="xy", has_markers=False, share_y=True)
    for ax, (dataset, curves) in zip(figure.axes, approximations.items(), strict=True):
        best = next(iter(curves.values()))
        terms, errors = best.mean_terms[best.shown], best.mean_errors[best.shown]
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
    by_subband: dict[int, dict[str | None, list[Any]]] = {}
    for square in squares:
        by_subband.setdefault(square.scale, {}).setdefault(square.orientation, []).append(square)
    orientations = list(dict.fromkeys(name for subbands in by_subband.values() for name in subbands)) or [None]
    scales = sorted(by_subband) or [1]
    subbands = [(scale, orientation) for scale in scales for orientation in orientations]
    height, width = image.shape[-2:]
    # The image is drawn pale, so that the lines stand out.
    pixels = to_picture(image)
    with figure_style():
        size = (_GEOMETRY_INCHES * len(orientations), (_GEOMETRY_INCHES * height / width + 0.25) * len(scales))
        figure, axes = create_panels(len(subbands), (len(scales), len(orientations)), size)
        for ax, (scale, orientation) in zip(axes, subbands, strict=True):
            ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, alpha=0.75, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(True)
            _draw_squares(ax, by_subband.get(scale, {}).get(orientation, []))
            ax.set_title(f"{orientation}, 1:{scale}" if orientation else "pixels", loc="left")
    return figure


def _draw_squares(ax: Axes, squares: Sequence[Any]) -> None:
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
    ax.add_collection(LineCollection(faint, colors=PALETTE[9], linewidths=0.4, alpha=0.5))
    ax.add_collection(LineCollection(strong, colors=PALETTE[9], linewidths=0.7))
    ax.add_collection(LineCollection(strokes, colors=PALETTE[3], linewidths=1.1))
