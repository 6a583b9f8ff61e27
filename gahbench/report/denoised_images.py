"""A sheet of denoised images: clean, noisy, and of every entrant the denoised image and its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.patterns import matches
from gahbench._util.readable import level_name
from gahbench.report.cells import folded, number
from gahbench.report.contact_sheet import Cell, lay_out
from gahbench.store.stored_arrays import StoredArrays, stored_arrays

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Errors are shown grey for 0, and black or white for so many standard deviations of the noise.
RANGE = 2.0


def kept_images(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[str, list[StoredArrays]]:
    """Return the images that the metric ``psnr`` kept, by dataset; of several training seeds, the first.

    Parameters
    ----------
    folder
        A results folder with its units.
    datasets, entrants
        Labels, names or patterns; all by default.

    Raises
    ------
    ResultsError
        If there is nothing.
    """
    found: dict[str, dict[str, StoredArrays]] = {}
    for one in stored_arrays(folder, "psnr"):
        wanted = [any(matches(name, pattern) for pattern in patterns) if patterns else True
                  for name, patterns in ((one.dataset, datasets), (one.entrant, entrants))]  # fmt: skip
        if all(wanted):
            found.setdefault(one.dataset, {}).setdefault(one.entrant, one)
    if not found:
        raise ResultsError(f"{folder}: no images of that dataset and entrant; without -d and -e all are drawn")
    return {dataset: list(of.values()) for dataset, of in found.items()}


def denoised_sheet(kept: Sequence[StoredArrays], sigma: float, count: int = 3) -> Figure:
    """Draw a row for each entrant, and two columns for each image: denoised, with its PSNR, and the error.

    In the first row are the clean and the noisy image.

    Parameters
    ----------
    kept
        Of one dataset.
    sigma
        The noise level.
    count
        Images, at most as many as were kept.

    Raises
    ------
    ParameterError
        If no image was kept at that level; names those there are.
    """
    levels = kept[0].arrays["sigmas"].tolist()
    place = next((at for at, level in enumerate(levels) if np.isclose(level, sigma)), None)
    if place is None:
        raise ParameterError(f"no images at sigma {level_name(sigma)}; accepted: {listing(map(level_name, levels))}")
    clean = _pictures(kept[0].arrays["clean"])[:count]
    first = [
        cell
        for image, noisy in zip(clean, _pictures(kept[0].arrays["noisy"][place]), strict=False)
        for cell in (Cell(image, "clean"), Cell(noisy, f"noisy, {number(_psnr(noisy, image), 1)} dB"))
    ]
    rows, names = [first], [""]
    for one in kept:
        denoised = _pictures(one.arrays["denoised"][place])[:count]
        rows.append(
            [cell for image, found in zip(clean, denoised, strict=True) for cell in _cells(found, image, sigma)]
        )
        names.append(folded(one.entrant, 22))
    note = f"errors: grey is 0, white or black {RANGE:g} σ; images as they were kept, in 8 bits"
    return lay_out(rows, names, [f"{kept[0].dataset}, σ = {level_name(sigma)}", note])


def _cells(found: NDArray[np.float32], clean: NDArray[np.float32], sigma: float) -> list[Cell]:
    error = np.clip(0.5 + (found - clean) / (2 * RANGE * sigma), 0, 1).astype(np.float32)
    return [Cell(found, f"{number(_psnr(found, clean), 1)} dB"), Cell(error, "error")]


def _psnr(found: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    error = float(np.square(found.astype(np.float64) - clean).mean())
    return -10 * float(np.log10(max(error, 1e-14)))


def _pictures(images: NDArray[Any]) -> NDArray[np.float32]:
    """Return bytes (N, C, H, W) as pictures in [0, 1], (N, H, W) or (N, H, W, 3)."""
    scaled: NDArray[np.float32] = (images / np.float32(255)).astype(np.float32)
    return scaled[:, 0] if scaled.shape[1] == 1 else np.moveaxis(scaled, 1, -1)


def middle_level(kept: Mapping[str, Sequence[StoredArrays]]) -> float:
    """Return a noise level in the middle of those at which images were kept."""
    levels = next(iter(kept.values()))[0].arrays["sigmas"]
    return float(levels[len(levels) // 2])
