"""A sheet of denoised images: clean, noisy, and of every entrant the denoised image and its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.board.selection import chosen_labels
from gahbench.report.cells import folded, number
from gahbench.report.contact_sheet import Cell, lay_out
from gahbench.store.stored_files import StoredArrays, stored_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Errors are shown grey for 0, and black or white for so many standard deviations of the noise.
RANGE = 2.0


def kept_images(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[str, list[StoredArrays]]:
    """Return the images that the metric ``psnr`` kept, by dataset; of several training seeds, the first."""
    found: dict[str, dict[str, StoredArrays]] = {}
    stored = stored_arrays(folder, "psnr")
    of = chosen_labels(datasets, dict.fromkeys(one.dataset for one in stored), "dataset", ResultsError)
    by = chosen_labels(entrants, dict.fromkeys(one.entrant for one in stored), "entrant", ResultsError)
    for one in stored:
        if one.dataset in of and one.entrant in by:
            found.setdefault(one.dataset, {}).setdefault(one.entrant, one)
    if not found:
        raise ResultsError(f"{folder}: no images of that dataset and entrant; without -d and -e all are drawn")
    return {dataset: list(of.values()) for dataset, of in found.items()}


def denoised_sheet(kept: Sequence[StoredArrays], sigma: float, count: int = 3) -> Figure:
    """Draw a row for each entrant, and two columns for each image: denoised, with its PSNR, and the error."""
    places = [
        next((at for at, level in enumerate(one.arrays["sigmas"]) if np.isclose(level, sigma)), None) for one in kept
    ]
    if None in places:
        levels = sorted(set.intersection(*(set(one.arrays["sigmas"].tolist()) for one in kept)))
        raise ParameterError(f"no images at sigma {level_name(sigma)}; accepted: {listing(map(level_name, levels))}")
    count = min(count, *(len(one.arrays["clean"]) for one in kept))
    clean = pictures(kept[0].arrays["clean"])[:count]
    noisy = pictures(kept[0].arrays["noisy"][places[0]])
    rows = [
        [
            cell
            for image, found in zip(clean, noisy, strict=False)
            for cell in (Cell(image, "clean"), Cell(found, "noisy"))
        ]
    ]
    for one, place in zip(kept, places, strict=True):
        denoised, psnr = pictures(one.arrays["denoised"][place])[:count], one.arrays["psnr"][place]
        rows.append(
            [
                cell
                for image, found, decibels in zip(clean, denoised, psnr, strict=False)
                for cell in (Cell(found, f"{number(float(decibels), 1)} dB"), _error(found, image, sigma))
            ]
        )
    names = ["", *(folded(one.entrant, 22) for one in kept)]
    note = f"PSNR of whole images; of large ones the centre is shown; errors: grey 0, white or black {RANGE:g} σ"
    return lay_out(rows, names, [f"{kept[0].dataset}, σ = {level_name(sigma)}", note])


def _error(found: NDArray[np.float32], clean: NDArray[np.float32], sigma: float) -> Cell:
    return Cell(np.clip(0.5 + (found - clean) / (2 * RANGE * sigma), 0, 1).astype(np.float32), "error")


def pictures(images: NDArray[Any]) -> NDArray[np.float32]:
    """Return bytes (N, C, H, W) as pictures in [0, 1], (N, H, W), or (N, H, W, 3) of three channels."""
    scaled: NDArray[np.float32] = (images / np.float32(255)).astype(np.float32)
    return np.moveaxis(scaled, 1, -1) if scaled.shape[1] == 3 else scaled.mean(axis=1)


def middle_level(kept: Mapping[str, Sequence[StoredArrays]]) -> float:
    """Return a noise level in the middle of those at which images were kept."""
    levels = next(iter(kept.values()))[0].arrays["sigmas"]
    return float(levels[len(levels) // 2])
