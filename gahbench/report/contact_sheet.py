"""Contact sheets: samples, denoised images, or samples with the closest training images, side by side.

Images are enlarged by an integer factor, so that each of their pixels is a square of device pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.readable import level_name
from gahbench._util.shapes import Shape, image_shape
from gahbench.board.display_names import DisplayNames
from gahbench.board.generalization import reference_of
from gahbench.board.selection import choose_labels, is_chosen
from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.evaluation.rates import MAX_PSNR
from gahbench.report.cells import fold_label, number
from gahbench.report.drawing import figure_style
from gahbench.report.pictures import crop, kept_arrays
from gahbench.store.store import StoredArrays, stored_arrays

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.sampling import Samples

_DPI = 200
# Lengths in device pixels.
_MIN_SIDE = 240
_MAX_SIDE = 512
_GAP = 14
_MARGIN = 24
_FONT_POINTS = 8.0  # points
_LINE_HEIGHT = 1.35 * _FONT_POINTS * _DPI / 72
_COLUMNS = 8
_MAX_SAMPLES = 64

#: An error of 0 is grey; errors of this many standard deviations of the noise, or more, are black or white.
ERROR_RANGE = 2.0
#: Rows of a sheet of pairs: name, array of images, and array of the cosines that are written above them.
_PAIR_ROWS = (
    ("A", "samples", None),
    ("closest in A", "closest", "closest_cosine"),
    ("B", "partner_samples", "pair_cosine"),
    ("closest in B", "partner_closest", "partner_closest_cosine"),
)

Floats = NDArray[np.float32]
Arrays = Mapping[str, "NDArray[Any]"]


class Cell(NamedTuple):
    """A picture of a sheet, with its title."""

    picture: Floats
    title: str = ""


def format_psnr(error: float) -> str:
    """Format a mean squared error per pixel as PSNR; errors at the level of rounding become ``> 140 dB``."""
    return f"{number(-10 * math.log10(error), 1)} dB" if error > 10 ** (-MAX_PSNR / 10) else f"> {MAX_PSNR} dB"


def lay_out(rows: Sequence[Sequence[Cell]], names: Sequence[str], captions: Sequence[str]) -> Figure:
    """Lay out rows of pictures, all of the same size."""
    with figure_style():
        height, width = rows[0][0].picture.shape[:2]
        scale = max(1, math.ceil(_MIN_SIDE / max(height, width)))
        height, width = scale * height, scale * width
        # A picture may be lower than the text of its row's name.
        row_height = _GAP + max(height, math.ceil(_LINE_HEIGHT))
        titles = [[cell.title for cell in row] for row in rows]
        pitch = _GAP + max(width, *(_text_width(title) for row in titles for title in row))
        left = _MARGIN + max(map(_text_width, names)) + (_GAP if any(names) else 0)
        total = left + max(map(len, rows)) * pitch - _GAP + _MARGIN
        # The width of a character is an estimate; if the caption is wider, the sheet grows with it.
        caption_width = max(12, int((total - 2 * _MARGIN) / (0.72 * _FONT_POINTS * _DPI / 72)))
        caption = "\n".join(fold_label(text, caption_width) for text in captions)
        total = max(total, _text_width(caption) + 2 * _MARGIN)
        title_heights = [
            math.ceil(_LINE_HEIGHT * max(title.count("\n") + 1 if title else 0 for title in row)) for row in titles
        ]
        top = _MARGIN + math.ceil(_LINE_HEIGHT * (caption.count("\n") + 1)) + _GAP
        bottom = top + sum(title_heights) + len(rows) * row_height - _GAP + _MARGIN
        # The backend truncates fractions of a pixel, so half a device pixel is added.
        figure = Figure(figsize=((total + 0.5) / _DPI, (bottom + 0.5) / _DPI), dpi=_DPI)
        axes = figure.add_axes((0, 0, total / (total + 0.5), bottom / (bottom + 0.5)))
        axes.set(xlim=(0, total), ylim=(bottom, 0))
        axes.axis("off")
        font: dict[str, Any] = {"fontsize": _FONT_POINTS, "linespacing": 1.2}
        axes.text(_MARGIN, _MARGIN, caption, va="top", **font)
        for row, name, title_height in zip(rows, names, title_heights, strict=True):
            top += title_height
            axes.text(left - _GAP, top + height / 2, name, ha="right", va="center", color="0.45", **font)
            for column, cell in enumerate(row):
                x = left + column * pitch
                extent = (x, x + width, top + height, top)
                # A frame of one device pixel separates white pixels from the background.
                axes.add_patch(Rectangle((x - 1, top - 1), width + 2, height + 2, color="0.75", linewidth=0, zorder=1))
                axes.imshow(_eight_bits(cell.picture), extent=extent, interpolation="nearest", aspect="auto", zorder=2)
                axes.text(x, top - _GAP / 2, cell.title, va="bottom", **font)
            top += row_height
        # imshow changes the limits.
        axes.set(xlim=(0, total), ylim=(bottom, 0))
    return figure


def _eight_bits(picture: Floats) -> NDArray[np.uint8]:
    """Return a picture as 8-bit RGB values, shape (H, W, 3), since a colour map would round grey values twice."""
    colours = picture if picture.ndim == 3 else picture[:, :, None].repeat(3, axis=2)
    return np.round(255 * colours).astype(np.uint8)


def _text_width(text: str) -> int:
    """Return the width of the widest line, in device pixels."""
    font = FontProperties(size=_FONT_POINTS)
    widths = [TextPath((0, 0), line, prop=font).get_extents().x1 for line in text.split("\n") if line.strip()]
    return math.ceil(max(widths, default=0) * _DPI / 72)


def to_picture(image: Tensor | NDArray[Any]) -> Floats:
    """Return the centre of an image (C, H, W) as a picture: (H, W, 3) for three channels, else their mean (H, W)."""
    cropped = crop(np.asarray(image, np.float32), _MAX_SIDE)
    return (np.moveaxis(cropped, 0, -1) if len(cropped) == 3 else cropped.mean(axis=0)).clip(0, 1)


def _row(images: NDArray[Any], titles: Sequence[str] = ()) -> list[Cell]:
    """Return images (N, C, H, W), as bytes or with values in [0, 1], as a row of a sheet."""
    scaled = images / np.float32(255) if images.dtype == np.uint8 else images
    return [Cell(to_picture(image), title) for image, title in zip(scaled, titles or [""] * len(images), strict=True)]


def cropping_note(shape: Shape) -> str:
    """Return a note if pictures of images (C, H, W) average channels or are cropped, else an empty string."""
    channels, height, width = shape
    note = "" if channels in (1, 3) else f", mean of {channels} channels"
    if max(height, width) > _MAX_SIDE:
        note += f", central {min(height, _MAX_SIDE)}×{min(width, _MAX_SIDE)} of {height}×{width} pixels"
    return note


def sample_sheet(samples: Samples) -> Figure:
    """Draw the first 64 samples; samples that did not converge have their status as title."""
    count = min(len(samples), _MAX_SAMPLES)
    images = samples.images[:count].nan_to_num(nan=0, posinf=0, neginf=0)
    titles = ["" if status == "converged" else status for status in samples.status[:count]]
    cells = [Cell(to_picture(image), title) for image, title in zip(images, titles, strict=True)]
    firsts = range(0, count, _COLUMNS)
    rows = [cells[first : first + _COLUMNS] for first in firsts]
    prefix = "" if count == len(samples) else f"the first {count} of "
    caption = f"{prefix}{samples}, seed {samples.settings.seed}{cropping_note(image_shape(samples.images))}"
    names = [str(samples.first + first) for first in firsts]
    return lay_out(rows, names, [*samples.source.split("\n"), caption] if samples.source else [caption])


def kept_images(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[str, list[StoredArrays]]:
    """Return the images that the metric ``psnr`` kept, by dataset, of the chosen datasets and entrants."""
    kept = kept_arrays(folder, "pictures")
    labels = dict.fromkeys(item.entrant for stored in kept.values() for item in stored)
    chosen = choose_labels(entrants, labels, "entrant", ResultsError)
    names = choose_labels(datasets, kept, "dataset", ResultsError)
    shown = {name: [item for item in kept[name] if item.entrant in chosen] for name in names}
    if not (shown := {name: stored for name, stored in shown.items() if stored}):
        raise ResultsError(f"{folder}: has no images of this dataset and entrant; without -d and -e all are drawn")
    return shown


def denoised_sheet(
    kept: Sequence[StoredArrays], sigma: float, count: int = 3, display: DisplayNames | None = None
) -> Figure:
    """Draw a row for each entrant, with two pictures for each image: denoised, with its PSNR, and the error."""
    levels = [level_index(stored, sigma) for stored in kept]
    if None in levels:
        shared_sigmas = sorted(set.intersection(*(set(stored.arrays["sigmas"].tolist()) for stored in kept)))
        raise ParameterError(
            f"no images at sigma {level_name(sigma)}; accepted: {listing(map(level_name, shared_sigmas))}"
        )
    count = min(count, *(len(stored.arrays["clean"]) for stored in kept))
    clean = _row(kept[0].arrays["clean"][:count], ["clean"] * count)
    noisy = _row(kept[0].arrays["noisy"][levels[0]][:count], ["noisy"] * count)
    rows = [[cell for pair in zip(clean, noisy, strict=True) for cell in pair]]
    for stored, level in zip(kept, levels, strict=True):
        titles = [f"{number(float(psnr), 1)} dB" for psnr in stored.arrays["psnr"][level][:count]]
        cells = []
        for cell, reference in zip(_row(stored.arrays["denoised"][level][:count], titles), clean, strict=True):
            cells += [cell, Cell(error_pictures(cell.picture, reference.picture, sigma), "error")]
        rows.append(cells)
    display = display or DisplayNames()
    names = ["", *(fold_label(display.entrant(stored.entrant), 22) for stored in kept)]
    note = f"PSNR is of whole images, of which the centre is shown; errors: grey 0, white or black {ERROR_RANGE:g} σ"
    return lay_out(rows, names, [f"{display.dataset(kept[0].dataset)}, σ = {level_name(sigma)}", note])


def level_index(kept: StoredArrays, sigma: float) -> int | None:
    """Return the index of a noise level; ``None`` if no images were kept at this level."""
    return next((index for index, level in enumerate(kept.arrays["sigmas"]) if np.isclose(level, sigma)), None)


def error_pictures(denoised: Floats, clean: Floats, sigma: float) -> Floats:
    """Return the errors of denoised pictures as pictures, in which grey is zero."""
    errors: Floats = np.clip(0.5 + (denoised - clean) / (2 * ERROR_RANGE * sigma), 0, 1).astype(np.float32)
    return errors


def middle_level(kept: Mapping[str, Sequence[StoredArrays]]) -> float:
    """Return the middle of the noise levels at which images were kept."""
    levels = next(iter(kept.values()))[0].arrays["sigmas"]
    return float(levels[len(levels) // 2])


def stored_samples(
    folder: str | Path, metric: str, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[tuple[str, str], dict[int | None, dict[str, Arrays]]]:
    """Return the arrays of samples by dataset and entrant, number of training images, and reference.

    Those of the metric ``pair-cosine`` have no reference, which is empty; others are of ``sample-prediction``.
    """
    arrays: dict[tuple[str, str], dict[int | None, dict[str, Arrays]]] = {}
    for stored in stored_arrays(folder, metric, required=metric == "pair-cosine"):
        pair = (stored.dataset, base_label(stored.entrant))
        if is_chosen(pair[0], datasets) and is_chosen(pair[1], entrants):
            by_images = arrays.setdefault(pair, {}).setdefault(number_of_images(stored.entrant), {})
            by_images.setdefault(reference_of(stored.metric) or "", stored.arrays)
    if not arrays and metric == "pair-cosine":
        raise ResultsError(f"{folder}: has no samples of this dataset and entrant; without -d and -e all are drawn")
    return arrays


def pairs_sheet(sets: Mapping[int | None, Mapping[str, Arrays]], caption: str, count: int = 8) -> Figure:
    """Draw samples of two denoisers from the same noise, and the training images most similar to each.

    The layout follows figure 2 of Kadkhodaie et al. 2024. For each number of training images there are four rows:
    samples of denoiser A, the closest image in the training set of A, and the same two rows for B. The title of a
    closest image is its cosine with the sample, and the title of a sample of B is its cosine with the sample of A. Both
    cosines are computed after subtraction of the means.
    """
    rows, names = [], []
    for images, by_reference in sets.items():
        arrays = by_reference[""]
        for name, samples, cosines in _PAIR_ROWS:
            rows.append(_row(arrays[samples][:count], _texts(arrays[cosines][:count]) if cosines else ()))
            names.append(f"{_images_title(images)}\n{name}" if name == "A" else name)
    return lay_out(rows, names, [caption, "above an image: cosine with the sample of A, or with its own sample"])


def predictions_sheet(sets: Mapping[int | None, Mapping[str, Arrays]], caption: str, count: int = 8) -> Figure:
    """Draw samples, and below them the predictions of references from the same noise, each with its r^2."""
    rows, names = [], []
    for images, predictions in sets.items():
        # References lack the samples for which their prediction did not converge.
        shared = functools.reduce(np.intersect1d, (arrays["indices"] for arrays in predictions.values()))[:count]
        for reference, arrays in predictions.items():
            chosen = np.searchsorted(arrays["indices"], shared)
            if reference == next(iter(predictions)):
                # The samples are the same for all references.
                rows.append(_row(arrays["samples"][chosen]))
                names.append(f"{_images_title(images)}\nsample")
            rows.append(_row(arrays["predicted"][chosen], _texts(arrays["r2"][chosen])))
            names.append(fold_label(reference, 18))
    return lay_out(rows, names, [caption, "above an image: r² of the sample and the prediction from its noise"])


def cosines_figure(sets: Mapping[int | None, Mapping[str, Arrays]], caption: str) -> Figure:
    """Draw the distributions of cosines, a panel for each number of training images."""
    with figure_style():
        figure = Figure(figsize=(1.1 + 1.9 * len(sets), 2.6), layout="constrained")
        axes = figure.subplots(1, len(sets), sharey=True, sharex=True, squeeze=False)[0]
        for ax, (images, by_reference) in zip(axes, sets.items(), strict=True):
            arrays = by_reference[""]
            closest = np.concatenate([arrays["closest_cosine"], arrays["partner_closest_cosine"]])
            frame = pd.concat(
                pd.DataFrame({"cosine": values, "of": name})
                for name, values in (("A and B", arrays["pair_cosine"]), ("sample and closest", closest))
            )
            sns.histplot(
                frame, x="cosine", hue="of", palette="colorblind", element="step", stat="proportion", bins=40,
                binrange=(-1, 1), common_norm=False, legend=ax is axes[-1], ax=ax,
            )  # fmt: skip
            ax.set(ylabel="share")
            ax.set_title(_images_title(images), loc="left")
        axes[0].set_xlim(min(-0.1, axes[0].get_xlim()[0]), 1.03)
        sns.move_legend(axes[-1], "upper left", bbox_to_anchor=(1, 1), title=None, frameon=False)
        figure.suptitle(caption, x=0.005, ha="left", fontsize=9, color="black")
    return figure


def _images_title(images: int | None) -> str:
    """Return the label of a number of training images; empty for ``None``, which means all images of the split."""
    return "" if images is None else f"N = {images}"


def _texts(values: NDArray[Any]) -> list[str]:
    return [f"{value:.2f}" for value in values]
