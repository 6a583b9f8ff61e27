"""Contact sheets: images side by side, as they were sampled, denoised or compared with training images.

Every pixel of an image is a square of whole device pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.files import write_output
from gahbench._util.readable import level_name
from gahbench._util.shapes import Shape, image_shape
from gahbench.board.generalization import compared_with
from gahbench.board.selection import chosen_labels, is_chosen
from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.evaluation.rates import MAX_PSNR
from gahbench.report.cells import folded, number
from gahbench.report.drawing import PALETTE, check_suffix, context, encode, panels
from gahbench.store.stored_files import StoredArrays, stored_arrays

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.sampling import Samples

_DPI = 200
# Lengths in device pixels.
_MIN_SIDE = 240
_MAX_SIDE = 512
_GAP = 14
_MARGIN = 24
_FONT = 8.0  # points
_LINE = 1.35 * _FONT * _DPI / 72
_ABREAST = 8
_MAX_SAMPLES = 64

#: Errors are grey for 0, and black or white for this many standard deviations of the noise.
RANGE = 2.0
#: Rows of a sheet of pairs: name, array of images, and array of the cosine that is written above.
_PAIR_ROWS = (
    ("A", "samples", None),
    ("closest in A", "closest", "closest_cosine"),
    ("B", "partner_samples", "pair_cosine"),
    ("closest in B", "partner_closest", "partner_closest_cosine"),
)
_BINS: Any = np.linspace(-1, 1, 41)

Floats = NDArray[np.float32]
Arrays = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a sheet."""

    picture: Floats
    title: str = ""


def decibels(error: float) -> str:
    """Format a mean squared error per pixel as PSNR; errors below the rounding of pixels as ``> 140 dB``."""
    return f"{number(-10 * math.log10(error), 1)} dB" if error > 10 ** (-MAX_PSNR / 10) else f"> {MAX_PSNR} dB"


def write_figure(figure: Figure, file: Path) -> None:
    """Write a sheet in the format of its suffix."""
    check_suffix(file)
    write_output(encoded(figure, file.suffix.lower()), file)


def encoded(figure: Figure, suffix: str) -> bytes:
    """Return a sheet's file; equal sheets give equal bytes."""
    return encode(figure, suffix, dpi=_DPI)


def lay_out(rows: Sequence[Sequence[Cell]], names: Sequence[str], captions: Sequence[str]) -> Figure:
    """Lay out pictures of one size in rows."""
    with context():
        height, width = rows[0][0].picture.shape[:2]
        scale = max(1, math.ceil(_MIN_SIDE / max(height, width)))
        height, width = scale * height, scale * width
        # Pictures may be flatter than the name of their row.
        line = _GAP + max(height, math.ceil(_LINE))
        titles = [[cell.title for cell in row] for row in rows]
        pitch = _GAP + max(width, *(_text_width(title) for row in titles for title in row))
        left = _MARGIN + max(map(_text_width, names)) + (_GAP if any(names) else 0)
        total = left + max(map(len, rows)) * pitch - _GAP + _MARGIN
        # An estimate of the width of characters; if they are wider, the sheet grows with its caption.
        fold = max(12, int((total - 2 * _MARGIN) / (0.72 * _FONT * _DPI / 72)))
        caption = "\n".join(folded(text, fold) for text in captions)
        total = max(total, _text_width(caption) + 2 * _MARGIN)
        heads = [math.ceil(_LINE * max(title.count("\n") + 1 if title else 0 for title in row)) for row in titles]
        top = _MARGIN + math.ceil(_LINE * (caption.count("\n") + 1)) + _GAP
        bottom = top + sum(heads) + len(rows) * line - _GAP + _MARGIN
        # Half a device pixel more, since the backend cuts off fractions.
        figure = Figure(figsize=((total + 0.5) / _DPI, (bottom + 0.5) / _DPI), dpi=_DPI)
        axes = figure.add_axes((0, 0, total / (total + 0.5), bottom / (bottom + 0.5)))
        axes.set(xlim=(0, total), ylim=(bottom, 0))
        axes.axis("off")
        text: dict[str, Any] = {"fontsize": _FONT, "linespacing": 1.2}
        axes.text(_MARGIN, _MARGIN, caption, va="top", **text)
        for row, name, head in zip(rows, names, heads, strict=True):
            top += head
            axes.text(left - _GAP, top + height / 2, name, ha="right", va="center", color="0.45", **text)
            for place, cell in enumerate(row):
                x = left + place * pitch
                extent = (x, x + width, top + height, top)
                # A frame of one device pixel separates white pixels from the paper.
                axes.add_patch(Rectangle((x - 1, top - 1), width + 2, height + 2, color="0.75", linewidth=0, zorder=1))
                axes.imshow(_eight_bits(cell.picture), extent=extent, interpolation="nearest", aspect="auto", zorder=2)
                axes.text(x, top - _GAP / 2, cell.title, va="bottom", **text)
            top += line
        # Showing an image has moved the limits.
        axes.set(xlim=(0, total), ylim=(bottom, 0))
    return figure


def _eight_bits(picture: Floats) -> NDArray[np.uint8]:
    """Return RGB values, shape (H, W, 3): a colour map would round grey values twice."""
    colours = picture if picture.ndim == 3 else picture[:, :, None].repeat(3, axis=2)
    return np.round(255 * colours).astype(np.uint8)


def _text_width(text: str) -> int:
    """Return the width of the widest line, in device pixels."""
    font = FontProperties(size=_FONT)
    widths = [TextPath((0, 0), line, prop=font).get_extents().x1 for line in text.split("\n") if line.strip()]
    return math.ceil(max(widths, default=0) * _DPI / 72)


def picture(image: Tensor) -> Floats:
    """Return an image (C, H, W) as it is shown: colours if it has three channels, else the mean of its channels."""
    top, left = (max(0, (length - _MAX_SIDE) // 2) for length in image.shape[1:])
    seen = image[:, top : top + _MAX_SIDE, left : left + _MAX_SIDE].float()
    return np.asarray((seen.permute(1, 2, 0) if len(seen) == 3 else seen.mean(0)).clamp(0, 1))


def remark(shape: Shape) -> str:
    """Return a note on what pictures of images (C, H, W) leave out, if anything."""
    channels, height, width = shape
    left_out = "" if channels in (1, 3) else f", mean of {channels} channels"
    if max(height, width) > _MAX_SIDE:
        left_out += f", central {min(height, _MAX_SIDE)}×{min(width, _MAX_SIDE)} of {height}×{width} pixels"
    return left_out


def sample_sheet(samples: Samples) -> Figure:
    """Draw the first 64 samples, with the status above samples that did not converge."""
    shown = min(len(samples), _MAX_SAMPLES)
    images = samples.images[:shown].nan_to_num(nan=0, posinf=0, neginf=0)
    titles = ["" if status == "converged" else status for status in samples.status[:shown]]
    cells = [Cell(picture(image), title) for image, title in zip(images, titles, strict=True)]
    firsts = range(0, shown, _ABREAST)
    rows = [cells[first : first + _ABREAST] for first in firsts]
    which = "" if shown == len(samples) else f"the first {shown} of "
    caption = f"{which}{samples}, seed {samples.settings.seed}{remark(image_shape(samples.images))}"
    names = [str(samples.first + first) for first in firsts]
    return lay_out(rows, names, [*samples.source.split("\n"), caption] if samples.source else [caption])


def kept_images(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[str, list[StoredArrays]]:
    """Return the images that the metric ``psnr`` kept, by dataset; of several training seeds, the first."""
    stored = stored_arrays(folder, "psnr")
    chosen_datasets = chosen_labels(datasets, dict.fromkeys(one.dataset for one in stored), "dataset", ResultsError)
    chosen_entrants = chosen_labels(entrants, dict.fromkeys(one.entrant for one in stored), "entrant", ResultsError)
    kept: dict[str, dict[str, StoredArrays]] = {}
    for one in stored:
        if one.dataset in chosen_datasets and one.entrant in chosen_entrants:
            kept.setdefault(one.dataset, {}).setdefault(one.entrant, one)
    if not kept:
        raise ResultsError(f"{folder}: no images of that dataset and entrant; without -d and -e all are drawn")
    return {dataset: list(by_entrant.values()) for dataset, by_entrant in kept.items()}


def denoised_sheet(kept: Sequence[StoredArrays], sigma: float, count: int = 3) -> Figure:
    """Draw a row for each entrant, and two columns for each image: denoised, with its PSNR, and the error."""
    levels = [level_index(one, sigma) for one in kept]
    if None in levels:
        held = sorted(set.intersection(*(set(one.arrays["sigmas"].tolist()) for one in kept)))
        raise ParameterError(f"no images at sigma {level_name(sigma)}; accepted: {listing(map(level_name, held))}")
    count = min(count, *(len(one.arrays["clean"]) for one in kept))
    clean = pictures(kept[0].arrays["clean"])[:count]
    noisy = pictures(kept[0].arrays["noisy"][levels[0]])[:count]
    rows = [[cell for pair in zip(clean, noisy, strict=True) for cell in map(Cell, pair, ("clean", "noisy"))]]
    for one, level in zip(kept, levels, strict=True):
        denoised = pictures(one.arrays["denoised"][level])[:count]
        titles = [f"{number(float(psnr), 1)} dB" for psnr in one.arrays["psnr"][level][:count]]
        pairs = zip(denoised, titles, error_pictures(denoised, clean, sigma), strict=True)
        rows.append([cell for image, title, error in pairs for cell in (Cell(image, title), Cell(error, "error"))])
    names = ["", *(folded(one.entrant, 22) for one in kept)]
    note = f"PSNR of whole images; of large ones the centre is shown; errors: grey 0, white or black {RANGE:g} σ"
    return lay_out(rows, names, [f"{kept[0].dataset}, σ = {level_name(sigma)}", note])


def level_index(kept: StoredArrays, sigma: float) -> int | None:
    """Return the index of a noise level; ``None`` if no images were kept there."""
    return next((index for index, level in enumerate(kept.arrays["sigmas"]) if np.isclose(level, sigma)), None)


def error_pictures(denoised: Floats, clean: Floats, sigma: float) -> Floats:
    """Return the errors of pictures as pictures."""
    errors: Floats = np.clip(0.5 + (denoised - clean) / (2 * RANGE * sigma), 0, 1).astype(np.float32)
    return errors


def pictures(images: NDArray[Any]) -> Floats:
    """Return bytes (N, C, H, W) as pictures in [0, 1], (N, H, W), or (N, H, W, 3) of three channels."""
    scaled: Floats = (images / np.float32(255)).astype(np.float32)
    return np.moveaxis(scaled, 1, -1) if scaled.shape[1] == 3 else scaled.mean(axis=1)


def middle_level(kept: Mapping[str, Sequence[StoredArrays]]) -> float:
    """Return a noise level in the middle of the levels at which images were kept."""
    levels = next(iter(kept.values()))[0].arrays["sigmas"]
    return float(levels[len(levels) // 2])


def paired_samples(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[tuple[str, str], dict[int | None, Arrays]]:
    """Return the arrays of the metric ``pair-cosine``, by dataset and entrant, and by number of training images."""
    found: dict[tuple[str, str], dict[int | None, Arrays]] = {}
    for pair, images, one in _chosen(stored_arrays(folder, "pair-cosine"), datasets, entrants):
        found.setdefault(pair, {}).setdefault(images, one.arrays)
    if not found:
        raise ResultsError(
            f"{folder}: no samples of that dataset and entrant; without --dataset and --entrant all are drawn"
        )
    return found


def predicted_samples(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[tuple[str, str], dict[int | None, dict[str, Arrays]]]:
    """Return the arrays of the metric ``sample-prediction``, as :func:`paired_samples` does, and by reference."""
    found: dict[tuple[str, str], dict[int | None, dict[str, Arrays]]] = {}
    for pair, images, one in _chosen(stored_arrays(folder, "sample-prediction", required=False), datasets, entrants):
        reference = compared_with(one.metric) or "prediction"
        found.setdefault(pair, {}).setdefault(images, {}).setdefault(reference, one.arrays)
    return found


def _chosen(
    stored: Sequence[StoredArrays], datasets: Sequence[str] | None, entrants: Sequence[str] | None
) -> Iterator[tuple[tuple[str, str], int | None, StoredArrays]]:
    """Yield the arrays of the datasets and entrants, by default all, with both and the number of training images."""
    for one in stored:
        entrant = base_label(one.entrant)
        if is_chosen(one.dataset, datasets) and is_chosen(entrant, entrants):
            yield (one.dataset, entrant), number_of_images(one.entrant), one


def pairs_sheet(sets: Mapping[int | None, Arrays], caption: str, count: int = 8) -> Figure:
    """Draw samples of two denoisers from the same noise, and the training images most similar to each.

    As figure 2 of Kadkhodaie et al. 2024: for each number of training images a row of samples of A, below each the
    closest image that A learned from, then those of B. Above a closest image is its cosine with the sample, above a
    sample of B its cosine with that of A, means removed.
    """
    rows, names = [], []
    for images, arrays in sets.items():
        for name, samples, cosines in _PAIR_ROWS:
            rows.append(_row(arrays[samples][:count], None if cosines is None else arrays[cosines][:count]))
            names.append(f"{_images_title(images)}\n{name}" if name == "A" else name)
    return lay_out(rows, names, [caption, "above an image: cosine with the sample of A, or with its own sample"])


def predictions_sheet(sets: Mapping[int | None, Mapping[str, Arrays]], caption: str, count: int = 8) -> Figure:
    """Draw samples above the predictions of references from the same noise, with r^2 above each."""
    rows, names = [], []
    for images, predictions in sets.items():
        # A reference lacks the samples whose prediction did not converge.
        shared = functools.reduce(np.intersect1d, (arrays["places"] for arrays in predictions.values()))[:count]
        # The samples are the same for all references.
        rows.append(_row(_at(next(iter(predictions.values())), "samples", shared)))
        names.append(f"{_images_title(images)}\nsample")
        for reference, arrays in predictions.items():
            rows.append(_row(_at(arrays, "predicted", shared), _at(arrays, "r2", shared)))
            names.append(folded(reference, 18))
    return lay_out(rows, names, [caption, "above an image: r² of the sample and the prediction from its noise"])


def cosines_figure(sets: Mapping[int | None, Arrays], caption: str) -> Figure:
    """Draw the distributions of cosines, a panel for each number of training images."""
    with context():
        figure, axes = panels(len(sets), (1, len(sets)), (1.1 + 1.9 * len(sets), 2.6), sharey=True)
        for ax, (images, arrays) in zip(axes, sets.items(), strict=True):
            closest = np.concatenate([arrays["closest_cosine"], arrays["partner_closest_cosine"]])
            kinds = (("A and B", arrays["pair_cosine"], PALETTE[0]), ("sample and closest", closest, PALETTE[1]))
            for label, values, colour in kinds:
                share = np.full(len(values), 1 / max(1, len(values)))
                # Filled and outlined, so that both distributions are seen where they overlap.
                ax.hist(values, _BINS, weights=share, color=colour, alpha=0.35, label=label)
                ax.hist(values, _BINS, weights=share, color=colour, histtype="step", linewidth=1.2)
                ax.axvline(float(np.median(values)), color=colour, linestyle="--", linewidth=0.9)
            ax.set_title(_images_title(images), loc="left")
            ax.set_xlabel("cosine")
            ax.set_xlim(min(-0.1, float(min(values.min() for _, values, _ in kinds)) - 0.05), 1.03)
        axes[0].set_ylabel("share")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=2, frameon=False)
        figure.suptitle(f"{caption} (dashed: medians)", x=0.005, ha="left", fontsize=9, color="black")
    return figure


def _images_title(images: int | None) -> str:
    """Return the label of a number of training images, empty for all of a split or outside a sweep."""
    return "" if images is None else f"N = {images}"


def _at(arrays: Arrays, name: str, places: NDArray[Any]) -> NDArray[Any]:
    """Return the rows of an array that belong to the samples of some numbers."""
    return arrays[name][np.searchsorted(arrays["places"], places)]


def _row(images: NDArray[Any], values: NDArray[Any] | None = None) -> list[Cell]:
    """Return images as a row of a sheet, each with its value above it."""
    import torch

    above = [""] * len(images) if values is None else [f"{value:.2f}" for value in values]
    return [Cell(picture(image), title) for image, title in zip(torch.from_numpy(images), above, strict=True)]
