"""Samples beside those of a partner, their closest training images, and the predictions of references."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from gahbench._util.errors import ResultsError
from gahbench.board.generalization import compared_with
from gahbench.board.selection import is_chosen
from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.report.cells import folded
from gahbench.report.contact_sheet import Cell, lay_out, picture
from gahbench.report.drawing import PALETTE, context
from gahbench.report.generalization import number_label
from gahbench.store.stored_files import StoredArrays, stored_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rows of a sheet: name, array of images, and array of the cosine that is written above.
_ROWS = (
    ("A", "samples", None),
    ("closest in A", "closest", "closest_cosine"),
    ("B", "partner_samples", "pair_cosine"),
    ("closest in B", "partner_closest", "partner_closest_cosine"),
)
_BINS = np.linspace(-1, 1, 41)

Arrays = Mapping[str, "NDArray[Any]"]


def paired_samples(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[tuple[str, str], dict[int | None, Arrays]]:
    """Return the arrays of the metric ``pair-cosine``, by dataset and entrant, and by number of training images."""
    found: dict[tuple[str, str], dict[int | None, Arrays]] = {}
    for pair, number, one in _chosen(stored_arrays(folder, "pair-cosine"), datasets, entrants):
        found.setdefault(pair, {}).setdefault(number, one.arrays)
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
    for pair, number, one in _chosen(stored_arrays(folder, "sample-prediction", required=False), datasets, entrants):
        reference = compared_with(one.metric) or "prediction"
        found.setdefault(pair, {}).setdefault(number, {}).setdefault(reference, one.arrays)
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
    for number, arrays in sets.items():
        for name, images, cosines in _ROWS:
            rows.append(_row(arrays[images][:count], None if cosines is None else arrays[cosines][:count]))
            names.append(f"{_title(number)}\n{name}" if name == "A" else name)
    return lay_out(rows, names, [caption, "above an image: cosine with the sample of A, or with its own sample"])


def predictions_sheet(sets: Mapping[int | None, Mapping[str, Arrays]], caption: str, count: int = 8) -> Figure:
    """Draw samples above the predictions of references from the same noise, with r^2 above each."""
    rows, names = [], []
    for number, predictions in sets.items():
        # A reference may lack samples of which its own did not converge.
        shared = functools.reduce(np.intersect1d, (arrays["places"] for arrays in predictions.values()))[:count]
        # All have the same samples.
        rows.append(_row(_at(next(iter(predictions.values())), "samples", shared)))
        names.append(f"{_title(number)}\nsample")
        for reference, arrays in predictions.items():
            rows.append(_row(_at(arrays, "predicted", shared), _at(arrays, "r2", shared)))
            names.append(folded(reference, 18))
    return lay_out(rows, names, [caption, "above an image: r² of the sample and the prediction from its noise"])


def cosines_figure(sets: Mapping[int | None, Arrays], caption: str) -> Figure:
    """Draw how cosines are distributed, a panel for each number of training images."""
    with context():
        drawing = Figure(figsize=(1.1 + 1.9 * len(sets), 2.6), layout="constrained")
        axes = drawing.subplots(1, len(sets), squeeze=False, sharey=True)[0]
        for ax, (number, arrays) in zip(axes, sets.items(), strict=True):
            closest = np.concatenate([arrays["closest_cosine"], arrays["partner_closest_cosine"]])
            kinds = (("A and B", arrays["pair_cosine"], PALETTE[0]), ("sample and closest", closest, PALETTE[1]))
            for label, values, colour in kinds:
                share = np.full(len(values), 1 / max(1, len(values)))
                # Filled and outlined, so that where they overlap both are seen.
                ax.hist(values, _BINS, weights=share, color=colour, alpha=0.35, label=label)
                ax.hist(values, _BINS, weights=share, color=colour, histtype="step", linewidth=1.2)
                ax.axvline(float(np.median(values)), color=colour, linestyle="--", linewidth=0.9)
            ax.set_title(_title(number), loc="left")
            ax.set_xlabel("cosine")
            ax.set_xlim(min(-0.1, float(min(values.min() for _, values, _ in kinds)) - 0.05), 1.03)
        axes[0].set_ylabel("share")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower right", ncols=2, frameon=False)
        drawing.suptitle(f"{caption} (dashed: medians)", x=0.005, ha="left", fontsize=9, color="black")
    return drawing


def _title(number: int | None) -> str:
    """Return the label of a number of images, empty where it is all of them or no sweep."""
    return "" if number is None else number_label(number)


def _at(arrays: Arrays, name: str, places: NDArray[Any]) -> NDArray[Any]:
    """Return the arrays of the samples at some places."""
    return arrays[name][np.searchsorted(arrays["places"], places)]


def _row(images: NDArray[Any], values: NDArray[Any] | None = None) -> list[Cell]:
    """Return images as a row of a sheet, each with its value above it."""
    above = [""] * len(images) if values is None else [f"{value:.2f}" for value in values]
    return [Cell(picture(image), title) for image, title in zip(torch.from_numpy(images), above, strict=True)]
