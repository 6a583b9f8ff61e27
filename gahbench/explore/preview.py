"""Previews of datasets: images under noise, optimal estimates, and a card of properties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench._util.errors import (
    DataError,
    GahbenchError,
    OptimumError,
    ParameterError,
    PluginError,
    error_with_location,
    listing,
    suggestion,
)
from gahbench._util.noise import evaluation_noise
from gahbench._util.readable import level_name, pluralize
from gahbench.contracts.datasets import SPLITS, Dataset, Split
from gahbench.evaluation.rates import input_psnr
from gahbench.planning.suite_fields import check_sigmas
from gahbench.registry.configured import Configured
from gahbench.registry.registry import open_registry
from gahbench.report.cells import number
from gahbench.report.drawing import encode, save_figure
from gahbench.report.pictures import Cell, cropping_note, format_psnr, lay_out, to_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Default number of images, and the maximum number, so that the contact sheet fits in memory.
COUNT, MAX_IMAGES = 4, 32
#: Meaning of each kind of optimum.
_MEANING = {
    "exact": "exact: the posterior mean, which no denoiser beats, can be computed",
    "bracket": "bracket: no denoiser beats a genie that sees part of the parameters of an image",
    "rate": "rate: only the rate at which the error falls with the noise is known",
    "none": "none: the best denoiser is unknown",
}


@dataclass(frozen=True, eq=False)
class Level:
    """Noisy images and, if known, images denoised by the optimal denoiser or a genie, and their expected squared error.

    ``obstacle`` is the reason why the optimum cannot be computed, if any.
    """

    sigma: float
    noisy: Tensor
    denoised: Tensor | None = None
    expected: float = math.nan
    obstacle: str = ""


@dataclass(frozen=True, eq=False)
class Preview:
    """Images of a dataset under noise; ``card`` holds the dataset's properties as text, by name."""

    configured: Configured
    dataset: Dataset
    card: dict[str, str]
    split: Split
    start: int
    clean: Tensor
    levels: tuple[Level, ...]

    def save(self, file: str | Path) -> None:
        """Write the contact sheet: clean, noisy and, if known, optimally denoised images."""
        save_figure(contact_sheet(self), Path(file))

    def _repr_png_(self) -> bytes:
        """Return the contact sheet for notebooks."""
        return encode(contact_sheet(self), ".png")


def preview(
    dataset: str,
    sigmas: Sequence[float] = (0.05, 0.15, 0.4),
    *,
    count: int | None = None,
    split: Split = "test",
    start: int = 0,
    plugins: Sequence[str | Path] = (),
) -> Preview:
    """Preview a dataset: its properties, and a few images that are clean, noisy and optimally denoised.

    Parameters
    ----------
    dataset : str
        Name of a dataset, optionally with parameters, such as ``c-alpha[alpha=2,size=32]``.
    sigmas : sequence of float, default (0.05, 0.15, 0.4)
        Noise levels greater than 0, in units where images lie in [0, 1], such as 0.1 or 25/255. The noise is the
        same as in runs with the default noise seed.
    count : int, optional
        Number of images, 1 to 32. By default 4, or all images if the split has fewer.
    split : {"train", "validation", "test", "A", "B"}, default "test"
        Split of the images: train, validation, test, A or B.
    start : int, default 0
        Index of the first image in the split, 0 or more.
    plugins : sequence of str or Path, default ()
        Plugin files, or folders of plugin files.

    Returns
    -------
    Preview
        Notebooks display its contact sheet, and ``save("sheet.png")`` writes it.

    Raises
    ------
    GahbenchError
        If an argument is invalid, the split has too few images, or the dataset fails.

    Examples
    --------
    >>> import gahbench
    >>> preview = gahbench.preview("discs[size=16]", sigmas=[0.1], count=2)
    >>> tuple(preview.levels[0].noisy.shape)
    (2, 1, 16, 16)
    """
    configured, levels = open_registry(plugins).configure("dataset", dataset), check_sigmas(sigmas)
    if count is not None and not 1 <= count <= MAX_IMAGES:
        raise ParameterError(f"count={count}; accepted: 1 to {MAX_IMAGES}")
    if split not in SPLITS:
        raise ParameterError(f"unknown split '{split}'{suggestion(split, SPLITS) or ';'} accepted: {listing(SPLITS)}")
    if start < 0:
        raise ParameterError(f"start={start}; accepted: 0 or more")
    try:
        with torch.no_grad():
            built: Dataset = configured.build()
            available, least = built.available(split), count or 1
            if available is not None and start + least > available:
                asked = f"{least} {split} images requested from index {start}"
                raise DataError(f"{configured.where}: {asked}, but the split holds {available}")
            number = count or (COUNT if available is None else min(COUNT, available - start))
            clean = built.images(split, number, start)
            previewed = tuple(_preview_level(built, clean, sigma, split, start) for sigma in levels)
            return Preview(configured, built, _card(built, clean, previewed), split, start, clean, previewed)
    except GahbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{configured.where} cannot be previewed: {error_with_location(error)}") from error


def _preview_level(dataset: Dataset, clean: Tensor, sigma: float, split: Split, start: int) -> Level:
    # Noise is drawn by the index of an image in its split, with the default noise seed of suites.
    end, render_size = start + len(clean), dataset.render_size
    noisy = clean + evaluation_noise(end, dataset.shape, sigma, 0, split, render_size=render_size)[start:]
    try:
        if dataset.optimum.kind == "exact":
            posterior = dataset.posterior(noisy, sigma)
            denoised, errors = posterior.mean, posterior.trace / clean[0].numel()
        elif dataset.optimum.kind == "bracket":
            denoised = dataset.genie(noisy, sigma, split, start)
            errors = dataset.lower_bound(split, len(clean), sigma, start)
        else:
            return Level(sigma, noisy)
    except OptimumError as error:
        # The optimum cannot be computed accurately at this level; the rest of the preview is still useful.
        return Level(sigma, noisy, obstacle=" ".join(str(error).split()))
    return Level(sigma, noisy, denoised.float(), float(errors.double().mean()))


def _card(dataset: Dataset, clean: Tensor, levels: Sequence[Level]) -> dict[str, str]:
    """Return the properties of a dataset as text, by name."""
    sizes = {name: dataset.available(name) for name in SPLITS}
    images = ", ".join(f"{name} {'endless' if size is None else size}" for name, size in sizes.items())
    values, slope, card = clean.double(), dataset.optimum.slope, dataset.card
    outside = float(((values < 0) | (values > 1)).double().mean())
    rise = "" if slope is None else f"; PSNR rises by {slope:.2f} dB per dB of input PSNR as σ tends to 0"
    facts = {
        "shape": " × ".join(map(str, dataset.shape)) + " (channels, height, width)",
        "origin": card.origin,
        "licence": card.licence,
        "images": images + ("; splits share images" if dataset.splits_overlap else ""),
        "notes": "; ".join(" ".join(note.split()) for note in dataset.notes),
        "pixels": f"mean {float(values.mean()):.3f}, standard deviation {float(values.std(correction=0)):.3f}, "
        f"{100 * outside:.3g} % outside [0, 1], over {pluralize(len(clean), 'image')}",
        "optimum": _MEANING[dataset.optimum.kind] + rise,
        "true basis": "known" if dataset.has_true_basis else "not known",
    }
    for level in levels:
        obstacle = [f"the optimum cannot be computed: {level.obstacle}"] if level.obstacle else []
        facts[f"σ = {level_name(level.sigma)}"] = ", ".join([*_pictures(level, dataset), *obstacle])
    return {name: fact for name, fact in facts.items() if fact}


def _pictures(level: Level, dataset: Dataset) -> dict[str, Tensor]:
    """Return the images at a noise level, by what they are and their expected PSNR."""
    pictures = {f"noisy {number(float(input_psnr(level.sigma)), 1)} dB": level.noisy}
    if level.denoised is not None:
        best = "optimal" if dataset.optimum.kind == "exact" else "genie, at most"
        pictures[f"{best} {format_psnr(level.expected)}"] = level.denoised
    return pictures


def contact_sheet(preview: Preview) -> Figure:
    """Draw a row for each image: clean and, at each level, noisy and denoised by the optimum or a genie, if known."""
    columns = {"clean": preview.clean}
    for level in preview.levels:
        pictures = _pictures(level, preview.dataset)
        columns |= {f"σ = {level_name(level.sigma)}\n{title}": images for title, images in pictures.items()}
    rows = [
        [Cell(to_picture(images[row]), "" if row else title) for title, images in columns.items()]
        for row in range(len(preview.clean))
    ]
    names = [str(preview.start + row) for row in range(len(rows))]
    caption = f"{preview.split} images{cropping_note(preview.dataset.shape)}"
    return lay_out(rows, names, [preview.configured.label, caption])
